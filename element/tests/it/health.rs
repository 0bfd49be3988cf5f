//! What the element says of itself, and what every answer carries.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::announced::{Announced, server};
use crate::harness::client::{begun, send, upload};
use crate::harness::{Setup, eventually};
use crate::maintenance::{EMPTY_HOUR, damage, metrics, task, write_one_kept_and_one_expired};

#[tokio::test]
async fn info_and_capacity_tell_the_truth() {
    for (setup, database) in Setup::both().await.into_iter().zip(["sqlite", "postgres"]) {
        let mut setup = setup;
        setup.set("STORAGE_MAX_SIZE", "100M");
        setup.set("STORAGE_PRIORITY", "42");
        setup.set("STORAGE_EXTERNAL_ENDPOINT", "http://storage-01:8010");
        let element = setup.start().await;
        element.client.store("a.bin", &vec![1; 1_000_000]).await;
        let info = element.client.json("/info").await;
        for (name, value) in [
            ("element_id", json!("01")),
            ("version", json!(env!("CARGO_PKG_VERSION"))),
            ("mode", json!("edit")),
            ("mode_generation", json!(0)),
            ("operations", json!(["create", "read", "update", "delete", "search"])),
            ("storage_type", json!("local")),
            ("database_type", json!(database)),
            ("files", json!(1)),
            ("wal_pending", json!(0)),
            ("priority", json!(42)),
            ("endpoint", json!("http://storage-01:8010")),
        ] {
            assert_eq!(info[name], value, "{name}");
        }
        assert!(info["schema_version"].as_i64().unwrap() >= 1);
        let capacity = element.client.json("/capacity").await;
        assert_eq!(capacity, info["capacity"]);
        assert_eq!(
            (&capacity["total_bytes"], &capacity["used_bytes"]),
            (&json!(100_000_000), &json!(1_004_096))
        );
        assert_eq!((&capacity["percent"], &capacity["status"]), (&json!(1.0), &json!("ok")));
    }
}

#[tokio::test]
async fn health_says_alive_and_ready() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    assert_eq!(element.client.json("/health/live").await["status"], "alive");
    let ready = element.client.json("/health/ready").await;
    assert_eq!(ready["status"], "ready");
    for check in ["database", "storage"] {
        assert_eq!(ready["checks"][check]["status"], "ok", "{check}");
    }
}

