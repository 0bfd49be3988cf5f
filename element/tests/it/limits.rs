//! What is too large is refused early and leaves nothing behind; what is only large goes through piece by piece.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use reqwest::Body;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::client::{send, upload};
use crate::harness::keys::KEYS;
use crate::harness::{Element, GENEROUS, Setup, eventually};

/// Asserts that no byte of a file is left, and that no log entry stays open.
pub(crate) async fn assert_empty(element: &Element) {
    eventually("nothing is left of refused uploads", async || {
        element.temporary_files().is_empty()
            && element.files_on_disk().is_empty()
            && element.client.json("/info").await["wal_pending"] == 0
    })
    .await;
    let info = element.client.json("/info").await;
    assert_eq!(
        (&info["files"], &info["capacity"]["used_bytes"]),
        (&Value::from(0), &Value::from(0))
    );
}

fn small() -> Setup {
    let mut setup = Setup::embedded();
    setup.set("UPLOAD_MAX_FILE_SIZE", "100k");
    setup
}

#[tokio::test]
async fn file_of_exactly_the_limit_is_stored_and_one_byte_more_is_not() {
    let setup = small();
    let element = setup.start().await;
    element
        .client
        .upload("a.bin", &vec![1; 100_001], &[])
        .await
        .expect_problem(413, "FILE_TOO_LARGE");
    assert_empty(&element).await;
    let file = element.client.store("a.bin", &vec![1; 100_000]).await;
    assert_eq!(file["file_size"], 100_000);
}

#[tokio::test]
async fn declared_length_past_the_limit_is_refused_before_a_byte_is_sent() {
    let setup = small();
    let element = setup.start().await;
    let mut stream = TcpStream::connect(element.client.address).await.unwrap();
    let head = format!(
        "POST /api/v1/files/upload HTTP/1.1\r\nhost: element\r\nauthorization: Bearer {}\r\n\
         content-type: multipart/form-data; boundary=XX\r\ncontent-length: 99999999999\r\n\r\n",
        KEYS.token("user")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    assert_empty(&element).await;
}

#[tokio::test]
async fn endless_upload_without_a_length_is_cut_off_soon_past_the_limit() {
    let setup = small();
    let element = setup.start().await;
    let head = Bytes::from_static(b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n");
    // The server reads a refused body on for a while, so that the client gets to see the answer; then it hangs up.
    let endless = futures::stream::iter([head]).chain_forever(Bytes::from(vec![7; 64 * 1024]));
    let request = element
        .client
        .by("user", "POST", "/files/upload")
        .header("content-type", "multipart/form-data; boundary=XX")
        .body(Body::wrap_stream(endless));
    send(request).await.expect_problem(413, "FILE_TOO_LARGE");
    let metrics = String::from_utf8(element.client.get("/metrics").await.body).unwrap();
    let taken = metrics
        .lines()
        .find_map(|line| line.strip_prefix("artstore_element_received_bytes_total "))
        .unwrap_or_else(|| panic!("{metrics}"));
    assert!(taken.parse::<u64>().unwrap() <= 100_000 + (1 << 20), "{taken}");
    assert_empty(&element).await;
}

/// A stream that goes on for ever with the same chunk.
trait ChainForever: futures::Stream<Item = Bytes> + Sized {
    fn chain_forever(self, chunk: Bytes) -> impl futures::Stream<Item = std::io::Result<Bytes>> {
        use futures::StreamExt;
        self.chain(futures::stream::repeat(chunk)).map(Ok)
    }
}

impl<S: futures::Stream<Item = Bytes>> ChainForever for S {}

#[tokio::test]
async fn attributes_over_their_limit_are_refused_with_the_count() {
    let setup = small();
    let element = setup.start().await;
    let description = "x".repeat(5000);
    for fields in [
        [("description", description.as_str())],
        [("metadata", &format!("{{\"a\":\"{description}\"}}"))],
    ] {
        let problem = element
            .client
            .upload("a.txt", b"abc", &fields)
            .await
            .expect_problem(400, "VALIDATION_ERROR");
        let detail = problem["detail"].as_str().unwrap();
        let count: u32 = detail.split(' ').find_map(|word| word.parse().ok()).unwrap();
        assert!((5000..6000).contains(&count) && detail.contains("4096"), "{problem}");
    }
    let huge = "y".repeat(100_000);
    element
        .client
        .upload("a.txt", b"abc", &[("tags", &huge)])
        .await
        .expect_problem(400, "VALIDATION_ERROR");
    assert_empty(&element).await;
    let file = element.client.store("a.txt", b"abc").await;
    let path = format!("/files/{}/metadata", file["file_id"].as_str().unwrap());
    let patch = element
        .client
        .by("user", "PATCH", &path)
        .json(&serde_json::json!({ "description": description }));
    send(patch).await.expect_problem(400, "VALIDATION_ERROR");
    assert_eq!(element.client.json(&path).await, file);
}

#[tokio::test]
async fn full_element_refuses_files_and_goes_on_reading() {
    let mut setup = Setup::embedded();
    setup.set("STORAGE_MAX_SIZE", "1M");
    let element = setup.start().await;
    let file = element.client.store("a.bin", &vec![1; 600_000]).await;
    element
        .client
        .upload("b.bin", &vec![2; 600_000], &[])
        .await
        .expect_problem(507, "STORAGE_FULL");
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    assert_eq!(element.client.get(&path).await.expect(200).body.len(), 600_000);
    assert_eq!(element.files_on_disk().len(), 2);
    send(element.client.by("admin", "DELETE", &path)).await.expect(204);
    element.client.store("b.bin", &vec![2; 600_000]).await;
}

#[tokio::test]
async fn client_that_goes_away_leaves_nothing() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let mut stream = TcpStream::connect(element.client.address).await.unwrap();
    let head = format!(
        "POST /api/v1/files/upload HTTP/1.1\r\nhost: element\r\nauthorization: Bearer {}\r\n\
         content-type: multipart/form-data; boundary=XX\r\ncontent-length: 1000000\r\n\r\n\
         --XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n",
        KEYS.token("user")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![7; 300_000]).await.unwrap();
    eventually("the upload has begun", async || !element.temporary_files().is_empty()).await;
    drop(stream);
    assert_empty(&element).await;
}

#[tokio::test]
async fn slow_head_does_not_keep_others_waiting() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(element.client.address).await.unwrap();
        stream.write_all(b"GET /api/v1/info HTTP/1.1\r\nhost:").await.unwrap();
        idle.push(stream);
    }
    tokio::time::timeout(Duration::from_secs(30), element.client.json("/info"))
        .await
        .expect("others are answered");
}

