//! The Kubernetes API: the only place that writes to it.
//!
//! Every write goes through [`Cluster`], is counted, and then passes the fault hook, which lets a test stop the operator
//! after any of them.

#![allow(clippy::disallowed_methods, reason = "the one place that writes")]

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::metrics::Metrics;
use crate::name::MANAGER;
use crate::telemetry::Chain;
use crate::verdict::Reason;

/// What is done to an object.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verb {
    /// Made; refused when it is there.
    Create,
    /// Applied, server-side.
    Apply,
    /// Patched.
    Patch,
    /// Its status applied.
    Status,
    /// Deleted.
    Delete,
}

impl Verb {
    /// The verb in messages and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Apply => "apply",
            Self::Patch => "patch",
            Self::Status => "report",
            Self::Delete => "delete",
        }
    }
}

/// What goes first when an object is deleted that owns others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// What it owns: the object is gone when all is gone.
    OwnedFirst,
    /// The object.
    ItselfFirst,
}

/// One write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    /// What was done.
    pub verb: Verb,
    /// Kind of the object.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Told of every write that succeeded, before the operator goes on.
pub trait Faults: Send + Sync {
    /// Called after `write`; a test may never return from it.
    fn after<'a>(&'a self, write: &'a Write) -> BoxFuture<'a, ()>;
}

/// No faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn after<'a>(&'a self, _: &'a Write) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A write that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {} {} {}/{}", write.verb.as_str(), write.kind, write.namespace, write.name)]
pub struct ClusterError {
    /// What was tried.
    pub write: Write,
    /// What the API server or the connection said.
    pub source: Box<kube::Error>,
}

impl ClusterError {
    /// The API server's answer; `None` when it gave none.
    pub fn answer(&self) -> Option<&kube::core::Status> {
        match self.source.as_ref() {
            kube::Error::Api(status) => Some(status),
            _ => None,
        }
    }

    /// The API server's answer as an HTTP status; `None` when it gave none.
    pub fn code(&self) -> Option<u16> {
        self.answer().map(|status| status.code)
    }
}

/// How important an Event is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Weight {
    /// Worth knowing.
    Normal,
    /// Worth looking at.
    Warning,
}

/// Something to tell about an element or a fleet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// How important it is.
    pub weight: Weight,
    /// The stable word.
    pub reason: Reason,
    /// The same for people.
    pub message: String,
}

/// The API server keeps at most 1 KiB of an Event's note.
const LONGEST_NOTE: usize = 1024;

/// The Kubernetes API.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    faults: Arc<dyn Faults>,
    metrics: Arc<Metrics>,
    instance: String,
}

impl Cluster {
    /// The API behind `client`; `instance` is the operator's pod, for Events.
    pub fn new(client: Client, faults: Arc<dyn Faults>, metrics: Arc<Metrics>, instance: String) -> Self {
        Self {
            client,
            faults,
            metrics,
            instance,
        }
    }

    /// Makes `object`, whose fields are never applied later; an existing one is left alone and is an error with code 409.
    pub async fn create<K: Child>(&self, object: &K) -> Result<K, ClusterError> {
        let write = write(Verb::Create, object);
        let result = self.post(&write, object, false).await;
        self.finish(write, result).await
    }

    /// Makes `object` by applying it, so that fields it no longer has one day go. An existing one is left alone and is an error
    /// with code 409; so is one that somebody makes otherwise in the moment between the two requests.
    pub async fn make<K: Child>(&self, object: &K) -> Result<K, ClusterError> {
        let write = write(Verb::Create, object);
        let result = match self.post(&write, object, true).await {
            Ok(_) => self.patch_in(&write, object, PatchParams::apply(MANAGER)).await,
            refused => refused,
        };
        self.finish(write, result).await
    }

    /// Applies `object`, server-side, and takes fields from whoever changed them.
    pub async fn apply<K: Child>(&self, object: &K) -> Result<K, ClusterError> {
        let write = write(Verb::Apply, object);
        let params = PatchParams::apply(MANAGER).force();
        let result = self.patch_in(&write, object, params).await;
        self.finish(write, result).await
    }

    async fn post<K: Child>(&self, write: &Write, object: &K, dry_run: bool) -> Result<K, kube::Error> {
        let params = PostParams {
            dry_run,
            field_manager: Some(MANAGER.to_owned()),
        };
        self.api(&write.namespace).create(&params, object).await
    }

