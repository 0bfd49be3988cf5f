//! Metadata: reading, changing and deleting.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::Setup;
use crate::harness::client::send;
use crate::harness::keys::KEYS;

fn path_of(file: &Value) -> String {
    format!("/files/{}", file["file_id"].as_str().unwrap())
}

#[tokio::test]
async fn patch_changes_what_it_names_and_counts_revisions() {
    for setup in Setup::each().await {
        let element = setup.start().await;
        let fields = [
            ("description", "old"),
            ("version", "1"),
            ("tags", "a,b"),
            ("metadata", r#"{"x":1,"y":"z"}"#),
        ];
        let file = element.client.upload("a.txt", b"abc", &fields).await.expect(201).json();
        let path = format!("{}/metadata", path_of(&file));
        let answer = element.client.get(&path).await.expect(200);
        assert_eq!((answer.header("etag"), answer.json()), (Some("\"1\""), file.clone()));

        let patch =
            json!({ "description": "new", "version": null, "tags": ["c"], "metadata": { "x": null, "w": true } });
        let request = element
            .client
            .by("user", "PATCH", &path)
            .header("if-match", "\"1\"")
            .json(&patch);
        let answer = send(request).await.expect(200);
        let changed = answer.json();
        assert_eq!(answer.header("etag"), Some("\"2\""));
        assert_eq!(changed["description"], "new");
        assert_eq!(changed.get("version"), None);
        assert_eq!(changed["tags"], json!(["c"]));
        assert_eq!(changed["metadata"], json!({ "y": "z", "w": true }));
        assert_eq!(changed["revision"], 2);
        for name in [
            "file_id",
            "checksum",
            "created_at",
            "storage_path",
            "file_size",
            "created_by_id",
        ] {
            assert_eq!(changed[name], file[name], "{name}");
        }
        assert_eq!(element.client.json(&path).await, changed);

        let kept = setup.kept(&format!("{}.attr.json", file["storage_path"].as_str().unwrap()));
        assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), changed);
    }
}

#[tokio::test]
async fn stale_patch_is_refused_and_null_clears() {
    for setup in Setup::both().await {
        let element = setup.start().await;
        let fields = [("tags", "a,b"), ("metadata", r#"{"x":1}"#)];
        let file = element.client.upload("a.txt", b"abc", &fields).await.expect(201).json();
        let path = format!("{}/metadata", path_of(&file));
        let first = element
            .client
            .by("user", "PATCH", &path)
            .json(&json!({ "version": "2" }));
        send(first).await.expect(200);
        let stale = element
            .client
            .by("user", "PATCH", &path)
            .header("if-match", "\"1\"")
            .json(&json!({ "version": "3" }));
        send(stale).await.expect_problem(412, "PRECONDITION_FAILED");
        let request = element
            .client
            .by("user", "PATCH", &path)
            .json(&json!({ "metadata": null, "tags": null }));
        let cleared = send(request).await.expect(200).json();
        assert_eq!((&cleared["metadata"], &cleared["tags"]), (&json!({}), &json!([])));
        let none = element.client.by("user", "GET", &path).header("if-none-match", "\"3\"");
        send(none).await.expect(304);
    }
}

#[tokio::test]
async fn conditions_on_metadata_are_weighed_in_their_order() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let (long_ago, later, one) = (
        "Sat, 01 Jan 2000 00:00:00 GMT",
        "Fri, 01 Jan 2100 00:00:00 GMT",
        "\"1\"",
    );
    for (headers, read, change) in [
        (vec![("if-match", one)], 200, 200),
        (vec![("if-match", "*")], 200, 200),
        (vec![("if-match", "\"7\"")], 412, 412),
        (vec![("if-match", "W/\"1\"")], 412, 412),
        (vec![("if-unmodified-since", long_ago)], 412, 412),
        (vec![("if-unmodified-since", later)], 200, 200),
        (vec![("if-match", one), ("if-unmodified-since", long_ago)], 200, 200),
        (vec![("if-none-match", one)], 304, 412),
        (vec![("if-none-match", "W/\"1\"")], 304, 412),
        (vec![("if-none-match", "*")], 304, 412),
        (vec![("if-none-match", "\"7\"")], 200, 200),
        (vec![("if-modified-since", later)], 304, 200),
        (vec![("if-modified-since", long_ago)], 200, 200),
        (vec![("if-match", "\"7\""), ("if-none-match", one)], 412, 412),
        (vec![("if-none-match", "\"7\""), ("if-modified-since", later)], 200, 200),
    ] {
        println!("{headers:?}");
        let path = format!("{}/metadata", path_of(&element.client.store("a.txt", b"abc").await));
        let with = |method: &str| {
            let request = element.client.by("user", method, &path);
            headers
                .iter()
                .fold(request, |request, (name, value)| request.header(*name, *value))
        };
        for method in ["GET", "HEAD"] {
            assert_eq!(send(with(method)).await.status, read, "{method}");
        }
        let answer = send(with("PATCH").json(&json!({ "description": null }))).await;
        assert_eq!(answer.status, change);
        if change == 412 {
            answer.expect_problem(412, "PRECONDITION_FAILED");
        }
    }
}

#[tokio::test]
async fn date_of_metadata_tells_every_change_apart() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let path = format!("{}/metadata", path_of(&element.client.store("a.txt", b"abc").await));
    // The date is told once its second has passed.
    let mut date = String::new();
    crate::harness::eventually("the date is told", async || {
        let answer = element.client.get(&path).await;
        date = answer.header("last-modified").unwrap_or_default().to_owned();
        !date.is_empty()
    })
    .await;
    let with = |method: &str, name: &str| element.client.by("user", method, &path).header(name, &date);
    send(with("GET", "if-modified-since")).await.expect(304);
    let patch = json!({ "description": "new" });
    send(with("PATCH", "if-unmodified-since").json(&patch))
        .await
        .expect(200);
    send(with("GET", "if-modified-since")).await.expect(200);
    send(with("PATCH", "if-unmodified-since").json(&patch))
        .await
        .expect_problem(412, "PRECONDITION_FAILED");
}

