//! What a fleet gives its elements and an element may set for itself: database server, discovery, identity.
#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// PostgreSQL's own port.
pub(crate) const POSTGRES_PORT: u16 = 5432;
/// Redis' own port.
pub(crate) const REDIS_PORT: u16 = 6379;

fn postgres_port() -> u16 {
    POSTGRES_PORT
}

fn redis_port() -> u16 {
    REDIS_PORT
}

/// A Secret of the same namespace.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret, in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
}

/// One key of a Secret of the same namespace.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret, in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
    /// Key in the Secret; each use of a key says what it takes when this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY))]
    pub key: Option<String>,
}

impl SecretKeyRef {
    /// The key, or `default` when none is named.
    pub fn key_or<'a>(&'a self, default: &'a str) -> &'a str {
        self.key.as_deref().unwrap_or(default)
    }
}

/// How a connection to PostgreSQL is protected, in libpq's words.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS when the server offers it.
    #[default]
    Prefer,
    /// TLS, whatever the certificate.
    Require,
    /// TLS with a certificate of the CA.
    VerifyCa,
    /// TLS with a certificate of the CA for this host name.
    VerifyFull,
}

impl SslMode {
    /// The mode as libpq and the element write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// A PostgreSQL server the operator makes databases on.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.sslMode) || !self.sslMode.startsWith('verify-') || has(self.caSecretRef)")
    .message("sslMode verify-ca and verify-full need caSecretRef"))]
#[x_kube(validation = Rule::new("!has(self.caSecretRef) || !has(self.sslMode) || !(self.sslMode in ['disable', 'prefer'])")
    .message("sslMode disable and prefer check no certificate: leave caSecretRef out, or sslMode"))]
pub struct Postgres {
    /// Host name or address of the server.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::HOST))]
    pub host: String,
    /// Port of the server.
    #[serde(default = "postgres_port")]
    #[schemars(range(min = 1, max = 65535), extend("format" = "int32"))]
    pub port: u16,
    /// Secret with the keys `username` and `password` of a role that may create roles and databases.
    pub admin_secret_ref: SecretRef,
    /// How the connection is protected; when left out `verify-full` with caSecretRef, else `prefer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_mode: Option<SslMode>,
    /// PEM certificates the server's own must descend from; key `ca.crt` when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
}

impl Postgres {
    /// How the connection is protected, said or not.
    pub fn protection(&self) -> SslMode {
        match (self.ssl_mode, &self.ca_secret_ref) {
            (None, Some(_)) => SslMode::VerifyFull,
            (mode, _) => mode.unwrap_or_default(),
        }
    }
}

/// An embedded database in the element's own volume; nothing to set.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Embedded {}

/// Where elements announce themselves.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.redis)].exists_one(set, set)")
    .message("discovery needs exactly one of: redis"))]
pub struct Discovery {
    /// A Redis server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
}

/// A Redis server.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// Host name or address of the server.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::HOST))]
    pub host: String,
    /// Port of the server.
    #[serde(default = "redis_port")]
    #[schemars(range(min = 1, max = 65535), extend("format" = "int32"))]
    pub port: u16,
    /// Its password; key `password` when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeyRef>,
}

/// Whose tokens an element takes.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.publicKeySecretRef)].exists_one(set, set)")
    .message("auth needs exactly one of: publicKeySecretRef"))]
pub struct Auth {
    /// PEM public keys (RS256), one or several; key `public.pem` when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_secret_ref: Option<SecretKeyRef>,
    /// The `iss` a token must carry; not checked when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub issuer: Option<String>,
    /// The `aud` a token must carry; not checked when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub audience: Option<String>,
}
