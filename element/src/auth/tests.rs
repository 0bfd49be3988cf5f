//! Tokens as friends send them, and the keys they are signed with.

mod attacks;

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use axum::http::{HeaderMap, HeaderValue, header};
use element_api::Operation;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::keys::{Keys, public_keys};
use super::{AuthError, Authenticator, Identity, Rights};
use crate::config::TokenRules;

pub(super) struct Pair {
    signing: EncodingKey,
    public_pem: String,
    public_pkcs1: String,
}

impl Pair {
    pub(super) fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let private = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let private = pem::encode(&pem::Pem::new("PRIVATE KEY", private.as_ref()));
        let public = pair.public_key().as_der().unwrap();
        Self {
            signing: EncodingKey::from_rsa_pem(private.as_bytes()).unwrap(),
            public_pem: pem::encode(&pem::Pem::new("PUBLIC KEY", public.as_ref())),
            public_pkcs1: pem::encode(&pem::Pem::new("RSA PUBLIC KEY", pair.public_key().as_ref())),
        }
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_with(Header::new(Algorithm::RS256), claims)
    }

    pub(super) fn sign_as(&self, key_id: &str, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(key_id.to_owned());
        self.sign_with(header, claims)
    }

    fn sign_with(&self, header: Header, claims: &Value) -> String {
        encode(&header, claims, &self.signing).unwrap()
    }

    /// The public half as a JSON Web Key.
    pub(super) fn jwk(&self, key_id: &str) -> Value {
        let mut key = Jwk::from_encoding_key(&self.signing, Algorithm::RS256).unwrap();
        key.common.key_id = Some(key_id.to_owned());
        key.common.public_key_use = Some(PublicKeyUse::Signature);
        serde_json::to_value(key).unwrap()
    }
}

pub(super) static OURS: LazyLock<Pair> = LazyLock::new(Pair::new);
pub(super) static THEIRS: LazyLock<Pair> = LazyLock::new(Pair::new);

pub(super) fn rules(issuer: Option<&str>, audience: Option<&str>) -> TokenRules {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    TokenRules {
        issuer: owned(issuer),
        audience: owned(audience),
        leeway: Duration::from_secs(5),
    }
}

fn fixed(pem: &str) -> Keys {
    Keys::Fixed(public_keys(pem.as_bytes()).unwrap())
}

fn authenticator(rules: &TokenRules) -> Authenticator {
    Authenticator::new(fixed(&OURS.public_pem), rules, None)
}

pub(super) fn good() -> Value {
    let now = get_current_timestamp();
    json!({ "sub": "alice", "role": "user", "iat": now, "exp": now + 600 })
}

