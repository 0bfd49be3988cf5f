//! Tasks as an administrator or the operator meets them: started, watched, refused, stopped.

use serde_json::{Value, json};

use crate::harness::client::send;
use crate::harness::{Element, Setup, eventually};

/// The folder of an hour long past in which nothing is.
pub(crate) const EMPTY_HOUR: &str = "2021/01/01/01";

/// Starts a task as an admin and answers it once it has ended.
pub(crate) async fn task(element: &Element, kind: &str) -> Value {
    let started = send(element.client.by("admin", "POST", &format!("/maintenance/{kind}"))).await;
    let location = started.header("location").expect("a location").to_owned();
    let begun = started.expect(202).json();
    assert_eq!((&begun["kind"], &begun["status"]), (&json!(kind), &json!("running")));
    assert_eq!(
        location,
        format!("/api/v1/maintenance/tasks/{}", begun["id"].as_str().unwrap())
    );
    let ended = async || element.client.json(&location).await;
    eventually("the task ends", async || ended().await["status"] != "running").await;
    ended().await
}

pub(crate) async fn metrics(element: &Element) -> String {
    String::from_utf8(element.client.get("/metrics").await.expect(200).body).unwrap()
}

pub(crate) fn damage(element: &Element, file: &Value) {
    let path = element
        .files_on_disk()
        .into_iter()
        .find(|path| path.ends_with(file["storage_path"].as_str().unwrap()));
    let path = path.expect("the file's content");
    let mut content = std::fs::read(&path).unwrap();
    content[0] ^= 1;
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn every_kind_runs_to_its_end_and_says_what_it_did() {
    for setup in Setup::both().await {
        let element = setup.start().await;
        for content in [b"one", b"two"] {
            element.client.store("a.txt", content).await;
        }
        for (kind, expected) in [
            ("rebuild", json!({ "files": 2, "broken": 0, "orphans": 0 })),
            (
                "gc",
                json!({ "expired": 0, "bytes": 0, "failed": 0, "temporary_files": 0, "folders": 0 }),
            ),
            (
                "reconcile",
                json!({ "files": 2, "bytes": 0, "rows": 2, "quarantined": 0, "repaired": 0, "counts": {}, "findings": [] }),
            ),
            (
                "scrub",
                json!({ "files": 2, "bytes": 6, "rows": 2, "quarantined": 0, "repaired": 0, "counts": {}, "findings": [] }),
            ),
        ] {
            let task = task(&element, kind).await;
            assert_eq!(
                (&task["status"], &task["result"]),
                (&json!("succeeded"), &expected),
                "{task}"
            );
            assert_eq!(task["started_by"], "admin-1");
            assert!(task["started_at"].is_string() && task["finished_at"].is_string() && task["error"].is_null());
        }
        let text = metrics(&element).await;
        for line in [
            "artstore_element_tasks_total{kind=\"gc\",status=\"succeeded\"} 1",
            "artstore_element_tasks_running{kind=\"scrub\"} 0",
            "artstore_element_scrub_files_total 2",
            "artstore_element_scrub_bytes_total 6",
            "artstore_element_scrub_progress_ratios 1.0",
            "artstore_element_scrub_corrupt_total 0",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
        }
        assert!(!text.contains("scrub_last_finish_timestamp_seconds 0"), "{text}");
        element.stop().await;
    }
}

#[tokio::test]
async fn only_admins_and_the_operator_may() {
    let mut setup = Setup::embedded();
    let token = "operator-token-operator-token-0123456789";
    let path = setup.file("admin-token", token);
    setup.set("ADMIN_TOKEN_FILE", path.to_str().unwrap());
    let element = setup.start().await;
    for (method, path) in [
        ("POST", "/maintenance/gc"),
        ("GET", "/maintenance/tasks/00000000-0000-0000-0000-000000000001"),
    ] {
        for role in ["user", "operator"] {
            send(element.client.by(role, method, path))
                .await
                .expect_problem(403, "FORBIDDEN");
        }
        send(element.client.request(method, path))
            .await
            .expect_problem(401, "UNAUTHORIZED");
    }
    let started = send(element.client.request("POST", "/maintenance/gc").bearer_auth(token))
        .await
        .expect(202);
    assert_eq!(started.json()["started_by"], "operator");
    let location = started.header("location").unwrap();
    send(element.client.request("GET", location).bearer_auth(token))
        .await
        .expect(200);
    send(element.client.request("GET", "/files").bearer_auth(token))
        .await
        .expect_problem(403, "FORBIDDEN");
    for (method, path, status, code) in [
        ("POST", "/maintenance/polish", 404, "NOT_FOUND"),
        (
            "GET",
            "/maintenance/tasks/00000000-0000-0000-0000-000000000001",
            404,
            "NOT_FOUND",
        ),
        ("GET", "/maintenance/tasks/seven", 400, "VALIDATION_ERROR"),
    ] {
        send(element.client.by("admin", method, path))
            .await
            .expect_problem(status, code);
    }
}

#[tokio::test]
async fn second_of_a_kind_is_refused_and_the_first_stops_with_the_server_and_goes_on_after() {
    for setup in Setup::both().await {
        let mut setup = setup;
        setup.set("STORAGE_SCRUB_RATE", "1");
        let element = setup.start().await;
        let files = [
            element.client.store("a", b"0123456789").await,
            element.client.store("b", b"0123456789").await,
        ];
        let first = send(element.client.by("admin", "POST", "/maintenance/scrub"))
            .await
            .expect(202)
            .json();
        let second = send(element.client.by("admin", "POST", "/maintenance/scrub")).await;
        let problem = second.expect_problem(409, "TASK_RUNNING");
        let id = first["id"].as_str().unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(id), "{problem}");
        assert!(second.header("location").unwrap().ends_with(id));
        assert_eq!(
            task(&element, "gc").await["status"],
            "succeeded",
            "other kinds run beside it"
        );
        let location = format!("/maintenance/tasks/{id}");
        eventually("the scrub reads", async || {
            element.client.json(&location).await["progress"]["bytes"] != 0
        })
        .await;
        element.stop().await;

        setup.set("STORAGE_SCRUB_RATE", "1Gi");
        let element = setup.start().await;
        eventually("the schedule goes on with it", async || {
            metrics(&element)
                .await
                .contains("artstore_element_tasks_total{kind=\"scrub\",status=\"succeeded\"} 1")
        })
        .await;
        for file in files {
            element
                .client
                .get(&format!("/files/{}", file["file_id"].as_str().unwrap()))
                .await
                .expect(200);
        }
        element.stop().await;
    }
}

