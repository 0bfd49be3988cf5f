//! What every reconcile is given: the edges, the settings, and what is remembered between reconciles.
//!
//! Nothing remembered here is needed to be right: it saves work and noise, and an operator that starts anew does without.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::cache::Caches;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::database::DatabaseServer;
use crate::metrics::Metrics;
use crate::probe::Probe;

/// What an installation chooses, and the paces of the operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of new elements for which neither they nor their fleet name one.
    pub default_image: Option<String>,
    /// The wait after a first failure.
    pub shortest_wait: Duration,
    /// The longest wait after a failure.
    pub longest_wait: Duration,
    /// How often an element is asked how it is.
    pub ask_every: Duration,
    /// How often an element is asked that has not confirmed its mode yet.
    pub ask_eagerly_every: Duration,
    /// How often a database that is in place is looked at.
    pub check_database_every: Duration,
    /// How often a status may be written for figures alone.
    pub report_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_image: None,
            shortest_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            ask_every: Duration::from_secs(30),
            ask_eagerly_every: Duration::from_secs(3),
            check_database_every: Duration::from_secs(600),
            report_every: Duration::from_secs(5),
        }
    }
}

/// The edges and the settings.
pub struct Context {
    /// Writes to the Kubernetes API.
    pub cluster: Cluster,
    /// What the Kubernetes API holds.
    pub caches: Arc<Caches>,
    /// The database servers.
    pub databases: Arc<dyn DatabaseServer>,
    /// The elements' own API.
    pub probe: Probe,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the installation chose.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is remembered of each element.
    pub memory: Memory,
}

/// A database that was found or put in place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ensured {
    /// What was asked for, as a hash: another wish is another fingerprint.
    pub fingerprint: String,
    /// `NAMESPACE/NAME` of the owner, as marked.
    pub owner: String,
    /// When.
    pub at: Timestamp,
}

/// What is remembered of an element.
#[derive(Clone, Debug, Default)]
pub struct Recollection {
    uid: String,
    /// Failures since the last success.
    pub failures: u32,
    /// The database, when it was in place.
    pub ensured: Option<Ensured>,
    /// When its status was last written.
    pub reported: Option<Timestamp>,
}

/// What is remembered of each element, by namespace and name.
#[derive(Default)]
pub struct Memory(Mutex<HashMap<(String, String), Recollection>>);

impl Memory {
    /// What is remembered of the element; nothing of an earlier one of the same name.
    pub fn recall(&self, namespace: &str, name: &str, uid: &str) -> Recollection {
        self.update(namespace, name, uid, |_| ())
    }

    /// Changes what is remembered, and answers with it.
    pub fn update(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        change: impl FnOnce(&mut Recollection),
    ) -> Recollection {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = all.entry((namespace.to_owned(), name.to_owned())).or_default();
        if one.uid != uid {
            *one = Recollection {
                uid: uid.to_owned(),
                ..Recollection::default()
            };
        }
        change(one);
        one.clone()
    }

    /// Forgets the element.
    pub fn forget(&self, namespace: &str, name: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&(namespace.to_owned(), name.to_owned()));
    }
}