#[tokio::test]
async fn metrics_are_fed_and_their_labels_bounded() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let file = element.client.store("a.bin", &vec![1; 1000]).await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    element.client.get(&path).await.expect(200);
    element.client.get(&format!("{path}/metadata")).await.expect(200);
    element.client.get("/files?limit=0").await.expect(400);
    for number in 0..50 {
        element.client.get(&format!("/nothing/{number}")).await.expect(404);
        let method = format!("METHOD{number}");
        send(element.client.by("user", &method, "/info")).await.expect(405);
    }
    let answer = element.client.get("/metrics").await.expect(200);
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        "artstore_element_operations_total{operation=\"upload\",result=\"ok\"} 1",
        "artstore_element_operations_total{operation=\"download\",result=\"ok\"} 1",
        "artstore_element_operations_total{operation=\"metadata\",result=\"ok\"} 1",
        "artstore_element_operations_total{operation=\"search\",result=\"refused\"} 1",
        "artstore_element_operations_total{operation=\"other\",result=\"refused\"} 100",
        "artstore_element_operation_seconds_count{operation=\"upload\",result=\"ok\"} 1",
        "artstore_element_received_bytes_total 1000",
        "artstore_element_sent_bytes_total 1000",
        "artstore_element_files 1",
        "artstore_element_wal_pending 0",
        "artstore_element_wal_oldest_seconds 0.0",
        "artstore_element_wal_recovered{outcome=\"redone\"} 0",
        "artstore_element_quarantined_bytes 0",
        "artstore_element_tasks_running{kind=\"gc\"} 0",
        "artstore_element_database_up 1",
        "artstore_element_storage_writable 1",
        "artstore_element_mode{mode=\"edit\"} 1",
        "artstore_element_mode{mode=\"ar\"} 0",
        "artstore_element_mode_file_refused 0",
        "artstore_element_capacity_bytes{kind=\"used\"} 5096",
    ] {
        assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
    }
    assert!(
        !text.contains("redis") && !text.contains("METHOD") && !text.contains("nothing"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
}

/// Every metric, without its prefix. One with labels that nothing feeds leaves no trace in the text.
const METRICS: [&str; 31] = [
    "build",
    "capacity_bytes",
    "capacity_used_percent",
    "connections",
    "database_up",
    "files",
    "findings",
    "gc_bytes",
    "gc_failed",
    "gc_files",
    "gc_leftovers",
    "mode",
    "mode_file_refused",
    "operation_seconds",
    "operations",
    "quarantined_bytes",
    "received_bytes",
    "redis_reports",
    "redis_up",
    "scrub_bytes",
    "scrub_corrupt",
    "scrub_files",
    "scrub_last_finish_timestamp_seconds",
    "scrub_progress_ratios",
    "sent_bytes",
    "storage_writable",
    "tasks",
    "tasks_running",
    "wal_oldest_seconds",
    "wal_pending",
    "wal_recovered",
];

/// Those that only what goes wrong, or runs just now, moves away from zero.
const ZERO_WHEN_WELL: [&str; 4] = ["gc_failed", "mode_file_refused", "tasks_running", "wal_recovered"];

/// What a metric's samples add up to; none when there are none.
fn sum(text: &str, metric: &str) -> Option<f64> {
    let names = ["", "_total", "_info", "_count"].map(|ending| format!("artstore_element_{metric}{ending}"));
    text.lines()
        .filter_map(|line| {
            let (name, value) = (line.split(['{', ' ']).next()?, line.rsplit(' ').next()?);
            names
                .iter()
                .any(|one| one == name)
                .then(|| value.parse::<f64>().unwrap())
        })
        .reduce(|sum, value| sum + value)
}

#[tokio::test]
async fn every_metric_has_a_sample_and_moves_with_what_happens() {
    let (host, port) = server();
    let mut announced = Announced::new("edit", &host, port);
    let setup = &mut announced.setup;
    setup.set("STORAGE_MAX_SIZE", "10M");
    write_one_kept_and_one_expired(setup);
    std::fs::create_dir_all(setup.root().join(EMPTY_HOUR)).unwrap();
    let element = setup.start().await;
    task(&element, "gc").await;
    let file = element.client.store("a.bin", &vec![1; 100_000]).await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    element.client.get(&path).await.expect(200);
    damage(&element, &file);
    task(&element, "scrub").await;
    let (pieces, body) = begun(vec![7; 600_000]);
    let uploading = tokio::spawn(send(upload(&element.client, body)));
    eventually("an upload runs and the element is announced", async || {
        let text = metrics(&element).await;
        let moved = |metric| sum(&text, metric).is_some_and(|sum| sum > 0.0);
        ["wal_pending", "wal_oldest_seconds", "redis_up"].into_iter().all(moved)
    })
    .await;
    let text = metrics(&element).await;
    let names: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE artstore_element_")?.split(' ').next())
        .collect();
    assert_eq!(names, BTreeSet::from(METRICS));
    for name in names {
        let sum = sum(&text, name).unwrap_or_else(|| panic!("no sample of {name} in\n{text}"));
        assert!(sum > 0.0 || ZERO_WHEN_WELL.contains(&name), "{name} in\n{text}");
    }
    pieces.send("\r\n--XX--\r\n".into()).unwrap();
    drop(pieces);
    uploading.await.unwrap().expect(201);
    element.stop().await;
}

#[tokio::test]
async fn every_answer_has_a_request_id_that_the_log_has_too() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let given = element
        .client
        .by("user", "GET", "/files/not-an-id")
        .header("x-request-id", "trace-42");
    let problem = send(given).await.expect_problem(400, "VALIDATION_ERROR");
    assert_eq!(problem["request_id"], "trace-42");
    let line = element.stderr.wait_for("trace-42").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["span"]["request_id"], &line["status"]),
        (&json!("trace-42"), &json!(400))
    );
    for bad in ["a b", "x\u{7f}y", "", &"x".repeat(200), "{\"a\":1}"] {
        let Ok(value) = reqwest::header::HeaderValue::from_bytes(bad.as_bytes()) else {
            continue;
        };
        let answer = send(element.client.by("user", "GET", "/files").header("x-request-id", value))
            .await
            .expect(200);
        let made = answer.header("x-request-id").unwrap();
        assert!(made != bad && uuid::Uuid::parse_str(made).is_ok(), "{bad:?} {made}");
    }
}

