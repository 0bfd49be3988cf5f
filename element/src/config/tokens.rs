//! Which tokens are good: where the keys come from, and what a token must say.

use std::time::Duration;

use reqwest::{Certificate, Url};

use super::ConfigError;
use super::args::TokenCheckArgs;
use super::value::Value;
use crate::auth::issuer::Issuer;
use crate::auth::keys::{Keys, public_keys};

const DEFAULT_LEEWAY: Duration = Duration::from_secs(5);
const MAX_LEEWAY: Duration = Duration::from_secs(300);

const KEY_FILE: &str = "JWT_PUBLIC_KEY_PATH";
const KEY_SET: &str = "JWT_JWKS_URL";
const KEY_SET_CA: &str = "JWT_JWKS_CA_CERT";

/// What a token must say besides being signed.
#[derive(Clone, Debug)]
pub(crate) struct TokenRules {
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) leeway: Duration,
}

/// The keys, none with `--dev`, and the rules.
pub(super) fn read(args: TokenCheckArgs, dev: bool) -> Result<(Option<Keys>, TokenRules), ConfigError> {
    let file = Value::new(KEY_FILE, args.jwt_public_key_path)?;
    let set = Value::new(KEY_SET, args.jwt_jwks_url)?;
    let set_ca = Value::new(KEY_SET_CA, args.jwt_jwks_ca_cert)?;
    let rules = TokenRules {
        issuer: Value::new("JWT_ISSUER", args.jwt_issuer)?.text(),
        audience: Value::new("JWT_AUDIENCE", args.jwt_audience)?.text(),
        leeway: Value::new("JWT_LEEWAY", args.jwt_leeway)?
            .duration(Duration::ZERO, MAX_LEEWAY)?
            .unwrap_or(DEFAULT_LEEWAY),
    };
    Ok((keys(file, set, set_ca, dev)?, rules))
}

fn keys(file: Value, set: Value, set_ca: Value, dev: bool) -> Result<Option<Keys>, ConfigError> {
    let contradicts = |variable, other, why| Err(ConfigError::Contradiction { variable, other, why });
    if dev && let Some(value) = [&file, &set, &set_ca].into_iter().find(|value| value.is_set()) {
        return contradicts(value.variable, "--dev", "--dev brings a key pair of its own");
    }
    if file.is_set() && set.is_set() {
        return contradicts(KEY_FILE, KEY_SET, "set one of the two");
    }
    if set_ca.is_set() && !set.is_set() {
        return contradicts(KEY_SET_CA, KEY_SET, "it means nothing while JWT_JWKS_URL is not set");
    }
    if let Some((path, content)) = file.file()? {
        let keys = public_keys(&content).map_err(|error| ConfigError::Unusable {
            variable: KEY_FILE,
            why: format!("{path:?}: {error}"),
        })?;
        return Ok(Some(Keys::Fixed(keys)));
    }
    match set.read(address)? {
        Some(url) => Ok(Some(Keys::Issuer(issuer(url, set_ca)?))),
        None if dev => Ok(None),
        None => Err(ConfigError::Missing {
            variable: KEY_FILE,
            why: "name a PEM file with the public key tokens are signed with, or set JWT_JWKS_URL, or try the element out with --dev",
        }),
    }
}

fn address(text: &str) -> Result<Url, &'static str> {
    const HELP: &str = "use a URL such as https://issuer.example.org/jwks.json";
    let url: Url = text.parse().map_err(|_| HELP)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(HELP);
    }
    // It would stand in logs and error messages.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("leave user and password out of it");
    }
    Ok(url)
}

fn issuer(url: Url, set_ca: Value) -> Result<Issuer, ConfigError> {
    if set_ca.is_set() && url.scheme() == "http" {
        let why = "certificates mean nothing to an address that begins with http://";
        return Err(ConfigError::Contradiction {
            variable: KEY_SET_CA,
            other: KEY_SET,
            why,
        });
    }
    let unusable = |variable, error: anyhow::Error| ConfigError::Unusable {
        variable,
        why: format!("{error:#}"),
    };
    let trusted = set_ca.certificates()?;
    let trusted = trusted
        .map(|pem| Certificate::from_pem_bundle(&pem))
        .transpose()
        .map_err(|error| unusable(KEY_SET_CA, error.into()))?;
    Issuer::new(url, trusted).map_err(|error| unusable(KEY_SET, error.into()))
}