    async fn patch_in<K: Child>(&self, write: &Write, object: &K, params: PatchParams) -> Result<K, kube::Error> {
        let api = self.api::<K>(&write.namespace);
        api.patch(&write.name, &params, &Patch::Apply(object)).await
    }

    /// Applies the status of `object`, server-side.
    pub async fn apply_status<K: Child>(&self, object: &K, status: &impl Serialize) -> Result<K, ClusterError> {
        let write = write(Verb::Status, object);
        let body = serde_json::json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": write.name, "uid": object.uid()},
            "status": status,
        });
        let params = PatchParams::apply(MANAGER).force();
        let result = self
            .api::<K>(&write.namespace)
            .patch_status(&write.name, &params, &Patch::Apply(body))
            .await;
        self.finish(write, result).await
    }

    /// Patches some fields of `object` and no others.
    pub async fn merge<K: Child>(&self, object: &K, fields: Value) -> Result<K, ClusterError> {
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let write = write(Verb::Patch, object);
        let result = self
            .api::<K>(&write.namespace)
            .patch(&write.name, &params, &Patch::Merge(fields))
            .await;
        self.finish(write, result).await
    }

    /// Patches `object` by steps that all hold or none.
    pub async fn patch<K: Child>(&self, object: &K, steps: json_patch::Patch) -> Result<K, ClusterError> {
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let write = write(Verb::Patch, object);
        let result = self
            .api::<K>(&write.namespace)
            .patch(&write.name, &params, &Patch::<Value>::Json(steps))
            .await;
        self.finish(write, result).await
    }

    /// Deletes `object`, this very one. One that is gone already is no error.
    pub async fn delete<K: Child>(&self, object: &K, order: Order) -> Result<(), ClusterError> {
        let preconditions = Preconditions {
            uid: object.uid(),
            resource_version: None,
        };
        let params = match order {
            Order::OwnedFirst => DeleteParams::foreground(),
            Order::ItselfFirst => DeleteParams::background(),
        };
        let params = params.preconditions(preconditions);
        let write = write(Verb::Delete, object);
        match self.api::<K>(&write.namespace).delete(&write.name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => self.finish(write, result.map(drop)).await,
        }
    }

    /// Publishes an Event about `about`. One that is refused is logged: nothing may wait for an Event, least of all the end of
    /// an element in a namespace that takes no new objects any more.
    pub async fn tell(&self, about: &ObjectReference, notice: &Notice, now: Timestamp) {
        let event = self.event(about, notice, now);
        if let Err(error) = self.create(&event).await {
            tracing::warn!(error = %Chain(&error), "event lost");
        }
    }

    fn event(&self, about: &ObjectReference, notice: &Notice, now: Timestamp) -> Event {
        let name = about.name.as_deref().unwrap_or(MANAGER);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(cut(&notice.message).to_owned()),
            reason: Some(notice.reason.as_str().to_owned()),
            regarding: Some(about.clone()),
            reporting_controller: Some(format!("artstore.dev/{MANAGER}")),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(
                match notice.weight {
                    Weight::Normal => "Normal",
                    Weight::Warning => "Warning",
                }
                .to_owned(),
            ),
            ..Event::default()
        }
    }

    fn api<K: Child>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn finish<T>(&self, write: Write, result: Result<T, kube::Error>) -> Result<T, ClusterError> {
        self.metrics.write(&write, result.is_ok());
        match result {
            Ok(value) => {
                tracing::debug!(
                    verb = write.verb.as_str(),
                    kind = write.kind,
                    name = write.name,
                    "wrote"
                );
                self.faults.after(&write).await;
                Ok(value)
            }
            Err(source) => Err(ClusterError {
                source: Box::new(without_secrets(&write, source)),
                write,
            }),
        }
    }
}

/// What the API server says of a Secret may quote it; its reason and code are kept, its words are not.
fn without_secrets(write: &Write, mut error: kube::Error) -> kube::Error {
    if write.kind == "Secret"
        && let kube::Error::Api(status) = &mut error
    {
        status.message = format!("{} ({})", status.reason, status.code);
        status.details = None;
    }
    error
}

/// A namespaced object the operator writes.
pub trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Child for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// `text`, no longer than a note may be, not cut inside a character.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_NOTE)).unwrap_or_default()
}

fn write<K: Child>(verb: Verb, object: &K) -> Write {
    Write {
        verb,
        kind: K::kind(&()).into_owned(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}
