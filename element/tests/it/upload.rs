//! Storing files.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::Setup;
use crate::harness::client::{form, send};
use crate::harness::keys::KEYS;

type Fields<'a> = &'a [(&'a str, &'a str)];

pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test]
async fn stored_file_is_described_and_stands_beside_its_attributes() {
    for setup in Setup::each().await {
        let element = setup.start().await;
        let fields = [
            ("description", "The annual report"),
            ("version", "1.2"),
            ("tags", "report, finance"),
            ("metadata", r#"{"project":"alpha","pages":12,"final":true}"#),
        ];
        let answer = send(element.client.by("user", "POST", "/files/upload").multipart(form(
            "report.pdf",
            b"content",
            &fields,
        )));
        let answer = answer.await.expect(201);
        let file = answer.json();
        let id = file["file_id"].as_str().unwrap();
        assert_eq!(answer.header("location"), Some(format!("/api/v1/files/{id}").as_str()));
        assert!(answer.header("x-request-id").is_some());
        for (name, value) in [
            ("schema_version", json!("1.0")),
            ("original_filename", json!("report.pdf")),
            ("file_size", json!(7)),
            ("content_type", json!("application/pdf")),
            ("checksum", json!(sha256(b"content"))),
            ("created_by_id", json!("user-1")),
            ("created_by_username", json!("user-name")),
            ("created_by_fullname", json!("Full Name")),
            ("description", json!("The annual report")),
            ("version", json!("1.2")),
            ("tags", json!(["report", "finance"])),
            ("metadata", json!({ "project": "alpha", "pages": 12, "final": true })),
            ("retention_policy", json!("permanent")),
            ("revision", json!(1)),
        ] {
            assert_eq!(file[name], value, "{name}");
        }
        assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
        let path = file["storage_path"].as_str().unwrap();
        assert_eq!(setup.kept(path), b"content");
        let kept: Value = serde_json::from_slice(&setup.kept(&format!("{path}.attr.json"))).unwrap();
        assert_eq!(kept, file);
        assert_eq!(element.temporary_files(), [] as [std::path::PathBuf; 0]);
    }
}

#[tokio::test]
async fn fields_may_follow_the_file() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let id = uuid::Uuid::new_v4().to_string();
    let form = Form::new()
        .text("tags", "first")
        .part("file", Part::bytes(b"abc".to_vec()).file_name("a.txt"))
        .text("tags", "second")
        .text("description", "after")
        .text("file_id", id.clone());
    let file = send(element.client.by("user", "POST", "/files/upload").multipart(form))
        .await
        .expect(201)
        .json();
    assert_eq!(file["file_id"], json!(id));
    assert_eq!(file["tags"], json!(["first", "second"]));
    assert_eq!(file["description"], "after");
    assert_eq!(
        element.client.get(&format!("/files/{id}")).await.expect(200).body,
        b"abc"
    );
}

#[tokio::test]
async fn repeat_with_the_same_id_is_answered_by_its_content() {
    for setup in Setup::each().await {
        let element = setup.start().await;
        let id = uuid::Uuid::new_v4().to_string();
        let fields = [("file_id", id.as_str())];
        let first = element
            .client
            .upload("a.txt", b"same", &fields)
            .await
            .expect(201)
            .json();
        let again = element
            .client
            .upload("a.txt", b"same", &fields)
            .await
            .expect(200)
            .json();
        assert_eq!(first, again);
        element
            .client
            .upload("a.txt", b"other", &fields)
            .await
            .expect_problem(409, "FILE_ID_DUPLICATE");
        assert_eq!(
            element.client.get(&format!("/files/{id}")).await.expect(200).body,
            b"same"
        );
        assert_eq!(element.files_on_disk().len(), 2);
    }
}

