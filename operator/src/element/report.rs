//! What a reconcile came to, as status and Events. One status write if something changed, on success and on error.

mod conditions;
mod notices;
mod status;

use std::time::Duration;

use artstore_crds::StorageElementStatus;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use self::conditions::find;
pub(crate) use self::status::status;
use super::observe::Observed;
use super::plan::{Applied, Objects};
use super::validate::Element;
use crate::cluster::{ClusterError, Notice};
use crate::context::{Context, Ensured};
use crate::verdict::{Part, Verdict};

/// How far a reconcile came.
#[derive(Default)]
pub(crate) struct Progress {
    /// The wish, when it is one that can be fulfilled.
    pub(crate) element: Option<Element>,
    /// The database; `Some(None)` is one in the volume.
    pub(crate) database: Option<Option<Ensured>>,
    /// The objects, when all were applied.
    pub(crate) objects: Option<Objects<Applied>>,
    /// What there is to tell besides.
    pub(crate) notices: Vec<Notice>,
    /// What a deletion waits for.
    pub(crate) waiting: Option<String>,
}

/// Writes the status if it changed and tells what there is to tell. Answers with the time to come back at the latest, should
/// figures have been held back.
pub(crate) async fn report(
    context: &Context,
    observed: &Observed,
    progress: &Progress,
    verdict: Option<&Verdict>,
) -> Result<Option<Duration>, ClusterError> {
    let now = context.clock.now();
    let previous = observed.element.status.clone().unwrap_or_default();
    let next = status(observed, progress, verdict, now);
    let mut told = progress.notices.clone();
    let mut later = None;
    if next != previous {
        later = hold_back(context, observed, &previous, &next, now);
        if later.is_none() {
            let write = context.cluster.apply_status(observed.element.as_ref(), &next);
            context
                .caches
                .elements
                .written_by(&observed.namespace, &observed.name, write)
                .await?;
            context
                .memory
                .update(&observed.namespace, &observed.name, &observed.uid, |memory| {
                    memory.reported = Some(now);
                });
            told.extend(notices::between(&previous, &next, verdict));
        }
    }
    let about = super::reference(&observed.element);
    for (index, notice) in (0..).zip(&told) {
        // An Event is named after its moment: two of one reconcile must not have the same.
        let moment = now + SignedDuration::from_nanos(index);
        context.cluster.tell(&about, notice, moment).await;
    }
    Ok(later)
}

/// Figures and steps on the way are written now and then; what somebody waits for is written at once.
fn hold_back(
    context: &Context,
    observed: &Observed,
    previous: &StorageElementStatus,
    next: &StorageElementStatus,
    now: Timestamp,
) -> Option<Duration> {
    if weighs(previous) != weighs(next) {
        return None;
    }
    let since = Duration::try_from(now.duration_since(observed.recollection.reported?)).unwrap_or_default();
    context
        .settings
        .report_every
        .checked_sub(since)
        .filter(|rest| !rest.is_zero())
}

/// The part of a status that somebody may wait for.
fn weighs(status: &StorageElementStatus) -> impl PartialEq + use<> {
    let at_once = [Part::Ready, Part::Stalled, Part::ModeApplied, Part::Paused];
    let states = at_once.map(|part| find(&status.conditions, part).map(|condition| condition.status.clone()));
    let stalled_by = find(&status.conditions, Part::Stalled).map(|condition| condition.reason.clone());
    (status.observed_generation, status.phase, states, stalled_by)
}

#[cfg(test)]
mod tests;
