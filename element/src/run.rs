//! Running the commands: what happens in which order. `serve` answers from the first moment, reads once it has the store, is ready
//! once the database was reached and the log recovered ([`startup`]), and on SIGTERM finishes what it has begun.

mod startup;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Authenticator;
use crate::auth::keys::Keys;
use crate::cli::{MigrateAction, MigrateArgs, RebuildArgs, ServeArgs};
use crate::config::environment::Environment;
use crate::config::{Config, DatabaseConfig, ElementConfig, LogConfig, LogFormat, StorageConfig};
use crate::discovery::Redis;
use crate::files::OwnStore;
use crate::http::server::Server;
use crate::index::{Index, MigrationStatus, create_database};
use crate::metrics::Metrics;
use crate::mode::{Kept, Modes};
use crate::state::{About, App};
use crate::store::{MODE_NOTE, StoreConfig};
use crate::traces::Traces;
use crate::{dev, durable, http, telemetry};

use self::startup::{Startup, index, open, settings};

/// The `serve` command.
pub(crate) async fn serve(mut args: ServeArgs, environment: &Environment) -> Result<()> {
    let dev = args.dev;
    let format = if dev { LogFormat::Text } else { LogFormat::Json };
    let logs = LogConfig::read(std::mem::take(&mut args.logs), format)?;
    let config = Config::read(args, environment)?;
    telemetry::init(logs);
    let scheme = config.connections.scheme();
    let traces = config
        .traces
        .map(|traces| Traces::start(&traces, &config.element.id, scheme));
    let redis = config.redis.as_ref().map(Redis::new).transpose();
    let redis = redis.context("failed to set up discovery by REDIS_HOST")?;
    raise_file_limit();
    let signals = Signals::new()?;
    let own_folder = config.element.own_folder();
    create(&own_folder)?;
    let kept = kept_mode(&config.element);
    let modes = Arc::new(Modes::open(&kept, config.mode, config.mode_file)?);
    let keys = config
        .keys
        .map_or_else(|| dev::public_key(&own_folder).map(Keys::Fixed), Ok)?;
    let about = about(&config.element, &config.storage);
    let authenticator = Authenticator::new(keys, &config.tokens, config.admin_token);
    let metrics = Arc::new(Metrics::new(redis.is_some()));
    let app = App::new(about, authenticator, modes, Arc::clone(&metrics), traces.transpose()?);
    let tls = config.connections.tls.clone().map(http::tls::acceptor).transpose()?;
    let (listener, address) = listen(config.listen).await?;

    let stopping = CancellationToken::new();
    let tasks = TaskTracker::new();
    let startup = Startup {
        app: app.clone(),
        element: config.element,
        storage: config.storage,
        database: config.database,
        redis,
        maintenance: config.maintenance,
        dev: dev.then_some(config.tokens),
        origin: (scheme, address),
        stopping: stopping.clone(),
        tasks: tasks.clone(),
    };
    let starting = tasks.spawn(startup.run());
    tasks.spawn(follow_issuer(app.clone(), stopping.clone()));
    if let Some(certificate) = config.connections.tls {
        tasks.spawn(http::tls::follow(certificate, stopping.clone()));
    }
    let limits = config.connections.limits;
    let router = http::router(app.clone(), limits.body);
    let server = Server {
        router,
        metrics,
        limits,
        tls,
    };
    let server = tokio::spawn(server.serve(listener, stopping.clone()));
    tokio::select! {
        error = failure(starting) => Err(error),
        stopped = stop_by_signal(signals, stopping, finish(server, tasks, app.clone()), &app) => stopped,
    }
}

/// Where the mode is found before the store is.
fn kept_mode(element: &ElementConfig) -> Kept {
    match &element.store {
        StoreConfig::Local { .. } => Kept::In(element.own_folder().join(MODE_NOTE)),
        StoreConfig::S3(_) => Kept::Elsewhere,
    }
}

/// Waits for the start to fail for good, which it may never do.
async fn failure(starting: JoinHandle<Result<()>>) -> anyhow::Error {
    match starting.await {
        Ok(Ok(())) => std::future::pending().await,
        Ok(Err(error)) => error,
        Err(panicked) => anyhow::Error::new(panicked).context("the start failed"),
    }
}

