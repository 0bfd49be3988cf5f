//! The flags and environment variables as written: text only. Nothing is judged here, so that every message about a bad value
//! is worded in one place and can name the variable.

use clap::Args;

/// How the server answers.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// The address to listen on [default: 0.0.0.0, with --dev 127.0.0.1].
    #[arg(long, env = "SERVER_HOST", value_name = "IP")]
    pub(crate) server_host: Option<String>,
    /// The port to listen on; 0 takes a free one [default: 8010].
    #[arg(long, env = "SERVER_PORT", value_name = "PORT")]
    pub(crate) server_port: Option<String>,
    /// The mode of a new element: edit, rw, ro or ar [default: edit].
    #[arg(long, env = "APP_MODE", value_name = "MODE")]
    pub(crate) app_mode: Option<String>,
    /// A file that rules the mode, `{"mode":"ro","generation":7}`; followed while running.
    #[arg(long, env = "APP_MODE_FILE", value_name = "PATH")]
    pub(crate) app_mode_file: Option<String>,
    /// A file with the operator's bearer token, at least 32 characters, good for mode and maintenance only.
    #[arg(long, env = "ADMIN_TOKEN_FILE", value_name = "PATH")]
    pub(crate) admin_token_file: Option<String>,
}

/// Connections to it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionArgs {
    /// The PEM certificate chain for TLS, with SERVER_TLS_KEY_PATH; taken up anew when it changes [default: plain HTTP].
    #[arg(long, env = "SERVER_TLS_CERT_PATH", value_name = "PATH")]
    pub(crate) server_tls_cert_path: Option<String>,
    /// The PEM private key of that certificate.
    #[arg(long, env = "SERVER_TLS_KEY_PATH", value_name = "PATH")]
    pub(crate) server_tls_key_path: Option<String>,
    /// How long a new connection may say nothing; a TLS handshake has as long [default: 30s].
    #[arg(long, env = "SERVER_FIRST_BYTE_TIMEOUT", value_name = "DURATION")]
    pub(crate) server_first_byte_timeout: Option<String>,
    /// How long the head of a request may take, and how long to wait for the next one [default: 60s].
    #[arg(long, env = "SERVER_HEADER_TIMEOUT", value_name = "DURATION")]
    pub(crate) server_header_timeout: Option<String>,
    /// How long a request's body may bring nothing; as long as it moves it may take for ever [default: 60s].
    #[arg(long, env = "SERVER_BODY_TIMEOUT", value_name = "DURATION")]
    pub(crate) server_body_timeout: Option<String>,
    /// How long a client may leave unread what was sent to it [default: 120s].
    #[arg(long, env = "SERVER_UNREAD_TIMEOUT", value_name = "DURATION")]
    pub(crate) server_unread_timeout: Option<String>,
    /// Connections served at once; more of them wait [default: 4096].
    #[arg(long, env = "SERVER_MAX_CONNECTIONS", value_name = "NUMBER")]
    pub(crate) server_max_connections: Option<String>,
}

/// Which tokens are good.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Tokens")]
pub(crate) struct TokenCheckArgs {
    /// A PEM file with one or several RSA public keys. It or JWT_JWKS_URL is required without --dev.
    #[arg(long, env = "JWT_PUBLIC_KEY_PATH", value_name = "PATH")]
    pub(crate) jwt_public_key_path: Option<String>,
    /// Where the issuer publishes its keys (JSON Web Key Set). Use https unless you trust the network in between.
    #[arg(long, env = "JWT_JWKS_URL", value_name = "URL")]
    pub(crate) jwt_jwks_url: Option<String>,
    /// The PEM certificates that may have signed that server's [default: the system's].
    #[arg(long, env = "JWT_JWKS_CA_CERT", value_name = "PATH")]
    pub(crate) jwt_jwks_ca_cert: Option<String>,
    /// The issuer every token must name.
    #[arg(long, env = "JWT_ISSUER", value_name = "TEXT")]
    pub(crate) jwt_issuer: Option<String>,
    /// The audience every token must name.
    #[arg(long, env = "JWT_AUDIENCE", value_name = "TEXT")]
    pub(crate) jwt_audience: Option<String>,
    /// How far the clocks may differ [default: 5s].
    #[arg(long, env = "JWT_LEEWAY", value_name = "DURATION")]
    pub(crate) jwt_leeway: Option<String>,
}

