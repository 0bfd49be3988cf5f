//! Files in a bucket: what is different from a folder, and the bucket away.

use rustix::process::Signal;
use serde_json::json;

use crate::harness::certificates::{Authority, wrap};
use crate::harness::client::{begun, form, send, upload};
use crate::harness::proxy::Proxy;
use crate::harness::{Setup, eventually};
use crate::upload::sha256;

/// More than one part.
fn large(seed: u8) -> Vec<u8> {
    (0..24_000_000_u32).map(|number| (number % 249) as u8 ^ seed).collect()
}

#[tokio::test]
async fn large_file_goes_in_parts_and_comes_back_the_same() {
    let setup = Setup::bucket().await;
    let element = setup.start().await;
    let content = large(1);
    let file = element.client.store("large.bin", &content).await;
    assert_eq!(file["checksum"], json!(sha256(&content)));
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    assert_eq!(element.client.get(&path).await.expect(200).body, content);
    assert_eq!(element.client.json("/info").await["storage_type"], "s3");
    assert_eq!(element.files_on_disk().len(), 2);
    assert!(element.temporary_files().is_empty());
    element.stop().await;
}

#[tokio::test]
async fn id_behind_a_large_file_moves_it_to_its_name() {
    let setup = Setup::bucket().await;
    let element = setup.start().await;
    let (content, id) = (large(2), uuid::Uuid::new_v4().to_string());
    let form = form("large.bin", &content, &[]).text("file_id", id.clone());
    let file = send(element.client.by("user", "POST", "/files/upload").multipart(form))
        .await
        .expect(201)
        .json();
    assert_eq!(file["file_id"], json!(id));
    assert_eq!(
        element.client.get(&format!("/files/{id}")).await.expect(200).body,
        content
    );
    assert_eq!(element.files_on_disk().len(), 2);
    element.stop().await;
}

#[tokio::test]
async fn kill_during_an_upload_leaves_no_parts() {
    let setup = Setup::bucket().await;
    let mut element = setup.start().await;
    let (_pieces, body) = begun(large(3));
    let sending = tokio::spawn(upload(&element.client, body).send());
    eventually("parts are in the bucket", async || {
        !element.temporary_files().is_empty()
    })
    .await;
    element.signal(Signal::KILL);
    element.wait_exit().await;
    assert!(sending.await.unwrap().is_err());
    let element = setup.start().await;
    crate::limits::assert_empty(&element).await;
    element.stop().await;
}

#[tokio::test]
async fn client_that_goes_away_leaves_no_parts() {
    let setup = Setup::bucket().await;
    let element = setup.start().await;
    let (pieces, body) = begun(large(4));
    let sending = tokio::spawn(upload(&element.client, body).send());
    eventually("parts are in the bucket", async || {
        !element.temporary_files().is_empty()
    })
    .await;
    sending.abort();
    drop(pieces);
    crate::limits::assert_empty(&element).await;
    element.stop().await;
}

#[tokio::test]
async fn missing_bucket_and_wrong_secret_are_said_and_tried_again() {
    for (variable, value, word) in [
        ("STORAGE_S3_BUCKET_NAME", "no-such-bucket", "there is no bucket"),
        (
            "STORAGE_S3_SECRET_ACCESS_KEY",
            "not-the-secret-at-all",
            "credentials are refused",
        ),
    ] {
        let mut setup = Setup::bucket().await;
        setup.set(variable, value);
        let mut element = setup.start_unready(&["serve"]).await;
        let line = element.stderr.wait_for("cannot start yet").await;
        assert!(line.contains(word), "{line}");
        assert!(!element.stderr.text().contains("not-the-secret-at-all"));
        send(element.client.request("GET", "/health/live")).await.expect(200);
        send(element.client.request("GET", "/health/ready")).await.expect(503);
        eventually("it is tried again", async || {
            element.stderr.count("cannot start yet") >= 2
        })
        .await;
        element.signal(Signal::TERM);
        assert_eq!(element.wait_exit().await.code(), Some(0), "{}", element.stderr.text());
    }
}

