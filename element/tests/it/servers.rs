//! Several servers of one element, over one bucket and one database, or over one shared volume.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::client::{begun, send, upload};
use crate::harness::{Element, Setup, eventually};
use crate::maintenance::{metrics, write_expired};

/// A setup whose servers share a volume, as pods share a ReadWriteMany one.
async fn volume() -> Setup {
    let mut setup = Setup::postgres().await;
    setup.set("STORAGE_SHARED", "true");
    setup
}

async fn shared() -> [Setup; 2] {
    [volume().await, Setup::bucket().await]
}

/// How often each log entry was recovered, as the servers' logs tell.
fn recovered(elements: &[&Element]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for element in elements {
        let text = element.stderr.text();
        for line in text.lines().filter(|line| line.contains("recovered a log entry")) {
            let line: Value = serde_json::from_str(line).unwrap();
            *counts
                .entry(line["transaction_id"].as_str().unwrap().to_owned())
                .or_insert(0) += 1;
        }
    }
    counts
}

/// A metric's value; 0 before there is one.
async fn value(element: &Element, metric: &str) -> u32 {
    let text = metrics(element).await;
    let value = |line: &str| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

#[tokio::test]
async fn what_one_stores_the_other_serves() {
    for setup in shared().await {
        let (one, other) = (setup.start().await, setup.start().await);
        let file = one.client.store("a.txt", b"abc").await;
        let path = format!("/files/{}", file["file_id"].as_str().unwrap());
        assert_eq!(other.client.get(&path).await.expect(200).body, b"abc");
        send(other.client.by("operator", "DELETE", &path)).await.expect(204);
        one.client.get(&path).await.expect_problem(404, "NOT_FOUND");
        assert!(one.files_on_disk().is_empty());
        one.stop().await;
        other.stop().await;
    }
}

#[tokio::test]
async fn mode_that_one_changes_the_other_follows() {
    for mut setup in shared().await {
        setup.set("APP_MODE", "rw");
        let (one, other) = (setup.start().await, setup.start().await);
        let wish = json!({ "target_mode": "ro" });
        let request = one.client.by("admin", "POST", "/mode/transition").json(&wish);
        send(request).await.expect(200);
        eventually("the other follows", async || {
            other.client.json("/mode").await["mode"] == "ro"
        })
        .await;
        other
            .client
            .upload("a.txt", b"abc", &[])
            .await
            .expect_problem(409, "MODE_NOT_ALLOWED");
        one.stop().await;
        other.stop().await;
    }
}

#[tokio::test]
async fn upload_of_a_killed_server_is_undone_by_a_living_one() {
    for setup in shared().await {
        let (mut one, other) = (setup.start().await, setup.start().await);
        let (_dead_pieces, body) = begun(vec![7; 24_000_000]);
        let dead = tokio::spawn(upload(&one.client, body).send());
        eventually("the upload has begun", async || !one.temporary_files().is_empty()).await;
        // One of the living server's runs all the while, and must not be taken for left over.
        let (pieces, body) = begun(vec![8; 24_000_000]);
        let living = tokio::spawn(send(upload(&other.client, body)));
        eventually("both run", async || other.temporary_files().len() >= 2).await;
        one.signal(Signal::KILL);
        one.wait_exit().await;
        assert!(dead.await.unwrap().is_err());
        eventually("the dead server's upload is gone", async || {
            other.temporary_files().len() == 1 && other.client.json("/info").await["wal_pending"] == 1
        })
        .await;
        assert_eq!(recovered(&[&other]).len(), 1);
        pieces.send("\r\n--XX--\r\n".into()).unwrap();
        drop(pieces);
        living.await.unwrap().expect(201);
        assert_eq!((other.files_on_disk().len(), other.temporary_files().len()), (2, 0));
        other.stop().await;
    }
}

#[tokio::test]
async fn servers_that_start_at_once_recover_each_entry_once() {
    const UPLOADS: usize = 12;
    for setup in shared().await {
        let mut killed = setup.start().await;
        let mut uploads = Vec::new();
        for _ in 0..UPLOADS {
            let (pieces, body) = begun(vec![7; 600_000]);
            uploads.push((pieces, tokio::spawn(upload(&killed.client, body).send())));
        }
        eventually("all have begun", async || {
            killed.client.json("/info").await["wal_pending"] == UPLOADS
        })
        .await;
        killed.signal(Signal::KILL);
        killed.wait_exit().await;
        let (one, other, third) = futures::join!(setup.start(), setup.start(), setup.start());
        eventually("all is undone", async || {
            one.client.json("/info").await["wal_pending"] == 0
        })
        .await;
        let counts = recovered(&[&one, &other, &third]);
        assert_eq!(counts.len(), UPLOADS, "{counts:?}");
        assert!(counts.values().all(|count| *count == 1), "{counts:?}");
        assert!(one.temporary_files().is_empty() && one.files_on_disk().is_empty());
        for element in [one, other, third] {
            element.stop().await;
        }
    }
}

#[tokio::test]
async fn changes_through_two_servers_each_take_a_revision() {
    for setup in shared().await {
        let (one, other) = (setup.start().await, setup.start().await);
        let file = one.client.store("a.txt", b"abc").await;
        let path = format!("/files/{}/metadata", file["file_id"].as_str().unwrap());
        let mut changes = tokio::task::JoinSet::new();
        for number in 0..16 {
            let client = if number % 2 == 0 { &one.client } else { &other.client };
            changes.spawn(send(
                client
                    .by("user", "PATCH", &path)
                    .json(&json!({ "version": format!("{number}") })),
            ));
        }
        let mut revisions = Vec::new();
        while let Some(answer) = changes.join_next().await {
            let answer = answer.unwrap();
            // One that waited too long for its turn says so, and has changed nothing.
            if answer.status != 503 {
                revisions.push(answer.expect(200).json()["revision"].as_i64().unwrap());
            }
        }
        revisions.sort_unstable();
        let expected: Vec<i64> = (2..).take(revisions.len()).collect();
        assert_eq!(revisions, expected);
        assert!(revisions.len() > 1);
        assert_eq!(other.client.json(&path).await["revision"], *revisions.last().unwrap());
        one.stop().await;
        other.stop().await;
    }
}

#[tokio::test]
async fn given_id_is_stored_once_through_two_servers() {
    for setup in shared().await {
        let (one, other) = (setup.start().await, setup.start().await);
        let id = uuid::Uuid::new_v4().to_string();
        let fields = [("file_id", id.as_str())];
        let content = [vec![1; 22_000_000], vec![2; 22_000_000]];
        let (first, second) = futures::join!(
            one.client.upload("a.bin", &content[0], &fields),
            other.client.upload("a.bin", &content[1], &fields)
        );
        let mut answers = [first.status, second.status];
        answers.sort_unstable();
        assert_eq!(answers, [201, 409]);
        let stored = if first.status == 201 { &content[0] } else { &content[1] };
        assert_eq!(
            &other.client.get(&format!("/files/{id}")).await.expect(200).body,
            stored
        );
        eventually("nothing else is left", async || {
            one.files_on_disk().len() == 2 && one.temporary_files().is_empty()
        })
        .await;
        one.stop().await;
        other.stop().await;
    }
}

#[tokio::test]
async fn expired_file_is_collected_once_though_two_servers_collect() {
    const FILES: u32 = 100;
    const RUNS: &str = "artstore_element_tasks_total{kind=\"gc\",status=\"succeeded\"}";
    let mut setup = volume().await;
    for number in 1..=FILES {
        write_expired(&setup, number);
    }
    // The database is filled first, so that both begin to collect at the same time.
    setup.start().await.stop().await;
    setup.set("STORAGE_GC_INTERVAL", "1s");
    let (one, other) = futures::join!(setup.start(), setup.start());
    eventually("all are gone", async || one.client.json("/info").await["files"] == 0).await;
    let mut collected = 0;
    for element in [&one, &other] {
        // What it was at when the last file went has ended then.
        let runs = value(element, RUNS).await;
        eventually("it has ended a run", async || value(element, RUNS).await > runs).await;
        collected += value(element, "artstore_element_gc_files_total").await;
    }
    assert_eq!(collected, FILES);
    assert!(one.files_on_disk().is_empty());
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn folder_of_one_server_is_not_shared_unasked() {
    let mut setup = volume().await;
    let sharing = setup.start().await;
    setup.unset("STORAGE_SHARED");
    let alone = setup.start_unready(&["serve"]).await;
    let line = alone.stderr.wait_for("cannot start yet").await;
    assert!(line.contains("another element is using the storage folder"), "{line}");
    sharing.stop().await;
    alone.wait_ready().await;
    setup.set("STORAGE_SHARED", "true");
    let late = setup.start_unready(&["serve"]).await;
    late.stderr
        .wait_for("another element is using the storage folder")
        .await;
    alone.stop().await;
    late.wait_ready().await;
    late.stop().await;
}

#[tokio::test]
async fn sharing_a_folder_needs_a_database_server() {
    let mut setup = Setup::embedded();
    setup.set("STORAGE_SHARED", "true");
    let (code, _, stderr) = setup.run(&["serve"]).await;
    assert!(code == 2 && stderr.contains("DB_HOST is missing"), "{stderr}");
}
