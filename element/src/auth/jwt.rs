//! Tokens: RS256 only, signed by one of the known keys, with every claim the contract asks for. Whatever a token says of keys
//! beyond the id of one (`jwk`, `jku`, `x5u`, `x5c`) is not looked at.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, get_current_timestamp};

use super::cache::VerifiedTokens;
use super::claims::Claims;
use super::issuer::{Issuer, Known};
use super::keys::{Keys, PublicKey};
use super::{AuthError, Caller};
use crate::config::TokenRules;

/// The longest token looked at. Those with many roles take a few kilobytes.
const MAX_TOKEN: usize = 16 * 1024;

/// The kinds of token that are good (RFC 8725, 3.11): issuers sign other statements with the same keys. None may be named.
const KINDS: [&str; 4] = ["JWT", "at+jwt", "application/jwt", "application/at+jwt"];

/// Verifies tokens and remembers those that were good.
pub(super) struct Verifier {
    keys: Keys,
    validation: Validation,
    verified: VerifiedTokens,
}

impl Verifier {
    pub(super) fn new(keys: Keys, rules: &TokenRules) -> Self {
        Self {
            keys,
            validation: validation(rules),
            verified: VerifiedTokens::default(),
        }
    }

    pub(super) const fn issuer(&self) -> Option<&Issuer> {
        match &self.keys {
            Keys::Fixed(_) => None,
            Keys::Issuer(issuer) => Some(issuer),
        }
    }

    pub(super) async fn verify(&self, token: &str) -> Result<Arc<Caller>, AuthError> {
        if token.len() > MAX_TOKEN {
            return Err(AuthError::Invalid);
        }
        let generation = self.issuer().map_or(0, |issuer| issuer.known().generation);
        if let Some(caller) = self.verified.get(token, generation, get_current_timestamp()) {
            return Ok(caller);
        }
        let header = header(token)?;
        let (claims, generation) = match &self.keys {
            Keys::Fixed(keys) => (self.claims(token, keys.iter()).unwrap_or(Err(AuthError::Invalid))?, 0),
            Keys::Issuer(issuer) => self.issued_claims(issuer, token, header.kid.as_deref()).await?,
        };
        let expires = claims.expiry().ok_or(AuthError::Invalid)?;
        let caller = claims.caller().ok_or(AuthError::Invalid)?;
        let until = expires.saturating_add(self.validation.leeway);
        self.verified
            .insert(token, Arc::clone(&caller), until, generation, get_current_timestamp());
        Ok(caller)
    }

    /// The claims, by the issuer's keys and the generation those are of. When none fits, newer keys are looked for once.
    async fn issued_claims(
        &self,
        issuer: &Issuer,
        token: &str,
        key_id: Option<&str>,
    ) -> Result<(Claims, u64), AuthError> {
        let judge = |known: &Known| {
            let set = known.set.as_ref()?;
            match self.claims(token, set.candidates(key_id)) {
                Some(result) => Some(result.map(|claims| (claims, known.generation))),
                // The key the token names did not sign it, and no other may have.
                None if key_id.is_some() && set.candidates(key_id).next().is_some() => Some(Err(AuthError::Invalid)),
                None => None,
            }
        };
        if let Some(result) = judge(&issuer.known()) {
            return result;
        }
        issuer.refresh().await;
        let known = issuer.known();
        let nobody_to_ask = known.set.is_none() || known.failing;
        let reason = if nobody_to_ask {
            AuthError::NoKeys
        } else {
            AuthError::Invalid
        };
        judge(&known).unwrap_or(Err(reason))
    }

    /// The claims of a token, or what is wrong with them; nothing when none of the keys signed it.
    fn claims<'a>(&self, token: &str, keys: impl Iterator<Item = &'a PublicKey>) -> Option<Result<Claims, AuthError>> {
        for key in keys {
            match decode::<Claims>(token, key, &self.validation) {
                Ok(data) => return Some(Ok(data.claims)),
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                // The signature was good, so no other key can do better.
                Err(error) => return Some(Err(reason_of(error.kind()))),
            }
        }
        None
    }
}

/// The header of a token that could be good.
pub(super) fn header(token: &str) -> Result<Header, AuthError> {
    let header = decode_header(token).map_err(|_| AuthError::Invalid)?;
    let kind = |typ: &String| KINDS.iter().any(|kind| kind.eq_ignore_ascii_case(typ));
    // RFC 7515: an extension the token calls critical must be understood, and none is.
    if header.alg != Algorithm::RS256 || header.crit.is_some() || !header.typ.as_ref().is_none_or(kind) {
        return Err(AuthError::Invalid);
    }
    Ok(header)
}

fn validation(rules: &TokenRules) -> Validation {
    let mut validation = Validation::new(Algorithm::RS256);
    // Parts of a second count as a whole one: the library knows no smaller.
    validation.leeway = rules.leeway.as_secs() + u64::from(rules.leeway.subsec_nanos() > 0);
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
