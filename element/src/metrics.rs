//! Metrics: `artstore_element_*`. Labels come from closed lists only, whatever a client sends.

mod maintenance;

use std::sync::atomic::AtomicU64;

use element_api::{Capacity, Mode};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use self::maintenance::MaintenanceMetrics;
use crate::index::IndexStats;

type Fraction = Gauge<f64, AtomicU64>;

/// What a request wanted, by its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variant's name is the label's value")]
pub(crate) enum Call {
    upload,
    download,
    metadata,
    update,
    delete,
    search,
    info,
    capacity,
    mode,
    transition,
    maintenance,
    health,
    metrics,
    other,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variant's name is the label's value")]
pub(crate) enum Outcome {
    /// Below 400.
    ok,
    /// 400 to 499: the client's doing.
    refused,
    /// 500 and above.
    failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: Call,
    result: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabels {
    mode: &'static str,
}

/// Every metric of the element.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RequestLabels, Histogram, fn() -> Histogram>,
    received: Counter,
    sent: Counter,
    pub(crate) connections: Gauge,
    mode: Family<ModeLabels, Gauge>,
    mode_refused: Gauge,
    database_up: Gauge,
    writable: Gauge,
    files: Gauge,
    capacity_bytes: Family<CapacityLabels, Gauge<u64, AtomicU64>>,
    capacity_percent: Fraction,
    wal_pending: Gauge,
    wal_oldest: Fraction,
    wal_recovered: Family<RecoveryLabels, Gauge<u64, AtomicU64>>,
    redis_up: Option<Gauge>,
    redis_reports: Family<ReportLabels, Counter>,
    pub(crate) maintenance: MaintenanceMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CapacityLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RecoveryLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReportLabels {
    result: &'static str,
}

/// What only a look at the element tells, taken for one scrape.
pub(crate) struct Snapshot {
    pub(crate) mode: Mode,
    pub(crate) mode_refused: bool,
    pub(crate) writable: bool,
    pub(crate) capacity: Option<Capacity>,
    /// Bytes in quarantine.
    pub(crate) quarantined: u64,
    /// Log entries recovered, by outcome.
    pub(crate) recovered: Vec<(&'static str, u64)>,
    /// None while the database is away.
    pub(crate) index: Option<IndexStats>,
}

impl Metrics {
    /// Registers every metric; those of discovery only where it is configured.
    pub(crate) fn new(discovery: bool) -> Self {
        let mut registry = Registry::with_prefix("artstore_element");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running version", build);
        let metrics = Self {
            maintenance: MaintenanceMetrics::registered(&mut registry),
            requests: Family::default(),
            seconds: Family::new_with_constructor(seconds_histogram),
            received: Counter::default(),
            sent: Counter::default(),
            connections: Gauge::default(),
            mode: Family::default(),
            mode_refused: Gauge::default(),
            database_up: Gauge::default(),
            writable: Gauge::default(),
            files: Gauge::default(),
            capacity_bytes: Family::default(),
            capacity_percent: Fraction::default(),
            wal_pending: Gauge::default(),
            wal_oldest: Fraction::default(),
            wal_recovered: Family::default(),
            redis_up: discovery.then(Gauge::default),
            redis_reports: Family::default(),
            registry,
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("operations", "Requests by operation and result", self.requests.clone());
        let help = "Time from a request's head to its answer's head, by operation and result";
        registry.register_with_unit("operation", help, Unit::Seconds, self.seconds.clone());
        registry.register_with_unit("received", "File content received", Unit::Bytes, self.received.clone());
        registry.register_with_unit("sent", "File content sent", Unit::Bytes, self.sent.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("mode", "1 for the current mode", self.mode.clone());
        let help = "1 while the mode file asks for a mode this element cannot take";
        registry.register("mode_file_refused", help, self.mode_refused.clone());
        registry.register("database_up", "Whether the database answers", self.database_up.clone());
        registry.register(
            "storage_writable",
            "0 once a flush to disk has failed",
            self.writable.clone(),
        );
        registry.register("files", "Files stored", self.files.clone());
        registry.register_with_unit("capacity", "Room by kind", Unit::Bytes, self.capacity_bytes.clone());
        registry.register(
            "capacity_used_percent",
            "Share of the room in use",
            self.capacity_percent.clone(),
        );
        registry.register(
            "wal_pending",
            "Write-ahead log entries not yet settled",
            self.wal_pending.clone(),
        );
        let help = "Age of the oldest write-ahead log entry not yet settled";
        registry.register_with_unit("wal_oldest", help, Unit::Seconds, self.wal_oldest.clone());
        let help = "Write-ahead log entries recovered since the start";
        registry.register("wal_recovered", help, self.wal_recovered.clone());
        if let Some(up) = &self.redis_up {
            registry.register("redis_up", "Whether the last report to Redis went through", up.clone());
            registry.register(
                "redis_reports",
                "Reports to Redis by result",
                self.redis_reports.clone(),
            );
        }
        self
    }

    pub(crate) fn request(&self, operation: Call, result: Outcome, seconds: f64) {
        let labels = RequestLabels { operation, result };
        self.requests.get_or_create(&labels).inc();
        self.seconds.get_or_create(&labels).observe(seconds);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.inc_by(bytes as u64);
    }

    /// The counter itself, for a stream that outlives the request.
    pub(crate) fn sent(&self) -> Counter {
        self.sent.clone()
    }

    pub(crate) fn reported(&self, success: bool) {
        if let Some(up) = &self.redis_up {
            up.set(i64::from(success));
        }
        let result = if success { "ok" } else { "failed" };
        self.redis_reports.get_or_create(&ReportLabels { result }).inc();
    }

    /// The text Prometheus reads.
    pub(crate) fn render(&self, snapshot: &Snapshot) -> Result<String, std::fmt::Error> {
        for mode in Mode::ALL {
            let gauge = self.mode.get_or_create(&ModeLabels { mode: mode.as_str() });
            gauge.set(i64::from(mode == snapshot.mode));
        }
        self.mode_refused.set(i64::from(snapshot.mode_refused));
        self.writable.set(i64::from(snapshot.writable));
        self.database_up.set(i64::from(snapshot.index.is_some()));
        self.maintenance.quarantined(snapshot.quarantined);
        if let Some(capacity) = &snapshot.capacity {
            for (kind, bytes) in [
                ("total", capacity.total_bytes),
                ("used", capacity.used_bytes),
                ("free", capacity.free_bytes),
            ] {
                self.capacity_bytes.get_or_create(&CapacityLabels { kind }).set(bytes);
            }
            self.capacity_percent.set(capacity.percent);
        }
        for (outcome, count) in &snapshot.recovered {
            self.wal_recovered
                .get_or_create(&RecoveryLabels { outcome })
                .set(*count);
        }
        // While the database is away these keep their last values; `database_up` says so.
        if let Some(stats) = &snapshot.index {
            self.files.set(i64::try_from(stats.files).unwrap_or(i64::MAX));
            self.wal_pending
                .set(i64::try_from(stats.wal_pending).unwrap_or(i64::MAX));
            self.wal_oldest.set(stats.wal_oldest_seconds.unwrap_or(0.0));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// From a millisecond to the better part of an hour.
fn seconds_histogram() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3000.0,
    ])
}

#[cfg(test)]
mod tests {
    use element_api::{Capacity, Mode, Task, TaskKind, TaskProgress, TaskStatus};
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::{Call, IndexStats, Metrics, Outcome, Snapshot};

    fn task(kind: TaskKind, status: TaskStatus) -> Task {
        Task {
            id: Uuid::nil(),
            kind,
            status,
            progress: TaskProgress::default(),
            started_by: "admin".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: None,
            result: None,
            error: None,
        }
    }

    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|written| written == *line), "{line} in\n{text}");
        }
    }