#[tokio::test]
async fn wrong_method_is_a_problem_that_names_the_right_ones() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let file = "/files/00000000-0000-0000-0000-000000000000";
    let metadata = format!("{file}/metadata");
    for (method, path, allowed) in [
        ("POST", "/info", "GET,HEAD"),
        ("DELETE", "/files", "GET,HEAD"),
        ("GET", "/files/upload", "POST"),
        ("HEAD", "/files/upload", "POST"),
        ("PUT", "/mode", "GET,HEAD"),
        ("OPTIONS", "/mode/transition", "POST"),
        ("POST", file, "GET,HEAD,DELETE"),
        ("PUT", &metadata, "GET,HEAD,PATCH"),
        ("POST", "/health/live", "GET,HEAD"),
        ("POST", "/openapi.json", "GET,HEAD"),
        ("POST", "/docs/", "GET,HEAD"),
    ] {
        let answer = send(element.client.by("admin", method, path)).await;
        println!("{method} {path}");
        if method == "HEAD" {
            assert_eq!(answer.status, 405);
        } else {
            answer.expect_problem(405, "METHOD_NOT_ALLOWED");
        }
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
}

#[tokio::test]
async fn head_is_answered_wherever_get_is() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let file = element.client.store("a.txt", b"abc").await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    let (download, metadata) = (format!("{path}/download"), format!("{path}/metadata"));
    for path in [
        "/files",
        "/files/search?q=a",
        &path,
        &download,
        &metadata,
        "/info",
        "/capacity",
        "/mode",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        "/docs/",
        "/docs/swagger-ui.css",
    ] {
        println!("{path}");
        let get = element.client.get(path).await.expect(200);
        let head = send(element.client.by("admin", "HEAD", path)).await.expect(200);
        assert!(head.body.is_empty() && !get.body.is_empty());
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert_eq!(get.header("x-content-type-options"), Some("nosniff"));
    }
    let gone = send(
        element
            .client
            .by("admin", "HEAD", "/files/00000000-0000-0000-0000-000000000000"),
    )
    .await;
    assert_eq!((gone.status, gone.body.len()), (404, 0));
}

#[tokio::test]
async fn description_is_served_printed_and_shown() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let served = send(element.client.request("GET", "/openapi.json")).await.expect(200);
    assert_eq!(served.header("content-type"), Some("application/json"));
    let (code, printed, stderr) = setup.run(&["openapi"]).await;
    assert_eq!((code, printed.as_bytes()), (0, served.body.as_slice()), "{stderr}");
    let page = send(element.client.request("GET", "/docs")).await.expect(200);
    assert_eq!(page.header("content-type"), Some("text/html"));
    // The browser itself keeps the page from asking anybody else.
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; ") && !policy.contains("http"),
        "{policy}"
    );
    let start = send(element.client.request("GET", "/docs/swagger-initializer.js"))
        .await
        .expect(200);
    let start = String::from_utf8(start.body).unwrap();
    assert!(start.contains("/openapi.json") && !start.contains("://"), "{start}");
    send(element.client.request("GET", "/docs/nothing"))
        .await
        .expect_problem(404, "NOT_FOUND");
}
