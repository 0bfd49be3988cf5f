//! Brings objects to what the plan says, by server-side apply, and only what differs. Decides nothing else.

use std::marker::PhantomData;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::diff;
use super::error::Error;
use super::observe::Observed;
use super::plan::{Applied, Built, Objects};
use super::validate::{URI, value};
use crate::cache::Kind;
use crate::cluster::{Child, Notice, Weight};
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
            Some(live) => address(context, observed, live, wanted).await?,
            None => create(context, observed, &context.caches.secrets, wanted)
                .await
                .map(drop)?,
        }
    }
    if children.admin_secret.is_none() {
        create(context, observed, &context.caches.secrets, &objects.admin_secret).await?;
    }
    Ok(())
}

/// The line with the connection follows the server; user and password beside it are not touched.
async fn address(context: &Context, observed: &Observed, live: &Secret, wanted: &Secret) -> Result<(), Error> {
    if value(live, URI) == value(wanted, URI) {
        return Ok(());
    }
    let uri = wanted.data.as_ref().and_then(|data| data.get(URI));
    let write = context.cluster.merge(live, json!({"data": {URI: uri}}));
    context
        .caches
        .secrets
        .written_by(&observed.namespace, &live.name_any(), write)
        .await?;
    Ok(())
}

/// Applies all but the workload.
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
            .apply(&caches.accounts, children.account.as_ref(), account, notices)
            .await?,
        config: pass
            .apply(&caches.configs, children.config.as_ref(), config, notices)
            .await?,
        volume: pass.volume(children.volume.as_ref(), volume, notices).await?,
        service: pass
            .apply(&caches.services, children.service.as_ref(), service, notices)
            .await?,
        workload,
        state: PhantomData,
    })
}

/// Applies the workload.
pub(crate) async fn workload(
    context: &Context,
    observed: &Observed,
    objects: Objects<Founded>,
    notices: &mut Vec<Notice>,
) -> Result<Objects<Applied>, Error> {
    let pass = Pass { context, observed };
    let live = observed.children.workload.as_ref();
    let workload = pass
        .apply(&context.caches.workloads, live, objects.workload, notices)
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

struct Pass<'a> {
    context: &'a Context,
    observed: &'a Observed,
}

impl Pass<'_> {
    /// Applies `desired` where `live` differs; answers with the object as it is then.
    async fn apply<K: Child>(
        &self,
        kind: &Kind<K>,
        live: Option<&Arc<K>>,
        desired: K,
        notices: &mut Vec<Notice>,
    ) -> Result<K, Error> {
        let (desired, hash) = annotated(desired)?;
        if let Some(live) = live {
            // What is on its way out cannot be held; its end brings the next reconcile, which makes it anew.
            if live.meta().deletion_timestamp.is_some() || is_settled(&desired, &hash, live)? {
                return Ok(K::clone(live));
            }
            if live.annotations().get(APPLIED) == Some(&hash) {
                notices.push(drift(&desired, "was changed"));
            }
        } else if self
            .observed
            .element
            .status
            .as_ref()
            .is_some_and(|status| status.endpoint.is_some())
        {
            notices.push(drift(&desired, "was missing"));
        }
        // The first time nothing is taken from others: an object of that name may be somebody else's.
        let write = self.context.cluster.apply(&desired, live.is_some());
        let written = kind
            .written_by(&self.observed.namespace, &desired.name_any(), write)
            .await;
        written
            .map(|object| K::clone(&object))
            .map_err(|error| Error::applying(error, live.is_some()))
    }

    /// A volume is made, never taken from others, and applied from then on.
    async fn volume(
        &self,
        live: Option<&Arc<PersistentVolumeClaim>>,
        desired: PersistentVolumeClaim,
        notices: &mut Vec<Notice>,
    ) -> Result<PersistentVolumeClaim, Error> {
        let kind = &self.context.caches.volumes;
        if live.is_some() {
            return self.apply(kind, live, desired, notices).await;
        }
        let (desired, _) = annotated(desired)?;
        create(self.context, self.observed, kind, &desired).await
    }
}

async fn create<K: Child>(context: &Context, observed: &Observed, kind: &Kind<K>, object: &K) -> Result<K, Error> {
    let write = context.cluster.create(object);
    let written = kind.written_by(&observed.namespace, &object.name_any(), write).await;
    written
        .map(|object| K::clone(&object))
        .map_err(|error| Error::applying(error, false))
}

fn annotated<K: Child>(mut desired: K) -> Result<(K, String), Error> {
    let hash = diff::hash(&serde_json::to_value(&desired)?);
    desired.annotations_mut().insert(APPLIED.to_owned(), hash.clone());
    Ok((desired, hash))
}

fn is_settled<K: Child>(desired: &K, hash: &str, live: &K) -> Result<bool, Error> {
    let same = live.annotations().get(APPLIED).is_some_and(|applied| applied == hash);
    Ok(same && diff::holds(&serde_json::to_value(desired)?, &serde_json::to_value(live)?))
}

fn drift<K: Child>(object: &K, what: &str) -> Notice {
    Notice {
        weight: Weight::Warning,
        reason: Reason::DriftRepaired,
        message: format!("{} {} {what}: set right", K::kind(&()), object.name_any()),
    }
}