    #[test]
    fn text_carries_the_contract_names() {
        let metrics = Metrics::new(true);
        metrics.request(Call::upload, Outcome::ok, 0.2);
        metrics.received(10);
        metrics.reported(false);
        metrics.maintenance.ended(&task(TaskKind::Rebuild, TaskStatus::Failed));
        let stats = r#"{"files":2,"bytes":9,"wal_pending":4,"wal_oldest":null}"#;
        let mut stats: IndexStats = serde_json::from_str(stats).unwrap();
        stats.wal_oldest_seconds = Some(1.5);
        let mut snapshot = Snapshot {
            mode: Mode::Ro,
            mode_refused: false,
            writable: false,
            capacity: Some(Capacity::new(100, 25, 75)),
            quarantined: 7,
            recovered: vec![("redone", 3)],
            index: Some(stats),
        };
        assert_lines(
            &metrics.render(&snapshot).unwrap(),
            &[
                "artstore_element_operations_total{operation=\"upload\",result=\"ok\"} 1",
                "artstore_element_received_bytes_total 10",
                "artstore_element_mode{mode=\"ro\"} 1",
                "artstore_element_mode{mode=\"edit\"} 0",
                "artstore_element_database_up 1",
                "artstore_element_storage_writable 0",
                "artstore_element_files 2",
                "artstore_element_wal_pending 4",
                "artstore_element_wal_oldest_seconds 1.5",
                "artstore_element_wal_recovered{outcome=\"redone\"} 3",
                "artstore_element_capacity_bytes{kind=\"used\"} 25",
                "artstore_element_capacity_used_percent 25.0",
                "artstore_element_redis_up 0",
                "artstore_element_quarantined_bytes 7",
                "artstore_element_tasks_running{kind=\"scrub\"} 0",
                "artstore_element_tasks_total{kind=\"rebuild\",status=\"failed\"} 1",
                "artstore_element_scrub_corrupt_total 0",
                "artstore_element_redis_reports_total{result=\"failed\"} 1",
            ],
        );
        snapshot.index = None;
        assert_lines(
            &metrics.render(&snapshot).unwrap(),
            &["artstore_element_database_up 0", "artstore_element_files 2"],
        );
    }
}
