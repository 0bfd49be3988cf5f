//! The conditions, one per part and three for the whole. Pure.

use artstore_crds::{CapacityState, DeletionPolicy, ModeStatus};
use element_api::{CapacityStatus, Mode, Transition};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::super::error::RESCUE;
use super::super::mode_generation;
use super::super::observe::Observed;
use super::Progress;
use super::status::whole_seconds;
use crate::probe::Answer;
use crate::quantity;
use crate::verdict::{Part, Reason, Verdict};

/// What conditions are drawn from.
pub(super) struct Facts<'a> {
    pub(super) observed: &'a Observed,
    pub(super) progress: &'a Progress,
    pub(super) verdict: Option<&'a Verdict>,
    pub(super) workload: Option<&'a Deployment>,
    pub(super) volume: Option<&'a PersistentVolumeClaim>,
    pub(super) capacity: Option<&'a CapacityState>,
    pub(super) previous: &'a [Condition],
    pub(super) previous_mode: Option<&'a ModeStatus>,
    pub(super) now: Timestamp,
}

const TRUE: &str = "True";
const FALSE: &str = "False";
const UNKNOWN: &str = "Unknown";

/// What a condition says.
#[derive(Clone, Debug)]
struct State {
    status: &'static str,
    reason: String,
    message: String,
}

fn state(status: &'static str, reason: Reason, message: impl Into<String>) -> State {
    State {
        status,
        reason: reason.as_str().to_owned(),
        message: message.into(),
    }
}

/// The condition of a part, if there is one.
pub(super) fn find(conditions: &[Condition], part: Part) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == part.as_str())
}

/// Whether the condition holds.
pub(super) fn is_true(condition: Option<&Condition>) -> bool {
    condition.is_some_and(|condition| condition.status == TRUE)
}

/// All conditions, in the order they are told in.
pub(super) fn conditions(facts: &Facts<'_>) -> Vec<Condition> {
    let parts = [
        (
            Part::DatabaseReady,
            facts.judged(Part::DatabaseReady).unwrap_or_else(|| database(facts)),
        ),
        (
            Part::VolumeReady,
            facts.judged(Part::VolumeReady).unwrap_or_else(|| volume(facts)),
        ),
        (
            Part::WorkloadReady,
            facts.judged(Part::WorkloadReady).unwrap_or_else(|| workload(facts)),
        ),
    ];
    let mode = mode(facts);
    let ready = ready(facts, &parts, &mode);
    let stalled = stalled(facts, &ready);
    let reconciling = reconciling(facts, &ready, &stalled, &mode);
    let whole = [
        (Part::Ready, ready),
        (Part::Reconciling, reconciling),
        (Part::Stalled, stalled),
    ];
    let rest = [
        (Part::ModeApplied, mode),
        (Part::CapacityOk, capacity(facts)),
        (Part::Paused, paused(facts)),
    ];
    whole
        .into_iter()
        .chain(parts)
        .chain(rest)
        .map(|(part, state)| facts.condition(part, state))
        .collect()
}

impl Facts<'_> {
    /// What the error says of this part.
    fn judged(&self, part: Part) -> Option<State> {
        let verdict = self.verdict.filter(|verdict| verdict.part == part)?;
        Some(state(FALSE, verdict.reason, verdict.message.clone()))
    }

    /// What was said of this part before; it could not be looked at this time.
    fn as_before(&self, part: Part) -> Option<State> {
        let previous = find(self.previous, part)?;
        let status = [TRUE, FALSE, UNKNOWN]
            .into_iter()
            .find(|status| *status == previous.status)?;
        Some(State {
            status,
            reason: previous.reason.clone(),
            message: previous.message.clone(),
        })
    }

    fn condition(&self, part: Part, state: State) -> Condition {
        let before = find(self.previous, part).filter(|previous| previous.status == state.status);
        Condition {
            type_: part.as_str().to_owned(),
            status: state.status.to_owned(),
            reason: state.reason,
            message: state.message,
            observed_generation: self.observed.element.metadata.generation,
            last_transition_time: before.map_or_else(
                || Time(whole_seconds(self.now)),
                |previous| previous.last_transition_time.clone(),
            ),
        }
    }
}

