//! PostgreSQL away: at the start, and while running.

use std::time::Duration;

use serde_json::json;

use crate::harness::client::{form, send};
use crate::harness::proxy::Proxy;
use crate::harness::{GENEROUS, Setup, eventually};

/// Refusals are to come within a second; a busy machine takes its time, and who waits for the server takes ten at the least.
const REFUSAL_LIMIT: Duration = Duration::from_secs(6);

async fn over_a_wire(whole: bool) -> (Setup, Proxy) {
    wired(Setup::postgres().await, whole).await
}

async fn wired(mut setup: Setup, whole: bool) -> (Setup, Proxy) {
    let wire = Proxy::to(format!("{}:{}", setup.get("DB_HOST"), setup.get("DB_PORT")), whole).await;
    setup.set("DB_HOST", "127.0.0.1");
    setup.set("DB_PORT", &wire.address.port().to_string());
    (setup, wire)
}

#[tokio::test]
async fn start_waits_for_the_database_and_says_so() {
    let (setup, wire) = over_a_wire(false).await;
    let element = setup.start_unready(&["serve"]).await;
    element.stderr.wait_for("cannot start yet").await;
    send(element.client.request("GET", "/health/live")).await.expect(200);
    let answer = send(element.client.request("GET", "/health/ready")).await.expect(503);
    let ready = answer.json();
    assert_eq!(
        (&ready["status"], &ready["checks"]["database"]["status"]),
        (&json!("not_ready"), &json!("failing"))
    );
    element.client.get("/files").await.expect_problem(503, "UNAVAILABLE");
    element
        .client
        .upload("a.txt", b"abc", &[])
        .await
        .expect_problem(503, "UNAVAILABLE");
    send(element.client.request("GET", "/files"))
        .await
        .expect_problem(401, "UNAUTHORIZED");
    send(element.client.request("GET", "/info"))
        .await
        .expect_problem(503, "UNAVAILABLE");
    send(element.client.request("GET", "/metrics")).await.expect(200);
    wire.mend();
    element.wait_ready().await;
    element.client.store("a.txt", b"abc").await;
    element.stop().await;
}

#[tokio::test]
async fn files_are_read_by_id_before_the_database_was_ever_reached() {
    let (setup, wire) = over_a_wire(true).await;
    let element = setup.start().await;
    let file = element.client.store("a.txt", b"abc").await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    element.stop().await;
    wire.cut();
    let element = setup.start_unready(&["serve"]).await;
    element.stderr.wait_for("cannot start yet").await;
    assert_eq!(element.client.get(&path).await.expect(200).body, b"abc");
    assert_eq!(
        element.client.get(&format!("{path}/metadata")).await.expect(200).json(),
        file
    );
    element.client.get("/files").await.expect_problem(503, "UNAVAILABLE");
    let missing = format!("/files/{}", uuid::Uuid::new_v4());
    element.client.get(&missing).await.expect_problem(404, "NOT_FOUND");
    wire.mend();
    element.wait_ready().await;
    assert_eq!(element.client.get(&path).await.expect(200).body, b"abc");
    element.stop().await;
}

#[tokio::test]
async fn mode_that_was_kept_holds_before_the_database_was_ever_reached() {
    for setup in [Setup::postgres().await, Setup::bucket().await] {
        let (mut setup, wire) = wired(setup, true).await;
        setup.set("APP_MODE", "rw");
        let element = setup.start().await;
        let file = element.client.store("a.txt", b"abc").await;
        for mode in ["ro", "ar"] {
            let wish = json!({ "target_mode": mode });
            let request = element.client.by("admin", "POST", "/mode/transition").json(&wish);
            send(request).await.expect(200);
        }
        element.stop().await;
        wire.cut();
        setup.set("APP_MODE", "edit");
        let element = setup.start_unready(&["serve"]).await;
        let path = format!("/files/{}", file["file_id"].as_str().unwrap());
        eventually("metadata is served", async || {
            element.client.get(&format!("{path}/metadata")).await.status == 200
        })
        .await;
        element.client.get(&path).await.expect_problem(409, "MODE_NOT_ALLOWED");
        assert_eq!(element.client.json("/mode").await["mode"], "ar");
        wire.mend();
        element.wait_ready().await;
        assert_eq!(element.client.json("/mode").await["mode"], "ar");
        element.stop().await;
    }
}

