//! Keys from an issuer: while it is there, slow, lying, away, and while it rotates them.

use serde_json::json;
use wiremock::ResponseTemplate;

use crate::harness::certificates::{Authority, wrap};
use crate::harness::client::{Answer, send};
use crate::harness::issuer::{Issuer, never};
use crate::harness::keys::{KEYS, Keys, claims};
use crate::harness::{Element, Setup, eventually};

/// An element whose tokens' keys are published there.
fn trusting(url: &str) -> Setup {
    let mut setup = Setup::embedded();
    setup.unset("JWT_PUBLIC_KEY_PATH");
    setup.set("JWT_JWKS_URL", url);
    setup
}

/// A request with a token nobody has seen before.
async fn ask(element: &Element, keys: &Keys, key_id: &str) -> Answer {
    let mut claims = claims("user");
    claims["jti"] = json!(uuid::Uuid::new_v4());
    let token = keys.sign_as(key_id, &claims);
    send(element.client.request("GET", "/mode").bearer_auth(token)).await
}

async fn assert_not_ready(element: &Element) {
    let ready = send(element.client.request("GET", "/health/ready"))
        .await
        .expect(503)
        .json();
    assert_eq!(ready["checks"]["keys"]["status"], "failing", "{ready}");
    send(element.client.request("GET", "/health/live")).await.expect(200);
}

#[tokio::test]
async fn element_starts_without_its_issuer_and_lets_nobody_in_until_the_keys_come() {
    let issuer = Issuer::start(&[KEYS.jwk("a")]).await;
    issuer.wire.cut();
    let setup = trusting(&issuer.url());
    let element = setup.start_unready(&["serve"]).await;
    element.stderr.wait_for("failed to fetch the issuer's keys").await;
    assert_not_ready(&element).await;
    let refused = ask(&element, &KEYS, "a").await;
    assert!(
        refused.expect_problem(503, "UNAVAILABLE")["detail"]
            .as_str()
            .unwrap()
            .contains("keys")
    );
    let garbage = element.client.request("GET", "/files").bearer_auth("garbage");
    send(garbage).await.expect_problem(401, "UNAUTHORIZED");
    send(element.client.request("GET", "/files"))
        .await
        .expect_problem(401, "UNAUTHORIZED");

    issuer.wire.mend();
    element.wait_ready().await;
    ask(&element, &KEYS, "a").await.expect(200);
    ask(&element, &KEYS, "b").await.expect_problem(401, "UNAUTHORIZED");
    assert_eq!(
        element.stderr.count("failed to fetch the issuer's keys"),
        1,
        "{}",
        element.stderr.text()
    );
    element.stop().await;
}

#[tokio::test]
async fn keys_are_rotated_without_a_restart_and_stay_while_the_issuer_is_away() {
    let issuer = Issuer::start(&[KEYS.jwk("a")]).await;
    let element = trusting(&issuer.url()).start().await;
    ask(&element, &KEYS, "a").await.expect(200);

    let next = Keys::new();
    issuer.publish(&[KEYS.jwk("a"), next.jwk("b")]).await;
    let mut asked = 0;
    eventually("the new key is known", async || {
        asked += 1;
        ask(&element, &next, "b").await.status == 200
    })
    .await;
    // However often they came, one fetch each ten seconds; this took fewer than ten minutes.
    assert!(issuer.asked().await <= 60, "{asked} requests");
    ask(&element, &KEYS, "a").await.expect(200);

    issuer.wire.cut();
    eventually("that the issuer is away is known", async || {
        ask(&element, &next, "c").await.status == 503
    })
    .await;
    for _ in 0..3 {
        ask(&element, &KEYS, "a").await.expect(200);
        ask(&element, &next, "b").await.expect(200);
    }
    let ready = send(element.client.request("GET", "/health/ready")).await.json();
    assert_eq!(ready["checks"]["keys"]["status"], "ok", "{ready}");
    element.stop().await;
}

#[tokio::test]
async fn issuer_that_dawdles_or_lies_lets_nobody_in() {
    for answer in [
        never(),
        ResponseTemplate::new(500),
        ResponseTemplate::new(200).set_body_string("<html>sign in</html>"),
        ResponseTemplate::new(200).set_body_bytes(vec![b' '; 64 << 20]),
        ResponseTemplate::new(200).set_body_json(json!({ "keys": [{ "kty": "EC", "kid": "a" }] })),
    ] {
        let issuer = Issuer::start(&[]).await;
        issuer.answer(answer).await;
        let element = trusting(&issuer.url()).start_unready(&["serve"]).await;
        let status = ask(&element, &KEYS, "a").await.status;
        assert!(matches!(status, 401 | 503), "{status}");
        assert_not_ready(&element).await;
        element.stop().await;
    }
}

#[tokio::test]
async fn issuer_is_believed_only_behind_a_trusted_certificate() {
    let issuer = Issuer::start(&[KEYS.jwk("a")]).await;
    let authority = Authority::new();
    let certificate = authority.certify(&["localhost", "127.0.0.1"]);
    let address = wrap(issuer.address(), &certificate).await;
    let foreign = wrap(issuer.address(), &authority.certify(&["issuer.example.org"])).await;
    for (address, trusted, good) in [
        (address, &authority, true),
        (address, &Authority::new(), false),
        (foreign, &authority, false),
    ] {
        let mut setup = trusting(&format!("https://{address}/keys"));
        let ca = setup.file("ca.pem", &trusted.pem());
        setup.set("JWT_JWKS_CA_CERT", ca.to_str().unwrap());
        let element = setup.start_unready(&["serve"]).await;
        if good {
            element.wait_ready().await;
            ask(&element, &KEYS, "a").await.expect(200);
        } else {
            element.stderr.wait_for("failed to fetch the issuer's keys").await;
            assert_not_ready(&element).await;
            ask(&element, &KEYS, "a").await.expect_problem(503, "UNAVAILABLE");
        }
        element.stop().await;
    }
}