#[tokio::test]
async fn names_of_every_kind_come_back_as_they_were() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let long = format!("{}.pdf", "я".repeat(148));
    assert_eq!(long.len(), 300);
    let longest = "x".repeat(300);
    // Each by the name it is offered under: of a path, the last one.
    for (name, offered) in [
        ("Отчёт за 2026 год.pdf", None),
        (long.as_str(), None),
        ("レポート.txt", None),
        ("a\"b.txt", None),
        ("C:\\folder\\c.txt", Some("c.txt")),
        ("../../etc/passwd", Some("passwd")),
        ("..", Some("file")),
        ("CON<>:|?*.txt", None),
        ("no extension", None),
        ("emoji 🗂️.zip", None),
        ("rtl \u{202e}gpj.exe", None),
        (longest.as_str(), None),
    ] {
        let file = element.client.store(name, name.as_bytes()).await;
        assert_eq!(file["original_filename"], name);
        let stored = file["storage_filename"].as_str().unwrap();
        assert!(stored.len() + ".attr.json".len() <= 255, "{stored}");
        assert!(
            !stored.contains(['/', '\\', '<', '>', ':', '"', '|', '?', '*', '\u{202e}']),
            "{stored}"
        );
        let root = setup.root().canonicalize().unwrap();
        let path = root
            .join(file["storage_path"].as_str().unwrap())
            .canonicalize()
            .unwrap();
        assert!(path.starts_with(&root), "{path:?}");
        let id = file["file_id"].as_str().unwrap();
        let read = element.client.get(&format!("/files/{id}")).await.expect(200);
        assert_eq!(read.body, name.as_bytes());
        let disposition = read.header("content-disposition").unwrap();
        let exact = disposition.split("filename*=UTF-8''").nth(1).unwrap();
        let exact = percent_encoding::percent_decode_str(exact).decode_utf8().unwrap();
        assert_eq!(exact, offered.unwrap_or(name));
        let plain = disposition.split('"').nth(1).unwrap();
        assert_eq!(plain.chars().count(), exact.chars().count(), "{disposition}");
    }
}

#[tokio::test]
async fn exact_name_of_another_character_set_is_not_looked_at() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    for (names, status) in [
        ("filename=\"a.txt\"; filename*=iso-8859-1'en'%E4.txt", 201),
        ("filename*=iso-8859-1'en'%E4.txt", 400),
    ] {
        let body = format!("--XX\r\nContent-Disposition: form-data; name=\"file\"; {names}\r\n\r\nabc\r\n--XX--\r\n");
        let request = element
            .client
            .by("user", "POST", "/files/upload")
            .header("content-type", "multipart/form-data; boundary=XX")
            .body(body);
        let answer = send(request).await.expect(status);
        if status == 201 {
            assert_eq!(answer.json()["original_filename"], "a.txt");
        }
    }
}

#[tokio::test]
async fn media_type_is_the_clients_or_guessed_from_the_name() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    for (name, given, expected) in [
        ("a.png", None, "image/png"),
        ("a.unknown-kind", None, "application/octet-stream"),
        ("a.png", Some("text/plain; charset=utf-8"), "text/plain; charset=utf-8"),
    ] {
        let part = Part::bytes(b"x".to_vec()).file_name(name);
        let part = match given {
            Some(kind) => part.mime_str(kind).unwrap(),
            None => part,
        };
        let upload = element
            .client
            .by("user", "POST", "/files/upload")
            .multipart(Form::new().part("file", part));
        let file = send(upload).await.expect(201).json();
        assert_eq!(file["content_type"], expected);
        let id = file["file_id"].as_str().unwrap();
        let read = element.client.get(&format!("/files/{id}")).await;
        assert_eq!(read.header("content-type"), Some(expected));
    }
}

