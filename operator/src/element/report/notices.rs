//! Which Events a change of status is worth: one for each transition, none for a step on the way. Pure.

use artstore_crds::StorageElementStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{find, is_true};
use crate::cluster::{Notice, Weight};
use crate::verdict::{Part, Reason, Verdict};

/// The Events between two statuses; `verdict` is the error behind the later one.
pub(super) fn between(
    previous: &StorageElementStatus,
    next: &StorageElementStatus,
    verdict: Option<&Verdict>,
) -> Vec<Notice> {
    [
        readiness(previous, next, verdict),
        mode(previous, next),
        room(previous, next),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn pair<'a>(
    previous: &'a StorageElementStatus,
    next: &'a StorageElementStatus,
    part: Part,
) -> (Option<&'a Condition>, Option<&'a Condition>) {
    (find(&previous.conditions, part), find(&next.conditions, part))
}

fn readiness(
    previous: &StorageElementStatus,
    next: &StorageElementStatus,
    verdict: Option<&Verdict>,
) -> Option<Notice> {
    let (before, after) = pair(previous, next, Part::Ready);
    let after = after?;
    if let Some(verdict) = verdict {
        let told = before.is_some_and(|before| before.status == after.status && before.reason == after.reason);
        let (reason, message) = (verdict.reason, verdict.message.clone());
        return (!told).then_some(Notice {
            weight: Weight::Warning,
            reason,
            message,
        });
    }
    match (is_true(before), is_true(Some(after))) {
        (false, true) => Some(Notice {
            weight: Weight::Normal,
            reason: Reason::Serving,
            message: after.message.clone(),
        }),
        (true, false) if after.reason != Reason::Deleting.as_str() && after.reason != Reason::Stopped.as_str() => {
            let message = format!("the element is not ready any more: {}", after.message);
            Some(Notice {
                weight: Weight::Warning,
                reason: Reason::Progressing,
                message,
            })
        }
        _ => None,
    }
}

fn mode(previous: &StorageElementStatus, next: &StorageElementStatus) -> Option<Notice> {
    let (from, to) = (previous.mode.as_ref()?.current, next.mode.as_ref()?.current);
    (from != to).then(|| Notice {
        weight: Weight::Normal,
        reason: Reason::ModeChanged,
        message: format!("the element went from mode {from} to {to}"),
    })
}

fn room(previous: &StorageElementStatus, next: &StorageElementStatus) -> Option<Notice> {
    let (before, after) = pair(previous, next, Part::CapacityOk);
    let after = after?;
    let worse = [Reason::LittleRoom, Reason::AlmostFull, Reason::Full];
    let reason = worse.into_iter().find(|reason| reason.as_str() == after.reason)?;
    let told = before.is_some_and(|before| before.reason == after.reason);
    (!told).then(|| Notice {
        weight: Weight::Warning,
        reason,
        message: after.message.clone(),
    })
}