#[tokio::test]
async fn mode_file_that_comes_while_the_database_is_away_is_followed_later_and_not_called_refused() {
    let (mut setup, wire) = over_a_wire(true).await;
    let write = |setup: &Setup, mode: &str, generation: i64| {
        setup.file(
            "mode.json",
            &json!({ "mode": mode, "generation": generation }).to_string(),
        )
    };
    let file = write(&setup, "rw", 1);
    setup.set("APP_MODE_FILE", file.to_str().unwrap());
    let element = setup.start().await;
    wire.cut();
    write(&setup, "ro", 2);
    element.stderr.wait_for("the mode file cannot be followed yet").await;
    let state = element.client.json("/mode").await;
    assert_eq!((&state["mode"], &state["refused"]), (&json!("rw"), &json!(null)));
    let metrics = String::from_utf8(element.client.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("artstore_element_mode_file_refused 0"), "{metrics}");
    wire.mend();
    eventually("the file is followed", async || {
        element.client.json("/mode").await["generation"] == 2
    })
    .await;
    element.stop().await;
}

#[tokio::test]
async fn wrong_password_is_logged_clearly_and_retried() {
    let mut setup = Setup::postgres().await;
    setup.set("DB_PASSWORD", "not-the-password");
    let mut element = setup.start_unready(&["serve"]).await;
    let line = element.stderr.wait_for("cannot start yet").await;
    assert!(line.contains("password authentication failed"), "{line}");
    assert!(!element.stderr.text().contains("not-the-password"));
    send(element.client.request("GET", "/health/live")).await.expect(200);
    eventually("it is tried again", async || {
        element.stderr.count("cannot start yet") >= 2
    })
    .await;
    element.signal(rustix::process::Signal::TERM);
    assert_eq!(element.wait_exit().await.code(), Some(0), "{}", element.stderr.text());
}

#[tokio::test]
async fn reads_go_on_without_the_database_and_writes_come_back_with_it() {
    reads_go_on_and_writes_come_back(Proxy::cut).await;
}

#[tokio::test]
async fn silent_database_is_like_one_that_is_gone() {
    reads_go_on_and_writes_come_back(Proxy::silence).await;
}

async fn reads_go_on_and_writes_come_back(interrupt: fn(&Proxy)) {
    let (setup, wire) = over_a_wire(true).await;
    let element = setup.start().await;
    let file = element.client.store("a.txt", b"abc").await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    interrupt(&wire);
    assert_eq!(element.client.get(&path).await.expect(200).body, b"abc");
    assert_eq!(element.client.json(&format!("{path}/metadata")).await, file);
    let patch = element
        .client
        .by("user", "PATCH", &format!("{path}/metadata"))
        .json(&json!({ "version": "2" }));
    let upload = element
        .client
        .by("user", "POST", "/files/upload")
        .multipart(form("b.txt", b"b", &[]));
    let search = element.client.by("user", "GET", "/files/search?q=a");
    let delete = element.client.by("operator", "DELETE", &path);
    for request in [patch, upload, search, delete] {
        let answer = tokio::time::timeout(REFUSAL_LIMIT, send(request))
            .await
            .expect("the answer comes soon");
        answer.expect_problem(503, "UNAVAILABLE");
    }
    let info = element.client.json("/info").await;
    assert_eq!((info.get("files"), info["mode"].as_str()), (None, Some("edit")));
    let metrics = String::from_utf8(element.client.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("artstore_element_database_up 0"), "{metrics}");

    wire.mend();
    tokio::time::timeout(GENEROUS, element.wait_ready()).await.unwrap();
    assert_eq!(element.client.json("/files").await["total"], 1);
    element.client.store("b.txt", b"b").await;
    assert_eq!(element.client.json("/info").await["wal_pending"], 0);
    element.stop().await;
}
