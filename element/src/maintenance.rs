//! Maintenance: runs the tasks that look after the files, when somebody asks and when their time has come.
//!
//! Every task, whoever started it, begins in [`Maintenance::start`] and runs under a lease of its kind, so that of several servers
//! that share a store only one collects or scrubs.

use std::sync::Arc;
use std::time::Duration;

use element_api::{Finding, Operation, Task, TaskKind, TaskResult, TaskStatus};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::MaintenanceConfig;
use crate::files::{CareError, Chain, FileError, Files, Plan, Reading, Rows, Watch};
use crate::index::Lease;
use crate::metrics::Metrics;
use crate::mode::Modes;
use crate::tasks::{End, Meter, Running, Tasks};

/// Who started a task that nobody asked for.
const SCHEDULE: &str = "schedule";

/// How long after the start the first garbage collection comes, at the latest.
const FIRST_GC: Duration = Duration::from_secs(300);

/// How long to wait after a scrub that failed, and at the most before the clock is looked at again.
const SCRUB_RETRY: Duration = Duration::from_secs(600);
const SCRUB_LOOK: Duration = Duration::from_secs(3600);

/// How often other servers are told how far a task came.
const TELLING: Duration = Duration::from_secs(5);

/// Runs tasks; clones share them.
#[derive(Clone)]
pub(crate) struct Maintenance {
    inner: Arc<Inner>,
}

struct Inner {
    files: Files,
    modes: Arc<Modes>,
    metrics: Arc<Metrics>,
    config: MaintenanceConfig,
    tasks: Tasks,
    stopping: CancellationToken,
    tracker: TaskTracker,
}

/// Why a task did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStarted {
    /// One of its kind runs.
    #[error("task {} of kind {} is running", .0.id, .0.kind)]
    Running(Box<Task>),
    /// One of its kind runs elsewhere, and has not told of itself yet.
    #[error("another server of this element runs a task of this kind")]
    Elsewhere,
    /// Nobody can tell whether one runs.
    #[error("failed to start a task")]
    Failed(#[from] FileError),
}

impl Maintenance {
    pub(crate) fn new(
        files: Files,
        modes: Arc<Modes>,
        metrics: Arc<Metrics>,
        config: MaintenanceConfig,
        stopping: CancellationToken,
        tracker: TaskTracker,
    ) -> Self {
        let inner = Inner {
            files,
            modes,
            metrics,
            config,
            tasks: Tasks::default(),
            stopping,
            tracker,
        };
        Self { inner: Arc::new(inner) }
    }

    /// A task that runs or is remembered, of this server or another of the element.
    pub(crate) async fn task(&self, id: Uuid) -> Result<Option<Task>, FileError> {
        match self.inner.tasks.get(id) {
            Some(task) => Ok(Some(task)),
            None => Ok(self.inner.files.index().task(id).await?),
        }
    }

    /// Starts a task, unless one of its kind runs, here or on another server of the element.
    pub(crate) async fn start(&self, kind: TaskKind, started_by: &str) -> Result<Task, NotStarted> {
        let tasks = &self.inner.tasks;
        if let Some(running) = tasks.running(kind) {
            return Err(NotStarted::Running(Box::new(running)));
        }
        let Some(lease) = self.inner.files.lease(&format!("maintenance/{kind}")).await? else {
            let elsewhere = self
                .inner
                .files
                .index()
                .running_task(kind)
                .await
                .map_err(FileError::from)?;
            let running = tasks.running(kind).or(elsewhere).map(Box::new);
            return Err(running.map_or(NotStarted::Elsewhere, NotStarted::Running));
        };
        // Nothing waits from here on: a caller who goes away leaves no task that nobody sees to its end.
        let running = tasks
            .begin(kind, started_by, Timestamp::now())
            .map_err(NotStarted::Running)?;
        let task = running.task();
        tracing::info!(audit = true, task_id = %task.id, %kind, started_by, "a task begins");
        let (told, others_know) = oneshot::channel();
        self.inner
            .tracker
            .spawn(Arc::clone(&self.inner).supervise(running, lease, told));
        // Whoever hears of the task may ask any server for it.
        let _ = others_know.await;
        Ok(task)
    }

