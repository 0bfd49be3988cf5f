//! A bucket that fails, refuses or says nothing: every request ends with an error that says so, after a bounded number of attempts.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;
use wiremock::matchers::{method, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::bucket::RETRIES;
use super::{S3Config, S3Store};
use crate::store::{Fence, OpenStoreError, Store, StoreAway};

const PATH: &str = "2026/11/22/09/a";
const MIB: u64 = 1 << 20;

fn config(server: &MockServer) -> S3Config {
    S3Config {
        endpoint: Some(server.uri()),
        bucket: "artstore".into(),
        region: "us-east-1".into(),
        folder: "elements/01".into(),
        access_key_id: "key".to_owned().into(),
        secret_access_key: "secret".to_owned().into(),
    }
}

/// A server that can be opened and then answers everything with `answer`.
async fn answering(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(query_param("list-type", "2"))
        .and(query_param("max-keys", "1"))
        .respond_with(ResponseTemplate::new(200).set_body_string("<ListBucketResult/>"))
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(wiremock::matchers::any())
        .respond_with(answer)
        .with_priority(2)
        .mount(&server)
        .await;
    server
}

async fn open(server: &MockServer, fence: Fence) -> Result<S3Store, OpenStoreError> {
    S3Store::open(&config(server), 1 << 30, fence).await
}

/// Tries everything a store does, and answers each error.
async fn errors(store: &S3Store) -> Vec<(&'static str, io::Error)> {
    let content = store.open_content(PATH).await.unwrap();
    let mut large = store.spool(Uuid::now_v7(), PATH);
    let mut large_error = None;
    for _ in 0..24 {
        if let Err(error) = large.write(Bytes::from(vec![1; 1 << 20])).await {
            large_error.get_or_insert(error);
        }
    }
    let mut small = store.spool(Uuid::now_v7(), PATH);
    small.write(Bytes::from_static(b"abc")).await.unwrap();
    small.seal().await.unwrap();
    vec![
        ("read", content.read(0..1, None).await.err().unwrap()),
        ("attributes", store.attributes(PATH).await.unwrap_err()),
        ("parts", store.parts(PATH).await.unwrap_err()),
        (
            "replace",
            store
                .replace_attributes(Uuid::now_v7(), PATH, b"{}".to_vec())
                .await
                .unwrap_err(),
        ),
        ("remove", store.remove(PATH).await.unwrap_err()),
        ("discard", store.discard(Uuid::now_v7(), PATH, PATH).await.unwrap_err()),
        ("locate", store.locate(Uuid::now_v7()).await.unwrap_err()),
        ("publish", small.publish(PATH, b"{}".to_vec()).await.unwrap_err()),
        ("parts of content", large_error.unwrap()),
        ("abandon", large.abandon().await.unwrap_err()),
    ]
}

#[tokio::test]
async fn failing_server_is_tried_a_few_times_and_said_to_be_away() {
    for status in [500, 503] {
        let server =
            answering(ResponseTemplate::new(status).set_body_string("<Error><Code>SlowDown</Code></Error>")).await;
        let store = open(&server, Fence::none()).await.unwrap();
        let errors = errors(&store).await;
        for (doing, error) in &errors {
            assert!(StoreAway::is_in(error), "{doing}: {error:?}");
        }
        let requests = server.received_requests().await.unwrap().len();
        assert!(requests <= (errors.len() + 4) * (RETRIES + 1), "{requests} requests");
    }
}

#[tokio::test]
async fn refusing_server_is_not_asked_again() {
    let answer = ResponseTemplate::new(403).set_body_string("<Error><Code>AccessDenied</Code></Error>");
    let server = answering(answer).await;
    let store = open(&server, Fence::none()).await.unwrap();
    let errors = errors(&store).await;
    for (doing, error) in &errors {
        assert!(StoreAway::is_in(error), "{doing}: {error:?}");
    }
    let requests = server.received_requests().await.unwrap().len();
    assert!(requests <= errors.len() + 6, "{requests} requests");
}

#[tokio::test]
async fn bucket_that_went_away_is_no_missing_file() {
    let answer = ResponseTemplate::new(404).set_body_string("<Error><Code>NoSuchBucket</Code></Error>");
    let server = answering(answer).await;
    let store = open(&server, Fence::none()).await.unwrap();
    assert!(StoreAway::is_in(&store.attributes(PATH).await.unwrap_err()));
    assert!(StoreAway::is_in(&store.remove(PATH).await.unwrap_err()));
    let content = store.open_content(PATH).await.unwrap();
    assert!(StoreAway::is_in(&content.read(0..1, None).await.err().unwrap()));
}

#[tokio::test]
async fn full_server_is_told_from_one_that_is_away() {
    for (status, code) in [(507, "InsufficientStorage"), (403, "QuotaExceeded")] {
        let answer = ResponseTemplate::new(status).set_body_string(format!("<Error><Code>{code}</Code></Error>"));
        let server = answering(answer).await;
        let store = open(&server, Fence::none()).await.unwrap();
        let full = store.replace_attributes(Uuid::now_v7(), PATH, b"{}".to_vec()).await;
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull, "{code}");
    }
}

