//! The token every request carries.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

/// Longer than any run takes, in seconds.
const LIFE: u64 = 24 * 3600;

/// Signs a token that may do everything with files.
pub(crate) fn sign(private_key: &[u8]) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims =
        json!({ "sub": "bench", "preferred_username": "bench", "role": "admin", "iat": now, "exp": now + LIFE });
    let key = EncodingKey::from_rsa_pem(private_key).context("failed to read the signing key")?;
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).context("failed to sign a token")
}
