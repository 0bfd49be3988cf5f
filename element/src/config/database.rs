//! The database's settings: PostgreSQL when DB_HOST is set, the embedded one otherwise.

use std::path::PathBuf;

use secrecy::SecretString;
use sqlx::postgres::PgSslMode;

use super::args::DatabaseArgs;
use super::environment::Environment;
use super::value::{Value, secret};
use super::{ConfigError, port};
use crate::index::TablePrefix;

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_POOL_SIZE: u32 = 10;
const MAX_POOL_SIZE: u32 = 500;

const SSL_MODE: &str = "DB_SSL_MODE";
const SSL_CA_CERT: &str = "DB_SSL_CA_CERT";

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum DatabaseConfig {
    /// A SQLite file in the storage folder.
    Embedded { table_prefix: TablePrefix },
    /// A PostgreSQL server.
    Postgres {
        host: String,
        port: u16,
        username: String,
        password: SecretString,
        database: String,
        table_prefix: TablePrefix,
        pool_size: u32,
        ssl_mode: PgSslMode,
        ssl_ca_cert: Option<PathBuf>,
    },
}

impl DatabaseConfig {
    /// Reads the settings; names default from the element's id, so that two elements never share tables by accident.
    pub(crate) fn read(args: DatabaseArgs, element_id: &str, environment: &Environment) -> Result<Self, ConfigError> {
        let name = element_id
            .to_ascii_lowercase()
            .replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
        let table_prefix = table_prefix(args.db_table_prefix, &name)?;
        let host = Value::new("DB_HOST", args.db_host)?;
        let port_value = Value::new(
            "DB_PORT",
            args.db_port.filter(|_| !environment.is_service_link("DB_PORT")),
        )?;
        let username = Value::new("DB_USERNAME", args.db_username)?;
        let password = Value::new("DB_PASSWORD", args.db_password)?;
        let password_file = Value::new("DB_PASSWORD_FILE", args.db_password_file)?;
        let database = Value::new("DB_DATABASE", args.db_database)?;
        let pool_size = Value::new("DB_POOL_SIZE", args.db_pool_size)?;
        let ssl_mode_value = Value::new(SSL_MODE, args.db_ssl_mode)?;
        let ssl_ca_cert = Value::new(SSL_CA_CERT, args.db_ssl_ca_cert)?;

        let Some(host) = host.text() else {
            let rest = [
                &port_value,
                &username,
                &password,
                &password_file,
                &database,
                &pool_size,
                &ssl_mode_value,
                &ssl_ca_cert,
            ];
            return match rest.into_iter().find(|value| value.is_set()) {
                Some(value) => Err(ConfigError::Contradiction {
                    variable: value.variable,
                    other: "DB_HOST",
                    why: "it means nothing while DB_HOST is not set",
                }),
                None => Ok(Self::Embedded { table_prefix }),
            };
        };
        Ok(Self::Postgres {
            host,
            port: port(port_value, 1, DEFAULT_PORT)?,
            username: username.text().ok_or(ConfigError::Missing {
                variable: "DB_USERNAME",
                why: "DB_HOST is set",
            })?,
            password: secret(password, password_file)?.ok_or(ConfigError::Missing {
                variable: "DB_PASSWORD",
                why: "DB_HOST is set; set it, or DB_PASSWORD_FILE",
            })?,
            database: database.or(&format!("artstore_storage_{name}")),
            table_prefix,
            pool_size: pool_size.number(2, MAX_POOL_SIZE)?.unwrap_or(DEFAULT_POOL_SIZE),
            ssl_mode: ssl_mode(ssl_mode_value, ssl_ca_cert.is_set())?,
            ssl_ca_cert: ca_file(ssl_ca_cert)?,
        })
    }
}

fn table_prefix(text: Option<String>, name: &str) -> Result<TablePrefix, ConfigError> {
    const VARIABLE: &str = "DB_TABLE_PREFIX";
    let prefix = Value::new(VARIABLE, text)?.or(&format!("storage_elem_{name}_"));
    prefix
        .parse()
        .map_err(|error| Value::invalid(VARIABLE, &prefix, format!("{error}")))
}

/// How the connection is protected. Whoever names an authority wants the server's certificate checked, which the client library
/// does in the last two modes only; libpq too takes `require` for `verify-ca` then.
fn ssl_mode(value: Value, has_ca: bool) -> Result<PgSslMode, ConfigError> {
    let help = "use disable, allow, prefer, require, verify-ca or verify-full";
    let mode = value.read(|text| text.parse::<PgSslMode>().map_err(|_| help))?;
    match mode {
        None if has_ca => Ok(PgSslMode::VerifyFull),
        Some(PgSslMode::Require) if has_ca => Ok(PgSslMode::VerifyCa),
        Some(PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer) if has_ca => Err(ConfigError::Contradiction {
            variable: SSL_CA_CERT,
            other: SSL_MODE,
            why: "certificates are checked by require, verify-ca and verify-full only",
        }),
        mode => Ok(mode.unwrap_or(PgSslMode::Prefer)),
    }
}

/// The path of a file of certificates, for it is read anew by each connection; at the start it must hold usable ones.
fn ca_file(value: Value) -> Result<Option<PathBuf>, ConfigError> {
    value.clone().certificates()?;
    Ok(value.text().map(PathBuf::from))
}