fn database(facts: &Facts<'_>) -> State {
    match &facts.progress.database {
        Some(Some(ensured)) => state(
            TRUE,
            Reason::Provisioned,
            format!("the database is in place and belongs to {}", ensured.owner),
        ),
        Some(None) => state(TRUE, Reason::Embedded, "the index is in the volume"),
        None => facts
            .as_before(Part::DatabaseReady)
            .unwrap_or_else(|| state(UNKNOWN, Reason::Pending, "not looked at yet")),
    }
}

fn volume(facts: &Facts<'_>) -> State {
    let Some(volume) = facts.volume else {
        return state(FALSE, Reason::Pending, "not made yet");
    };
    if volume.metadata.deletion_timestamp.is_some() {
        let message = format!("the volume is being deleted, and its files go when the pod stops; {RESCUE}");
        return state(FALSE, Reason::VolumeDeleting, message);
    }
    let status = volume.status.as_ref();
    let size = |resources: Option<&std::collections::BTreeMap<String, _>>| -> Option<String> {
        let k8s_openapi::apimachinery::pkg::api::resource::Quantity(size) = resources?.get("storage")?;
        Some(size.clone())
    };
    match status.and_then(|status| status.phase.as_deref()) {
        Some("Bound") => {
            let has = size(status.and_then(|status| status.capacity.as_ref()));
            let requests = volume
                .spec
                .as_ref()
                .and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
            match (has, size(requests)) {
                (Some(has), Some(wants)) if quantity::bytes(&has) < quantity::bytes(&wants) => state(
                    TRUE,
                    Reason::VolumeResizing,
                    format!("the volume grows from {has} to {wants}"),
                ),
                _ => state(TRUE, Reason::Bound, "the volume is bound"),
            }
        }
        Some("Lost") => state(FALSE, Reason::VolumeLost, "the PersistentVolume is gone: restore it"),
        _ => state(
            FALSE,
            Reason::VolumePending,
            "waiting for the volume: see the events of the PersistentVolumeClaim and its StorageClass",
        ),
    }
}

fn workload(facts: &Facts<'_>) -> State {
    let Some(workload) = facts.workload else {
        return state(FALSE, Reason::Pending, "not made yet");
    };
    if facts.observed.element.spec.replicas == 0 {
        return state(
            FALSE,
            Reason::Stopped,
            "replicas is 0: set it to 1 to start the element",
        );
    }
    let status = workload.status.clone().unwrap_or_default();
    let current = status.observed_generation >= workload.metadata.generation;
    if current && status.updated_replicas >= Some(1) && status.available_replicas >= Some(1) {
        // So that the first Ready comes with the element's own figures, in one write.
        let known = facts.previous_mode.is_some() || is_true(find(facts.previous, Part::WorkloadReady));
        if facts.observed.answer == Answer::Asking && !known {
            return state(FALSE, Reason::Starting, "asking the element how it is");
        }
        return state(TRUE, Reason::Available, "the pod is ready");
    }
    let told = |wanted: &str, value: &str| -> Option<DeploymentCondition> {
        let mut all = status.conditions.iter().flatten();
        all.find(|condition| condition.type_ == wanted && condition.status == value)
            .cloned()
    };
    if let Some(failure) = told("ReplicaFailure", TRUE) {
        return state(FALSE, Reason::PodRefused, failure.message.unwrap_or_default());
    }
    if let Some(failure) = told("Progressing", FALSE) {
        let message = format!("{}: see the pod's events and log", failure.message.unwrap_or_default());
        return state(FALSE, Reason::DeadlineExceeded, message);
    }
    state(FALSE, Reason::Starting, "waiting for the pod to be ready")
}

fn mode(facts: &Facts<'_>) -> State {
    let wanted = facts.observed.element.spec.mode;
    let Answer::Said(info) = &facts.observed.answer else {
        return facts
            .as_before(Part::ModeApplied)
            .filter(|_| facts.previous_mode.is_some_and(|mode| mode.current == wanted))
            .unwrap_or_else(|| state(UNKNOWN, Reason::Unknown, "the element has not said what mode it is in"));
    };
    let has = info.mode;
    match has.transition_to(wanted) {
        Transition::Same => state(TRUE, Reason::Confirmed, format!("the element is in mode {has}")),
        Transition::Forbidden => {
            let message = format!(
                "the element is in mode {has}, which can never become {wanted}: {}",
                way_back(facts, has)
            );
            state(FALSE, Reason::ModeRefused, message)
        }
        _ if info.mode_generation >= mode_generation(&facts.observed.element) => state(
            FALSE,
            Reason::ModeRefused,
            format!("the element stays in mode {has}: see its log"),
        ),
        _ => state(
            FALSE,
            Reason::Unconfirmed,
            format!("the element is in mode {has} and is asked for mode {wanted}"),
        ),
    }
}

