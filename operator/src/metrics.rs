//! The operator's own metrics. Labels are bounded: kinds, verbs, stable words; never a name.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::cluster::Write;
use crate::verdict::Reason;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Reconcile {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Problem {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ApiWrite {
    verb: &'static str,
    kind: String,
    result: &'static str,
}

/// The metrics and the registry they are read from.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Reconcile, Counter>,
    seconds: Family<Kind, Histogram>,
    problems: Family<Problem, Counter>,
    writes: Family<ApiWrite, Counter>,
    leader: Gauge<i64, std::sync::atomic::AtomicI64>,
}

fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("artstore_operator");
        let reconciles = Family::<Reconcile, Counter<u64, AtomicU64>>::default();
        registry.register("reconciles", "Reconciles by kind and result", reconciles.clone());
        let seconds = Family::<Kind, Histogram>::new_with_constructor(seconds);
        registry.register_with_unit("reconcile", "Time a reconcile takes", Unit::Seconds, seconds.clone());
        let problems = Family::<Problem, Counter>::default();
        registry.register("problems", "Reconciles that met a problem, by reason", problems.clone());
        let writes = Family::<ApiWrite, Counter>::default();
        registry.register(
            "api_writes",
            "Writes to the API server by verb, kind and result",
            writes.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 while this instance is the one that acts", leader.clone());
        Self {
            registry,
            reconciles,
            seconds,
            problems,
            writes,
            leader,
        }
    }
}

impl Metrics {
    /// Counts a reconcile of `kind`.
    pub fn reconcile(&self, kind: &'static str, took: Duration, problem: Option<Reason>) {
        let result = if problem.is_some() { "problem" } else { "ok" };
        self.reconciles.get_or_create(&Reconcile { kind, result }).inc();
        self.seconds.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
        if let Some(reason) = problem {
            self.problems
                .get_or_create(&Problem {
                    reason: reason.as_str(),
                })
                .inc();
        }
    }

    /// Counts a write.
    pub fn write(&self, write: &Write, succeeded: bool) {
        let result = if succeeded { "ok" } else { "error" };
        let labels = ApiWrite {
            verb: write.verb.as_str(),
            kind: write.kind.clone(),
            result,
        };
        self.writes.get_or_create(&labels).inc();
    }

    /// Tells whether this instance acts.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All of it, in the OpenMetrics text format.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