#[tokio::test]
async fn of_two_servers_one_scrubs() {
    let volume = async {
        let mut setup = Setup::postgres().await;
        setup.set("STORAGE_SHARED", "true");
        setup
    };
    for mut setup in [volume.await, Setup::bucket().await] {
        setup.set("STORAGE_SCRUB_RATE", "1");
        let (one, other) = (setup.start().await, setup.start().await);
        one.client.store("a", b"0123456789").await;
        one.client.store("b", b"0123456789").await;
        let first = send(one.client.by("admin", "POST", "/maintenance/scrub"))
            .await
            .expect(202)
            .json();
        let location = format!("/maintenance/tasks/{}", first["id"].as_str().unwrap());
        eventually("the scrub reads", async || {
            one.client.json(&location).await["progress"]["bytes"] != 0
        })
        .await;
        let refused = send(other.client.by("admin", "POST", "/maintenance/scrub")).await;
        let problem = refused.expect_problem(409, "TASK_RUNNING");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains(first["id"].as_str().unwrap()),
            "{problem}"
        );
        assert_eq!(refused.header("location"), Some(&*format!("/api/v1{location}")));
        one.stop().await;
        other.signal(rustix::process::Signal::TERM);
    }
}

#[tokio::test]
async fn task_is_told_of_by_every_server_and_after_a_restart() {
    for mut setup in Setup::each().await {
        let shared = setup.bucket.is_some();
        let element = setup.start().await;
        element.client.store("a", b"0123456789").await;
        let ended = task(&element, "scrub").await;
        let location = format!("/maintenance/tasks/{}", ended["id"].as_str().unwrap());
        if shared {
            let other = setup.start().await;
            assert_eq!(other.client.json(&location).await, ended);
            other.stop().await;
        }
        element.stop().await;
        setup.set("STORAGE_SCRUB_RATE", "1");
        let mut element = setup.start().await;
        eventually("the end was kept", async || {
            element.client.json(&location).await == ended
        })
        .await;
        // A second file, so that the scrub waits for its turn to read it.
        element.client.store("b", b"0123456789").await;
        let begun = send(element.client.by("admin", "POST", "/maintenance/scrub")).await;
        let begun = begun.expect(202).json();
        element.signal(rustix::process::Signal::KILL);
        element.wait_exit().await;
        let element = setup.start().await;
        let location = format!("/maintenance/tasks/{}", begun["id"].as_str().unwrap());
        eventually("its server counts as gone", async || {
            element.client.json(&location).await["status"] == "stopped"
        })
        .await;
        assert_eq!(
            element.client.json(&location).await["error"],
            "its server was not heard of any more"
        );
        element.stop().await;
    }
}

