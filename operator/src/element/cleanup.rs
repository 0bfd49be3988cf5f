//! The end of an element: what `deletionPolicy` keeps stays, the rest goes, and the finalizer comes off last.
//!
//! The order, each step safe to be cut off after: the pod; under `Delete` the database, the volume, the Secrets; the finalizer.
//! What has an owner goes with the element.

use artstore_crds::{DatabaseState, DeletionPolicy};
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
use crate::database::{Claim, Released};
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
    let message = format!("deleted: {}", objects(observed).join(", "));
    finish(context, observed, Weight::Normal, Reason::Removed, message).await
}

/// Whether there may be a database on a server. The Secret is made before it, the status is written after it; either can be
/// missing alone.
fn may_have_database(observed: &Observed) -> bool {
    marked(observed).is_some()
        || own_secrets(observed).any(|secret| secret.name_any() == name::database_secret(&observed.name))
}

/// What went is told at once: only the call that takes it away knows that it was there.
async fn release_database(context: &Context, observed: &Observed) -> Result<(), Error> {
    if !may_have_database(observed) {
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
    if let Some(what) = taken_away(&claim, released) {
        tell(
            context,
            observed,
            Weight::Normal,
            Reason::Removed,
            format!("deleted: {what}"),
        )
        .await;
    }
    Ok(())
}

/// What a release took away, by name.
fn taken_away(claim: &Claim, released: Released) -> Option<String> {
    match released {
        Released::Database => Some(format!("database {}", claim.database)),
        Released::Prefix => Some(format!("tables {}* in database {}", claim.table_prefix, claim.database)),
        Released::Nothing => None,
    }
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

/// The database on a server that the status says was put in place.
fn marked(observed: &Observed) -> Option<&DatabaseState> {
    let database = observed.element.status.as_ref()?.database.as_ref()?;
    database.owner.as_ref().map(|_| database)
}

/// The objects an element leaves or takes, by name.
fn objects(observed: &Observed) -> Vec<String> {
    let mut all = vec![format!("PersistentVolumeClaim {}", name::volume(&observed.name))];
    all.extend(own_secrets(observed).map(|secret| format!("Secret {}", secret.name_any())));
    all
}

/// All that an element leaves, by name.
fn belongings(observed: &Observed) -> String {
    let mut all = objects(observed);
    if let Some(database) = marked(observed) {
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
    tell(context, observed, weight, reason, message).await;
    apply::no_finalizer(context, observed).await?;
    context.memory.forget(&observed.namespace, &observed.name);
    context.probe.forget(&observed.namespace, &observed.name);
    Ok(Cleanup::Done)
}

async fn tell(context: &Context, observed: &Observed, weight: Weight, reason: Reason, message: String) {
    let notice = Notice {
        weight,
        reason,
        message,
    };
    let about = super::reference(&observed.element);
    context.cluster.tell(&about, &notice, context.clock.now()).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use artstore_crds::{StorageElement, StorageElementStatus};
    use serde_json::json;

    use super::*;
    use crate::database::Owner;
    use crate::element::example;

    fn observed(secret: bool, owner: Option<&str>) -> Observed {
        let mut observed = example::observed(json!({}));
        let status: StorageElementStatus = serde_json::from_value(json!({
            "database": {"name": "artstore_storage_01", "tablePrefix": "storage_01_", "owner": owner},
        }))
        .unwrap();
        observed.element = Arc::new(StorageElement {
            status: Some(status),
            ..observed.element.as_ref().clone()
        });
        if secret {
            let mut secret = example::secret("storage-01-db", &[]).as_ref().clone();
            secret.metadata.labels = Some(name::labels("storage-01", None));
            observed.children.database_secret = Some(Arc::new(secret));
        }
        observed
    }

    #[test]
    fn database_is_looked_for_unless_secret_and_status_both_know_of_none() {
        for (secret, owner, expected) in [
            (false, None, false),
            (true, None, true),
            (false, Some("artstore/storage-01"), true),
            (true, Some("artstore/storage-01"), true),
        ] {
            assert_eq!(
                may_have_database(&observed(secret, owner)),
                expected,
                "{secret} {owner:?}"
            );
        }
    }

    #[test]
    fn only_what_went_is_told_as_deleted() {
        let claim = Claim {
            database: "shared".to_owned(),
            role: "one".to_owned(),
            table_prefix: "one_".to_owned(),
            password: SecretString::default(),
            owner: Owner {
                uid: "uid".to_owned(),
                namespace: "a".to_owned(),
                name: "one".to_owned(),
            },
            adopt: false,
        };
        let told = |released| taken_away(&claim, released);
        assert_eq!(told(Released::Database).as_deref(), Some("database shared"));
        assert_eq!(
            told(Released::Prefix).as_deref(),
            Some("tables one_* in database shared")
        );
        assert_eq!(told(Released::Nothing), None);
        let left = observed(true, Some("artstore/storage-01"));
        assert!(!objects(&left).join(", ").contains("database artstore"));
        assert!(belongings(&left).contains("database artstore_storage_01"));
    }
}
