//! The command line: commands and their flags. Every setting is also an environment variable; the words are read here and
//! judged in `config`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::args::{
    ConnectionArgs, DatabaseArgs, ElementArgs, LogArgs, MaintenanceArgs, RedisArgs, ServerArgs, StorageArgs,
    TokenCheckArgs, TraceArgs,
};

/// A storage element: keeps files and their metadata, and serves them over HTTP.
#[derive(Debug, Parser)]
#[command(name = "artstore-element", version, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the API until SIGTERM.
    Serve(Box<ServeArgs>),
    /// Print a token signed with a private key, that of `serve --dev` if none is given.
    Token(TokenArgs),
    /// Bring the database schema up to date, undo its newest version, or say where it stands.
    Migrate(MigrateArgs),
    /// Rebuild the database from the attribute files. Stop the server first.
    Rebuild(RebuildArgs),
    /// Check content, attribute files, database and write-ahead log. Stop the server first.
    #[command(after_help = FSCK_CODES)]
    Fsck(FsckArgs),
    /// Print the API's description, OpenAPI 3.1 in JSON.
    Openapi,
    /// Upload a random file to a running element, read it back, compare, delete it.
    SmokeTest(SmokeTestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Try it out: embedded database, a key pair of its own in the storage folder, and curl lines to paste.
    #[arg(long)]
    pub(crate) dev: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) connections: ConnectionArgs,
    #[command(flatten)]
    pub(crate) tokens: TokenCheckArgs,
    #[command(flatten)]
    pub(crate) element: ElementArgs,
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) redis: RedisArgs,
    #[command(flatten)]
    pub(crate) maintenance: MaintenanceArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
    #[command(flatten)]
    pub(crate) traces: TraceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The private key (PEM) whose public half the element trusts; else the one of `serve --dev`.
    #[arg(long, value_name = "PEM")]
    pub(crate) key_file: Option<PathBuf>,
    /// The token's role: user, operator or admin.
    #[arg(long)]
    pub(crate) role: String,
    /// The token's subject, who its bearer is.
    #[arg(long)]
    pub(crate) sub: String,
    /// How long the token is good: `90s`, `15m`, `8h`.
    #[arg(long, default_value = "1h")]
    pub(crate) ttl: String,
    /// The issuer to name in the token.
    #[arg(long, env = "JWT_ISSUER", value_name = "TEXT")]
    pub(crate) jwt_issuer: Option<String>,
    /// The audience to name in the token.
    #[arg(long, env = "JWT_AUDIENCE", value_name = "TEXT")]
    pub(crate) jwt_audience: Option<String>,
    #[command(flatten)]
    pub(crate) element: ElementArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MigrateAction {
    /// Apply what is missing.
    Up,
    /// Undo the newest applied version. The attribute files keep everything; `up` and `rebuild` bring it back.
    Down,
    /// Print the applied and the pending versions.
    Status,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[arg(value_enum)]
    pub(crate) action: MigrateAction,
    /// With `up`: make the database first, when it is not there and the role may.
    #[arg(long)]
    pub(crate) create_database: bool,
    #[command(flatten)]
    pub(crate) element: ElementArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    pub(crate) element: ElementArgs,
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

/// What the exit codes of `fsck` say; the bits of e2fsck.
const FSCK_CODES: &str = "Exit codes: 0 all is well; 1 something was wrong (with --repair: and all of it is repaired now); \
                          4 --repair could not repair all of it; 8 the check could not be made; 2 bad configuration.";

#[derive(Debug, Args)]
pub(crate) struct FsckArgs {
    /// Repair what can be repaired without losing anything: the database and the log are made what the files say, leftovers
    /// are removed, damaged content goes into quarantine.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Compare sizes instead of reading all content.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print a JSON object for each finding, and one for the summary.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) element: ElementArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SmokeTestArgs {
    /// Where the element answers, without a path: `http://storage-01:8010`.
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: String,
    /// The private key (PEM) whose public half the element trusts; signs one short-lived token.
    #[arg(long, value_name = "PEM")]
    pub(crate) key_file: PathBuf,
    /// The issuer to name in the token.
    #[arg(long, env = "JWT_ISSUER", value_name = "TEXT")]
    pub(crate) jwt_issuer: Option<String>,
    /// The audience to name in the token.
    #[arg(long, env = "JWT_AUDIENCE", value_name = "TEXT")]
    pub(crate) jwt_audience: Option<String>,
}