/// Which element this is and where its files lie.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Element")]
pub(crate) struct ElementArgs {
    /// The element's identity [default: 01].
    #[arg(long, env = "STORAGE_ELEMENT_ID", value_name = "ID")]
    pub(crate) storage_element_id: Option<String>,
    /// The kind of storage: local or s3 [default: local].
    #[arg(long, env = "STORAGE_TYPE", value_name = "KIND")]
    pub(crate) storage_type: Option<String>,
    /// The folder that holds the files, with s3 only what is this server's own [default: ./.data/storage].
    #[arg(long, env = "STORAGE_LOCAL_BASE_PATH", value_name = "PATH")]
    pub(crate) storage_local_base_path: Option<String>,
    /// Whether several servers share the folder, as on a ReadWriteMany volume; needs DB_HOST [default: false].
    #[arg(long, env = "STORAGE_SHARED", value_name = "BOOL")]
    pub(crate) storage_shared: Option<String>,
    /// The S3 server, `https://host:port` [default: Amazon's of the region].
    #[arg(long, env = "STORAGE_S3_ENDPOINT_URL", value_name = "URL")]
    pub(crate) storage_s3_endpoint_url: Option<String>,
    /// The bucket. It must exist.
    #[arg(long, env = "STORAGE_S3_BUCKET_NAME", value_name = "NAME")]
    pub(crate) storage_s3_bucket_name: Option<String>,
    /// The bucket's region [default: us-east-1].
    #[arg(long, env = "STORAGE_S3_REGION", value_name = "NAME")]
    pub(crate) storage_s3_region: Option<String>,
    /// The folder in the bucket that holds the files [default: storage_elem_ID].
    #[arg(long, env = "STORAGE_S3_APP_FOLDER", value_name = "PATH")]
    pub(crate) storage_s3_app_folder: Option<String>,
    /// The name of the key pair that may use the bucket.
    #[arg(long, env = "STORAGE_S3_ACCESS_KEY_ID", value_name = "TEXT", hide_env_values = true)]
    pub(crate) storage_s3_access_key_id: Option<String>,
    /// Its secret; prefer the variable, since other processes can read flags.
    #[arg(
        long,
        env = "STORAGE_S3_SECRET_ACCESS_KEY",
        value_name = "TEXT",
        hide_env_values = true
    )]
    pub(crate) storage_s3_secret_access_key: Option<String>,
}

/// How much it keeps, and what it tells clients of itself.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Storage")]
pub(crate) struct StorageArgs {
    /// The most the element may hold: bytes, `500M`, `10Gi` [default: the volume's size].
    #[arg(long, env = "STORAGE_MAX_SIZE", value_name = "SIZE")]
    pub(crate) storage_max_size: Option<String>,
    /// The largest file it takes [default: 1Gi].
    #[arg(long, env = "UPLOAD_MAX_FILE_SIZE", value_name = "SIZE")]
    pub(crate) upload_max_file_size: Option<String>,
    /// Clients prefer elements of a lower number [default: 100].
    #[arg(long, env = "STORAGE_PRIORITY", value_name = "NUMBER")]
    pub(crate) storage_priority: Option<String>,
    /// Where clients reach the element, `http://host:port`.
    #[arg(long, env = "STORAGE_EXTERNAL_ENDPOINT", value_name = "URL")]
    pub(crate) storage_external_endpoint: Option<String>,
}