#[tokio::test]
async fn silent_server_does_not_hold_up_a_commit_point() {
    let server = answering(ResponseTemplate::new(200).set_delay(Duration::from_secs(600))).await;
    let store = open(&server, Fence::none()).await.unwrap();
    let error = store
        .replace_attributes(Uuid::now_v7(), PATH, b"{}".to_vec())
        .await
        .unwrap_err();
    assert!(StoreAway::is_in(&error), "{error:?}");
}

#[tokio::test]
async fn nothing_is_changed_behind_a_fence_that_is_shut() {
    let server = answering(ResponseTemplate::new(200)).await;
    let store = open(&server, Fence::shut()).await.unwrap();
    let before = server.received_requests().await.unwrap().len();
    let mut spool = store.spool(Uuid::now_v7(), PATH);
    spool.write(Bytes::from_static(b"abc")).await.unwrap();
    spool.seal().await.unwrap();
    for error in [
        store
            .replace_attributes(Uuid::now_v7(), PATH, b"{}".to_vec())
            .await
            .unwrap_err(),
        store.remove(PATH).await.unwrap_err(),
        spool.publish(PATH, b"{}".to_vec()).await.unwrap_err(),
    ] {
        assert!(StoreAway::is_in(&error), "{error:?}");
    }
    assert_eq!(server.received_requests().await.unwrap().len(), before);
}

#[tokio::test]
async fn why_a_bucket_cannot_be_opened_is_said_without_the_secret() {
    for (status, code, word) in [
        (404, "NoSuchBucket", "there is no bucket \"artstore\""),
        (403, "SignatureDoesNotMatch", "credentials are refused"),
        (400, "AuthorizationHeaderMalformed", "not in this region"),
        (503, "SlowDown", "answers 503"),
    ] {
        let server = MockServer::start().await;
        Mock::given(wiremock::matchers::any())
            .respond_with(ResponseTemplate::new(status).set_body_string(format!("<Error><Code>{code}</Code></Error>")))
            .mount(&server)
            .await;
        let error = open(&server, Fence::none()).await.err().unwrap();
        let text = crate::files::Chain(&error).to_string();
        assert!(text.contains(word), "{text}");
        assert!(!text.contains("secret") && !text.contains("X-Amz"), "{text}");
    }
}

/// The lengths of the parts a file of `size` was sent in, in their order, where `size` comes in pieces and something happens between.
async fn parts_of(size: u64, mut between: impl FnMut(&S3Store, u64)) -> Vec<u64> {
    let begun = "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>";
    let answer = ResponseTemplate::new(200)
        .insert_header("etag", "\"e\"")
        .set_body_string(begun);
    let server = answering(answer).await;
    let store = open(&server, Fence::none()).await.unwrap();
    let mut spool = store.spool(Uuid::now_v7(), PATH);
    for mib in 0..size / MIB {
        between(&store, mib);
        spool.write(Bytes::from(vec![7; 1 << 20])).await.unwrap();
    }
    spool
        .write(Bytes::from(vec![7; usize::try_from(size % MIB).unwrap()]))
        .await
        .unwrap();
    assert_eq!(spool.seal().await.unwrap().size, size);
    let mut parts: Vec<(u64, u64)> = server
        .received_requests()
        .await
        .unwrap()
        .iter()
        .filter_map(|request| {
            let number = request.url.query_pairs().find(|(name, _)| name == "partNumber")?.1;
            Some((number.parse().unwrap(), request.body.len() as u64))
        })
        .collect();
    parts.sort_unstable();
    parts.into_iter().map(|(_, length)| length).collect()
}

#[tokio::test]
async fn all_parts_but_the_last_have_one_length_whatever_memory_there_is() {
    let plenty = |_: &S3Store, _| {};
    assert_eq!(parts_of(20 * MIB, plenty).await, [0_u64; 0], "it goes whole");
    assert_eq!(
        parts_of(20 * MIB + 1, plenty).await,
        [5 * MIB, 5 * MIB, 5 * MIB, 5 * MIB, 1]
    );
    let mut held = Vec::new();
    for scarce_from in [0, 7, 12] {
        let parts = parts_of(18 * MIB, |store, mib| {
            if mib == scarce_from {
                held.extend(std::iter::from_fn(|| store.inner.memory.spare_part()));
            }
        });
        assert_eq!(parts.await, [5 * MIB, 5 * MIB, 5 * MIB, 3 * MIB], "{scarce_from}");
    }
}

#[tokio::test]
async fn upload_waits_for_room_behind_its_first_block() {
    let server = answering(ResponseTemplate::new(200)).await;
    let store = open(&server, Fence::none()).await.unwrap();
    let all = store.inner.memory.room_for(256 * MIB).await.unwrap();
    let mut spool = store.spool(Uuid::now_v7(), PATH);
    spool.write(Bytes::from(vec![7; 256 * 1024])).await.unwrap();
    let mut waiting = spool.write(Bytes::from_static(b"more"));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(all);
    waiting.await.unwrap();
    assert_eq!(spool.seal().await.unwrap().size, 256 * 1024 + 4);
}
