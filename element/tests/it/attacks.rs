//! Attacks on tokens (RFC 8725), each on every call that asks for one, with keys from a file and from an issuer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::client::send;
use crate::harness::issuer::Issuer;
use crate::harness::keys::{KEYS, Keys, claims};
use crate::harness::{Element, Setup};

/// The id the issuer's key has.
const KEY_ID: &str = "key-1";

/// An admin's claims for this issuer and audience, with changes; null leaves a claim out.
fn with(changes: Value) -> Value {
    let mut claims = claims("admin");
    claims["iss"] = json!("issuer");
    claims["aud"] = json!("artstore");
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn good() -> Value {
    with(json!({}))
}

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A header as text, our claims, and a signature that is none.
fn made_up(header: &str, signature: &str) -> String {
    format!("{}.{}.{signature}", part(header), part(&good().to_string()))
}

fn header(change: impl FnOnce(&mut Header)) -> Header {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(KEY_ID.to_owned());
    change(&mut header);
    header
}

/// Signed by a secret that everybody knows.
fn by_secret(secret: &[u8]) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(KEY_ID.to_owned());
    encode(&header, &good(), &EncodingKey::from_secret(secret)).unwrap()
}

/// Wrong algorithms.
fn algorithms() -> Vec<(&'static str, String)> {
    let other = |algorithm| KEYS.sign_with(&header(|header| header.alg = algorithm), &good());
    vec![
        ("alg none", made_up(r#"{"alg":"none"}"#, "")),
        ("alg None", made_up(r#"{"alg":"None","typ":"JWT"}"#, "")),
        ("alg nOnE with a signature", made_up(r#"{"alg":"nOnE"}"#, "AAAA")),
        ("no alg", made_up(r#"{"typ":"JWT"}"#, "AAAA")),
        ("alg twice", made_up(r#"{"alg":"RS256","alg":"none"}"#, "AAAA")),
        ("alg unknown", made_up(r#"{"alg":"RS257"}"#, "AAAA")),
        ("HS256 by the public key", by_secret(KEYS.public_pem.as_bytes())),
        (
            "HS256 by the public key's JWK",
            by_secret(KEYS.jwk(KEY_ID).to_string().as_bytes()),
        ),
        ("HS256 by nothing", by_secret(b"")),
        ("RS384", other(Algorithm::RS384)),
        ("RS512", other(Algorithm::RS512)),
        ("PS256", other(Algorithm::PS256)),
    ]
}

/// Keys of the attacker's.
fn keys(evil: &str) -> Vec<(&'static str, String)> {
    let theirs = Keys::new();
    let forged = |change: &dyn Fn(&mut Header)| theirs.sign_with(&header(|header| change(header)), &good());
    vec![
        ("another key", forged(&|_| {})),
        ("another key without an id", forged(&|header| header.kid = None)),
        (
            "key id of a path",
            forged(&|header| header.kid = Some("../../../../dev/null".to_owned())),
        ),
        (
            "key id of a statement",
            forged(&|header| header.kid = Some("x' UNION SELECT 'key' --".to_owned())),
        ),
        (
            "key id of a command",
            forged(&|header| header.kid = Some("$(id)|key".to_owned())),
        ),
        ("key id of nothing", forged(&|header| header.kid = Some(String::new()))),
        (
            "key id without end",
            forged(&|header| header.kid = Some("k".repeat(8000))),
        ),
        ("key id as number", made_up(r#"{"alg":"RS256","kid":7}"#, "AAAA")),
        ("embedded key", forged(&|header| header.jwk = Some(theirs.public()))),
        (
            "address of keys",
            forged(&|header| header.jku = Some(format!("{evil}/jwks.json"))),
        ),
        (
            "address of a chain",
            forged(&|header| header.x5u = Some(format!("{evil}/chain.pem"))),
        ),
        (
            "embedded chain",
            forged(&|header| header.x5c = Some(vec!["MIIB".to_owned()])),
        ),
    ]
}

/// Signed by the right key, yet not for this.
fn statements() -> Vec<(&'static str, String)> {
    let now = get_current_timestamp();
    let claimed = |changes| KEYS.sign_as(KEY_ID, &with(changes));
    let headed = |change: &dyn Fn(&mut Header)| KEYS.sign_with(&header(|header| change(header)), &good());
    vec![
        ("expired", claimed(json!({ "exp": now - 60 }))),
        ("expired long ago", claimed(json!({ "exp": 0 }))),
        ("no exp", claimed(json!({ "exp": null }))),
        ("exp as text", claimed(json!({ "exp": (now + 600).to_string() }))),
        ("exp before time began", claimed(json!({ "exp": -1 }))),
        ("exp in milliseconds", claimed(json!({ "exp": (now + 600) * 1000 }))),
        ("exp beyond all numbers", claimed(json!({ "exp": u64::MAX }))),
        ("exp as a huge fraction", claimed(json!({ "exp": 1e308 }))),
        ("no iat", claimed(json!({ "iat": null }))),
        ("iat as text", claimed(json!({ "iat": "now" }))),
        ("no sub", claimed(json!({ "sub": null }))),
        ("empty sub", claimed(json!({ "sub": "" }))),
        ("sub as list", claimed(json!({ "sub": ["admin"] }))),
        ("not yet", claimed(json!({ "nbf": now + 600 }))),
        ("nbf as text", claimed(json!({ "nbf": "0" }))),
        ("wrong issuer", claimed(json!({ "iss": "other" }))),
        (
            "issuer that begins alike",
            claimed(json!({ "iss": "issuer.evil.example" })),
        ),
        ("no issuer", claimed(json!({ "iss": null }))),
        ("wrong audience", claimed(json!({ "aud": "other" }))),
        (
            "wrong audiences",
            claimed(json!({ "aud": ["other", "artstore-2", "ARTSTORE"] })),
        ),
        ("no audience", claimed(json!({ "aud": null }))),
        ("empty audience", claimed(json!({ "aud": [] }))),
        (
            "audience of another kind",
            claimed(json!({ "aud": { "artstore": true } })),
        ),
        (
            "critical extension",
            headed(&|header| header.crit = Some(vec!["b64".to_owned()])),
        ),
        (
            "critical claim",
            headed(&|header| header.crit = Some(vec!["exp".to_owned()])),
        ),
        ("nothing critical", headed(&|header| header.crit = Some(Vec::new()))),
        (
            "another kind of token",
            headed(&|header| header.typ = Some("logout+jwt".to_owned())),
        ),
    ]
}

/// No token at all, or one that was tampered with.
fn pieces() -> Vec<(&'static str, String)> {
    let good = KEYS.sign_as(KEY_ID, &good());
    let parts: Vec<&str> = good.split('.').collect();
    let more = part(&with(json!({ "sub": "root" })).to_string());
    let oversize = KEYS.sign_as(KEY_ID, &with(json!({ "padding": "x".repeat(30_000) })));
    vec![
        ("cut at the end", good[..good.len() - 10].to_owned()),
        ("cut to its half", good[..good.len() / 2].to_owned()),
        ("without a signature", format!("{}.{}.", parts[0], parts[1])),
        ("without the dots", format!("{}.{}", parts[0], parts[1])),
        ("other claims", format!("{}.{more}.{}", parts[0], parts[2])),
        ("one part more", format!("{good}.AAAA")),
        ("padded", format!("{good}=")),
        ("signature twice", format!("{good}{}", parts[2])),
        ("letters of another alphabet", good.replace(['-', '_', '.'], "+")),
        ("oversize", oversize),
        ("garbage", "garbage".to_owned()),
        ("dots", "..".to_owned()),
        ("braces", "{}.{}.{}".to_owned()),
    ]
}

/// Every call that asks for a token: all of the API's own description but those it calls open.
async fn calls(element: &Element, id: &str) -> Vec<(String, String)> {
    let description = send(element.client.request("GET", "/openapi.json"))
        .await
        .expect(200)
        .json();
    let mut calls = Vec::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if operation["security"] != json!([{}]) {
                let path = path.replace("{id}", id).replace("{kind}", "gc");
                calls.push((method.to_uppercase(), path));
            }
        }
    }
    assert!(
        calls.len() >= 18 && calls.iter().all(|(_, path)| !path.contains('{')),
        "{calls:?}"
    );
    calls
}

async fn assert_refused(element: &Element, calls: &[(String, String)], attack: &str, token: &str) {
    for (method, path) in calls {
        let request = element.client.request(method, path);
        let answer = send(request.bearer_auth(token)).await;
        let what = format!("{attack}: {method} {path}");
        if method == "HEAD" {
            assert_eq!(answer.status, 401, "{what}");
        } else {
            println!("{what}");
            answer.expect_problem(401, "UNAUTHORIZED");
        }
        assert!(
            answer.header("www-authenticate").unwrap().contains("invalid_token"),
            "{what}"
        );
    }
}

#[tokio::test]
async fn attacks_are_refused_by_every_call() {
    let evil = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "keys": [] })))
        .mount(&evil)
        .await;
    let issuer = Issuer::start(&[KEYS.jwk(KEY_ID)]).await;
    let mut by_issuer = Setup::embedded();
    by_issuer.unset("JWT_PUBLIC_KEY_PATH");
    by_issuer.set("JWT_JWKS_URL", &issuer.url());
    for mut setup in [Setup::embedded(), by_issuer] {
        setup.set("JWT_ISSUER", "issuer");
        setup.set("JWT_AUDIENCE", "artstore");
        let element = setup.start().await;
        let token = KEYS.sign_as(KEY_ID, &with(json!({ "aud": ["other", "artstore"] })));
        let upload = element
            .client
            .request("POST", "/files/upload")
            .multipart(crate::harness::client::form("a.txt", b"abc", &[]));
        let file = send(upload.bearer_auth(&token)).await.expect(201).json();
        let id = file["file_id"].as_str().unwrap();
        let groups = [algorithms(), keys(&evil.uri()), statements(), pieces()];
        let calls = calls(&element, id).await;
        for (attack, forged) in groups.into_iter().flatten() {
            assert_refused(&element, &calls, attack, &forged).await;
        }
        let read = element.client.request("GET", &format!("/files/{id}"));
        assert_eq!(send(read.bearer_auth(&token)).await.expect(200).body, b"abc");
        let log = element.stderr.text();
        assert!(
            !log.contains("eyJ") && !log.contains(&token),
            "no token in the log:\n{log}"
        );
        element.stop().await;
    }
    assert_eq!(
        evil.received_requests().await.unwrap().len(),
        0,
        "nobody looks where a token says"
    );
}

#[tokio::test]
async fn whatever_is_no_single_bearer_token_is_refused_by_every_call() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    let good = KEYS.token("admin");
    let calls = calls(&element, &uuid::Uuid::nil().to_string()).await;
    // Who sent no token, or something that is none of ours, is told what to send; who sent one wrongly, that it was wrong.
    let (asks, blames) = (
        "Bearer realm=\"artstore\"",
        "Bearer realm=\"artstore\", error=\"invalid_request\"",
    );
    for (values, challenge) in [
        (vec![], asks),
        (vec![String::new()], blames),
        (vec!["Bearer".to_owned()], blames),
        (vec!["Basic YWxpY2U6eA==".to_owned()], asks),
        (vec!["Digest username=\"alice\", realm=\"x\"".to_owned()], asks),
        (vec![good.clone()], asks),
        (vec![format!("Bearer {good} {good}")], blames),
        (vec![format!("Bearer {good}, Bearer {good}")], blames),
        (vec![format!("Bearer {good}"), format!("Bearer {good}")], blames),
    ] {
        for (method, path) in &calls {
            let request = element.client.request(method, path);
            let request = values
                .iter()
                .fold(request, |request, value| request.header("authorization", value));
            let answer = send(request).await;
            assert_eq!(answer.status, 401, "{values:?} {method} {path}");
            assert_eq!(
                answer.header("www-authenticate"),
                Some(challenge),
                "{values:?} {method} {path}"
            );
        }
    }
    // A token is good in its own header only.
    for request in [
        element.client.request("GET", &format!("/files?access_token={good}")),
        element
            .client
            .request("GET", "/files")
            .header("cookie", format!("token={good}")),
        element
            .client
            .request("GET", "/files")
            .header("x-authorization", format!("Bearer {good}")),
    ] {
        assert_eq!(send(request).await.status, 401);
    }
}
