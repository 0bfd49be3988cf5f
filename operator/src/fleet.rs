//! Fleets: the driver. A fleet makes nothing; its status says whether what it refers to is there, and how its elements fare.

mod report;

use std::sync::Arc;
use std::time::Instant;

use artstore_crds::{StorageFleet, StorageFleetSpec};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};

use crate::cluster::Notice;
use crate::context::Context;
use crate::element::ReconcileError;
use crate::outcome::{Outcome, backoff};
use crate::telemetry::Chain;

/// Looks at one fleet.
pub async fn reconcile(fleet: Arc<StorageFleet>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    context.caches.ready().await;
    let (namespace, name) = (fleet.namespace().unwrap_or_default(), fleet.name_any());
    let Some(fleet) = context.caches.fleets.get(&namespace, &name) else {
        return Ok(Outcome::Settled.into());
    };
    let started = Instant::now();
    let present = |secret: &str| context.caches.secrets.get(&namespace, secret);
    let elements = context.caches.elements_of(&namespace, &name);
    let now = context.clock.now();
    let (next, notice) = report::report(&fleet, &elements, present, now);
    if fleet.status.as_ref() != Some(&next) && fleet.metadata.deletion_timestamp.is_none() {
        let write = context.cluster.apply_status(fleet.as_ref(), &next);
        context
            .caches
            .fleets
            .written_by(&namespace, &name, write)
            .await
            .map_err(ReconcileError::Report)?;
        if let Some(notice) = &notice {
            let about = fleet.object_ref(&());
            context.cluster.tell(&about, notice, now).await;
        }
    }
    context.metrics.reconcile(
        "StorageFleet",
        started.elapsed(),
        notice.map(|Notice { reason, .. }| reason),
    );
    Ok(Outcome::Settled.into())
}

/// What to do after a fleet's status could not be written.
pub fn again(fleet: Arc<StorageFleet>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let (namespace, name) = (fleet.namespace().unwrap_or_default(), fleet.name_any());
    tracing::warn!(
        namespace,
        name,
        error = %Chain(error),
        "reconcile failed"
    );
    let settings = &context.settings;
    Action::requeue(backoff(&name, 3, settings.shortest_wait, settings.longest_wait))
}

/// The names of the Secrets a fleet refers to.
pub(crate) fn references(spec: &StorageFleetSpec) -> Vec<&str> {
    report::secrets(spec).into_iter().map(|(name, _)| name).collect()
}
