//! Reading content: headers, ranges and conditions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::client::{Answer, header, send};
use crate::harness::{Element, Setup};
use crate::upload::sha256;

async fn read(element: &Element, method: &str, file: &Value, headers: &[(&'static str, &str)]) -> Answer {
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    let headers: HeaderMap = headers.iter().map(|(name, value)| header(name, value)).collect();
    send(element.client.by("user", method, &path).headers(headers)).await
}

#[tokio::test]
async fn content_comes_with_all_that_clients_need() {
    for setup in Setup::each().await {
        let element = setup.start().await;
        let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let file = element.client.store("Отчёт.bin", &content).await;
        let etag = format!("\"{}\"", sha256(&content));
        let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&content)));
        let whole = read(&element, "GET", &file, &[]).await.expect(200);
        assert_eq!(whole.body, content);
        let head = read(&element, "HEAD", &file, &[]).await.expect(200);
        assert!(head.body.is_empty());
        for answer in [&whole, &head] {
            for (name, value) in [
                ("content-length", "3000000"),
                ("content-type", "application/octet-stream"),
                ("etag", etag.as_str()),
                ("accept-ranges", "bytes"),
                ("x-content-type-options", "nosniff"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{name}");
            }
            assert!(answer.header("last-modified").unwrap().ends_with(" GMT"));
            assert_eq!(answer.header("repr-digest"), Some(digest.as_str()));
            let disposition = answer.header("content-disposition").unwrap();
            assert!(
                disposition.ends_with("filename*=UTF-8''%D0%9E%D1%82%D1%87%D1%91%D1%82.bin"),
                "{disposition}"
            );
        }
        let path = format!("/files/{}/download", file["file_id"].as_str().unwrap());
        assert_eq!(element.client.get(&path).await.expect(200).body, content);
    }
}

#[tokio::test]
async fn ranges_give_exactly_their_bytes() {
    for setup in Setup::each().await {
        let element = setup.start().await;
        let content: Vec<u8> = (0..=255).cycle().take(700_000).collect();
        let file = element.client.store("a.bin", &content).await;
        for (range, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-99", 0..100),
            ("bytes=262100-262200", 262_100..262_201),
            ("bytes=699999-", 699_999..700_000),
            ("bytes=5-9999999999", 5..700_000),
            ("bytes=-10", 699_990..700_000),
            ("bytes=-9999999", 0..700_000),
        ] {
            let answer = read(&element, "GET", &file, &[("range", range)]).await.expect(206);
            let expected = format!("bytes {}-{}/700000", part.start, part.end - 1);
            assert_eq!(answer.header("content-range"), Some(expected.as_str()), "{range}");
            assert_eq!(
                answer.header("content-length"),
                Some(part.len().to_string().as_str()),
                "{range}"
            );
            assert_eq!(answer.body, content[part], "{range}");
        }
        for range in ["bytes=9-5", "bytes=x-y", "lines=0-1", "bytes=0-1,x", "bytes"] {
            let answer = read(&element, "GET", &file, &[("range", range)]).await.expect(200);
            assert_eq!(answer.body.len(), 700_000, "{range}");
        }
        for range in ["bytes=700000-", "bytes=700001-800000", "bytes=-0"] {
            let answer = read(&element, "GET", &file, &[("range", range)]).await;
            answer.expect_problem(416, "INVALID_RANGE");
            assert_eq!(answer.header("content-range"), Some("bytes */700000"));
        }
        let head = read(&element, "HEAD", &file, &[("range", "bytes=0-9")])
            .await
            .expect(200);
        assert_eq!(head.header("content-length"), Some("700000"));
    }
}

#[tokio::test]
async fn several_ranges_come_as_parts_of_one_body() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let content: Vec<u8> = (0..=255).cycle().take(700_000).collect();
    let file = element.client.store("a.bin", &content).await;
    let ranges = "bytes=600000-,0-9,300000-300099";
    let answer = read(&element, "GET", &file, &[("range", ranges)]).await.expect(206);
    assert_eq!(answer.header("content-range"), None);
    assert_eq!(
        answer.header("content-length"),
        Some(answer.body.len().to_string().as_str())
    );
    // Of the whole content, whatever part of it is sent.
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&content)));
    assert_eq!(answer.header("repr-digest"), Some(digest.as_str()));
    assert!(answer.header("etag").is_some());
    let kind = answer.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = Vec::new();
    for range in [600_000..700_000, 0..10, 300_000..300_100] {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {}-{}/700000\r\n\r\n",
            range.start,
            range.end - 1
        );
        expected.extend(head.bytes());
        expected.extend(&content[range]);
    }
    expected.extend(format!("\r\n--{boundary}--\r\n").bytes());
    assert!(
        answer.body == expected,
        "{} and {} bytes",
        answer.body.len(),
        expected.len()
    );

    let joined = read(&element, "GET", &file, &[("range", "bytes=0-99,50-199")])
        .await
        .expect(206);
    assert_eq!(joined.header("content-range"), Some("bytes 0-199/700000"));
    assert_eq!(joined.body, content[..200]);
    let half = read(&element, "GET", &file, &[("range", "bytes=0-9,700000-")])
        .await
        .expect(206);
    assert_eq!(half.header("content-range"), Some("bytes 0-9/700000"));
    let many: Vec<String> = (0..65).map(|at| format!("{0}-{0}", at * 1000)).collect();
    let refused = read(
        &element,
        "GET",
        &file,
        &[("range", &format!("bytes={}", many.join(",")))],
    )
    .await;
    refused.expect_problem(416, "INVALID_RANGE");
    let sent = String::from_utf8(element.client.get("/metrics").await.body).unwrap();
    let bytes = 100_000 + 10 + 100 + 200 + 10;
    assert!(
        sent.contains(&format!("artstore_element_sent_bytes_total {bytes}\n")),
        "{sent}"
    );
}