/// How the spec comes to say the mode the files are in. Admission lets no spec go where no element can go.
fn way_back(facts: &Facts<'_>, has: Mode) -> String {
    let spec = &facts.observed.element.spec;
    if spec.mode.transition_to(has) != Transition::Forbidden {
        return format!("set mode to {has}");
    }
    let first = match spec.deletion_policy {
        DeletionPolicy::Retain => "",
        DeletionPolicy::Delete => "set deletionPolicy to Retain, ",
    };
    format!("{first}delete this element (its data is kept) and create it with mode {has}")
}

fn capacity(facts: &Facts<'_>) -> State {
    let Some(capacity) = facts.capacity else {
        return state(UNKNOWN, Reason::Unknown, "the element has not said how full it is");
    };
    let message = format!("{} used", capacity.used);
    let advice = format!("{message}: let storage.local.size grow");
    match capacity.status {
        CapacityStatus::Ok => state(TRUE, Reason::EnoughRoom, message),
        CapacityStatus::Warning => state(TRUE, Reason::LittleRoom, advice),
        CapacityStatus::Critical => state(FALSE, Reason::AlmostFull, advice),
        CapacityStatus::Full => state(FALSE, Reason::Full, format!("{advice}; new files are refused")),
    }
}

fn paused(facts: &Facts<'_>) -> State {
    if facts.observed.is_paused() {
        state(
            TRUE,
            Reason::Paused,
            "nothing is changed until spec.paused is taken back",
        )
    } else {
        state(FALSE, Reason::Active, "")
    }
}

fn ready(facts: &Facts<'_>, parts: &[(Part, State)], mode: &State) -> State {
    if let Some(verdict) = facts.verdict {
        return state(FALSE, verdict.reason, verdict.message.clone());
    }
    if facts.observed.is_deleting() {
        let waiting = facts.progress.waiting.clone().unwrap_or_default();
        return state(FALSE, Reason::Deleting, waiting);
    }
    let missing = parts.iter().map(|(_, state)| state).find(|state| state.status != TRUE);
    match missing {
        Some(missing) => State {
            status: FALSE,
            ..missing.clone()
        },
        None if mode.reason == Reason::ModeRefused.as_str() => state(
            TRUE,
            Reason::Serving,
            "the element serves, but not in the mode of the spec: see ModeApplied",
        ),
        None => state(TRUE, Reason::Serving, "the element serves"),
    }
}

/// Something that does not end by itself.
fn stalled(facts: &Facts<'_>, ready: &State) -> State {
    let stuck = [
        Reason::DeadlineExceeded,
        Reason::PodRefused,
        Reason::VolumeLost,
        Reason::VolumeDeleting,
    ]
    .map(Reason::as_str);
    match facts.verdict {
        Some(verdict) if verdict.stalled => state(TRUE, verdict.reason, verdict.message.clone()),
        None if stuck.contains(&ready.reason.as_str()) => State {
            status: TRUE,
            ..ready.clone()
        },
        _ => state(FALSE, Reason::Settled, ""),
    }
}

fn reconciling(facts: &Facts<'_>, ready: &State, stalled: &State, mode: &State) -> State {
    let mode_pending = mode.reason == Reason::Unconfirmed.as_str();
    let stopped = ready.reason == Reason::Stopped.as_str();
    if stalled.status == TRUE || facts.observed.is_paused() && !facts.observed.is_deleting() {
        state(FALSE, Reason::Settled, "")
    } else if ready.status != TRUE && !stopped {
        State {
            status: TRUE,
            ..ready.clone()
        }
    } else if mode_pending {
        State {
            status: TRUE,
            ..mode.clone()
        }
    } else {
        state(FALSE, Reason::Settled, "")
    }
}
