//! The configuration: what the flags and variables say, judged once at the start. Anything malformed, contradictory or not
//! supported is an error that names the variable; nothing falls back silently.

pub(crate) mod args;
mod connections;
mod database;
pub(crate) mod environment;
mod error;
mod maintenance;
mod redis;
mod store;
mod tokens;
mod traces;
pub(crate) mod value;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use element_api::Mode;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use self::args::{ElementArgs, LogArgs, ServerArgs, StorageArgs};
pub(crate) use self::connections::ConnectionConfig;
pub(crate) use self::database::DatabaseConfig;
use self::environment::Environment;
pub(crate) use self::error::ConfigError;
pub(crate) use self::maintenance::MaintenanceConfig;
pub(crate) use self::redis::RedisConfig;
pub(crate) use self::tokens::TokenRules;
pub(crate) use self::traces::TracesConfig;
use self::value::Value;
use crate::auth::keys::Keys;
use crate::cli::ServeArgs;
use crate::store::StoreConfig;

const DEFAULT_PORT: u16 = 8010;
const DEFAULT_PRIORITY: i64 = 100;
const DEFAULT_MAX_FILE_SIZE: u64 = 1 << 30;
const MIN_ADMIN_TOKEN: usize = 32;
const MAX_ELEMENT_ID: usize = 63;

/// Everything `serve` needs.
pub(crate) struct Config {
    pub(crate) listen: (IpAddr, u16),
    pub(crate) connections: ConnectionConfig,
    pub(crate) mode: Mode,
    pub(crate) mode_file: Option<PathBuf>,
    pub(crate) admin_token: Option<SecretString>,
    /// The keys tokens may be signed with; none with `--dev`, which brings its own.
    pub(crate) keys: Option<Keys>,
    pub(crate) tokens: TokenRules,
    pub(crate) element: ElementConfig,
    pub(crate) storage: StorageConfig,
    pub(crate) database: DatabaseConfig,
    pub(crate) redis: Option<RedisConfig>,
    pub(crate) maintenance: MaintenanceConfig,
    pub(crate) traces: Option<TracesConfig>,
}

/// Which element this is and where its files lie.
#[derive(Clone, Debug)]
pub(crate) struct ElementConfig {
    pub(crate) id: String,
    /// The storage folder, or with a bucket the folder for what is this server's own.
    pub(crate) root: PathBuf,
    pub(crate) store: StoreConfig,
}

/// How much the element keeps and how clients reach it.
#[derive(Clone, Debug)]
pub(crate) struct StorageConfig {
    pub(crate) max_size: Option<u64>,
    pub(crate) max_file_size: u64,
    pub(crate) priority: i64,
    pub(crate) endpoint: Option<String>,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Json,
    Text,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogConfig {
    pub(crate) level: tracing::Level,
    pub(crate) format: LogFormat,
}

impl Config {
    pub(crate) fn read(args: ServeArgs, environment: &Environment) -> Result<Self, ConfigError> {
        let element = ElementConfig::read(args.element)?;
        let database = DatabaseConfig::read(args.database, &element.id, environment)?;
        if args.dev && !matches!(database, DatabaseConfig::Embedded { .. }) {
            let why = "--dev brings an embedded database";
            return Err(ConfigError::Contradiction {
                variable: "DB_HOST",
                other: "--dev",
                why,
            });
        }
        element.check(&database)?;
        let (keys, tokens) = tokens::read(args.tokens, args.dev)?;
        let ServerArgs {
            server_host,
            server_port,
            app_mode,
            app_mode_file,
            admin_token_file,
        } = args.server;
        let server_port = server_port.filter(|_| !environment.is_service_link("SERVER_PORT"));
        let address = Value::new("SERVER_HOST", server_host)?
            .read(|text| {
                text.parse::<IpAddr>()
                    .map_err(|_| "use an IP address, such as 0.0.0.0 or ::")
            })?
            .unwrap_or_else(|| {
                if args.dev {
                    [127, 0, 0, 1].into()
                } else {
                    [0, 0, 0, 0].into()
                }
            });
        Ok(Self {
            listen: (address, port(Value::new("SERVER_PORT", server_port)?, 0, DEFAULT_PORT)?),
            connections: ConnectionConfig::read(args.connections)?,
            mode: Value::new("APP_MODE", app_mode)?
                .read(str::parse::<Mode>)?
                .unwrap_or_default(),
            mode_file: Value::new("APP_MODE_FILE", app_mode_file)?.text().map(PathBuf::from),
            admin_token: read_admin_token(Value::new("ADMIN_TOKEN_FILE", admin_token_file)?)?,
            keys,
            tokens,
            storage: StorageConfig::read(args.storage)?,
            redis: RedisConfig::read(args.redis, environment)?,
            maintenance: MaintenanceConfig::read(args.maintenance)?,
            traces: TracesConfig::read(args.traces)?,
            element,
            database,
        })
    }
}

impl ElementConfig {
    pub(crate) fn read(args: ElementArgs) -> Result<Self, ConfigError> {
        let id = Value::new("STORAGE_ELEMENT_ID", args.storage_element_id.clone())?.or("01");
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if id.len() > MAX_ELEMENT_ID || !id.chars().all(plain) {
            let why = format!("use at most {MAX_ELEMENT_ID} letters, digits, '-', '_' and '.'");
            return Err(Value::invalid("STORAGE_ELEMENT_ID", &id, why));
        }
        let root = Value::new("STORAGE_LOCAL_BASE_PATH", args.storage_local_base_path.clone())?.or("./.data/storage");
        let root = PathBuf::from(root);
        Ok(Self {
            store: store::read(args, &id, &root)?,
            id,
            root,
        })
    }