#[tokio::test]
async fn changes_at_once_under_a_condition_happen_one_by_one() {
    for setup in Setup::both().await {
        let element = setup.start().await;
        let path = format!("{}/metadata", path_of(&element.client.store("a.txt", b"abc").await));
        let mut changes = tokio::task::JoinSet::new();
        for number in 0..20 {
            let request = element.client.by("user", "PATCH", &path).header("if-match", "\"1\"");
            changes.spawn(send(request.json(&json!({ "version": number.to_string() }))));
        }
        let answers = changes.join_all().await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((done.len(), refused.len()), (1, 19));
        for answer in &refused {
            answer.expect_problem(412, "PRECONDITION_FAILED");
        }
        assert_eq!(element.client.json(&path).await, done[0].json());
    }
}

#[tokio::test]
async fn malformed_patches_are_refused_and_change_nothing() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let file = element.client.store("a.txt", b"abc").await;
    let path = format!("{}/metadata", path_of(&file));
    for body in [
        "",
        "{",
        "[]",
        "null",
        "\"x\"",
        r#"{"file_size":1}"#,
        r#"{"checksum":"x"}"#,
        r#"{"revision":9}"#,
        r#"{"description":1}"#,
        r#"{"tags":"a"}"#,
        r#"{"tags":[1]}"#,
        r#"{"metadata":[]}"#,
        r#"{"metadata":{"a":[]}}"#,
    ] {
        let request = element
            .client
            .by("user", "PATCH", &path)
            .header("content-type", "application/json")
            .body(body);
        send(request).await.expect_problem(400, "VALIDATION_ERROR");
    }
    let request = element
        .client
        .by("user", "PATCH", &path)
        .header("content-type", "text/plain")
        .body("{}");
    send(request).await.expect_problem(400, "VALIDATION_ERROR");
    let large = format!("{{\"description\":\"{}\"}}", "x".repeat(100_000));
    let request = element
        .client
        .by("user", "PATCH", &path)
        .header("content-type", "application/merge-patch+json")
        .body(large);
    send(request).await.expect_problem(400, "VALIDATION_ERROR");
    assert_eq!(element.client.json(&path).await, file);
}

#[tokio::test]
async fn patch_whose_body_comes_after_a_change_of_mode_is_refused() {
    let mut setup = Setup::embedded();
    setup.set("APP_MODE", "rw");
    let element = setup.start().await;
    let file = element.client.store("a.txt", b"abc").await;
    let path = format!("{}/metadata", path_of(&file));
    let body = json!({ "description": "late" }).to_string();
    let mut stream = TcpStream::connect(element.client.address).await.unwrap();
    let head = format!(
        "PATCH /api/v1{path} HTTP/1.1\r\nhost: element\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
        KEYS.token("user"),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The body is asked for, so the request was allowed.
    let mut asked = vec![0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    let transition = element.client.by("admin", "POST", "/mode/transition");
    send(transition.json(&json!({ "target_mode": "ro" }))).await.expect(200);
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 409") && answer.contains("MODE_NOT_ALLOWED"),
        "{answer}"
    );
    assert_eq!(element.client.json(&path).await, file);
}

#[tokio::test]
async fn deleted_file_is_gone_for_good() {
    for setup in Setup::each().await {
        let element = setup.start().await;
        let file = element.client.store("a.txt", b"abc").await;
        let path = path_of(&file);
        let etag = format!("\"{}\"", file["checksum"].as_str().unwrap());
        for wrong in ["\"x\"", "\"7\""] {
            let request = element.client.by("operator", "DELETE", &path).header("if-match", wrong);
            send(request).await.expect_problem(412, "PRECONDITION_FAILED");
        }
        let answer = send(element.client.by("operator", "DELETE", &path).header("if-match", etag))
            .await
            .expect(204);
        assert!(answer.body.is_empty());
        for path in [path.clone(), format!("{path}/metadata")] {
            element.client.get(&path).await.expect_problem(404, "NOT_FOUND");
        }
        send(element.client.by("operator", "DELETE", &path))
            .await
            .expect_problem(404, "NOT_FOUND");
        assert_eq!(element.client.json("/files").await["total"], 0);
        assert_eq!(element.files_on_disk(), [] as [std::path::PathBuf; 0]);
        let other = element.client.store("b.txt", b"abc").await;
        let request = element
            .client
            .by("operator", "DELETE", &path_of(&other))
            .header("if-match", "\"1\"");
        send(request).await.expect(204);
    }
}