#[tokio::test]
async fn conditions_decide_before_content_is_sent() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let file = element.client.store("a.txt", b"abcdef").await;
    let etag = format!("\"{}\"", sha256(b"abcdef"));
    let modified = read(&element, "HEAD", &file, &[])
        .await
        .header("last-modified")
        .unwrap()
        .to_owned();
    let (long_ago, weak) = ("Sat, 01 Jan 2000 00:00:00 GMT", format!("W/{etag}"));
    for (headers, status) in [
        (vec![("if-none-match", etag.as_str())], 304),
        (vec![("if-none-match", weak.as_str())], 304),
        (vec![("if-none-match", "*")], 304),
        (vec![("if-none-match", "\"x\"")], 200),
        (vec![("if-modified-since", modified.as_str())], 304),
        (vec![("if-modified-since", long_ago)], 200),
        (vec![("if-match", etag.as_str())], 200),
        (vec![("if-match", "*")], 200),
        (vec![("if-match", "\"x\"")], 412),
        (vec![("if-match", weak.as_str())], 412),
        (vec![("if-unmodified-since", long_ago)], 412),
        (vec![("range", "bytes=0-1"), ("if-range", etag.as_str())], 206),
        (vec![("range", "bytes=0-1"), ("if-range", modified.as_str())], 206),
        (vec![("range", "bytes=0-1"), ("if-range", "\"x\"")], 200),
        (vec![("range", "bytes=0-1"), ("if-none-match", etag.as_str())], 304),
    ] {
        let answer = read(&element, "GET", &file, &headers).await;
        match status {
            412 => drop(answer.expect_problem(412, "PRECONDITION_FAILED")),
            304 => {
                let answer = answer.expect(304);
                assert!(
                    answer.body.is_empty() && answer.header("etag") == Some(&etag),
                    "{headers:?}"
                );
            }
            status => drop(answer.expect(status)),
        }
    }
}

#[tokio::test]
async fn empty_file_is_a_file() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let file = element.client.store("empty.txt", b"").await;
    assert_eq!(file["checksum"], sha256(b""));
    let answer = read(&element, "GET", &file, &[]).await.expect(200);
    assert_eq!((answer.header("content-length"), answer.body.len()), (Some("0"), 0));
    for range in ["bytes=0-", "bytes=-0"] {
        let answer = read(&element, "GET", &file, &[("range", range)]).await;
        answer.expect_problem(416, "INVALID_RANGE");
        assert_eq!(answer.header("content-range"), Some("bytes */0"), "{range}");
    }
    let last = read(&element, "GET", &file, &[("range", "bytes=-5")]).await.expect(200);
    assert_eq!(
        (last.header("content-length"), last.header("content-range")),
        (Some("0"), None)
    );
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let nobody = uuid::Uuid::new_v4();
    for path in [
        format!("/files/{nobody}"),
        format!("/files/{nobody}/download"),
        format!("/files/{nobody}/metadata"),
    ] {
        element.client.get(&path).await.expect_problem(404, "NOT_FOUND");
    }
    element
        .client
        .get("/files/not-an-id")
        .await
        .expect_problem(400, "VALIDATION_ERROR");
    for path in ["/nothing", "/api", "/api/v2/info", "/files/a/b/c"] {
        element.client.get(path).await.expect_problem(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn what_is_wrong_inside_is_logged_and_not_told() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let file = element.client.store("a.txt", b"abc").await;
    let storage_path = file["storage_path"].as_str().unwrap();
    std::fs::remove_file(setup.root().join(storage_path)).unwrap();
    let answer = element
        .client
        .get(&format!("/files/{}", file["file_id"].as_str().unwrap()))
        .await;
    let body = String::from_utf8(answer.body.clone()).unwrap();
    let problem = answer.expect_problem(500, "INTERNAL_ERROR");
    assert!(!body.contains(storage_path) && !body.contains("No such file"), "{body}");
    let line = element.stderr.wait_for("the request failed").await;
    assert!(line.contains("No such file"), "{line}");
    assert!(line.contains(problem["request_id"].as_str().unwrap()), "{line}");
    element.stop().await;
}
