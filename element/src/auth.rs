//! Who is calling: bearer tokens in, callers and their rights out. Fails closed: whatever is not proven is refused.
//!
//! Knows nothing of requests beyond their headers, and nothing of modes.

mod cache;
mod claims;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod issuer;
mod jwks;
mod jwt;
pub(crate) mod keys;
mod rights;

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, header};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use self::issuer::Issuer;
use self::jwt::Verifier;
use self::keys::Keys;
pub(crate) use self::rights::Rights;
use crate::config::TokenRules;

/// A person or program with a signed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The token's subject.
    pub(crate) subject: String,
    /// The name to show for it.
    pub(crate) username: String,
    /// The full name, where the token has one.
    pub(crate) fullname: Option<String>,
    /// What it may do.
    pub(crate) rights: Rights,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// The bearer of a signed token.
    Caller(Arc<Caller>),
    /// The operator, by the admin token. Good for mode and maintenance only.
    Operator,
}

/// Why a request's sender is not known. Display is safe for the sender.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum AuthError {
    #[error("send a token: Authorization: Bearer TOKEN")]
    Missing,
    #[error("the Authorization header is not a single bearer token")]
    Malformed,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Immature,
    #[error("the token was issued by or for somebody else")]
    Foreign,
    #[error("the token is not valid")]
    Invalid,
    #[error("the keys that tokens are signed with cannot be fetched; try again")]
    NoKeys,
}

/// Turns headers into identities.
pub(crate) struct Authenticator {
    verifier: Verifier,
    admin_token: Option<SecretString>,
}

impl Authenticator {
    pub(crate) fn new(keys: Keys, rules: &TokenRules, admin_token: Option<SecretString>) -> Self {
        Self {
            verifier: Verifier::new(keys, rules),
            admin_token,
        }
    }

    pub(crate) async fn identify(&self, headers: &HeaderMap) -> Result<Identity, AuthError> {
        let token = bearer(headers)?;
        if self.is_admin_token(token) {
            return Ok(Identity::Operator);
        }
        self.verifier.verify(token).await.map(Identity::Caller)
    }

    /// Keeps the keys fresh, for ever; at once done when they are fixed.
    pub(crate) async fn follow_issuer(&self) {
        if let Some(issuer) = self.verifier.issuer() {
            issuer.follow().await;
        }
    }

    /// What keeps every token from being checked, if anything.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        self.verifier.issuer().and_then(Issuer::trouble)
    }

    fn is_admin_token(&self, token: &str) -> bool {
        self.admin_token.as_ref().is_some_and(|expected| {
            verify_slices_are_equal(expected.expose_secret().as_bytes(), token.as_bytes()).is_ok()
        })
    }
}

/// The one bearer token of the headers.
fn bearer(headers: &HeaderMap) -> Result<&str, AuthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthError::Missing)?;
    if values.next().is_some() {
        return Err(AuthError::Malformed);
    }
    let value = value.to_str().map_err(|_| AuthError::Malformed)?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.is_empty() && !scheme.eq_ignore_ascii_case("bearer") {
        // Of another scheme: no token was sent (RFC 6750, section 3.1).
        return Err(AuthError::Missing);
    }
    if scheme.is_empty() || token.is_empty() || token.contains(' ') || token.contains('\t') {
        return Err(AuthError::Malformed);
    }
    Ok(token)
}

#[cfg(test)]
mod tests;
