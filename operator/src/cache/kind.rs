//! One kind of object: what the watch brought, corrected by what the operator has just written itself.
//!
//! Without the correction a reconcile that comes before the watch would write again, and tell the same Event twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use tokio::sync::SetOnce;

use crate::clock::Clock;
use crate::cluster::{Child, ClusterError};

/// How long a write of ours counts for more than the watch, should the watch not bring it: long enough for any watch that
/// works, short enough that a deletion missed in between heals.
const TRUST: SignedDuration = SignedDuration::from_secs(10);

struct Written<K> {
    /// The version the watch had brought when we wrote; the correction ends with the next one.
    seen: Option<String>,
    /// What the API server answered.
    object: Arc<K>,
    until: Timestamp,
}

/// One kind of object.
pub struct Kind<K: Child> {
    store: Store<K>,
    /// Set when the first list was read. The store's own signal wakes only one of those that wait for it.
    listed: Arc<SetOnce<()>>,
    written: Mutex<HashMap<(String, String), Written<K>>>,
    clock: Arc<dyn Clock>,
}

impl<K: Child> Kind<K> {
    pub(super) fn new(store: Store<K>, listed: Arc<SetOnce<()>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            listed,
            written: Mutex::default(),
            clock,
        }
    }

    pub(super) async fn ready(&self) {
        self.listed.wait().await;
    }

    /// The store, for a controller's queue.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// The object, if it exists.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let watched = self.watched(namespace, name);
        let mut written = self.written();
        let key = (namespace.to_owned(), name.to_owned());
        match written.get(&key) {
            Some(ours) if ours.seen == version(watched.as_deref()) && self.clock.now() < ours.until => {
                Some(Arc::clone(&ours.object))
            }
            Some(_) => {
                written.remove(&key);
                watched
            }
            None => watched,
        }
    }

    /// The objects for which `wanted` holds, as the watch brought them.
    pub fn find(&self, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.store.state_filter(wanted)
    }

    /// Runs a write that answers with the object as it is then, and remembers the answer.
    pub async fn written_by(
        &self,
        namespace: &str,
        name: &str,
        write: impl Future<Output = Result<K, ClusterError>>,
    ) -> Result<Arc<K>, ClusterError> {
        let seen = version(self.watched(namespace, name).as_deref());
        let object = Arc::new(write.await?);
        if version(self.watched(namespace, name).as_deref()) == seen {
            let ours = Written {
                seen,
                object: Arc::clone(&object),
                until: self.clock.now() + TRUST,
            };
            self.written().insert((namespace.to_owned(), name.to_owned()), ours);
        }
        Ok(object)
    }

    fn watched(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    fn written(&self) -> MutexGuard<'_, HashMap<(String, String), Written<K>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version<K: Child>(object: Option<&K>) -> Option<String> {
    object.and_then(ResourceExt::resource_version)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::jiff::{SignedDuration, Timestamp};
    use kube::api::ObjectMeta;
    use kube::runtime::reflector::store;
    use kube::runtime::watcher::Event;

    use super::Kind;
    use crate::clock::Clock;

    struct Stopped(Mutex<Timestamp>);

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    fn object(version: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some("a".to_owned()),
                namespace: Some("n".to_owned()),
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn seen(kind: &Kind<ConfigMap>) -> Option<String> {
        kind.get("n", "a")
            .and_then(|object| object.metadata.resource_version.clone())
    }

    #[tokio::test]
    async fn own_write_is_seen_until_the_watch_moves_on() {
        let (reader, mut writer) = store();
        let clock = Arc::new(Stopped(Mutex::new(Timestamp::UNIX_EPOCH)));
        let kind = Kind::new(reader, Arc::default(), clock);
        assert_eq!(seen(&kind), None);
        kind.written_by("n", "a", async { Ok(object("2")) }).await.unwrap();
        assert_eq!(seen(&kind).as_deref(), Some("2"));
        writer.apply_watcher_event(&Event::Apply(object("3")));
        assert_eq!(seen(&kind).as_deref(), Some("3"));
        writer.apply_watcher_event(&Event::Delete(object("4")));
        assert_eq!(seen(&kind), None);
    }

    #[tokio::test]
    async fn own_write_the_watch_never_brings_is_forgotten() {
        let (reader, _writer) = store();
        let clock = Arc::new(Stopped(Mutex::new(Timestamp::UNIX_EPOCH)));
        let kind = Kind::new(reader, Arc::default(), Arc::clone(&clock) as Arc<dyn Clock>);
        kind.written_by("n", "a", async { Ok(object("2")) }).await.unwrap();
        *clock.0.lock().unwrap() += SignedDuration::from_secs(11);
        assert_eq!(seen(&kind), None);
    }
}
