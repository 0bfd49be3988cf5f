//! What every request handler shares.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::auth::Authenticator;
use crate::files::{Files, StoreReader};
use crate::maintenance::Maintenance;
use crate::metrics::{Metrics, Snapshot};
use crate::mode::Modes;
use crate::traces::Traces;

/// Who the element is, as it tells its clients.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) element_id: String,
    pub(crate) priority: i64,
    pub(crate) endpoint: Option<String>,
    pub(crate) max_file_size: u64,
}

/// What an element has once it was opened.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) files: Files,
    /// The version the migrations brought the database to; asking the database for it takes a lock.
    pub(crate) schema_version: Option<i64>,
}

/// The running element; clones share it.
#[derive(Clone)]
pub(crate) struct App {
    inner: Arc<Inner>,
}

struct Inner {
    about: About,
    authenticator: Authenticator,
    modes: Arc<Modes>,
    metrics: Arc<Metrics>,
    traces: Option<Traces>,
    /// Set once the store was taken.
    reader: OnceLock<StoreReader>,
    /// Set once the database was reached and the write-ahead log recovered.
    opened: OnceLock<Opened>,
    /// Set just before.
    maintenance: OnceLock<Maintenance>,
    stopping: AtomicBool,
    started: Instant,
}

impl App {
    pub(crate) fn new(
        about: About,
        authenticator: Authenticator,
        modes: Arc<Modes>,
        metrics: Arc<Metrics>,
        traces: Option<Traces>,
    ) -> Self {
        let inner = Inner {
            about,
            authenticator,
            modes,
            metrics,
            traces,
            reader: OnceLock::new(),
            opened: OnceLock::new(),
            maintenance: OnceLock::new(),
            stopping: AtomicBool::new(false),
            started: Instant::now(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn about(&self) -> &About {
        &self.inner.about
    }

    pub(crate) fn authenticator(&self) -> &Authenticator {
        &self.inner.authenticator
    }

    pub(crate) fn modes(&self) -> &Arc<Modes> {
        &self.inner.modes
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    pub(crate) fn traces(&self) -> Option<&Traces> {
        self.inner.traces.as_ref()
    }

    /// Reads by id while the element starts up; none until the store was taken.
    pub(crate) fn reader(&self) -> Option<&StoreReader> {
        self.inner.reader.get()
    }

    /// The store was taken.
    pub(crate) fn readable(&self, reader: StoreReader) {
        // INVARIANT: there is one starter, so the cell is empty; were it not, the reader it holds is as good.
        let _ = self.inner.reader.set(reader);
    }

    /// The files; none until the element has started up.
    pub(crate) fn files(&self) -> Option<&Files> {
        self.inner.opened.get().map(|opened| &opened.files)
    }

    /// The database's schema version; none until the element has started up.
    pub(crate) fn schema_version(&self) -> Option<i64> {
        self.inner.opened.get()?.schema_version
    }

    /// What runs tasks; none until the element has started up.
    pub(crate) fn maintenance(&self) -> Option<&Maintenance> {
        self.inner.maintenance.get()
    }

    /// The element has started up.
    pub(crate) fn opened(&self, opened: Opened, maintenance: Maintenance) {
        // INVARIANT: as below.
        let _ = self.inner.maintenance.set(maintenance);
        // INVARIANT: there is one starter, so the cell is empty; were it not, the files it holds are as good.
        let _ = self.inner.opened.set(opened);
    }

    pub(crate) fn stop(&self) {
        self.inner.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn uptime_seconds(&self) -> u64 {
        self.inner.started.elapsed().as_secs()
    }

    /// A look at the element for one scrape of the metrics.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        let index = match self.files() {
            Some(files) => files.index().stats().await.ok(),
            None => None,
        };
        Snapshot {
            mode: self.modes().current(),
            mode_refused: self.modes().refused().is_some(),
            writable: self.files().is_none_or(|files| files.writable().is_ok()),
            capacity: self.files().map(Files::capacity),
            quarantined: self.files().map_or(0, Files::quarantined),
            recovered: self
                .files()
                .map(|files| files.recoveries().counts().to_vec())
                .unwrap_or_default(),
            index,
        }
    }
}
