//! What happens beside serving, from the start until the element is ready: the store first, so that files can be read by id however
//! long the database is away; then the database, recovery, the mode, and what looks after the files.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use element_api::Role;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::{DatabaseConfig, ElementConfig, MaintenanceConfig, StorageConfig, TokenRules};
use crate::discovery::{self, Redis};
use crate::files::{Files, OwnStore, Settings};
use crate::index::Index;
use crate::maintenance::Maintenance;
use crate::state::{App, Opened};
use crate::token::Claims;
use crate::{dev, durable, mode};

/// How long to wait before the database is tried again: at first, and at the most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// How long the token in the lines to paste is good.
const DEV_TOKEN_TIME: Duration = Duration::from_secs(12 * 3600);

/// All that a start needs.
pub(super) struct Startup {
    pub(super) app: App,
    pub(super) element: ElementConfig,
    pub(super) storage: StorageConfig,
    pub(super) database: DatabaseConfig,
    pub(super) redis: Option<Redis>,
    pub(super) maintenance: MaintenanceConfig,
    /// With `--dev`, what its tokens must say.
    pub(super) dev: Option<TokenRules>,
    /// How and where the server listens.
    pub(super) origin: (&'static str, SocketAddr),
    pub(super) stopping: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Startup {
    /// Ends when all of it runs, or the server stops.
    ///
    /// # Errors
    /// When the start can go well in no process but a new one.
    pub(super) async fn run(self) -> Result<()> {
        let Some(opened) = self.stopping.run_until_cancelled(self.open()).await.transpose()? else {
            return Ok(());
        };
        let modes = self.app.modes();
        let taking = patiently(|| {
            let taking = async { modes.take_over(&opened.files).await };
            taking
                .map(|taken| taken.context("failed to take over the mode"))
                .boxed()
        });
        if self.stopping.run_until_cancelled(taking).await.transpose()?.is_none() {
            opened.files.shutdown().await;
            return Ok(());
        }
        let maintenance = Maintenance::new(
            opened.files.clone(),
            Arc::clone(self.app.modes()),
            Arc::clone(self.app.metrics()),
            self.maintenance,
            self.stopping.clone(),
            self.tasks.clone(),
        );
        maintenance.follow_schedule();
        self.app.opened(opened.clone(), maintenance);
        self.tasks.spawn(mode::follow::follow(
            Arc::clone(self.app.modes()),
            opened.files.clone(),
            self.stopping.clone(),
        ));
        tracing::info!(element_id = self.element.id, mode = %self.app.modes().current(), "ready");
        if let Some(rules) = &self.dev
            && let Err(error) = print_curl_lines(&self.element, self.origin, rules)
        {
            tracing::warn!(error = format!("{error:#}"), "failed to print the lines to paste");
        }
        if let Some(redis) = self.redis {
            let endpoint = self.storage.endpoint.unwrap_or_else(|| own_endpoint(self.origin));
            self.tasks.spawn(discovery::report(
                redis,
                self.app,
                opened.files,
                endpoint,
                self.stopping,
            ));
        }
        Ok(())
    }

    async fn open(&self) -> Result<Opened> {
        // Each try is another server to the database: what one took over and did not finish is left over for the next.
        let settings = || settings(&self.element, &self.storage);
        let store = patiently(|| async { Ok(OwnStore::take(&settings()).await?) }.boxed()).await?;
        // What may be read depends on the mode, and a bucket is the only one to know it.
        let kept = patiently(|| async { store.kept_mode().await.context("failed to read the mode") }.boxed()).await?;
        self.app.modes().found(kept)?;
        self.app.readable(store.reader());
        patiently(|| {
            let opening = async { open(&store, settings(), index(&self.element, &self.database)?).await };
            opening.boxed()
        })
        .await
    }
}

/// Tries until it goes well, however long database and store take to be there. Nothing is promised meanwhile: the element is not
/// ready.
async fn patiently<'a, T>(attempt: impl Fn() -> BoxFuture<'a, Result<T>>) -> Result<T> {
    let mut pause = FIRST_RETRY;
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if durable::flush_failed() {
            return Err(error.context("cannot start after the disk failed to flush"));
        }
        let error = format!("{error:#}");
        tracing::error!(error, retry_seconds = pause.as_secs(), "cannot start yet; trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

/// What the files are kept with.
pub(super) fn settings(element: &ElementConfig, storage: &StorageConfig) -> Settings {
    Settings {
        store: element.store.clone(),
        max_size: storage.max_size,
        max_file_size: storage.max_file_size,
        instance_id: format!("{}/{}", element.id, Uuid::now_v7()),
    }
}

/// The element's database, which need not be reached yet.
pub(super) fn index(element: &ElementConfig, database: &DatabaseConfig) -> Result<Index> {
    Index::open(database, &element.root).context("failed to set up the database")
}

/// Opens the files over a store that was taken.
pub(super) async fn open(store: &OwnStore, settings: Settings, index: Index) -> Result<Opened> {
    let opened = async {
        let status = index
            .migrate_up()
            .await
            .context("failed to bring the database up to date")?;
        let files = Files::over(store, settings, index.clone())
            .await
            .context("failed to open the files")?;
        Ok(Opened {
            files,
            schema_version: status.current(),
        })
    };
    let result = opened.await;
    if result.is_err() {
        index.close().await;
    }
    result
}

fn print_curl_lines(element: &ElementConfig, origin: (&str, SocketAddr), rules: &TokenRules) -> Result<()> {
    let key = dev::private_key(&element.own_folder())?;
    let claims = Claims::new(
        "dev",
        Role::Admin,
        DEV_TOKEN_TIME,
        rules.issuer.clone(),
        rules.audience.clone(),
    );
    let lines = dev::curl_lines(origin, &claims.sign(&key)?);
    let mut out = io::stdout();
    out.write_all(lines.as_bytes())
        .and_then(|()| out.flush())
        .context("failed to write to standard output")
}

/// Where this machine believes to be reached, for an element that was not told.
fn own_endpoint((scheme, address): (&str, SocketAddr)) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{scheme}://{host}:{}", address.port())
}
