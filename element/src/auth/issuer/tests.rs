//! An issuer that rotates its keys, goes away, dawdles and lies.

use std::time::Duration;

use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{Issuer, MAX_DOCUMENT, Pace};
use crate::auth::keys::Keys;
use crate::auth::tests::{OURS, THEIRS, good, identify, rules};
use crate::auth::{AuthError, Authenticator};

/// So short that a next fetch is always allowed, and so long that it never is.
const ALWAYS: Duration = Duration::ZERO;
const NEVER: Duration = Duration::from_secs(100_000);

async fn answers(server: &MockServer, response: ResponseTemplate) {
    server.reset().await;
    Mock::given(path("/keys")).respond_with(response).mount(server).await;
}

async fn publishes(server: &MockServer, keys: &[Value]) {
    answers(
        server,
        ResponseTemplate::new(200).set_body_json(json!({ "keys": keys })),
    )
    .await;
}

async fn asked(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

fn issuer(server: &MockServer, least: Duration) -> Issuer {
    let url = format!("{}/keys", server.uri()).parse().unwrap();
    Issuer::paced(url, None, Pace { least, usual: NEVER }).unwrap()
}

fn authenticator(issuer: &Issuer) -> Authenticator {
    Authenticator::new(Keys::Issuer(issuer.clone()), &rules(None, None), None)
}

#[tokio::test]
async fn keys_are_fetched_when_a_token_names_one() {
    let server = MockServer::start().await;
    publishes(&server, &[OURS.jwk("a")]).await;
    let authenticator = authenticator(&issuer(&server, NEVER));
    assert!(authenticator.trouble().is_some());
    assert!(identify(&authenticator, &OURS.sign_as("a", &good())).await.is_ok());
    assert_eq!((authenticator.trouble(), asked(&server).await), (None, 1));
    // Another's signature under a known name, and a good one under no known name.
    assert_eq!(
        identify(&authenticator, &THEIRS.sign_as("a", &good())).await.err(),
        Some(AuthError::Invalid)
    );
    assert_eq!(
        identify(&authenticator, &OURS.sign_as("b", &good())).await.err(),
        Some(AuthError::Invalid)
    );
}

#[tokio::test]
async fn rotated_keys_are_found_at_once_and_those_taken_back_are_forgotten() {
    let server = MockServer::start().await;
    publishes(&server, &[OURS.jwk("old")]).await;
    let authenticator = authenticator(&issuer(&server, ALWAYS));
    let (old, new) = (OURS.sign_as("old", &good()), THEIRS.sign_as("new", &good()));
    assert!(identify(&authenticator, &old).await.is_ok());
    assert!(identify(&authenticator, &new).await.is_err());

    publishes(&server, &[OURS.jwk("old"), THEIRS.jwk("new")]).await;
    assert!(identify(&authenticator, &new).await.is_ok());
    assert!(identify(&authenticator, &old).await.is_ok());

    publishes(&server, &[THEIRS.jwk("new")]).await;
    assert!(identify(&authenticator, &OURS.sign_as("other", &good())).await.is_err());
    assert_eq!(
        identify(&authenticator, &old).await.err(),
        Some(AuthError::Invalid),
        "verified before, yet forgotten"
    );
    assert!(identify(&authenticator, &new).await.is_ok());
}

#[tokio::test]
async fn token_without_a_key_id_follows_the_only_key() {
    let server = MockServer::start().await;
    publishes(&server, &[OURS.jwk("a")]).await;
    let authenticator = authenticator(&issuer(&server, ALWAYS));
    assert!(identify(&authenticator, &OURS.sign(&good())).await.is_ok());
    publishes(&server, &[THEIRS.jwk("b")]).await;
    assert!(identify(&authenticator, &THEIRS.sign(&good())).await.is_ok());
    publishes(&server, &[OURS.jwk("a"), THEIRS.jwk("b")]).await;
    assert!(identify(&authenticator, &OURS.sign_as("a", &good())).await.is_ok());
    assert_eq!(
        identify(&authenticator, &OURS.sign(&good())).await.err(),
        Some(AuthError::Invalid)
    );
}

#[tokio::test]
async fn last_set_stays_while_the_issuer_is_away_or_lies() {
    let server = MockServer::start().await;
    publishes(&server, &[OURS.jwk("a")]).await;
    let issuer = issuer(&server, ALWAYS);
    let authenticator = authenticator(&issuer);
    let known = OURS.sign_as("a", &good());
    assert!(identify(&authenticator, &known).await.is_ok());
    for response in [
        ResponseTemplate::new(500),
        ResponseTemplate::new(404),
        ResponseTemplate::new(200).set_body_string("<html>sign in</html>"),
        ResponseTemplate::new(200).set_body_string("{\"keys\":"),
        ResponseTemplate::new(200).set_body_string("x".repeat(MAX_DOCUMENT + 1)),
        ResponseTemplate::new(204),
        ResponseTemplate::new(302).insert_header("location", format!("{}/moved", server.uri())),
    ] {
        answers(&server, response).await;
        let unknown = THEIRS.sign_as("b", &good());
        assert_eq!(identify(&authenticator, &unknown).await.err(), Some(AuthError::NoKeys));
        assert_eq!(asked(&server).await, 1, "once, and no redirect is followed");
        assert!(identify(&authenticator, &known).await.is_ok());
        assert_eq!(authenticator.trouble(), None);
    }
    publishes(&server, &[OURS.jwk("a")]).await;
    let unknown = THEIRS.sign_as("b", &good());
    assert_eq!(identify(&authenticator, &unknown).await.err(), Some(AuthError::Invalid));
}

#[tokio::test]
async fn nothing_is_let_in_before_the_first_set() {
    let server = MockServer::start().await;
    answers(&server, ResponseTemplate::new(503)).await;
    let authenticator = authenticator(&issuer(&server, ALWAYS));
    for token in [OURS.sign_as("a", &good()), OURS.sign(&good())] {
        assert_eq!(identify(&authenticator, &token).await.err(), Some(AuthError::NoKeys));
    }
    assert!(authenticator.trouble().unwrap().contains("never fetched"));
    // What can never be good is refused without asking anybody.
    let before = asked(&server).await;
    assert_eq!(
        identify(&authenticator, "garbage").await.err(),
        Some(AuthError::Invalid)
    );
    assert_eq!(asked(&server).await, before);
}

#[tokio::test]
async fn set_without_a_key_of_use_leaves_the_last_good_one_since_a_slip_must_not_lock_everybody_out() {
    let server = MockServer::start().await;
    publishes(&server, &[OURS.jwk("a")]).await;
    let issuer = issuer(&server, ALWAYS);
    let authenticator = authenticator(&issuer);
    assert!(identify(&authenticator, &OURS.sign_as("a", &good())).await.is_ok());
    for keys in [vec![], vec![json!({ "kty": "EC", "kid": "a" })]] {
        publishes(&server, &keys).await;
        issuer.refresh().await;
        assert!(issuer.known().failing);
        assert!(identify(&authenticator, &OURS.sign_as("a", &good())).await.is_ok());
        assert_eq!(
            identify(&authenticator, &OURS.sign_as("b", &good())).await.err(),
            Some(AuthError::NoKeys)
        );
        assert_eq!(authenticator.trouble(), None);
    }
}

#[tokio::test]
async fn same_set_again_is_no_new_generation_so_verified_tokens_stay_verified() {
    let server = MockServer::start().await;
    let issuer = issuer(&server, ALWAYS);
    let mut generations = Vec::new();
    for keys in [
        vec![OURS.jwk("a"), THEIRS.jwk("b")],
        vec![THEIRS.jwk("b"), OURS.jwk("a")],
        vec![OURS.jwk("a")],
        vec![OURS.jwk("a")],
        vec![THEIRS.jwk("a")],
    ] {
        publishes(&server, &keys).await;
        issuer.refresh().await;
        generations.push(issuer.known().generation);
    }
    assert_eq!(generations, [1, 1, 2, 2, 3]);
}

#[tokio::test]
async fn many_at_once_share_one_fetch_and_soon_after_there_is_no_other() {
    let server = MockServer::start().await;
    let slowly = ResponseTemplate::new(200)
        .set_body_json(json!({ "keys": [OURS.jwk("a")] }))
        .set_delay(Duration::from_millis(200));
    answers(&server, slowly).await;
    let authenticator = authenticator(&issuer(&server, NEVER));
    let token = OURS.sign_as("a", &good());
    let all = futures::future::join_all((0..50).map(|_| identify(&authenticator, &token))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    for number in 0..20 {
        let unknown = OURS.sign_as(&format!("made up {number}"), &good());
        assert_eq!(identify(&authenticator, &unknown).await.err(), Some(AuthError::Invalid));
    }
    assert_eq!(asked(&server).await, 1);
}

#[tokio::test]
async fn fetch_goes_on_when_whoever_asked_for_it_goes_away() {
    let server = MockServer::start().await;
    let slowly = ResponseTemplate::new(200)
        .set_body_json(json!({ "keys": [OURS.jwk("a")] }))
        .set_delay(Duration::from_millis(200));
    answers(&server, slowly).await;
    let issuer = issuer(&server, NEVER);
    let authenticator = authenticator(&issuer);
    let token = OURS.sign_as("a", &good());
    // Polled once, which sends the fetch off, and dropped.
    assert!(futures::poll!(Box::pin(identify(&authenticator, &token))).is_pending());
    issuer.refresh().await;
    assert!(identify(&authenticator, &token).await.is_ok());
    assert_eq!(asked(&server).await, 1);
}

#[tokio::test]
async fn issuer_is_followed_without_any_token() {
    let server = MockServer::start().await;
    publishes(&server, &[OURS.jwk("a")]).await;
    let url = format!("{}/keys", server.uri()).parse().unwrap();
    let pace = Pace {
        least: Duration::from_millis(1),
        usual: Duration::from_millis(1),
    };
    let issuer = Issuer::paced(url, None, pace).unwrap();
    let follower = issuer.clone();
    let following = tokio::spawn(async move { follower.follow().await });
    let pause = async || tokio::time::sleep(Duration::from_millis(5)).await;
    while asked(&server).await < 3 {
        pause().await;
    }
    publishes(&server, &[THEIRS.jwk("b")]).await;
    let knows = |id| {
        let set = issuer.known().set.clone();
        set.is_some_and(|set| set.candidates(Some(id)).next().is_some())
    };
    while !knows("b") {
        pause().await;
    }
    assert!(!knows("a"));
    following.abort();
}
