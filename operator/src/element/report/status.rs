//! The status, from what was observed and done. Pure.

use artstore_crds::{
    CapacityState, DatabaseState, EffectiveSettings, ModeStatus, Phase, StorageElementStatus, WalState,
};
use element_api::{Capacity, Info};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::super::endpoint;
use super::super::observe::Observed;
use super::super::validate::{Database, Element};
use super::Progress;
use super::conditions::{Facts, conditions, find, is_true};
use crate::name;
use crate::probe::Answer;
use crate::verdict::{Part, Verdict};

const MIB: u64 = 1 << 20;

/// The status. What could not be learnt this time stays as it was.
pub(crate) fn status(
    observed: &Observed,
    progress: &Progress,
    verdict: Option<&Verdict>,
    now: Timestamp,
) -> StorageElementStatus {
    let previous = observed.element.status.clone().unwrap_or_default();
    let info = match &observed.answer {
        Answer::Said(info) => Some(info.as_ref()),
        Answer::Asking | Answer::Silent => None,
    };
    let objects = progress.objects.as_ref();
    let workload = objects.map_or(observed.children.workload.as_deref(), |objects| Some(&objects.workload));
    let volume = objects.map_or(observed.children.volume.as_deref(), |objects| Some(&objects.volume));
    let element = progress.element.as_ref();
    let pods = workload.and_then(|workload| workload.status.as_ref());
    let mut next = StorageElementStatus {
        observed_generation: observed.element.metadata.generation,
        conditions: Vec::new(),
        phase: None,
        endpoint: objects
            .map(|_| endpoint(&observed.namespace, &observed.name))
            .or(previous.endpoint),
        effective: element.map(effective).or(previous.effective),
        mode: info
            .map(|info| mode(info, previous.mode.as_ref(), now))
            .or_else(|| previous.mode.clone()),
        database: element
            .map(|element| database(element, progress, info, previous.database.as_ref()))
            .or(previous.database),
        capacity: info.map(|info| capacity(&info.capacity)).or(previous.capacity),
        files: info.and_then(|info| info.files).map(number).or(previous.files),
        wal: info
            .and_then(|info| info.wal_pending)
            .map(|pending| WalState {
                pending: number(pending),
            })
            .or(previous.wal),
        replicas: Some(pods.and_then(|pods| pods.replicas).unwrap_or_default()),
        ready_replicas: Some(pods.and_then(|pods| pods.ready_replicas).unwrap_or_default()),
        selector: Some(name::selector_text(&observed.name)),
    };
    let facts = Facts {
        observed,
        progress,
        verdict,
        workload,
        volume,
        capacity: next.capacity.as_ref(),
        previous: &previous.conditions,
        previous_mode: previous.mode.as_ref(),
        now,
    };
    next.conditions = conditions(&facts);
    next.phase = Some(phase(observed, &next, workload));
    next
}

fn phase(observed: &Observed, status: &StorageElementStatus, workload: Option<&Deployment>) -> Phase {
    let holds = |part| is_true(find(&status.conditions, part));
    if observed.is_deleting() {
        Phase::Deleting
    } else if observed.is_paused() {
        Phase::Paused
    } else if holds(Part::Ready) {
        Phase::Ready
    } else if holds(Part::Stalled) {
        Phase::Blocked
    } else if workload.is_some() && observed.element.spec.replicas == 0 {
        Phase::Stopped
    } else {
        Phase::Progressing
    }
}

fn effective(element: &Element) -> EffectiveSettings {
    let (database, ssl_mode) = match &element.database {
        Database::Embedded { .. } => (EMBEDDED.to_owned(), None),
        Database::Postgres(postgres) => (
            format!("{}:{}", postgres.access.host, postgres.access.port),
            Some(postgres.ssl_mode.as_str().to_owned()),
        ),
    };
    EffectiveSettings {
        element_id: element.id.clone(),
        image: element.image.clone(),
        database,
        ssl_mode,
        discovery: element
            .discovery
            .as_ref()
            .map(|redis| format!("{}:{}", redis.host, redis.port)),
        issuer: element.auth.issuer.clone(),
        audience: element.auth.audience.clone(),
        max_file_size: element
            .spec
            .limits
            .as_ref()
            .and_then(|limits| limits.max_file_size.clone()),
        deletion_policy: element.deletion_policy,
    }
}

/// What stands for a database's name and server when it is in the volume.
const EMBEDDED: &str = "embedded";

fn database(
    element: &Element,
    progress: &Progress,
    info: Option<&Info>,
    previous: Option<&DatabaseState>,
) -> DatabaseState {
    let (name, table_prefix) = match &element.database {
        Database::Embedded { table_prefix } => (EMBEDDED.to_owned(), table_prefix.clone()),
        Database::Postgres(postgres) => (postgres.name.clone(), postgres.table_prefix.clone()),
    };
    let owner = match &progress.database {
        Some(ensured) => ensured.as_ref().map(|ensured| ensured.owner.clone()),
        None => previous.and_then(|previous| previous.owner.clone()),
    };
    let schema_version = info
        .and_then(|info| info.schema_version)
        .or_else(|| previous.and_then(|previous| previous.schema_version));
    DatabaseState {
        name,
        table_prefix,
        schema_version,
        owner,
    }
}

fn mode(info: &Info, previous: Option<&ModeStatus>, now: Timestamp) -> ModeStatus {
    match previous {
        Some(previous) if previous.current == info.mode => previous.clone(),
        _ => ModeStatus {
            current: info.mode,
            since: Time(whole_seconds(now)),
        },
    }
}

/// Rounded, so that an element at work does not bring a write with every byte.
fn capacity(capacity: &Capacity) -> CapacityState {
    let used = capacity.used_bytes.div_ceil(MIB) * MIB;
    CapacityState {
        total_bytes: number(capacity.total_bytes),
        used_bytes: number(used),
        percent: percent(capacity.used_bytes, capacity.total_bytes),
        used: format!("{} of {}", human(used), human(capacity.total_bytes)),
        status: capacity.status,
    }
}

fn percent(used: u64, total: u64) -> i32 {
    let percent = u128::from(used) * 100 / u128::from(total.max(1));
    i32::try_from(percent).unwrap_or(i32::MAX)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Bytes for people, with one digit after the point.
fn human(bytes: u64) -> String {
    let units = [("TiB", MIB << 20), ("GiB", MIB << 10), ("MiB", MIB)];
    let (unit, size) = units
        .into_iter()
        .find(|(_, size)| bytes >= *size)
        .unwrap_or(("MiB", MIB));
    let tenths = u128::from(bytes) * 10 / u128::from(size);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {unit}"),
        (whole, tenth) => format!("{whole}.{tenth} {unit}"),
    }
}

/// As the API server keeps times; a fraction would be lost and look like a change.
pub(super) fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::{human, percent};

    #[test]
    fn sizes_are_told_for_people() {
        for (bytes, expected) in [
            (0, "0 MiB"),
            (1 << 20, "1 MiB"),
            (3 << 29, "1.5 GiB"),
            (10 << 30, "10 GiB"),
            (u64::from(u32::MAX) << 12, "15.9 TiB"),
        ] {
            assert_eq!(human(bytes), expected);
        }
    }

    #[test]
    fn percent_of_nothing_does_not_fail() {
        assert_eq!(percent(0, 0), 0);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
    }
}
