//! Elements: the driver. Each reconcile goes the whole way, from what is there to what is reported, and decides nothing itself.
//!
//! observe → validate → plan → apply → act → report; a deletion goes through cleanup instead.

mod act;
mod apply;
mod build;
mod cleanup;
mod diff;
mod error;
#[cfg(test)]
mod example;
mod observe;
mod plan;
mod report;
mod resolve;
mod validate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use artstore_crds::{StorageElement, StorageFleet};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use secrecy::SecretString;

use self::cleanup::Cleanup;
use self::error::Error;
use self::observe::Observed;
use self::plan::{Fresh, Plan};
use self::report::Progress;
use crate::cluster::ClusterError;
use crate::context::Context;
use crate::name;
use crate::outcome::{Outcome, backoff, spread};
use crate::telemetry::Chain;
use crate::verdict::{Retry, Verdict};

/// The one port of an element.
const HTTP_PORT: i32 = 8010;
/// The length of generated passwords and tokens: 192 and 384 random bits, as hexadecimal digits.
const PASSWORD_BYTES: usize = 24;
const TOKEN_BYTES: usize = 48;

/// Why a reconcile could not even be reported.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// It broke off.
    #[error("failed to finish a reconcile")]
    Task(#[source] tokio::task::JoinError),
    /// The status could not be written, or an Event told.
    #[error("failed to report")]
    Report(#[source] ClusterError),
}

/// One key of a Secret.
#[derive(Clone, Debug, Eq, PartialEq)]
struct SecretKey {
    name: String,
    key: String,
}

/// Brings one element closer to its spec.
pub async fn reconcile(element: Arc<StorageElement>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    context.caches.ready().await;
    let (namespace, name) = (element.namespace().unwrap_or_default(), element.name_any());
    let Some(observed) = observe::observe(&context, &namespace, &name) else {
        return Ok(Outcome::Settled.into());
    };
    let started = Instant::now();
    let mut progress = Progress::default();
    let result = if observed.is_deleting() {
        match cleanup::cleanup(&context, &observed).await {
            Ok(Cleanup::Done) => return Ok(Outcome::Settled.into()),
            Ok(Cleanup::Waiting(message)) => {
                progress.waiting = Some(message);
                Ok(())
            }
            Err(error) => Err(error),
        }
    } else if observed.is_paused() {
        Ok(())
    } else {
        advance(&context, &observed, &mut progress).await
    };
    let verdict = result.as_ref().err().map(|error| judge(error, &observed));
    remember(&context, &observed, result.as_ref().err());
    context.metrics.reconcile(
        "StorageElement",
        started.elapsed(),
        verdict.as_ref().map(|verdict| verdict.reason),
    );
    let later = report::report(&context, &observed, &progress, verdict.as_ref())
        .await
        .map_err(ReconcileError::Report)?;
    Ok(next(&context, &observed, verdict.as_ref(), later).into())
}

/// What an error comes to; of a deletion also how to be rid of it.
fn judge(error: &Error, observed: &Observed) -> Verdict {
    let mut verdict = error.verdict();
    if observed.is_deleting() {
        verdict.message = format!(
            "{}; or annotate the element with {}=true, which leaves what it has behind",
            verdict.message,
            name::FORCE_FINALIZE
        );
    }
    verdict
}

/// Goes as far as it can; `progress` says how far that was.
async fn advance(context: &Context, observed: &Observed, progress: &mut Progress) -> Result<(), Error> {
    let element = validate::validate(observed, &context.settings).map_err(Error::Invalid)?;
    let Plan { objects, claim } = plan::plan(&element, observed, fresh()?);
    progress.element = Some(element);
    apply::finalizer(context, observed).await?;
    apply::secrets(context, observed, &objects).await?;
    let founded = apply::foundation(context, observed, objects, &mut progress.notices).await?;
    progress.database = Some(act::database(context, observed, claim.as_ref()).await?);
    progress.objects = Some(apply::workload(context, observed, founded, &mut progress.notices).await?);
    Ok(())
}

/// Counts failures and logs them; a success ends the count.
fn remember(context: &Context, observed: &Observed, error: Option<&Error>) {
    let (namespace, name) = (&observed.namespace, &observed.name);
    if let Some(error) = error {
        tracing::warn!(
            namespace,
            name,
            error = %Chain(error),
            "reconcile met a problem"
        );
    }
    context.memory.update(namespace, name, &observed.uid, |memory| {
        memory.failures = if error.is_some() {
            memory.failures.saturating_add(1)
        } else {
            0
        };
    });
}

/// When to come back if nothing changes before.
fn next(context: &Context, observed: &Observed, verdict: Option<&Verdict>, later: Option<Duration>) -> Outcome {
    let settings = &context.settings;
    let failures = observed.recollection.failures.saturating_add(1);
    let after = match verdict.map(|verdict| verdict.retry) {
        Some(Retry::Soon) => settings.shortest_wait,
        Some(Retry::Backoff) => backoff(&observed.uid, failures, settings.shortest_wait, settings.longest_wait),
        Some(Retry::OnChange) => spread(&observed.uid, failures, settings.longest_wait),
        None => spread(&observed.uid, 0, observe::pace(context, observed)),
    };
    Outcome::Waiting {
        after: later.map_or(after, |later| later.min(after)),
    }
}

/// What to do after a reconcile that could not be reported.
pub fn again(element: Arc<StorageElement>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let (namespace, name) = (element.namespace().unwrap_or_default(), element.name_any());
    tracing::warn!(
        namespace,
        name,
        error = %Chain(error),
        "reconcile failed"
    );
    let uid = element.uid().unwrap_or_default();
    let failures = context.memory.update(&namespace, &name, &uid, |memory| {
        memory.failures = memory.failures.saturating_add(1)
    });
    let settings = &context.settings;
    Action::requeue(backoff(
        &uid,
        failures.failures,
        settings.shortest_wait,
        settings.longest_wait,
    ))
}

/// The names of the Secrets an element reads, by itself or through its fleet.
pub(crate) fn references(element: &StorageElement, fleet: Option<&StorageFleet>) -> Vec<String> {
    let resolved = resolve::resolve(&element.spec, fleet.map(|fleet| &fleet.spec));
    resolved.secrets().into_iter().map(str::to_owned).collect()
}

/// Where clients in the cluster reach an element.
fn endpoint(namespace: &str, name: &str) -> String {
    format!("http://{}:{HTTP_PORT}", name::service_host(namespace, name))
}

/// What Events are about.
fn reference(element: &StorageElement) -> ObjectReference {
    element.object_ref(&())
}

/// A number that rises with every change of the spec, and over the elements that had this name before: an element that takes
/// a kept volume up again finds the last generation there.
fn mode_generation(element: &StorageElement) -> i64 {
    let created = element
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(0, |created| created.0.as_millisecond());
    created.saturating_add(element.metadata.generation.unwrap_or_default())
}

fn fresh() -> Result<Fresh, Error> {
    Ok(Fresh {
        password: random::<PASSWORD_BYTES>()?,
        token: random::<TOKEN_BYTES>()?,
    })
}

fn random<const BYTES: usize>() -> Result<SecretString, Error> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::NoRandomness)?;
    Ok(SecretString::from(hex(&bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