/// A file of 256 MiB; no two of its pieces are the same.
fn pieces() -> impl Iterator<Item = Bytes> {
    (0..=u8::MAX).map(|number| Bytes::from(vec![number; 1 << 20]))
}

#[tokio::test]
async fn large_file_goes_in_and_out_in_a_fraction_of_its_size_in_memory() {
    const SIZE: u64 = 256 << 20;
    let setup = Setup::embedded();
    let element = setup.start().await;
    let head = Bytes::from_static(b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n");
    let form = std::iter::once(head)
        .chain(pieces())
        .chain([Bytes::from_static(b"\r\n--XX--\r\n")])
        .map(Ok::<_, std::io::Error>);
    let body = Body::wrap_stream(futures::stream::iter(form));
    // A debug build on a busy machine takes its time.
    let request = upload(&element.client, body).timeout(GENEROUS * 5);
    let file = send(request).await.expect(201).json();
    assert_eq!(file["file_size"], SIZE);

    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    let request = element.client.by("user", "GET", &path).timeout(GENEROUS * 5);
    let mut answer = request.send().await.unwrap();
    let (mut sent, mut read) = (Context::new(&SHA256), Context::new(&SHA256));
    pieces().for_each(|piece| sent.update(&piece));
    while let Some(piece) = answer.chunk().await.unwrap() {
        read.update(&piece);
    }
    assert_eq!(read.finish().as_ref(), sent.finish().as_ref());
    let peak = element.peak_memory();
    assert!(peak < SIZE / 2, "{peak} bytes of memory for a file of {SIZE}");
}