#[tokio::test]
async fn damaged_file_is_taken_out_of_service_and_told_everywhere() {
    for setup in Setup::both().await {
        let element = setup.start().await;
        let (whole, damaged) = (
            element.client.store("a", b"whole").await,
            element.client.store("b", b"damaged").await,
        );
        damage(&element, &damaged);
        let task = task(&element, "scrub").await;
        let result = &task["result"];
        assert_eq!(
            (&result["quarantined"], &result["counts"]),
            (&json!(1), &json!({ "content_corrupt": 1 })),
            "{task}"
        );
        assert_eq!(result["findings"][0]["path"], damaged["storage_path"]);
        let line = element.stderr.wait_for("content_corrupt").await;
        assert!(line.contains(damaged["storage_path"].as_str().unwrap()), "{line}");
        let text = metrics(&element).await;
        assert!(text.contains("artstore_element_scrub_corrupt_total 1\n"), "{text}");
        assert!(
            text.contains("artstore_element_findings_total{finding=\"content_corrupt\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("artstore_element_quarantined_bytes 4103\n"), "{text}");
        let path = |file: &Value| format!("/files/{}", file["file_id"].as_str().unwrap());
        element
            .client
            .get(&path(&damaged))
            .await
            .expect_problem(404, "NOT_FOUND");
        element.client.get(&path(&whole)).await.expect(200);
        assert_eq!(element.client.json("/info").await["files"], 1);
        let again = [("file_id", damaged["file_id"].as_str().unwrap())];
        element.client.upload("b", b"damaged", &again).await.expect(201);
        assert_eq!(element.client.get(&path(&damaged)).await.expect(200).body, b"damaged");
        element.stop().await;
    }
}

#[tokio::test]
async fn archive_is_told_of_damage_and_keeps_everything() {
    let mut setup = Setup::embedded();
    setup.set("APP_MODE", "rw");
    let element = setup.start().await;
    let damaged = element.client.store("b", b"damaged").await;
    for mode in ["ro", "ar"] {
        let wish = element
            .client
            .by("admin", "POST", "/mode/transition")
            .json(&json!({ "target_mode": mode }));
        send(wish).await.expect(200);
    }
    damage(&element, &damaged);
    let task = task(&element, "scrub").await;
    assert_eq!(
        (
            &task["result"]["quarantined"],
            &task["result"]["counts"]["content_corrupt"]
        ),
        (&json!(0), &json!(1))
    );
    let path = format!("/files/{}/metadata", damaged["file_id"].as_str().unwrap());
    assert_eq!(element.client.json(&path).await, damaged);
}

#[tokio::test]
async fn expired_files_go_in_edit_and_in_no_other_mode() {
    for (mode, left) in [("edit", 1), ("rw", 2), ("ro", 2), ("ar", 2)] {
        let mut setup = Setup::embedded();
        setup.set("APP_MODE", mode);
        write_one_kept_and_one_expired(&setup);
        let element = setup.start().await;
        let task = task(&element, "gc").await;
        assert_eq!(task["status"], "succeeded", "{mode}");
        assert_eq!(task["result"]["expired"], 2 - left, "{mode}");
        assert_eq!(element.client.json("/info").await["files"], left, "{mode}");
        assert_eq!(element.files_on_disk().len(), 2 * left, "{mode}");
        assert_eq!(element.client.json("/info").await["wal_pending"], 0);
        element.stop().await;
    }
}

pub(crate) fn write_one_kept_and_one_expired(setup: &Setup) {
    crate::drop_in::write(&setup.root(), &crate::drop_in::file(1));
    write_expired(setup, 2);
}

pub(crate) fn write_expired(setup: &Setup, number: u32) {
    let mut expired = crate::drop_in::file(number);
    expired["retention_policy"] = "temporary".into();
    expired["ttl_days"] = 1.into();
    expired["expires_at"] = "2024-05-07T00:00:00Z".into();
    crate::drop_in::write(&setup.root(), &expired);
}

#[tokio::test]
async fn expired_files_go_and_a_scrub_that_is_due_runs_though_nobody_asks() {
    let mut setup = Setup::embedded();
    setup.set("STORAGE_GC_INTERVAL", "1s");
    write_one_kept_and_one_expired(&setup);
    for folder in [".artstore", EMPTY_HOUR] {
        std::fs::create_dir_all(setup.root().join(folder)).unwrap();
    }
    let long_ago = json!({ "since": "2024-01-01T00:00:00Z", "finished_at": "2024-02-01T00:00:00Z", "course": null });
    std::fs::write(setup.root().join(".artstore/scrub.json"), long_ago.to_string()).unwrap();
    let element = setup.start().await;
    eventually("the expired file is gone", async || {
        element.client.json("/info").await["files"] == 1
    })
    .await;
    eventually("a collection and a scrub ran", async || {
        let text = metrics(&element).await;
        text.contains("artstore_element_tasks_total{kind=\"scrub\",status=\"succeeded\"} 1")
            && text.contains("artstore_element_tasks_total{kind=\"gc\",status=\"succeeded\"} ")
    })
    .await;
    let text = metrics(&element).await;
    for line in [
        "artstore_element_gc_files_total 1",
        "artstore_element_gc_bytes_total 1",
        "artstore_element_gc_failed_total 0",
        // The hour's folder, the day's, the month's and the year's.
        "artstore_element_gc_leftovers_total{kind=\"folder\"} 4",
    ] {
        assert!(text.lines().any(|written| written == line), "{line} in\n{text}");
    }
    let log = element.stderr.text();
    let begun = log.lines().find(|line| line.contains("a task begins")).unwrap();
    assert!(begun.contains("schedule") && begun.contains("audit"), "{begun}");
    element.stop().await;
}