fn with(changes: Value) -> Value {
    let mut claims = good();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn headers(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
}

pub(super) async fn identify(authenticator: &Authenticator, token: &str) -> Result<Rights, AuthError> {
    match authenticator.identify(&headers(&format!("Bearer {token}"))).await? {
        Identity::Caller(caller) => Ok(caller.rights),
        Identity::Operator => panic!("no admin token was given"),
    }
}

#[tokio::test]
async fn good_token_names_its_bearer() {
    let authenticator = authenticator(&rules(None, None));
    let token = OURS.sign(&with(json!({ "preferred_username": "al", "name": "Alice A." })));
    for _ in 0..2 {
        let Identity::Caller(caller) = authenticator
            .identify(&headers(&format!("bearer {token}")))
            .await
            .unwrap()
        else {
            panic!("a caller's token");
        };
        assert_eq!((caller.subject.as_str(), caller.username.as_str()), ("alice", "al"));
        assert_eq!(caller.fullname.as_deref(), Some("Alice A."));
    }
}

#[tokio::test]
async fn username_falls_back_to_the_subject() {
    let authenticator = authenticator(&rules(None, None));
    for (claims, username) in [
        (json!({}), "alice"),
        (json!({ "username": "bob" }), "bob"),
        (json!({ "username": "bob", "preferred_username": "carol" }), "carol"),
        (json!({ "username": " ", "preferred_username": "" }), "alice"),
    ] {
        let token = OURS.sign(&with(claims));
        let Identity::Caller(caller) = authenticator
            .identify(&headers(&format!("Bearer {token}")))
            .await
            .unwrap()
        else {
            panic!("a caller's token");
        };
        assert_eq!(caller.username, username);
    }
}

#[tokio::test]
async fn issuer_and_audience_are_checked_when_set() {
    let strict = authenticator(&rules(Some("issuer"), Some("artstore")));
    let good = json!({ "iss": "issuer", "aud": ["other", "artstore"] });
    assert!(identify(&strict, &OURS.sign(&with(good))).await.is_ok());
    for (claims, reason) in [
        (json!({ "iss": "other", "aud": "artstore" }), AuthError::Foreign),
        (json!({ "iss": "issuer", "aud": "other" }), AuthError::Foreign),
        (json!({ "aud": "artstore" }), AuthError::Invalid),
        (json!({ "iss": "issuer" }), AuthError::Invalid),
        (json!({ "iss": "issuer", "aud": [] }), AuthError::Foreign),
        (
            json!({ "iss": "issuer", "aud": ["Artstore", "artstore "] }),
            AuthError::Foreign,
        ),
        (json!({ "iss": "issuer", "aud": 7 }), AuthError::Invalid),
        (json!({ "iss": "issuer/", "aud": "artstore" }), AuthError::Foreign),
    ] {
        assert_eq!(
            identify(&strict, &OURS.sign(&with(claims.clone()))).await.err(),
            Some(reason),
            "{claims}"
        );
    }
    let loose = authenticator(&rules(None, None));
    assert!(
        identify(
            &loose,
            &OURS.sign(&with(json!({ "iss": "anybody", "aud": "anything" })))
        )
        .await
        .is_ok()
    );
}

/// Claims, the operations they give, and whether they make an admin.
fn grants() -> Vec<(Value, &'static [Operation], bool)> {
    use Operation::{Create, Delete, Read, Search, Update};
    vec![
        (json!({ "role": "user" }), &[Create, Read, Update, Search], false),
        (
            json!({ "role": "operator" }),
            &[Create, Read, Update, Delete, Search],
            false,
        ),
        (
            json!({ "role": "admin" }),
            &[Create, Read, Update, Delete, Search],
            true,
        ),
        (json!({ "role": "root" }), &[], false),
        (
            json!({ "role": "root", "roles": ["admin"], "scope": "files:read" }),
            &[],
            false,
        ),
        (json!({ "role": ["admin"] }), &[], false),
        (json!({ "role": null }), &[], false),
        (
            json!({ "role": null, "roles": ["other", "operator"] }),
            &[Create, Read, Update, Delete, Search],
            false,
        ),
        (
            json!({ "role": null, "roles": "admin" }),
            &[Create, Read, Update, Delete, Search],
            true,
        ),
        (json!({ "role": null, "roles": [] }), &[], false),
        (json!({ "role": null, "roles": {"admin": true} }), &[], false),
        (
            json!({ "role": null, "scope": "openid files:read" }),
            &[Read, Search],
            false,
        ),
        (
            json!({ "role": null, "scopes": ["files:read", "files:write"] }),
            &[Create, Read, Update, Search],
            false,
        ),
        (
            json!({ "role": null, "scp": "storage:write" }),
            &[Create, Read, Update, Delete, Search],
            false,
        ),
        (json!({ "role": null, "scope": "admin" }), &[], false),
    ]
}

#[tokio::test]
async fn roles_and_scopes_give_exactly_their_rights() {
    use Operation::{Create, Delete, Read, Search, Update};
    let authenticator = authenticator(&rules(None, None));
    for (claims, operations, admin) in grants() {
        let rights = identify(&authenticator, &OURS.sign(&with(claims.clone())))
            .await
            .unwrap();
        for operation in [Create, Read, Update, Delete, Search] {
            assert_eq!(
                rights.may(operation),
                operations.contains(&operation),
                "{claims} {operation}"
            );
        }
        assert_eq!(rights.is_admin(), admin, "{claims}");
        assert_eq!(rights.are_none(), operations.is_empty(), "{claims}");
    }
}

#[tokio::test]
async fn any_of_several_keys_is_good_in_both_encodings() {
    for file in [
        format!("{}\n{}", THEIRS.public_pem, OURS.public_pem),
        format!("# rotated\n{}{}", OURS.public_pkcs1, THEIRS.public_pkcs1),
    ] {
        let authenticator = Authenticator::new(fixed(&file), &rules(None, None), None);
        assert!(identify(&authenticator, &OURS.sign(&good())).await.is_ok());
        assert!(identify(&authenticator, &THEIRS.sign(&good())).await.is_ok());
    }
}

#[test]
fn file_with_any_bad_key_is_refused() {
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    for file in [
        "",
        "no key",
        certificate,
        broken,
        &format!("{}{broken}", OURS.public_pem),
    ] {
        assert!(public_keys(file.as_bytes()).is_err(), "{file}");
    }
}

#[tokio::test]
async fn admin_token_is_the_operator_and_nothing_near_it_is() {
    let token = "0123456789abcdef0123456789abcdef";
    let keys = fixed(&OURS.public_pem);
    let authenticator = Authenticator::new(keys, &rules(None, None), Some(SecretString::from(token)));
    assert!(matches!(
        authenticator.identify(&headers(&format!("Bearer {token}"))).await,
        Ok(Identity::Operator)
    ));
    for near in [
        "0123456789abcdef0123456789abcdeF",
        "0123456789abcdef0123456789abcde",
        "0123456789abcdef0123456789abcdef0",
    ] {
        assert!(
            authenticator
                .identify(&headers(&format!("Bearer {near}")))
                .await
                .is_err(),
            "{near}"
        );
    }
}

#[tokio::test]
async fn headers_that_are_no_single_bearer_token_are_refused() {
    let authenticator = authenticator(&rules(None, None));
    assert_eq!(
        authenticator.identify(&HeaderMap::new()).await.err(),
        Some(AuthError::Missing)
    );
    let token = OURS.sign(&good());
    for (value, reason) in [
        ("", AuthError::Malformed),
        (" ", AuthError::Malformed),
        ("Bearer", AuthError::Malformed),
        ("Bearer ", AuthError::Malformed),
        (&format!(" {token}"), AuthError::Malformed),
        (&format!("Bearer {token} x"), AuthError::Malformed),
        (&token, AuthError::Missing),
        (&format!("Basic {token}"), AuthError::Missing),
        ("Negotiate", AuthError::Missing),
    ] {
        assert_eq!(
            authenticator.identify(&headers(value)).await.err(),
            Some(reason),
            "{value:?}"
        );
    }
    let mut twice = headers(&format!("Bearer {token}"));
    twice.append(
        header::AUTHORIZATION,
        HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
    );
    assert_eq!(authenticator.identify(&twice).await.err(), Some(AuthError::Malformed));
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway_and_no_more() {
    let now = get_current_timestamp();
    for (leeway, late, good) in [(5, 2, true), (60, 30, true), (60, 120, false), (0, 30, false)] {
        let rules = TokenRules {
            leeway: Duration::from_secs(leeway),
            ..rules(None, None)
        };
        let authenticator = authenticator(&rules);
        for claims in [with(json!({ "exp": now - late })), with(json!({ "nbf": now + late }))] {
            let known = identify(&authenticator, &OURS.sign(&claims)).await;
            assert_eq!(known.is_ok(), good, "{leeway} {claims}");
        }
    }
}

#[tokio::test]
async fn token_is_verified_once() {
    let (authenticator, token) = (authenticator(&rules(None, None)), OURS.sign(&good()));
    let caller = async || match authenticator.identify(&headers(&format!("Bearer {token}"))).await {
        Ok(Identity::Caller(caller)) => caller,
        _ => panic!("the token is good"),
    };
    assert!(std::sync::Arc::ptr_eq(&caller().await, &caller().await));
}