#[tokio::test]
async fn bucket_away_is_answered_as_such_and_comes_back_without_a_restart() {
    is_answered_as_such_and_comes_back(Proxy::cut).await;
}

#[tokio::test]
async fn silent_bucket_is_like_one_that_is_gone() {
    is_answered_as_such_and_comes_back(Proxy::silence).await;
}

async fn is_answered_as_such_and_comes_back(interrupt: fn(&Proxy)) {
    let mut setup = Setup::bucket().await;
    let wire = Proxy::to(setup.bucket.as_ref().unwrap().host(), true).await;
    setup.set("STORAGE_S3_ENDPOINT_URL", &format!("http://{}", wire.address));
    let element = setup.start().await;
    let file = element.client.store("a.txt", b"abc").await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    interrupt(&wire);
    let content = element.client.by("user", "GET", &path);
    let small = element
        .client
        .by("user", "POST", "/files/upload")
        .multipart(form("b.txt", b"b", &[]));
    let parts = element
        .client
        .by("user", "POST", "/files/upload")
        .multipart(form("c.bin", &large(5), &[]));
    let patch = element
        .client
        .by("user", "PATCH", &format!("{path}/metadata"))
        .json(&json!({ "version": "2" }));
    let delete = element.client.by("operator", "DELETE", &path);
    let answers = [content, small, parts, patch, delete].map(send);
    for answer in futures::future::join_all(answers).await {
        answer.expect_problem(503, "UNAVAILABLE");
    }
    eventually("readiness tells of it", async || {
        let ready = send(element.client.request("GET", "/health/ready")).await;
        ready.status == 503 && ready.json()["checks"]["storage"]["status"] == "failing"
    })
    .await;
    // What the database knows needs no bucket.
    assert_eq!(
        element.client.json(&format!("{path}/metadata")).await["file_id"],
        file["file_id"]
    );

    wire.mend();
    element.wait_ready().await;
    assert_eq!(element.client.get(&path).await.expect(200).body, b"abc");
    element.client.store("b.txt", b"b").await;
    eventually("what was not stored is cleared away", async || {
        element.files_on_disk().len() == 4 && element.client.json("/info").await["wal_pending"] == 0
    })
    .await;
    assert!(element.temporary_files().is_empty());
    element.stop().await;
}

#[tokio::test]
async fn bucket_behind_tls_is_used_when_a_named_authority_vouches_for_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut setup = Setup::bucket().await;
    let server = setup.bucket.as_ref().unwrap().host().parse().unwrap();
    let encrypted = wrap(server, &authority.certify(&["127.0.0.1"])).await;
    setup.set("STORAGE_S3_ENDPOINT_URL", &format!("https://{encrypted}"));
    let ca = setup.file("ca.pem", &other.pem());
    setup.set("SSL_CERT_FILE", ca.to_str().unwrap());
    let element = setup.start_unready(&["serve"]).await;
    let said = element.stderr.wait_for("cannot start yet").await;
    assert!(said.contains("certificate"), "{said}");
    element.stop().await;

    setup.file("ca.pem", &authority.pem());
    let element = setup.start().await;
    let content = large(6);
    let file = element.client.store("large.bin", &content).await;
    let path = format!("/files/{}", file["file_id"].as_str().unwrap());
    assert_eq!(element.client.get(&path).await.expect(200).body, content);
    element.stop().await;
}

#[tokio::test]
async fn bucket_without_a_database_server_is_refused_by_name() {
    let mut setup = Setup::bucket().await;
    for name in ["DB_HOST", "DB_PORT", "DB_USERNAME", "DB_PASSWORD", "DB_DATABASE"] {
        setup.unset(name);
    }
    for words in [["serve"].as_slice(), &["rebuild"], &["migrate", "up"]] {
        let (code, _, stderr) = setup.run(words).await;
        assert!(code == 2 && stderr.contains("DB_HOST is missing"), "{stderr}");
    }
}