    /// Refuses an embedded database where other servers could not reach it.
    pub(crate) fn check(&self, database: &DatabaseConfig) -> Result<(), ConfigError> {
        if !self.store.is_shared() || matches!(database, DatabaseConfig::Postgres { .. }) {
            return Ok(());
        }
        Err(ConfigError::Missing {
            variable: "DB_HOST",
            why: "a store that several servers may use (STORAGE_TYPE=s3, STORAGE_SHARED=true) needs a PostgreSQL server",
        })
    }

    /// The folder for what is not a file of a user's.
    pub(crate) fn own_folder(&self) -> PathBuf {
        own_folder(&self.root)
    }
}

/// The folder below the storage root for what is not a file of a user's.
pub(crate) fn own_folder(root: &Path) -> PathBuf {
    root.join(".artstore")
}

impl StorageConfig {
    pub(crate) fn read(args: StorageArgs) -> Result<Self, ConfigError> {
        let max_size = Value::new("STORAGE_MAX_SIZE", args.storage_max_size)?.size()?;
        let max_file_size = Value::new("UPLOAD_MAX_FILE_SIZE", args.upload_max_file_size)?.size()?;
        let endpoint = Value::new("STORAGE_EXTERNAL_ENDPOINT", args.storage_external_endpoint)?;
        Ok(Self {
            max_size,
            max_file_size: max_file_size.unwrap_or(DEFAULT_MAX_FILE_SIZE),
            priority: Value::new("STORAGE_PRIORITY", args.storage_priority)?
                .number(0, i64::from(i32::MAX))?
                .unwrap_or(DEFAULT_PRIORITY),
            endpoint: endpoint.read(published_address)?,
        })
    }
}

/// The address as it was written: clients are told it word by word.
fn published_address(text: &str) -> Result<String, &'static str> {
    const HELP: &str = "use a URL such as http://storage-01:8010";
    let is_http = text.starts_with("http://") || text.starts_with("https://");
    if !is_http || text.contains(char::is_whitespace) {
        return Err(HELP);
    }
    let url: Url = text.parse().map_err(|_| HELP)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("leave user and password out of it: everybody is told it");
    }
    Ok(text.to_owned())
}

impl LogConfig {
    pub(crate) fn read(args: LogArgs, default: LogFormat) -> Result<Self, ConfigError> {
        let level = Value::new("LOG_LEVEL", args.log_level)?
            .read(|text| {
                text.parse::<tracing::Level>()
                    .map_err(|_| "use error, warn, info, debug or trace")
            })?
            .unwrap_or(tracing::Level::INFO);
        let format = Value::new("LOG_FORMAT", args.log_format)?
            .read(|text| match text {
                "json" => Ok(LogFormat::Json),
                "text" => Ok(LogFormat::Text),
                _ => Err("use json or text"),
            })?
            .unwrap_or(default);
        Ok(Self { level, format })
    }
}

/// A port between `low` and 65535.
fn port(value: Value, low: u16, default: u16) -> Result<u16, ConfigError> {
    Ok(value.number(low, u16::MAX)?.unwrap_or(default))
}

fn read_admin_token(file: Value) -> Result<Option<SecretString>, ConfigError> {
    let variable = file.variable;
    let token = file.secret_file()?;
    if let Some(token) = &token {
        let text = token.expose_secret();
        if text.len() < MIN_ADMIN_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = format!("the token needs at least {MIN_ADMIN_TOKEN} visible ASCII characters and no spaces");
            return Err(ConfigError::Unusable { variable, why });
        }
    }
    Ok(token)
}

#[cfg(test)]
mod tests;
