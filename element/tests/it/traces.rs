//! Traces in a real collector, and the request's id in every line of the log.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::Value;
use wiremock::ResponseTemplate;

use crate::harness::client::{form, send};
use crate::harness::collector::{Collector, hex, text};
use crate::harness::keys::KEYS;
use crate::harness::{Element, Setup, eventually};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

async fn traced() -> (Collector, Setup) {
    let collector = Collector::start().await;
    let mut setup = Setup::embedded();
    collector.configure(&mut setup);
    (collector, setup)
}

/// A request with an id, answered with this status.
async fn ask(element: &Element, id: &str, method: &str, path: &str, status: u16) {
    let request = element.client.by("user", method, path).header("x-request-id", id);
    assert_eq!(send(request).await.status, status, "{method} {path}");
}

#[tokio::test]
async fn span_tells_of_the_request_and_continues_its_callers_trace() {
    let (collector, setup) = traced().await;
    let element = setup.start().await;
    let file = element.client.store("a.txt", b"abc").await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    let request = element
        .client
        .by("user", "GET", &format!("{path}?secret=in-the-query"))
        .header("x-request-id", "read-1")
        .header("user-agent", "reader/1.0")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .header("tracestate", "vendor=opaque");
    send(request).await.expect(200);

    let span = collector.span_of("read-1").await;
    assert_eq!(
        (hex(&span.trace_id), hex(&span.parent_span_id)),
        (TRACE.to_owned(), PARENT.to_owned())
    );
    assert_eq!(span.trace_state, "vendor=opaque");
    assert_eq!(
        (span.name.as_str(), span.kind()),
        ("GET /api/v1/files/{id}", SpanKind::Server)
    );
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/api/v1/files/{id}"),
        ("url.path", &format!("/api/v1{path}")),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("user_agent.original", "reader/1.0"),
    ] {
        assert_eq!(text(&span.attributes, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(text(&span.attributes, "error.type"), None);
    let line: Value = serde_json::from_str(&element.stderr.wait_for("read-1").await).unwrap();
    assert_eq!(line["span"]["trace_id"], TRACE);

    let requests = collector.requests().await;
    let resource = requests[0].resource_spans[0].resource.as_ref().unwrap();
    for (key, value) in [
        ("service.name", "artstore-element"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", "01"),
    ] {
        assert_eq!(text(&resource.attributes, key).as_deref(), Some(value), "{key}");
    }
    element.stop().await;
}

#[tokio::test]
async fn every_call_has_a_span_and_probes_have_none() {
    let (collector, setup) = traced().await;
    let element = setup.start().await;
    let file = element.client.store("a.txt", b"abc").await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    for (id, method, path, status, name) in [
        ("one", "GET", "/files", 200, "GET /api/v1/files"),
        ("two", "HEAD", path.as_str(), 200, "HEAD /api/v1/files/{id}"),
        ("three", "DELETE", path.as_str(), 403, "DELETE /api/v1/files/{id}"),
        ("four", "GET", "/no/such/place", 404, "GET"),
        ("five", "BREW", "/files", 405, "HTTP /api/v1/files"),
    ] {
        ask(&element, id, method, path, status).await;
        let span = collector.span_of(id).await;
        assert_eq!(span.name, name);
        assert_eq!(
            text(&span.attributes, "http.response.status_code"),
            Some(status.to_string())
        );
        // What a client does wrong is no error of ours.
        assert_eq!(
            span.status.map_or(StatusCode::Unset, |status| status.code()),
            StatusCode::Unset
        );
        assert!(span.parent_span_id.is_empty() && span.trace_id.len() == 16);
    }
    for path in ["/health/live", "/health/ready", "/metrics"] {
        ask(&element, "probe", "GET", path, 200).await;
    }
    ask(&element, "last", "GET", "/mode", 200).await;
    collector.span_of("last").await;
    let spans = collector.spans().await;
    assert!(
        !spans
            .iter()
            .any(|span| span.name.contains("health") || span.name.contains("metrics"))
    );
    element.stop().await;
}

#[tokio::test]
async fn parent_that_is_not_sampled_is_heeded_and_a_bad_one_is_not() {
    let (collector, setup) = traced().await;
    let element = setup.start().await;
    let send_with = async |id: &str, traceparent: &str| {
        let request = element.client.by("user", "GET", "/files").header("x-request-id", id);
        send(request.header("traceparent", traceparent)).await.expect(200);
    };
    send_with("unsampled", &format!("00-{TRACE}-{PARENT}-00")).await;
    for (number, bad) in [
        "garbage".to_owned(),
        format!("00-{TRACE}-{PARENT}"),
        format!("ff-{TRACE}-{PARENT}-01"),
        format!("00-{}-{PARENT}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
        "x".repeat(4000),
    ]
    .iter()
    .enumerate()
    {
        let id = format!("bad-{number}");
        send_with(&id, bad).await;
        let span = collector.span_of(&id).await;
        assert!(span.parent_span_id.is_empty() && hex(&span.trace_id) != TRACE, "{bad}");
    }
    let spans = collector.spans().await;
    assert!(
        !spans
            .iter()
            .any(|span| text(&span.attributes, "artstore.request_id").as_deref() == Some("unsampled"))
    );
    element.stop().await;
}

#[tokio::test]
async fn nothing_secret_is_in_any_span_or_line() {
    let (collector, mut setup) = traced().await;
    let admin = "an-admin-token-of-32-characters-at-least";
    let file = setup.file("admin-token", admin);
    setup.set("ADMIN_TOKEN_FILE", file.to_str().unwrap());
    setup.set("LOG_LEVEL", "trace");
    let element = setup.start().await;
    let token = KEYS.token("admin");
    let client = &element.client;
    for (number, request) in [
        client
            .request("POST", "/files/upload")
            .multipart(form("a.txt", b"content-of-the-file", &[]))
            .bearer_auth(&token),
        client
            .request("GET", "/files?tags=tag-in-the-query")
            .bearer_auth(&token),
        client.request("GET", &format!("/files?access_token={token}")),
        client.request("GET", "/mode").bearer_auth(admin),
        client
            .request("GET", "/files")
            .header("cookie", "session=cookie-of-a-client")
            .bearer_auth("garbage-token"),
        client
            .request("GET", "/files")
            .basic_auth("user", Some("password-of-a-client")),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("secret-{number}");
        send(request.header("x-request-id", &id)).await;
        collector.span_of(&id).await;
    }
    let spans = collector.bodies().await.concat();
    let spans = String::from_utf8_lossy(&spans);
    let log = element.stderr.text();
    for secret in [
        token.as_str(),
        token.rsplit('.').next().unwrap(),
        admin,
        "content-of-the-file",
        "tag-in-the-query",
        "cookie-of-a-client",
        "garbage-token",
        "password-of-a-client",
    ] {
        assert!(!spans.contains(secret), "{secret} in a span");
        assert!(!log.contains(secret), "{secret} in the log");
    }
    element.stop().await;
}

#[tokio::test]
async fn collector_away_or_slow_costs_nothing_but_spans() {
    let (collector, setup) = traced().await;
    collector.wire.cut();
    let element = setup.start().await;
    let file = element.client.store("a.txt", b"abc").await;
    element.stderr.wait_for("the collector is away").await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    // More than the queue holds.
    for _ in 0..3000 {
        element.client.get(&path).await.expect(200);
    }
    assert_eq!(element.stderr.count("the collector is away"), 1);
    collector.wire.mend();
    element.stderr.wait_for("the collector is back").await;
    ask(&element, "after", "GET", "/files", 200).await;
    collector.span_of("after").await;

    // It takes connections and answers nobody: stopping does not wait for it for long.
    collector
        .answer(ResponseTemplate::new(200).set_delay(std::time::Duration::from_secs(600)))
        .await;
    ask(&element, "late", "GET", "/files", 200).await;
    eventually("it is being sent", async || !collector.bodies().await.is_empty()).await;
    ask(&element, "later", "GET", "/files", 200).await;
    element.stop().await;
}

#[tokio::test]
async fn last_spans_are_sent_before_the_element_stops() {
    let (collector, mut setup) = traced().await;
    setup.set("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let element = setup.start().await;
    ask(&element, "last", "GET", "/files", 200).await;
    assert!(collector.bodies().await.is_empty());
    element.stop().await;
    collector.span_of("last").await;
}

/// Asks for a file that loses its end behind the element's back: reading it fails while the answer is under way.
async fn break_off(element: &Element, setup: &Setup, id: &str, stored: usize, left: u64) {
    let file = element.client.store("a.bin", &vec![1; stored]).await;
    let path = setup.root().join(file["storage_path"].as_str().unwrap());
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(left)
        .unwrap();
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    let request = element.client.by("user", "GET", &path).header("x-request-id", id);
    // A short answer breaks off before its head has left.
    let answer = async { request.send().await?.bytes().await };
    assert!(answer.await.is_err());
}

#[tokio::test]
async fn lines_of_a_request_have_its_id_whatever_the_level_and_wherever_they_are_written() {
    for level in ["info", "error"] {
        let mut setup = Setup::embedded();
        setup.set("LOG_LEVEL", level);
        let element = setup.start_silent().await;
        // Copied, sent by the connection itself, and sent in several pieces.
        for (stored, left) in [(200_000, 100_000), (600_000, 300_000), (5_000_000, 1_000_000)] {
            let id = format!("cut-of-{stored}");
            break_off(&element, &setup, &id, stored, left).await;
            let told = || {
                let lines = element.stderr.text();
                let line = lines
                    .lines()
                    .find(|line| line.contains("failed to read") && line.contains(&id));
                line.map(|line| serde_json::from_str::<Value>(line).unwrap())
            };
            eventually("the failure is told", async || told().is_some()).await;
            let line = told().unwrap();
            assert_eq!(
                (&line["span"]["request_id"], &line["level"]),
                (&id.into(), &"ERROR".into())
            );
            assert!(line["span"].get("trace_id").is_none(), "{line}");
        }
        element.stop().await;
    }
}

#[tokio::test]
async fn answer_that_breaks_off_is_an_error_in_its_trace_and_a_client_that_leaves_is_none() {
    let (collector, setup) = traced().await;
    let element = setup.start().await;
    for (id, stored, left) in [("copied", 200_000, 100_000), ("sent", 600_000, 300_000)] {
        break_off(&element, &setup, id, stored, left).await;
        let span = collector.span_of(id).await;
        assert_eq!(text(&span.attributes, "error.type").as_deref(), Some("body"), "{id}");
        assert_eq!(span.status.unwrap().code(), StatusCode::Error, "{id}");
    }
    let told = element.stderr.count("failed to read");
    assert_eq!(told, 2);

    let file = element.client.store("b.bin", &vec![1; 50_000_000]).await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    let request = element.client.by("user", "GET", &path).header("x-request-id", "left");
    drop(request.send().await.unwrap());
    let span = collector.span_of("left").await;
    assert_eq!(text(&span.attributes, "error.type"), None);
    assert_eq!(element.stderr.count("failed to read"), told);
    element.stop().await;
}
