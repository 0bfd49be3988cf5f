//! Tokens: RS256 only, signed by one of the known keys, with every claim the contract asks for.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header, get_current_timestamp};

use super::cache::VerifiedTokens;
use super::claims::Claims;
use super::keys::PublicKey;
use super::{AuthError, Caller};
use crate::config::TokenRules;

/// Verifies tokens and remembers those that were good.
pub(super) struct Verifier {
    keys: Vec<PublicKey>,
    validation: Validation,
    verified: VerifiedTokens,
}

impl Verifier {
    pub(super) fn new(keys: Vec<PublicKey>, rules: &TokenRules) -> Self {
        Self {
            keys,
            validation: validation(rules),
            verified: VerifiedTokens::default(),
        }
    }

    pub(super) fn verify(&self, token: &str) -> Result<Arc<Caller>, AuthError> {
        if let Some(caller) = self.verified.get(token, get_current_timestamp()) {
            return Ok(caller);
        }
        let claims = self.claims(token)?;
        let expires = claims.expiry().ok_or(AuthError::Invalid)?;
        let caller = claims.caller().ok_or(AuthError::Invalid)?;
        let until = expires.saturating_add(self.validation.leeway);
        self.verified
            .insert(token, Arc::clone(&caller), until, get_current_timestamp());
        Ok(caller)
    }

    fn claims(&self, token: &str) -> Result<Claims, AuthError> {
        let header = decode_header(token).map_err(|_| AuthError::Invalid)?;
        // RFC 7515: an extension the token calls critical must be understood, and none is.
        if header.alg != Algorithm::RS256 || header.crit.is_some() {
            return Err(AuthError::Invalid);
        }
        let mut reason = AuthError::Invalid;
        for key in &self.keys {
            match decode::<Claims>(token, key, &self.validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                // The signature was good, so no other key can do better.
                Err(error) => {
                    reason = reason_of(error.kind());
                    break;
                }
            }
        }
        Err(reason)
    }
}

fn validation(rules: &TokenRules) -> Validation {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.leeway = rules.leeway.as_secs();
    validation.validate_nbf = true;
    let mut required = vec!["exp", "sub"];
    if let Some(issuer) = &rules.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    validation.validate_aud = rules.audience.is_some();
    if let Some(audience) = &rules.audience {
        validation.set_audience(&[audience]);
        required.push("aud");
    }
    validation.set_required_spec_claims(&required);
    validation
}

fn reason_of(kind: &ErrorKind) -> AuthError {
    match kind {
        ErrorKind::ExpiredSignature => AuthError::Expired,
        ErrorKind::ImmatureSignature => AuthError::Immature,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => AuthError::Foreign,
        _ => AuthError::Invalid,
    }
}
