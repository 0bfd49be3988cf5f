//! Tokens as attackers make them up, and whatever else is no token.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::executor::block_on;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{OURS, Pair, THEIRS, authenticator, good, identify, rules, with};
use crate::auth::{AuthError, Authenticator, bearer};

fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

/// A token somebody made up, by the way they did it.
fn forged() -> Vec<(&'static str, String)> {
    let hs256 = |secret: &[u8]| {
        encode(
            &Header::new(Algorithm::HS256),
            &good(),
            &EncodingKey::from_secret(secret),
        )
        .unwrap()
    };
    let mut crit = Header::new(Algorithm::RS256);
    crit.crit = Some(vec!["exp".to_owned()]);
    let mut forged = OURS.sign(&good());
    let admin = URL_SAFE_NO_PAD.encode(with(json!({ "role": "admin" })).to_string());
    let parts: Vec<&str> = forged.split('.').collect();
    forged = format!("{}.{admin}.{}", parts[0], parts[2]);
    vec![
        ("alg none", unsigned(&json!({ "alg": "none" }), &good(), "")),
        (
            "alg None",
            unsigned(&json!({ "alg": "None", "typ": "JWT" }), &good(), "x"),
        ),
        ("HS256 by our PEM", hs256(OURS.public_pem.as_bytes())),
        ("HS256 by an empty secret", hs256(b"")),
        (
            "RS384",
            encode(&Header::new(Algorithm::RS384), &good(), &OURS.signing).unwrap(),
        ),
        (
            "PS256",
            encode(&Header::new(Algorithm::PS256), &good(), &OURS.signing).unwrap(),
        ),
        ("other key", THEIRS.sign(&good())),
        ("swapped claims", forged),
        ("critical extension", encode(&crit, &good(), &OURS.signing).unwrap()),
        ("garbage", "garbage".to_owned()),
        ("dots", "..".to_owned()),
        ("many dots", "a.b.c.d".to_owned()),
        ("oversize", OURS.sign(&with(json!({ "padding": "x".repeat(20_000) })))),
        (
            "their own key in the header",
            THEIRS.sign_with(headed(&THEIRS), &good()),
        ),
        ("a logout token", OURS.sign_with(typed("logout+jwt"), &good())),
        (
            "two algorithms",
            unsigned_text("{\"alg\":\"RS256\",\"alg\":\"none\"}", &good()),
        ),
    ]
}

/// A header that brings a key along, in every way there is.
fn headed(pair: &Pair) -> Header {
    let mut header = Header::new(Algorithm::RS256);
    header.jwk = Some(Jwk::from_encoding_key(&pair.signing, Algorithm::RS256).unwrap());
    header.jku = Some("http://127.0.0.1:1/jwks.json".to_owned());
    header.x5u = Some("http://127.0.0.1:1/chain.pem".to_owned());
    header.x5c = Some(vec!["AAAA".to_owned()]);
    header.kid = Some("../../../dev/null".to_owned());
    header
}

fn typed(kind: &str) -> Header {
    let mut header = Header::new(Algorithm::RS256);
    header.typ = Some(kind.to_owned());
    header
}

fn unsigned_text(header: &str, claims: &Value) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.AAAA", encode(header), encode(&claims.to_string()))
}

/// A token of ours whose claims are not right, and what is said of it.
fn wrong_claims() -> Vec<(&'static str, Value, AuthError)> {
    let now = get_current_timestamp();
    vec![
        ("expired", with(json!({ "exp": now - 60 })), AuthError::Expired),
        ("not yet", with(json!({ "nbf": now + 600 })), AuthError::Immature),
        ("no exp", with(json!({ "exp": null })), AuthError::Invalid),
        ("exp as text", with(json!({ "exp": "never" })), AuthError::Invalid),
        ("negative exp", with(json!({ "exp": -1 })), AuthError::Invalid),
        (
            "exp in milliseconds",
            with(json!({ "exp": (now + 600) * 1000 })),
            AuthError::Invalid,
        ),
        (
            "exp as large as can be",
            with(json!({ "exp": u64::MAX })),
            AuthError::Invalid,
        ),
        ("exp without end", with(json!({ "exp": 1e300 })), AuthError::Invalid),
        ("nbf as text", with(json!({ "nbf": "now" })), AuthError::Invalid),
        ("no iat", with(json!({ "iat": null })), AuthError::Invalid),
        ("no sub", with(json!({ "sub": null })), AuthError::Invalid),
        ("empty sub", with(json!({ "sub": "" })), AuthError::Invalid),
        ("sub as number", with(json!({ "sub": 7 })), AuthError::Invalid),
    ]
}

#[tokio::test]
async fn attacks_are_refused() {
    let authenticator = authenticator(&rules(None, None));
    for (attack, token) in forged() {
        assert_eq!(
            identify(&authenticator, &token).await.err(),
            Some(AuthError::Invalid),
            "{attack}"
        );
    }
    for (attack, claims, reason) in wrong_claims() {
        assert_eq!(
            identify(&authenticator, &OURS.sign(&claims)).await.err(),
            Some(reason),
            "{attack}"
        );
    }
}

#[tokio::test]
async fn keys_in_the_header_are_not_looked_at_and_named_kinds_are_taken() {
    let authenticator = authenticator(&rules(None, None));
    let bare = Header {
        typ: None,
        ..Header::new(Algorithm::RS256)
    };
    for header in [
        headed(&THEIRS),
        typed("at+jwt"),
        typed("application/at+JWT"),
        typed("jwt"),
        bare,
    ] {
        assert!(
            identify(&authenticator, &OURS.sign_with(header.clone(), &good()))
                .await
                .is_ok(),
            "{header:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn header_holds_one_bearer_token_or_is_refused(value in "[ -~\\t]{0,60}") {
        let Ok(value) = HeaderValue::from_str(&value) else { return Ok(()) };
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.clone())]);
        if let Ok(token) = bearer(&headers) {
            prop_assert!(!token.is_empty() && !token.contains(char::is_whitespace));
            let written = value.to_str().unwrap();
            let (scheme, rest) = written.split_once(' ').unwrap();
            prop_assert!(scheme.eq_ignore_ascii_case("bearer") && rest == token);
        }
    }

    #[test]
    fn token_changed_in_one_place_is_no_token(place in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_.=-]") {
        static TOKEN: LazyLock<String> = LazyLock::new(|| OURS.sign(&good()));
        static AUTHENTICATOR: LazyLock<Authenticator> = LazyLock::new(|| authenticator(&rules(None, None)));
        let mut changed = TOKEN.clone();
        let place = place.index(changed.len());
        changed.replace_range(place..=place, &letter);
        let answer = block_on(identify(&AUTHENTICATOR, &changed));
        prop_assert_eq!(answer.is_ok(), changed == *TOKEN);
    }

    #[test]
    fn claims_of_any_kind_are_read_or_refused_without_a_panic(claim in "exp|iat|sub|role|roles|scope|name|nbf", value in any_json()) {
        static AUTHENTICATOR: LazyLock<Authenticator> = LazyLock::new(|| authenticator(&rules(None, None)));
        let mut claims = good();
        claims[&claim] = value;
        let _ = block_on(identify(&AUTHENTICATOR, &OURS.sign(&claims)));
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,5}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}