#[tokio::test]
async fn malformed_uploads_are_refused_and_leave_nothing() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let wrong = "0".repeat(64);
    let cases: [(Fields<'_>, u16, &str); 16] = [
        (&[("colour", "red")], 400, "VALIDATION_ERROR"),
        (&[("description", "a"), ("description", "b")], 400, "VALIDATION_ERROR"),
        (&[("file_id", "7")], 400, "VALIDATION_ERROR"),
        (&[("metadata", "[]")], 400, "VALIDATION_ERROR"),
        (&[("metadata", r#"{"a":{"b":1}}"#)], 400, "VALIDATION_ERROR"),
        (&[("metadata", r#"{"a":null}"#)], 400, "VALIDATION_ERROR"),
        (&[("metadata", "{")], 400, "VALIDATION_ERROR"),
        (&[("tags", "[1]")], 400, "VALIDATION_ERROR"),
        (&[("retention_policy", "forever")], 400, "VALIDATION_ERROR"),
        (&[("ttl_days", "5")], 400, "VALIDATION_ERROR"),
        (
            &[("retention_policy", "temporary"), ("ttl_days", "0")],
            400,
            "VALIDATION_ERROR",
        ),
        (
            &[("retention_policy", "temporary"), ("ttl_days", "366")],
            400,
            "VALIDATION_ERROR",
        ),
        (&[("checksum", "abc")], 400, "VALIDATION_ERROR"),
        (&[("checksum", wrong.as_str())], 422, "CHECKSUM_MISMATCH"),
        (&[("description", "nul \0 inside")], 400, "VALIDATION_ERROR"),
        (&[("metadata", r#"{"a":"nul \u0000 inside"}"#)], 400, "VALIDATION_ERROR"),
    ];
    for (fields, status, code) in cases {
        let before = element.client.upload("a.txt", b"abc", fields).await;
        before.expect_problem(status, code);
        let after = fields.iter().fold(
            Form::new().part("file", Part::bytes(b"abc".to_vec()).file_name("a.txt")),
            |form, (name, value)| form.text((*name).to_owned(), (*value).to_owned()),
        );
        send(element.client.by("user", "POST", "/files/upload").multipart(after))
            .await
            .expect_problem(status, code);
    }
    crate::limits::assert_empty(&element).await;
}

#[tokio::test]
async fn bodies_that_are_no_form_with_one_file_are_refused() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let twice = form("a.txt", b"abc", &[]).part("file", Part::bytes(b"x".to_vec()).file_name("b.txt"));
    let nameless = Form::new().part("file", Part::bytes(b"abc".to_vec()));
    for form in [Form::new().text("description", "no file"), twice, nameless] {
        let answer = send(element.client.by("user", "POST", "/files/upload").multipart(form)).await;
        answer.expect_problem(400, "VALIDATION_ERROR");
    }
    for (kind, body) in [
        ("application/json", "{}"),
        ("multipart/form-data", "x"),
        ("multipart/form-data; boundary=XX", "garbage"),
        ("multipart/form-data; boundary=XX", ""),
        (
            "multipart/form-data; boundary=XX",
            "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\ncut",
        ),
    ] {
        let request = element
            .client
            .by("user", "POST", "/files/upload")
            .header("content-type", kind)
            .body(body);
        send(request).await.expect_problem(400, "VALIDATION_ERROR");
    }
    crate::limits::assert_empty(&element).await;
}

#[tokio::test]
async fn right_checksum_and_ttl_are_kept() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let checksum = sha256(b"abc").to_uppercase();
    let fields = [
        ("checksum", checksum.as_str()),
        ("retention_policy", "temporary"),
        ("ttl_days", "3"),
    ];
    let file = element.client.upload("a.txt", b"abc", &fields).await.expect(201).json();
    assert_eq!(
        (&file["ttl_days"], &file["retention_policy"]),
        (&json!(3), &json!("temporary"))
    );
    assert!(file["expires_at"].is_string());
}

#[tokio::test]
async fn uploads_at_once_are_all_stored() {
    for setup in Setup::each().await {
        let element = setup.start().await;
        let token = KEYS.token("user");
        let mut uploads = tokio::task::JoinSet::new();
        for number in 0..40_u32 {
            let request = element.client.request("POST", "/files/upload").bearer_auth(&token);
            let content = vec![u8::try_from(number).unwrap(); 50_000];
            uploads.spawn(send(request.multipart(form(&format!("{number}.bin"), &content, &[]))));
        }
        while let Some(answer) = uploads.join_next().await {
            answer.unwrap().expect(201);
        }
        assert_eq!(element.client.json("/files?limit=1").await["total"], 40);
        assert_eq!(element.files_on_disk().len(), 80);
    }
}
