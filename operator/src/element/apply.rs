//! Brings objects to what the plan says: made where there are none, by server-side apply where they differ. Decides nothing else.

use std::marker::PhantomData;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::diff;
use super::error::Error;
use super::observe::Observed;
use super::plan::{Applied, Built, Objects};
use super::validate::{URI, USERNAME, value};
use crate::cache::Kind;
use crate::cluster::{Child, ClusterError, Notice, Weight};
use crate::context::Context;
use crate::name::{APPLIED, FINALIZER};
use crate::verdict::Reason;

/// Objects of which all but the workload are applied: what it needs is there.
pub(crate) struct Founded;

/// Puts the finalizer on, before anything is made that must not be left behind.
pub(crate) async fn finalizer(context: &Context, observed: &Observed) -> Result<(), Error> {
    if observed.has_finalizer() {
        return Ok(());
    }
    let element = observed.element.as_ref();
    let steps = if element.finalizers().is_empty() {
        json!([
            {"op": "test", "path": "/metadata/uid", "value": observed.uid},
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]},
        ])
    } else {
        json!([
            {"op": "test", "path": "/metadata/uid", "value": observed.uid},
            {"op": "test", "path": "/metadata/finalizers", "value": element.finalizers()},
            {"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER},
        ])
    };
    patch(context, observed, steps).await
}

/// Takes the finalizer off: the last thing done for an element.
pub(crate) async fn no_finalizer(context: &Context, observed: &Observed) -> Result<(), Error> {
    let finalizers = observed.element.finalizers();
    let Some(index) = finalizers.iter().position(|finalizer| finalizer == FINALIZER) else {
        return Ok(());
    };
    let path = format!("/metadata/finalizers/{index}");
    let steps = json!([
        {"op": "test", "path": "/metadata/uid", "value": observed.uid},
        {"op": "test", "path": path, "value": FINALIZER},
        {"op": "remove", "path": path},
    ]);
    patch(context, observed, steps).await
}

async fn patch(context: &Context, observed: &Observed, steps: Value) -> Result<(), Error> {
    let steps: json_patch::Patch = serde_json::from_value(steps)?;
    let write = context.cluster.patch(observed.element.as_ref(), steps);
    context
        .caches
        .elements
        .written_by(&observed.namespace, &observed.name, write)
        .await?;
    Ok(())
}

/// Makes the Secrets that are missing. One that is there keeps its passwords.
pub(crate) async fn secrets(context: &Context, observed: &Observed, objects: &Objects<Built>) -> Result<(), Error> {
    let children = &observed.children;
    if let Some(wanted) = &objects.database_secret {
        match &children.database_secret {
            Some(live) => connection(context, observed, live, wanted).await?,
            None => secret(context, observed, wanted).await?,
        }
    }
    if children.admin_secret.is_none() {
        secret(context, observed, &objects.admin_secret).await?;
    }
    Ok(())
}

async fn secret(context: &Context, observed: &Observed, wanted: &Secret) -> Result<(), Error> {
    let pass = Pass { context, observed };
    let write = context.cluster.create(wanted);
    pass.written(&context.caches.secrets, wanted, write, false)
        .await
        .map(drop)
}

/// User and connection follow the element's id and server; the password beside them is not touched.
async fn connection(context: &Context, observed: &Observed, live: &Secret, wanted: &Secret) -> Result<(), Error> {
    let Some(fields) = moved(live, wanted) else {
        return Ok(());
    };
    let write = context.cluster.merge(live, fields);
    context
        .caches
        .secrets
        .written_by(&observed.namespace, &live.name_any(), write)
        .await?;
    Ok(())
}

/// What a kept Secret must say anew of user and connection.
fn moved(live: &Secret, wanted: &Secret) -> Option<Value> {
    if [USERNAME, URI].iter().all(|key| value(live, key) == value(wanted, key)) {
        return None;
    }
    let wanted = |key| wanted.data.as_ref().and_then(|data| data.get(key));
    Some(json!({"data": {USERNAME: wanted(USERNAME), URI: wanted(URI)}}))
}

/// Brings all but the workload to what is wanted.
pub(crate) async fn foundation(
    context: &Context,
    observed: &Observed,
    objects: Objects<Built>,
    notices: &mut Vec<Notice>,
) -> Result<Objects<Founded>, Error> {
    let (caches, children) = (&context.caches, &observed.children);
    let pass = Pass { context, observed };
    let Objects {
        database_secret,
        admin_secret,
        config,
        account,
        volume,
        service,
        workload,
        ..
    } = objects;
    Ok(Objects {
        database_secret,
        admin_secret,
        account: pass
            .bring(&caches.accounts, children.account.as_ref(), account, notices)
            .await?,
        config: pass
            .bring(&caches.configs, children.config.as_ref(), config, notices)
            .await?,
        volume: pass
            .bring(&caches.volumes, children.volume.as_ref(), volume, notices)
            .await?,
        service: pass
            .bring(&caches.services, children.service.as_ref(), service, notices)
            .await?,
        workload,
        state: PhantomData,
    })
}