/// The database.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct DatabaseArgs {
    /// The PostgreSQL server. Without it the database is a SQLite file in the storage folder.
    #[arg(long, env = "DB_HOST", value_name = "HOST")]
    pub(crate) db_host: Option<String>,
    /// Its port [default: 5432].
    #[arg(long, env = "DB_PORT", value_name = "PORT")]
    pub(crate) db_port: Option<String>,
    /// The role to log in as.
    #[arg(long, env = "DB_USERNAME", value_name = "NAME")]
    pub(crate) db_username: Option<String>,
    /// Its password; prefer DB_PASSWORD_FILE, since other processes can read flags.
    #[arg(long, env = "DB_PASSWORD", value_name = "TEXT", hide_env_values = true)]
    pub(crate) db_password: Option<String>,
    /// A file with its password.
    #[arg(long, env = "DB_PASSWORD_FILE", value_name = "PATH")]
    pub(crate) db_password_file: Option<String>,
    /// The database [default: artstore_storage_ID].
    #[arg(long, env = "DB_DATABASE", value_name = "NAME")]
    pub(crate) db_database: Option<String>,
    /// What the names of all tables begin with [default: storage_elem_ID_].
    #[arg(long, env = "DB_TABLE_PREFIX", value_name = "PREFIX")]
    pub(crate) db_table_prefix: Option<String>,
    /// The most connections to keep [default: 10].
    #[arg(long, env = "DB_POOL_SIZE", value_name = "NUMBER")]
    pub(crate) db_pool_size: Option<String>,
    /// disable, allow, prefer, require, verify-ca or verify-full; only the last two check the server's certificate [default:
    /// prefer, with DB_SSL_CA_CERT verify-full].
    #[arg(long, env = "DB_SSL_MODE", value_name = "MODE")]
    pub(crate) db_ssl_mode: Option<String>,
    /// The PEM certificates that may have signed the server's; with them DB_SSL_MODE=require means verify-ca. The public
    /// authorities (Mozilla's list) are trusted besides, so only verify-full keeps out who has some certificate of theirs.
    #[arg(long, env = "DB_SSL_CA_CERT", value_name = "PATH")]
    pub(crate) db_ssl_ca_cert: Option<String>,
}

/// Discovery.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Discovery")]
pub(crate) struct RedisArgs {
    /// The Redis server that clients look elements up in. Without it there is no discovery.
    #[arg(long, env = "REDIS_HOST", value_name = "HOST")]
    pub(crate) redis_host: Option<String>,
    /// Its port [default: 6379].
    #[arg(long, env = "REDIS_PORT", value_name = "PORT")]
    pub(crate) redis_port: Option<String>,
    /// Its password; prefer REDIS_PASSWORD_FILE.
    #[arg(long, env = "REDIS_PASSWORD", value_name = "TEXT", hide_env_values = true)]
    pub(crate) redis_password: Option<String>,
    /// A file with its password.
    #[arg(long, env = "REDIS_PASSWORD_FILE", value_name = "PATH")]
    pub(crate) redis_password_file: Option<String>,
    /// Whether it is a Redis Cluster; host and port are those of any of its nodes [default: false].
    #[arg(long, env = "REDIS_CLUSTER", value_name = "BOOL")]
    pub(crate) redis_cluster: Option<String>,
    /// Whether to use TLS [default: false].
    #[arg(long, env = "REDIS_TLS", value_name = "BOOL")]
    pub(crate) redis_tls: Option<String>,
    /// The PEM certificates that may have signed the server's [default: the system's].
    #[arg(long, env = "REDIS_SSL_CA_CERT", value_name = "PATH")]
    pub(crate) redis_ssl_ca_cert: Option<String>,
    /// How often to report, 1 to 60 seconds [default: 30].
    #[arg(long, env = "HEALTH_REPORT_INTERVAL", value_name = "DURATION")]
    pub(crate) health_report_interval: Option<String>,
}

/// How the element looks after its files.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Maintenance")]
pub(crate) struct MaintenanceArgs {
    /// How often temporary files whose time has come are deleted, 1 minute to 30 days [default: 1h].
    #[arg(long, env = "STORAGE_GC_INTERVAL", value_name = "DURATION")]
    pub(crate) storage_gc_interval: Option<String>,
    /// How long after a check of all files the next one begins, 1 hour to 8760 hours, or `off` [default: 168h].
    #[arg(long, env = "STORAGE_SCRUB_INTERVAL", value_name = "DURATION")]
    pub(crate) storage_scrub_interval: Option<String>,
    /// The bytes a second that check reads [default: 20Mi].
    #[arg(long, env = "STORAGE_SCRUB_RATE", value_name = "SIZE")]
    pub(crate) storage_scrub_rate: Option<String>,
}

/// Logs, on standard error.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct LogArgs {
    /// error, warn, info, debug or trace [default: info].
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// json or text [default: json, with --dev text].
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

/// Traces, by OpenTelemetry.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Traces")]
pub(crate) struct TraceArgs {
    /// The collector that takes spans by OTLP over HTTP, such as http://collector:4318. Without it there are no traces.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otel_exporter_otlp_endpoint: Option<String>,
}
