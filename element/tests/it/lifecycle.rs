//! Starting, stopping, restarting; migrations and rebuilding.

use bytes::Bytes;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::client::{send, slow_body};
use crate::harness::{Setup, eventually};

#[tokio::test]
async fn sigterm_lets_a_slow_upload_finish_and_refuses_new_connections() {
    for setup in Setup::both().await {
        let mut element = setup.start().await;
        let (pieces, body) = slow_body();
        let request = element.client.by("user", "POST", "/files/upload");
        let request = request
            .header("content-type", "multipart/form-data; boundary=XX")
            .body(body);
        let upload = tokio::spawn(send(request));
        pieces
            .send("--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.bin\"\r\n\r\n".into())
            .unwrap();
        pieces.send(Bytes::from(vec![1; 600_000])).unwrap();
        eventually("the upload has begun", async || !element.temporary_files().is_empty()).await;

        element.signal(Signal::TERM);
        element.stderr.wait_for("stopped accepting").await;
        eventually("new connections are refused", async || {
            TcpStream::connect(element.client.address).await.is_err()
        })
        .await;
        pieces.send(Bytes::from(vec![2; 600_000])).unwrap();
        pieces.send("\r\n--XX--\r\n".into()).unwrap();
        drop(pieces);
        let file = upload.await.unwrap().expect(201).json();
        let status = element.wait_exit().await;
        assert_eq!(status.code(), Some(0), "{}", element.stderr.text());

        let element = setup.start().await;
        let content = element
            .client
            .get(&format!("/files/{}", file["file_id"].as_str().unwrap()))
            .await
            .expect(200)
            .body;
        assert_eq!((content.len(), content[0], content[1_199_999]), (1_200_000, 1, 2));
    }
}

#[tokio::test]
async fn sigterm_lets_a_slow_download_finish() {
    for setup in [Setup::embedded(), Setup::bucket().await] {
        let mut element = setup.start().await;
        let content: Vec<u8> = (0..24_000_000_u32).map(|number| (number % 251) as u8).collect();
        let file = element.client.store("large.bin", &content).await;
        let path = format!("/files/{}", file["file_id"].as_str().unwrap());
        let mut answer = element.client.by("user", "GET", &path).send().await.unwrap();
        let mut got = answer.chunk().await.unwrap().unwrap().to_vec();
        element.signal(Signal::TERM);
        element.stderr.wait_for("stopped accepting").await;
        while let Some(chunk) = answer.chunk().await.unwrap() {
            got.extend_from_slice(&chunk);
        }
        assert!(got == content, "{} bytes came of {}", got.len(), content.len());
        let status = element.wait_exit().await;
        assert_eq!(status.code(), Some(0), "{}", element.stderr.text());
    }
}

