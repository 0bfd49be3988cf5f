//! Bytes from outside into the parsers of keys and tokens, for fuzzing.

use axum::http::{HeaderMap, HeaderValue, header};

use super::bearer;
use super::claims::Claims;
use super::jwks::KeySet;
use super::jwt::header as token_header;
use super::keys::public_keys;

/// A document an issuer publishes.
pub fn key_set(bytes: &[u8]) {
    if let Ok(set) = KeySet::read(bytes) {
        assert!(set.len() > 0 && set.equals(&set));
        let _alone = set.candidates(None).count();
    }
}

/// A file of public keys.
pub fn key_file(bytes: &[u8]) {
    if let Ok(keys) = public_keys(bytes) {
        assert!(!keys.is_empty());
    }
}

/// What a token says, signature aside.
pub fn claims(bytes: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<Claims>(bytes) else {
        return;
    };
    assert!(claims.expiry().is_none_or(|second| second <= 253_402_300_799));
    if let Some(caller) = claims.caller() {
        assert!(!caller.subject.is_empty() && !caller.username.is_empty());
    }
}

/// The Authorization header, and the head of the token in it.
pub fn token(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
    if let Ok(token) = bearer(&headers) {
        assert!(!token.is_empty() && !token.contains(char::is_whitespace));
        let _either = token_header(token);
    }
}
