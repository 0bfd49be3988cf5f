//! The end of an element: what `deletionPolicy` keeps stays, the rest goes, and the finalizer comes off last.
//!
//! The order, each step safe to be cut off after: the pod; under `Delete` the database, the volume, the Secrets (their presence
//! says that there may be a database); the finalizer. What has an owner goes with the element.

use artstore_crds::DeletionPolicy;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use secrecy::SecretString;

use super::apply;
use super::error::Error;
use super::observe::Observed;
use super::plan::owner;
use super::resolve::Source;
use super::validate::{Violation, admin_access_for_cleanup};
use crate::cluster::{Child, Notice, Order, Weight};
use crate::context::Context;
use crate::database::Claim;
use crate::name;
use crate::verdict::{Part, Reason};

/// How far it came.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Cleanup {
    /// The finalizer is off; the element is gone or as good as.
    Done,
    /// It goes on by itself when this is over.
    Waiting(String),
}

/// Takes the next steps.
pub(crate) async fn cleanup(context: &Context, observed: &Observed) -> Result<Cleanup, Error> {
    if !observed.has_finalizer() {
        return Ok(Cleanup::Done);
    }
    if observed.is_forced() {
        let message = format!(
            "finalizer lifted by {}; may be left behind: {}",
            name::FORCE_FINALIZE,
            belongings(observed)
        );
        return finish(context, observed, Weight::Warning, Reason::LeftBehind, message).await;
    }
    if observed.is_paused() {
        return Ok(Cleanup::Waiting(
            "paused: set spec.paused to false to let the deletion go on".to_owned(),
        ));
    }
    if !gone(context, observed.children.workload.as_deref(), Order::OwnedFirst).await? {
        return Ok(Cleanup::Waiting("waiting for the pod to stop".to_owned()));
    }
    match observed.element.spec.deletion_policy {
        DeletionPolicy::Retain => {
            let message = format!("kept for an element of the same name: {}", belongings(observed));
            finish(context, observed, Weight::Normal, Reason::Retained, message).await
        }
        DeletionPolicy::Delete => delete(context, observed).await,
    }
}

async fn delete(context: &Context, observed: &Observed) -> Result<Cleanup, Error> {
    release_database(context, observed).await?;
    if !gone(context, observed.children.volume.as_deref(), Order::ItselfFirst).await? {
        let message = format!(
            "waiting for PersistentVolumeClaim {} to go",
            name::volume(&observed.name)
        );
        return Ok(Cleanup::Waiting(message));
    }
    for secret in own_secrets(observed) {
        context.cluster.delete(secret, Order::ItselfFirst).await?;
    }
    let message = format!("deleted: {}", belongings(observed));
    finish(context, observed, Weight::Normal, Reason::Removed, message).await
}

/// Without the element's own Secret there never was a database.
async fn release_database(context: &Context, observed: &Observed) -> Result<(), Error> {
    if !own_secrets(observed).any(|secret| secret.name_any() == name::database_secret(&observed.name)) {
        return Ok(());
    }
    let postgres = match observed.resolved().database {
        Some(Source::Embedded) => return Ok(()),
        Some(Source::Postgres(postgres)) => postgres,
        None => return Err(Error::Invalid(vec![no_server(observed)])),
    };
    let access = admin_access_for_cleanup(observed, postgres).map_err(Error::Invalid)?;
    let (database, role, table_prefix) = names(observed);
    let claim = Claim {
        database,
        role,
        table_prefix,
        password: SecretString::default(),
        owner: owner(observed),
        adopt: false,
    };
    let released = context.databases.release(&access, &claim).await?;
    tracing::info!(database = claim.database, ?released, "database released");
    Ok(())
}

fn names(observed: &Observed) -> (String, String, String) {
    let spec = &observed.element.spec;
    let id = spec
        .element_id
        .as_deref()
        .unwrap_or_else(|| name::element_id(&observed.name));
    let wish = spec.database.clone().unwrap_or_default();
    (
        wish.name.unwrap_or_else(|| name::database(id)),
        name::database(id),
        wish.table_prefix.unwrap_or_else(|| name::table_prefix(id)),
    )
}

fn no_server(observed: &Observed) -> Violation {
    let fleet = observed
        .element
        .spec
        .fleet_ref
        .as_ref()
        .map_or("", |fleet| fleet.name.as_str());
    let (database, ..) = names(observed);
    Violation {
        part: Part::DatabaseReady,
        reason: Reason::DeletionBlocked,
        message: format!("the server of database {database} is not known: create StorageFleet {fleet} again"),
    }
}

/// Whether the object is gone; deletes it when nobody has yet.
async fn gone<K: Child>(context: &Context, object: Option<&K>, order: Order) -> Result<bool, Error> {
    let Some(object) = object else { return Ok(true) };
    if object.meta().deletion_timestamp.is_none() {
        context.cluster.delete(object, order).await?;
    }
    Ok(false)
}

fn own_secrets(observed: &Observed) -> impl Iterator<Item = &Secret> {
    let secrets = [
        observed.children.admin_secret.as_deref(),
        observed.children.database_secret.as_deref(),
    ];
    secrets
        .into_iter()
        .flatten()
        .filter(|secret| name::is_child_of(secret.labels(), &observed.name))
}

/// What an element leaves or takes, by name.
fn belongings(observed: &Observed) -> String {
    let mut all = vec![format!("PersistentVolumeClaim {}", name::volume(&observed.name))];
    all.extend(own_secrets(observed).map(|secret| format!("Secret {}", secret.name_any())));
    let on_a_server = observed
        .element
        .status
        .as_ref()
        .and_then(|status| status.database.as_ref());
    if let Some(database) = on_a_server.filter(|database| database.owner.is_some()) {
        all.push(format!(
            "database {} (tables {}*)",
            database.name, database.table_prefix
        ));
    }
    all.join(", ")
}

async fn finish(
    context: &Context,
    observed: &Observed,
    weight: Weight,
    reason: Reason,
    message: String,
) -> Result<Cleanup, Error> {
    let about = super::reference(&observed.element);
    context
        .cluster
        .tell(
            &about,
            &Notice {
                weight,
                reason,
                message,
            },
            context.clock.now(),
        )
        .await;
    apply::no_finalizer(context, observed).await?;
    context.memory.forget(&observed.namespace, &observed.name);
    context.probe.forget(&observed.namespace, &observed.name);
    Ok(Cleanup::Done)
}