    /// Collects and scrubs at their intervals, until the server stops.
    pub(crate) fn follow_schedule(&self) {
        let (collector, scrubber) = (self.clone(), self.clone());
        self.inner.tracker.spawn(async move {
            let stopping = collector.inner.stopping.clone();
            stopping.run_until_cancelled(collector.collect_on_schedule()).await;
        });
        self.inner.tracker.spawn(async move {
            let stopping = scrubber.inner.stopping.clone();
            stopping.run_until_cancelled(scrubber.scrub_on_schedule()).await;
        });
    }

    async fn collect_on_schedule(&self) {
        let every = self.inner.config.gc_interval;
        tokio::time::sleep(every.min(FIRST_GC)).await;
        loop {
            self.start_unless_running(TaskKind::Gc).await;
            tokio::time::sleep(every).await;
        }
    }

    async fn scrub_on_schedule(&self) {
        self.show_last_scrub().await;
        let Some(every) = self.inner.config.scrub_interval else {
            return;
        };
        let every = SignedDuration::try_from(every).unwrap_or(SignedDuration::MAX);
        loop {
            let now = Timestamp::now();
            let wait = match self.inner.files.scrub_due(every, now).await {
                Ok(due) if due <= now => {
                    self.start_unless_running(TaskKind::Scrub).await;
                    SCRUB_RETRY
                }
                Ok(due) => Duration::try_from(due.duration_since(now))
                    .unwrap_or(SCRUB_LOOK)
                    .min(SCRUB_LOOK),
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "failed to learn when the next scrub is due");
                    SCRUB_RETRY
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn show_last_scrub(&self) {
        match self.inner.files.last_scrub().await {
            Ok(last) => self.inner.metrics.maintenance.scrub_finished(last),
            Err(error) => tracing::warn!(error = %Chain(&error), "failed to learn when the last scrub ended"),
        }
    }

    async fn start_unless_running(&self, kind: TaskKind) {
        match self.start(kind, SCHEDULE).await {
            Ok(_) => {}
            Err(NotStarted::Failed(error)) => tracing::error!(%kind, error = %Chain(&error), "a task did not start"),
            Err(running) => tracing::debug!(%kind, %running, "a task did not start"),
        }
    }
}

impl Inner {
    /// Sees a task through to its end, however it ends.
    async fn supervise(self: Arc<Self>, running: Running, lease: Lease, told: oneshot::Sender<()>) {
        let task = running.task();
        let began = self.metrics.maintenance.began(task.kind);
        let meter = Arc::clone(running.meter());
        self.tell_others(&running).await;
        let _ = told.send(());
        let performing = tokio::spawn(Arc::clone(&self).perform_alone(task.kind, meter, lease));
        let end = match self.tell_others_until(performing, &running).await {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => End::Failed(Chain(&error).to_string()),
            Err(_) => End::Failed("the task panicked".to_owned()),
        };
        drop(began);
        let task = self.tasks.end(&running, end, Timestamp::now());
        self.metrics.maintenance.ended(&task);
        let (task_id, kind, status) = (task.id, task.kind, task.status.as_str());
        let result = serde_json::to_string(&task.result).unwrap_or_default();
        match task.status {
            TaskStatus::Failed => {
                tracing::error!(%task_id, %kind, error = task.error, "a task failed");
            }
            _ => tracing::info!(%task_id, %kind, status, result, "a task ended"),
        }
        self.tell_end(&task).await;
        self.tasks.forget(&task);
    }

    /// Tells others of a task now and then, until it has been performed.
    async fn tell_others_until<T>(&self, mut performing: JoinHandle<T>, running: &Running) -> Result<T, JoinError> {
        loop {
            match timeout(TELLING, &mut performing).await {
                Ok(performed) => return performed,
                Err(_) => self.tell_others(running).await,
            }
        }
    }

    async fn tell_others(&self, running: &Running) {
        if let Err(error) = self.files.keep_task(&running.task()).await {
            tracing::debug!(error = %Chain(&error), "failed to tell other servers of a task");
        }
    }

    /// Keeps how a task ended; the database may be away for a while.
    async fn tell_end(&self, task: &Task) {
        while let Err(error) = self.files.keep_task(task).await {
            tracing::warn!(task_id = %task.id, error = %Chain(&error), "failed to keep how a task ended");
            let waiting = self.stopping.run_until_cancelled(tokio::time::sleep(TELLING));
            if waiting.await.is_none() {
                return;
            }
        }
    }

    /// The lease is freed before the task is said to have ended: whoever sees that may start another.
    async fn perform_alone(self: Arc<Self>, kind: TaskKind, meter: Arc<Meter>, lease: Lease) -> Result<End, CareError> {
        let performed = self.perform(kind, meter).await;
        lease.release().await;
        Ok(performed?.map_or(End::Stopped, End::Succeeded))
    }

    /// Does what a task is for. None when the server stopped meanwhile.
    async fn perform(&self, kind: TaskKind, meter: Arc<Meter>) -> Result<Option<TaskResult>, CareError> {
        let watch = Watching {
            kind,
            meter,
            metrics: Arc::clone(&self.metrics),
        };
        let (files, stopping) = (&self.files, &self.stopping);
        match kind {
            TaskKind::Rebuild => {
                let rebuilt = stopping.run_until_cancelled(files.rebuild_watched(&watch)).await;
                Ok(rebuilt.transpose()?.map(TaskResult::Rebuild))
            }
            TaskKind::Gc => {
                let may_delete = || self.modes.current().allows(Operation::Delete) && !stopping.is_cancelled();
                let collecting = files.collect(Timestamp::now(), &may_delete, &watch);
                let collected = stopping.run_until_cancelled(collecting).await;
                Ok(collected.transpose()?.map(TaskResult::Gc))
            }
            TaskKind::Scrub => {
                // Quarantine keeps damaged bytes from being served. Where none are served, it only tells.
                let may_quarantine = || self.modes.current().allows(Operation::Read);
                let plan = Plan {
                    rows: Rows::Check,
                    content: Reading::All {
                        rate: Some(self.config.scrub_rate),
                    },
                    may_quarantine: &may_quarantine,
                    restore: false,
                    offline: false,
                };
                let report = files.scrub(plan, stopping, &watch).await?;
                if report.is_some() {
                    self.metrics.maintenance.scrub_finished(Some(Timestamp::now()));
                }
                Ok(report.map(TaskResult::Inspection))
            }
            TaskKind::Reconcile => {
                let reconciled = stopping.run_until_cancelled(files.reconcile(&watch)).await;
                Ok(reconciled.transpose()?.map(TaskResult::Inspection))
            }
        }
    }
}

/// Tells a task's progress to those who ask for the task, and to the metrics.
struct Watching {
    kind: TaskKind,
    meter: Arc<Meter>,
    metrics: Arc<Metrics>,
}

impl Watch for Watching {
    fn expect(&self, files: u64) {
        self.meter.expect(files);
        self.metrics.maintenance.progressed(self.kind, self.meter.progress());
    }

    fn did(&self, files: u64, bytes: u64) {
        self.meter.did(files, bytes);
        self.metrics.maintenance.did(self.kind, files, bytes);
        self.metrics.maintenance.progressed(self.kind, self.meter.progress());
    }

    fn found(&self, finding: &Finding) {
        let Finding {
            kind,
            path,
            file_id,
            detail,
            repaired,
        } = finding;
        self.metrics.maintenance.found(*kind);
        let task = self.kind;
        tracing::warn!(%task, finding = kind.as_str(), path, ?file_id, detail, repaired, "something is wrong with a file");
    }
}
