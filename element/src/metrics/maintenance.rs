//! What maintenance does, in numbers.

use std::sync::atomic::AtomicU64;

use element_api::{FindingKind, Task, TaskKind, TaskProgress, TaskResult};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    kind: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    finding: &'static str,
}

/// The metrics of maintenance.
#[derive(Default)]
pub(crate) struct MaintenanceMetrics {
    running: Family<KindLabels, Gauge>,
    ended: Family<EndLabels, Counter>,
    findings: Family<FindingLabels, Counter>,
    scrub_files: Counter,
    scrub_bytes: Counter,
    scrub_progress: Gauge<f64, AtomicU64>,
    scrub_corrupt: Counter,
    scrub_finished: Gauge<f64, AtomicU64>,
    gc_files: Counter,
    gc_bytes: Counter,
    gc_failed: Counter,
    gc_leftovers: Family<KindLabels, Counter>,
    quarantined: Gauge<u64, AtomicU64>,
}

/// A task that runs; dropped when it ends.
pub(crate) struct Began {
    running: Gauge,
}

impl Drop for Began {
    fn drop(&mut self) {
        self.running.dec();
    }
}

impl MaintenanceMetrics {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("tasks_running", "Tasks that run, by kind", metrics.running.clone());
        registry.register("tasks", "Tasks that ended, by kind and status", metrics.ended.clone());
        registry.register(
            "findings",
            "What tasks found wrong, by finding",
            metrics.findings.clone(),
        );
        registry.register("scrub_files", "Files scrubbed", metrics.scrub_files.clone());
        let help = "Content read by scrubs";
        registry.register_with_unit("scrub", help, Unit::Bytes, metrics.scrub_bytes.clone());
        let help = "Share of the files that the scrub under way, or else the last, has done";
        registry.register_with_unit("scrub_progress", help, Unit::Ratios, metrics.scrub_progress.clone());
        registry.register(
            "scrub_corrupt",
            "Files found with another sha256",
            metrics.scrub_corrupt.clone(),
        );
        let help = "When a scrub last came to its end, in seconds since 1970; 0 when none has";
        registry.register_with_unit(
            "scrub_last_finish_timestamp",
            help,
            Unit::Seconds,
            metrics.scrub_finished.clone(),
        );
        registry.register("gc_files", "Expired files deleted", metrics.gc_files.clone());
        registry.register_with_unit(
            "gc",
            "Content of expired files deleted",
            Unit::Bytes,
            metrics.gc_bytes.clone(),
        );
        registry.register(
            "gc_failed",
            "Expired files that could not be deleted",
            metrics.gc_failed.clone(),
        );
        registry.register(
            "gc_leftovers",
            "Leftovers cleared away, by kind",
            metrics.gc_leftovers.clone(),
        );
        let help = "Damaged content that waits for a person";
        registry.register_with_unit("quarantined", help, Unit::Bytes, metrics.quarantined.clone());
        for kind in TaskKind::ALL {
            drop(metrics.running.get_or_create(&KindLabels { kind: kind.as_str() }));
        }
        metrics
    }

    /// A task runs, until the answer is dropped.
    pub(crate) fn began(&self, kind: TaskKind) -> Began {
        let running = self.running.get_or_create_owned(&KindLabels { kind: kind.as_str() });
        running.inc();
        Began { running }
    }

    /// A task ended.
    pub(crate) fn ended(&self, task: &Task) {
        let labels = EndLabels {
            kind: task.kind.as_str(),
            status: task.status.as_str(),
        };
        self.ended.get_or_create(&labels).inc();
        if let Some(TaskResult::Gc(report)) = &task.result {
            self.gc_failed.inc_by(report.failed);
            for (kind, count) in [("temporary_file", report.temporary_files), ("folder", report.folders)] {
                self.gc_leftovers.get_or_create(&KindLabels { kind }).inc_by(count);
            }
        }
    }

    /// A task has dealt with so much more.
    pub(crate) fn did(&self, kind: TaskKind, files: u64, bytes: u64) {
        match kind {
            TaskKind::Scrub => {
                self.scrub_files.inc_by(files);
                self.scrub_bytes.inc_by(bytes);
            }
            TaskKind::Gc => {
                self.gc_files.inc_by(files);
                self.gc_bytes.inc_by(bytes);
            }
            TaskKind::Rebuild | TaskKind::Reconcile => {}
        }
    }

    /// A task has come so far.
    pub(crate) fn progressed(&self, kind: TaskKind, progress: TaskProgress) {
        if kind == TaskKind::Scrub
            && let Some(total) = progress.total
        {
            self.scrub_progress.set(progress.done as f64 / total as f64);
        }
    }

    /// A task found something wrong.
    pub(crate) fn found(&self, kind: FindingKind) {
        self.findings
            .get_or_create(&FindingLabels { finding: kind.as_str() })
            .inc();
        if kind == FindingKind::ContentCorrupt {
            self.scrub_corrupt.inc();
        }
    }

    /// A scrub came to its end.
    pub(crate) fn scrub_finished(&self, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.scrub_finished.set(at.as_second() as f64);
        }
    }

    /// So many bytes lie in quarantine.
    pub(super) fn quarantined(&self, bytes: u64) {
        self.quarantined.set(bytes);
    }
}