/// Applies the workload; not while its volume waits for the pod to stop to be gone.
pub(crate) async fn workload(
    context: &Context,
    observed: &Observed,
    objects: Objects<Founded>,
    notices: &mut Vec<Notice>,
) -> Result<Objects<Applied>, Error> {
    let pass = Pass { context, observed };
    let live = observed.children.workload.as_ref();
    if would_lose_files(&objects, live.map(Arc::as_ref))? {
        return Err(Error::VolumeDeleting {
            name: objects.volume.name_any(),
        });
    }
    let workload = pass
        .bring(&context.caches.workloads, live, objects.workload, notices)
        .await?;
    let Objects {
        database_secret,
        admin_secret,
        config,
        account,
        volume,
        service,
        ..
    } = objects;
    Ok(Objects {
        database_secret,
        admin_secret,
        config,
        account,
        volume,
        service,
        workload,
        state: PhantomData,
    })
}

/// Whether a change of the workload would stop the one pod that holds back the end of its volume.
fn would_lose_files(objects: &Objects<Founded>, live: Option<&Deployment>) -> Result<bool, Error> {
    if objects.volume.metadata.deletion_timestamp.is_none() {
        return Ok(false);
    }
    let (desired, hash) = annotated(objects.workload.clone())?;
    match live {
        Some(live) => Ok(!is_left_alone(&desired, &hash, live)?),
        None => Ok(true),
    }
}

struct Pass<'a> {
    context: &'a Context,
    observed: &'a Observed,
}

impl Pass<'_> {
    /// Makes `desired` where there is none, and applies it from then on where `live` differs; answers with the object as it is then.
    /// An object of that name that is not the operator's is not known here, and to make it is refused.
    async fn bring<K: Child>(
        &self,
        kind: &Kind<K>,
        live: Option<&Arc<K>>,
        desired: K,
        notices: &mut Vec<Notice>,
    ) -> Result<K, Error> {
        let (desired, hash) = annotated(desired)?;
        let cluster = &self.context.cluster;
        let Some(live) = live else {
            let made = self.written(kind, &desired, cluster.make(&desired), false).await?;
            notices.extend(self.missed(made.as_ref()));
            return Ok(K::clone(&made));
        };
        if is_left_alone(&desired, &hash, live.as_ref())? {
            return Ok(K::clone(live));
        }
        let written = self.written(kind, &desired, cluster.apply(&desired), true).await?;
        notices.extend(changed(&hash, live.as_ref(), &written));
        Ok(K::clone(&written))
    }

    /// Waits for a write of `object`, which was `known` before or not.
    async fn written<K: Child>(
        &self,
        kind: &Kind<K>,
        object: &K,
        write: impl Future<Output = Result<K, ClusterError>>,
        known: bool,
    ) -> Result<Arc<K>, Error> {
        kind.written_by(&self.observed.namespace, &object.name_any(), write)
            .await
            .map_err(|error| Error::applying(error, known))
    }

    /// What there is to tell of an object made anew: an element that came to something had it before.
    fn missed<K: Child>(&self, made: &K) -> Option<Notice> {
        let status = self.observed.element.status.as_ref()?;
        status.endpoint.as_ref()?;
        Some(drift(made, "was missing: made anew"))
    }
}

fn annotated<K: Child>(mut desired: K) -> Result<(K, String), Error> {
    let hash = diff::hash(&serde_json::to_value(&desired)?);
    desired.annotations_mut().insert(APPLIED.to_owned(), hash.clone());
    Ok((desired, hash))
}

/// Whether there is nothing to apply.
fn is_left_alone<K: Child>(desired: &K, hash: &str, live: &K) -> Result<bool, Error> {
    // What is on its way out cannot be held; its end brings the next reconcile, which makes it anew.
    if live.meta().deletion_timestamp.is_some() {
        return Ok(true);
    }
    let same = live.annotations().get(APPLIED).is_some_and(|applied| applied == hash);
    Ok(same && diff::holds(&serde_json::to_value(desired)?, &serde_json::to_value(live)?))
}

/// What there is to tell of a write: that it set right what others had changed, if it changed anything.
fn changed<K: Child>(hash: &str, live: &K, written: &K) -> Option<Notice> {
    let drifted = live.annotations().get(APPLIED).is_some_and(|applied| applied == hash);
    (drifted && live.resource_version() != written.resource_version()).then(|| drift(written, "was changed: set right"))
}

fn drift<K: Child>(object: &K, what: &str) -> Notice {
    Notice {
        weight: Weight::Warning,
        reason: Reason::DriftRepaired,
        message: format!("{} {} {what}", K::kind(&()), object.name_any()),
    }
}

#[cfg(test)]
mod tests;