#[tokio::test]
async fn restart_and_kill_keep_every_file() {
    for setup in Setup::each().await {
        let mut element = setup.start().await;
        let fields = [("description", "kept"), ("metadata", r#"{"a":1.5}"#)];
        let file = element
            .client
            .upload("Отчёт.txt", b"abc", &fields)
            .await
            .expect(201)
            .json();
        element.signal(Signal::KILL);
        element.wait_exit().await;
        let element = setup.start().await;
        let path = format!("/files/{}", file["file_id"].as_str().unwrap());
        assert_eq!(element.client.json(&format!("{path}/metadata")).await, file);
        assert_eq!(element.client.get(&path).await.expect(200).body, b"abc");
        assert_eq!(element.client.json("/info").await["wal_pending"], 0);
        element.stop().await;
    }
}

#[tokio::test]
async fn kill_during_an_upload_leaves_nothing() {
    for setup in Setup::both().await {
        let mut element = setup.start().await;
        let (pieces, body) = slow_body();
        let request = element.client.by("user", "POST", "/files/upload");
        let request = request
            .header("content-type", "multipart/form-data; boundary=XX")
            .body(body)
            .send();
        let upload = tokio::spawn(request);
        pieces
            .send("--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.bin\"\r\n\r\n".into())
            .unwrap();
        pieces.send(Bytes::from(vec![1; 600_000])).unwrap();
        eventually("the upload has begun", async || !element.temporary_files().is_empty()).await;
        element.signal(Signal::KILL);
        element.wait_exit().await;
        assert!(upload.await.unwrap().is_err());
        let element = setup.start().await;
        crate::limits::assert_empty(&element).await;
        let metrics = String::from_utf8(element.client.get("/metrics").await.expect(200).body).unwrap();
        let undone = "artstore_element_wal_recovered{outcome=\"undone\"} 1";
        assert!(metrics.lines().any(|line| line == undone), "{metrics}");
    }
}

#[tokio::test]
async fn second_signal_ends_the_wait() {
    let setup = Setup::embedded();
    let mut element = setup.start().await;
    let (pieces, body) = slow_body();
    let request = element.client.by("user", "POST", "/files/upload");
    let upload = tokio::spawn(
        request
            .header("content-type", "multipart/form-data; boundary=XX")
            .body(body)
            .send(),
    );
    pieces
        .send("--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n".into())
        .unwrap();
    pieces.send(Bytes::from(vec![1; 600_000])).unwrap();
    eventually("the upload has begun", async || !element.temporary_files().is_empty()).await;
    element.signal(Signal::TERM);
    element.stderr.wait_for("stopped accepting").await;
    element.signal(Signal::INT);
    assert_eq!(element.wait_exit().await.code(), Some(1));
    drop(pieces);
    assert!(upload.await.unwrap().is_err());
}

#[tokio::test]
async fn migrations_are_shown_taken_down_and_brought_up() {
    for setup in Setup::both().await {
        let (code, pending, stderr) = setup.run(&["migrate", "status"]).await;
        assert_eq!(code, 0, "{stderr}");
        let versions = pending.lines().count();
        assert!(
            versions > 0 && pending.lines().all(|line| line.ends_with("pending")),
            "{pending}"
        );
        let (code, applied, stderr) = setup.run(&["migrate", "up"]).await;
        assert_eq!(code, 0, "{stderr}");
        assert!(applied.lines().all(|line| line.ends_with("applied")), "{applied}");
        for _ in 0..versions {
            assert_eq!(setup.run(&["migrate", "down"]).await.0, 0);
        }
        assert_eq!(setup.run(&["migrate", "status"]).await.1, pending);
        assert_eq!(setup.run(&["migrate", "up"]).await.1, applied);
    }
}

#[tokio::test]
async fn lost_database_is_rebuilt_equal_field_by_field() {
    for setup in Setup::each().await {
        let element = setup.start().await;
        let mut files = Vec::new();
        for number in 0..5 {
            let metadata = json!({ "number": number, "even": number % 2 == 0, "text": "Отчёт" }).to_string();
            let fields = [
                ("metadata", metadata.as_str()),
                ("tags", "a,b"),
                ("description", "d"),
                ("version", "1"),
            ];
            files.push(
                element
                    .client
                    .upload(&format!("{number}.txt"), b"abc", &fields)
                    .await
                    .expect(201)
                    .json(),
            );
        }
        element.stop().await;
        while setup.run(&["migrate", "status"]).await.1.contains("applied") {
            assert_eq!(setup.run(&["migrate", "down"]).await.0, 0);
        }
        let (code, stdout, stderr) = setup.run(&["rebuild"]).await;
        assert_eq!(code, 0, "{stderr}");
        let report: Value = serde_json::from_str(stdout.trim()).unwrap();
        assert_eq!((&report["files"], &report["broken"]), (&json!(5), &json!(0)));
        let element = setup.start().await;
        let page = element.client.json("/files?sort=original_filename&order=asc").await;
        assert_eq!(page["items"], Value::from(files));
        element.stop().await;
    }
}
