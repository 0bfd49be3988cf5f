//! Connections with clients that are slow, silent or many. Each test waits for what must happen; none measures how long it took.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::harness::client::send;
use crate::harness::keys::KEYS;
use crate::harness::{Element, GENEROUS, Setup, eventually};

const SHORT: &str = "300ms";

fn with(settings: &[(&str, &str)]) -> Setup {
    let mut setup = Setup::embedded();
    for (name, value) in settings {
        setup.set(name, value);
    }
    setup
}

async fn connect(element: &Element) -> TcpStream {
    TcpStream::connect(element.client.address).await.unwrap()
}

/// Reads until the server hangs up.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ended = timeout(GENEROUS, stream.read_to_end(&mut answer))
        .await
        .expect("the server hangs up");
    answer
}

async fn metric(element: &Element, name: &str) -> u64 {
    let text = String::from_utf8(element.client.get("/metrics").await.body).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("artstore_element_")?.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

fn upload_head(length: usize) -> String {
    format!(
        "POST /api/v1/files/upload HTTP/1.1\r\nhost: element\r\nauthorization: Bearer {}\r\n\
         content-type: multipart/form-data; boundary=XX\r\ncontent-length: {length}\r\n\r\n\
         --XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n",
        KEYS.token("user")
    )
}

#[tokio::test]
async fn client_that_says_nothing_is_hung_up_on() {
    let setup = with(&[("SERVER_FIRST_BYTE_TIMEOUT", SHORT)]);
    let element = setup.start().await;
    let mut silent = connect(&element).await;
    assert_eq!(read_to_end(&mut silent).await, b"");
}

#[tokio::test]
async fn head_that_does_not_end_is_hung_up_on() {
    let setup = with(&[("SERVER_HEADER_TIMEOUT", SHORT)]);
    let element = setup.start().await;
    let mut slow = connect(&element).await;
    slow.write_all(b"GET /api/v1/info HTTP/1.1\r\nhost:").await.unwrap();
    let answer = read_to_end(&mut slow).await;
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
        "{}",
        String::from_utf8_lossy(&answer)
    );

    // A letter now and then does not help.
    let (mut reader, mut writer) = connect(&element).await.into_split();
    writer.write_all(b"GET /api/v1/info HTTP/1.1\r\nx:").await.unwrap();
    let trickling = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let _ended = timeout(GENEROUS, reader.read_to_end(&mut answer))
        .await
        .expect("the server hangs up");
    timeout(GENEROUS, trickling)
        .await
        .expect("the connection is gone")
        .unwrap();
}

