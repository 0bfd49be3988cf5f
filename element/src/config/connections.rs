//! What the server allows its connections, and whether they speak TLS.

use std::sync::Arc;
use std::time::Duration;

use super::ConfigError;
use super::args::ConnectionArgs;
use super::value::Value;
use crate::http::server::Limits;
use crate::http::tls::{Certificate, TlsError, TlsFiles};

const DEFAULT_FIRST_BYTE: Duration = Duration::from_secs(30);
const DEFAULT_HEADER: Duration = Duration::from_secs(60);
const DEFAULT_BODY: Duration = Duration::from_secs(60);
const DEFAULT_UNREAD: Duration = Duration::from_secs(120);
const DEFAULT_CONNECTIONS: usize = 4096;

/// A timeout too short cuts off everybody, one too long nobody.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3600);

const CERTIFICATE: &str = "SERVER_TLS_CERT_PATH";
const KEY: &str = "SERVER_TLS_KEY_PATH";

/// How connections are treated.
pub(crate) struct ConnectionConfig {
    pub(crate) limits: Limits,
    /// None: plain HTTP.
    pub(crate) tls: Option<Arc<Certificate>>,
}

impl ConnectionConfig {
    /// What addresses of the server begin with.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    pub(crate) fn read(args: ConnectionArgs) -> Result<Self, ConfigError> {
        let time = |variable, text, default| -> Result<Duration, ConfigError> {
            Ok(Value::new(variable, text)?
                .duration(SHORTEST, LONGEST)?
                .unwrap_or(default))
        };
        let limits = Limits {
            first_byte: time(
                "SERVER_FIRST_BYTE_TIMEOUT",
                args.server_first_byte_timeout,
                DEFAULT_FIRST_BYTE,
            )?,
            header: time("SERVER_HEADER_TIMEOUT", args.server_header_timeout, DEFAULT_HEADER)?,
            body: time("SERVER_BODY_TIMEOUT", args.server_body_timeout, DEFAULT_BODY)?,
            unread: time("SERVER_UNREAD_TIMEOUT", args.server_unread_timeout, DEFAULT_UNREAD)?,
            connections: Value::new("SERVER_MAX_CONNECTIONS", args.server_max_connections)?
                .number(1, 1_000_000)?
                .unwrap_or(DEFAULT_CONNECTIONS),
        };
        let certificate = Value::new(CERTIFICATE, args.server_tls_cert_path)?;
        let key = Value::new(KEY, args.server_tls_key_path)?;
        Ok(Self {
            limits,
            tls: read_tls(certificate, key)?,
        })
    }
}

fn read_tls(certificate: Value, key: Value) -> Result<Option<Arc<Certificate>>, ConfigError> {
    let missing = |variable| ConfigError::Missing {
        variable,
        why: "TLS needs both a certificate and its key",
    };
    let ((chain_path, chain), (key_path, key)) = match (certificate.file()?, key.file()?) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(missing(KEY)),
        (None, Some(_)) => return Err(missing(CERTIFICATE)),
        (Some(certificate), Some(key)) => (certificate, key),
    };
    let files = TlsFiles {
        certificate: chain_path,
        key: key_path,
    };
    let paths = files.clone();
    let certificate = Certificate::new(files, &chain, &key).map_err(|error| {
        let (variable, path) = match error {
            TlsError::Certificate => (CERTIFICATE, paths.certificate),
            TlsError::Key | TlsError::Pair(_) | TlsError::Setup(_) => (KEY, paths.key),
        };
        ConfigError::Unusable {
            variable,
            why: format!("{path:?}: {error}"),
        }
    })?;
    Ok(Some(Arc::new(certificate)))
}