/// Waits for a signal, and then for all that was begun.
async fn stop_by_signal(
    mut signals: Signals,
    stopping: CancellationToken,
    finish: impl Future<Output = Result<()>>,
    app: &App,
) -> Result<()> {
    // Not within the macro: at a LOG_LEVEL that leaves the line out nobody would wait.
    let signal = signals.next().await;
    tracing::info!(signal, "stopping");
    app.stop();
    stopping.cancel();
    tokio::select! {
        finished = finish => finished?,
        signal = signals.next() => bail!("stopped by a second {signal} before everything was finished"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Keeps the keys of tokens fresh until the server stops.
async fn follow_issuer(app: App, stopping: CancellationToken) {
    let following = app.authenticator().follow_issuer();
    // Without an issuer it is done at once, else never.
    let _ = stopping.run_until_cancelled(following).await;
}

/// Waits for what runs: requests first, then what serves them.
async fn finish(server: JoinHandle<()>, tasks: TaskTracker, app: App) -> Result<()> {
    server.await.context("the server failed")?;
    tasks.close();
    tasks.wait().await;
    if let Some(files) = app.files() {
        files.shutdown().await;
    }
    if let Some(traces) = app.traces() {
        traces.stop().await;
    }
    Ok(())
}

/// The `migrate` command.
pub(crate) async fn migrate(args: MigrateArgs, environment: &Environment) -> Result<()> {
    telemetry::init(LogConfig::read(args.logs, LogFormat::Text)?);
    let element = ElementConfig::read(args.element)?;
    let database = DatabaseConfig::read(args.database, &element.id, environment)?;
    element.check(&database)?;
    if args.create_database {
        if !matches!(args.action, MigrateAction::Up) {
            bail!("--create-database goes with migrate up only");
        }
        if create_database(&database).await? {
            tracing::info!("created the database");
        }
    }
    if matches!(database, DatabaseConfig::Embedded { .. }) {
        create(&element.own_folder())?;
    }
    let index = Index::open(&database, &element.root)?.for_a_command();
    let status = match args.action {
        MigrateAction::Up => index.migrate_up().await,
        MigrateAction::Down => index.migrate_down().await,
        MigrateAction::Status => index.migration_status().await,
    };
    index.close().await;
    print_status(&status?)
}

/// The `rebuild` command.
pub(crate) async fn rebuild(args: RebuildArgs, environment: &Environment) -> Result<()> {
    telemetry::init(LogConfig::read(args.logs, LogFormat::Text)?);
    let element = ElementConfig::read(args.element)?;
    let database = DatabaseConfig::read(args.database, &element.id, environment)?;
    element.check(&database)?;
    let storage = StorageConfig::read(args.storage)?;
    create(&element.own_folder())?;
    let settings = settings(&element, &storage);
    let store = OwnStore::take(&settings).await?;
    let index = index(&element, &database)?.for_a_command();
    let files = open(&store, settings, index).await?.files;
    let report = files.rebuild().await;
    files.shutdown().await;
    let report = serde_json::to_string(&report?).context("failed to encode the report")?;
    writeln!(io::stdout(), "{report}").context("failed to print the report")
}

/// Takes all the file handles the system grants: connections and open files may be many.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    ) {
        tracing::warn!(%error, "failed to raise the limit of open files");
    }
}

fn create(own_folder: &Path) -> Result<()> {
    durable::create_all(own_folder).with_context(|| {
        format!("failed to create {own_folder:?}; is STORAGE_LOCAL_BASE_PATH a folder this user may write?")
    })
}

fn about(element: &ElementConfig, storage: &StorageConfig) -> About {
    About {
        element_id: element.id.clone(),
        priority: storage.priority,
        endpoint: storage.endpoint.clone(),
        max_file_size: storage.max_file_size,
    }
}

async fn listen(address: (std::net::IpAddr, u16)) -> Result<(TcpListener, SocketAddr)> {
    let (host, port) = address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on SERVER_HOST {host}, SERVER_PORT {port}"))?;
    let address = listener.local_addr().context("failed to learn the listening address")?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    Ok((listener, address))
}

/// The `openapi` command.
pub(crate) fn print_description() -> Result<()> {
    let text = http::description().context("failed to write the description")?;
    let mut out = io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("failed to print the description")
}

fn print_status(status: &MigrationStatus) -> Result<()> {
    let mut out = io::stdout();
    for (version, name, applied) in &status.versions {
        let word = if *applied { "applied" } else { "pending" };
        writeln!(out, "{version} {name} {word}").context("failed to print the status")?;
    }
    Ok(())
}

/// The signals that ask the server to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