#[tokio::test]
async fn idle_connection_is_closed_after_its_answer() {
    let setup = with(&[("SERVER_HEADER_TIMEOUT", SHORT)]);
    let element = setup.start().await;
    let mut stream = connect(&element).await;
    stream
        .write_all(b"GET /api/v1/info HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 200 OK\r\n"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn upload_that_goes_silent_is_given_up_and_leaves_nothing() {
    let setup = with(&[("SERVER_BODY_TIMEOUT", SHORT)]);
    let element = setup.start().await;
    let mut stream = connect(&element).await;
    stream.write_all(upload_head(1_000_000).as_bytes()).await.unwrap();
    stream.write_all(&vec![7; 300_000]).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = timeout(GENEROUS, stream.read(&mut answer))
        .await
        .expect("an answer comes")
        .unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("nothing arrived for 0.3 seconds"),
        "{answer}"
    );
    crate::limits::assert_empty(&element).await;
}

#[tokio::test]
async fn upload_outlives_every_timeout_while_it_moves() {
    // The whole takes longer than the head, the first byte or the body's silence may; each pause is far shorter than the last.
    let setup = with(&[
        ("SERVER_FIRST_BYTE_TIMEOUT", SHORT),
        ("SERVER_HEADER_TIMEOUT", SHORT),
        ("SERVER_UNREAD_TIMEOUT", SHORT),
        ("SERVER_BODY_TIMEOUT", "60s"),
    ]);
    let element = setup.start().await;
    let end = b"\r\n--XX--\r\n";
    let head = upload_head(0);
    let form = head.split_once("\r\n\r\n").unwrap().1.len();
    let mut stream = connect(&element).await;
    stream
        .write_all(upload_head(form + 20 + end.len()).as_bytes())
        .await
        .unwrap();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.write_all(b"x").await.unwrap();
    }
    stream.write_all(end).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 201 Created\r\n"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn client_that_reads_nothing_is_cut_off() {
    let setup = with(&[("SERVER_UNREAD_TIMEOUT", "500ms")]);
    let element = setup.start().await;
    let file = element.client.store("a.bin", &vec![7; 32 << 20]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(element.client.address).await.unwrap();
    let head = format!(
        "GET /api/v1/files/{} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n",
        file["file_id"].as_str().unwrap(),
        KEYS.token("user")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    eventually("the content is being sent", async || {
        metric(&element, "sent_bytes_total").await > 0
    })
    .await;
    // One is the connection that asks.
    eventually("the connection is given up", async || {
        metric(&element, "connections").await == 1
    })
    .await;
    let read = read_to_end(&mut stream).await;
    assert!(read.len() < 32 << 20, "{}", read.len());
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_their_turn() {
    let setup = with(&[("SERVER_MAX_CONNECTIONS", "2"), ("SERVER_FIRST_BYTE_TIMEOUT", "1h")]);
    let element = setup.start_unready(&["serve"]).await;
    let (first, second) = (connect(&element).await, connect(&element).await);
    let mut third = connect(&element).await;
    third
        .write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 1];
    let early = timeout(Duration::from_millis(300), third.read(&mut answer)).await;
    assert!(early.is_err(), "two connections are open already");
    drop(first);
    assert!(read_to_end(&mut third).await.starts_with(b"HTTP/1.1 200 OK"));
    drop(second);
}

#[tokio::test]
async fn stop_waits_for_no_connection_without_a_request() {
    let setup = with(&[("SERVER_FIRST_BYTE_TIMEOUT", "1h"), ("SERVER_HEADER_TIMEOUT", "1h")]);
    let element = setup.start().await;
    let mut silent = connect(&element).await;
    let mut idle = connect(&element).await;
    idle.write_all(b"GET /api/v1/info HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    element.stop().await;
    assert_eq!(read_to_end(&mut silent).await, b"");
    read_to_end(&mut idle).await;
}

#[tokio::test]
async fn garbage_is_answered_or_hung_up_on_and_others_are_served() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /api/v1/mode/transition HTTP/1.1\r\nhost: a\r\ntransfer-encoding: x\r\n\r\n",
        b"GET http://\xff/ HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\r\nnonsense\r\n\r\n",
    ] {
        let mut stream = connect(&element).await;
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    send(element.client.request("GET", "/health/live")).await.expect(200);
}

#[tokio::test]
async fn requests_sent_ahead_get_each_its_own_bytes_in_their_order() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (file, small) = (
        element.client.store("large", &large).await,
        element.client.store("small", b"abc").await,
    );
    let ask = |file: &serde_json::Value, more: &str| {
        format!(
            "GET /api/v1/files/{} HTTP/1.1\r\nhost: element\r\nauthorization: Bearer {}\r\n{more}\r\n",
            file["file_id"].as_str().unwrap(),
            KEYS.token("user")
        )
    };
    let wanted = [
        (ask(&file, ""), &large[..]),
        (ask(&small, ""), b"abc"),
        (ask(&file, "range: bytes=1000-2500000\r\n"), &large[1000..=2_500_000]),
        (ask(&file, "range: bytes=7-9\r\n"), &large[7..=9]),
        (ask(&file, "connection: close\r\n"), &large),
    ];
    let mut stream = connect(&element).await;
    for (request, _) in &wanted {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let mut left = &read_to_end(&mut stream).await[..];
    for (_, body) in wanted {
        let end = left.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(left[..end].to_vec()).unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert!(left[end..].starts_with(body), "{head}");
        left = &left[end + body.len()..];
    }
    assert!(left.is_empty());
}
