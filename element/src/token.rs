//! Signing tokens: for `token`, for `--dev`, and for the smoke test. The server itself only verifies.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use element_api::Role;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde::Serialize;

use crate::cli::TokenArgs;
use crate::config::value::{Value, parse_duration};
use crate::config::{ConfigError, ElementConfig};
use crate::dev;

/// What a token says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Claims {
    sub: String,
    role: &'static str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
}

impl Claims {
    pub(crate) fn new(sub: &str, role: Role, ttl: Duration, issuer: Option<String>, audience: Option<String>) -> Self {
        let now = get_current_timestamp();
        let exp = now.saturating_add(ttl.as_secs());
        Self {
            sub: sub.to_owned(),
            role: role.as_str(),
            iat: now,
            exp,
            iss: issuer,
            aud: audience,
        }
    }

    /// Signs with a private key in PEM.
    pub(crate) fn sign(&self, private_key: &[u8]) -> Result<String> {
        let key = EncodingKey::from_rsa_pem(private_key).context("the key is no RSA private key in PEM")?;
        encode(&Header::new(Algorithm::RS256), self, &key).context("failed to sign the token")
    }
}

/// Reads the private key of `--key-file`.
pub(crate) fn read_key(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read --key-file {path:?}"))
}

/// The `token` command.
pub(crate) fn run(args: TokenArgs) -> Result<()> {
    let role = Role::from_claim(&args.role)
        .ok_or_else(|| Value::invalid("--role", &args.role, "use user, operator or admin"))?;
    let ttl = parse_duration(&args.ttl).map_err(|why| Value::invalid("--ttl", &args.ttl, why))?;
    if ttl.as_secs() == 0 {
        return Err(Value::invalid("--ttl", &args.ttl, "use at least 1s").into());
    }
    if args.sub.is_empty() {
        return Err(ConfigError::Empty { variable: "--sub" }.into());
    }
    let issuer = Value::new("JWT_ISSUER", args.jwt_issuer)?.text();
    let audience = Value::new("JWT_AUDIENCE", args.jwt_audience)?.text();
    let key = match &args.key_file {
        Some(path) => read_key(path)?,
        None => dev::private_key(&ElementConfig::read(args.element)?.own_folder())?,
    };
    let token = Claims::new(&args.sub, role, ttl, issuer, audience).sign(&key)?;
    writeln!(io::stdout(), "{token}").context("failed to print the token")
}
