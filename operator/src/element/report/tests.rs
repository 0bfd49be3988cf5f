//! Statuses and Events, as tables.

use std::sync::Arc;

use artstore_crds::{Phase, StorageElementStatus};
use element_api::{Capacity, Info, Mode};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::conditions::find;
use super::{Progress, notices, status};
use crate::context::Ensured;
use crate::element::example::{element, observed};
use crate::element::observe::Observed;
use crate::probe::Answer;
use crate::verdict::{Part, Reason, Retry, Verdict};

fn now() -> Timestamp {
    "2026-01-02T04:00:00Z".parse().unwrap()
}

fn info(mode: Mode, generation: i64, used: u64) -> Answer {
    let total = 10 << 30;
    Answer::Said(Arc::new(Info {
        element_id: "01".to_owned(),
        version: "1".to_owned(),
        mode,
        mode_generation: generation,
        operations: Vec::new(),
        storage_type: "local".to_owned(),
        database_type: "postgres".to_owned(),
        schema_version: Some(2),
        files: Some(5),
        wal_pending: Some(1),
        capacity: Capacity::new(total, used, total - used),
        priority: 100,
        endpoint: None,
    }))
}

/// An element all parts of which are there.
fn complete(spec: Value) -> (Observed, Progress) {
    let mut observed = observed(spec);
    observed.answer = info(observed.element.spec.mode, i64::MAX, 1);
    observed.children.volume = Some(Arc::new(
        serde_json::from_value(json!({"metadata": {}, "status": {"phase": "Bound"}})).unwrap(),
    ));
    workload(
        &mut observed,
        json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}),
    );
    let ensured = Ensured {
        fingerprint: String::new(),
        owner: "artstore/storage-01".to_owned(),
        at: now(),
    };
    let progress = Progress {
        element: Some(element(&observed)),
        database: Some(Some(ensured)),
        ..Progress::default()
    };
    (observed, progress)
}

fn workload(observed: &mut Observed, status: Value) {
    let object = json!({"metadata": {"generation": 1}, "spec": {"selector": {}, "template": {}}, "status": status});
    observed.children.workload = Some(Arc::new(serde_json::from_value(object).unwrap()));
}

fn with_status(observed: &mut Observed, status: StorageElementStatus) {
    let mut element = observed.element.as_ref().clone();
    element.status = Some(status);
    observed.element = Arc::new(element);
}

fn told(status: &StorageElementStatus, part: Part) -> (String, String) {
    let condition = find(&status.conditions, part).unwrap();
    (condition.status.clone(), condition.reason.clone())
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

fn unreachable() -> Verdict {
    Verdict {
        part: Part::DatabaseReady,
        reason: Reason::DatabaseUnreachable,
        message: "check it".to_owned(),
        retry: Retry::Backoff,
        stalled: false,
    }
}

#[test]
fn complete_element_is_ready() {
    let (observed, progress) = complete(json!({}));
    let status = status(&observed, &progress, None, now());
    insta::assert_yaml_snapshot!("complete_status", status);
}

#[test]
fn the_same_facts_later_change_nothing() {
    let (mut observed, progress) = complete(json!({}));
    let first = status(&observed, &progress, None, now());
    with_status(&mut observed, first.clone());
    observed.answer = Answer::Asking;
    let later = "2026-01-02T05:00:00Z".parse().unwrap();
    assert_eq!(status(&observed, &progress, None, later), first);
}

#[test]
fn each_state_of_the_workload_has_its_reason() {
    let current = |more: Value| {
        let mut status = json!({"observedGeneration": 1});
        json_patch::merge(&mut status, &more);
        status
    };
    let failed = |type_: &str, status: &str| {
        current(json!({"conditions": [{"type": type_, "status": status, "message": "so"}]}))
    };
    for (state, reason, phase) in [
        (
            json!({"observedGeneration": 0, "updatedReplicas": 1, "availableReplicas": 1}),
            "Starting",
            Phase::Progressing,
        ),
        (current(json!({"availableReplicas": 1})), "Starting", Phase::Progressing),
        (failed("ReplicaFailure", "True"), "PodRefused", Phase::Blocked),
        (failed("Progressing", "False"), "DeadlineExceeded", Phase::Blocked),
    ] {
        let (mut observed, progress) = complete(json!({}));
        workload(&mut observed, state);
        let status = status(&observed, &progress, None, now());
        assert_eq!(told(&status, Part::WorkloadReady), pair("False", reason));
        assert_eq!(told(&status, Part::Ready), pair("False", reason));
        assert_eq!(status.phase, Some(phase), "{reason}");
    }
}

#[test]
fn each_answer_about_the_mode_has_its_reason() {
    for (wanted, answer, expected) in [
        ("ro", info(Mode::Ro, i64::MAX, 1), pair("True", "Confirmed")),
        ("ro", info(Mode::Rw, 1, 1), pair("False", "Unconfirmed")),
        ("ro", info(Mode::Rw, i64::MAX, 1), pair("False", "ModeRefused")),
        ("edit", info(Mode::Ar, 1, 1), pair("False", "ModeRefused")),
        ("ro", Answer::Silent, pair("Unknown", "Unknown")),
    ] {
        let (mut observed, progress) = complete(json!({"mode": wanted}));
        observed.answer = answer;
        let status = status(&observed, &progress, None, now());
        assert_eq!(told(&status, Part::ModeApplied), expected, "{wanted}");
        assert_eq!(told(&status, Part::Ready), pair("True", "Serving"));
    }
}

#[test]
fn refused_mode_is_told_with_a_way_out_that_admission_allows() {
    for (spec, has, advice) in [
        (
            json!({"mode": "edit"}),
            Mode::Ar,
            "delete this element (its data is kept) and create it with mode ar",
        ),
        (
            json!({"mode": "edit", "deletionPolicy": "Delete"}),
            Mode::Rw,
            "set deletionPolicy to Retain, delete this element (its data is kept) and create it with mode rw",
        ),
        (json!({"mode": "ro"}), Mode::Ar, "set mode to ar"),
    ] {
        let (mut observed, progress) = complete(spec);
        observed.answer = info(has, 1, 1);
        let status = status(&observed, &progress, None, now());
        let message = |part| find(&status.conditions, part).unwrap().message.clone();
        assert!(message(Part::ModeApplied).ends_with(&format!(": {advice}")), "{advice}");
        assert!(message(Part::Ready).contains("not in the mode"), "{advice}");
    }
}

#[test]
fn volume_that_is_being_deleted_is_told_of() {
    let (mut observed, progress) = complete(json!({}));
    let volume = json!({"metadata": {"deletionTimestamp": "2026-01-02T03:00:00Z"}, "status": {"phase": "Bound"}});
    observed.children.volume = Some(Arc::new(serde_json::from_value(volume).unwrap()));
    let status = status(&observed, &progress, None, now());
    assert_eq!(told(&status, Part::VolumeReady), pair("False", "VolumeDeleting"));
    assert_eq!(told(&status, Part::Ready), pair("False", "VolumeDeleting"));
    assert_eq!(told(&status, Part::Stalled), pair("True", "VolumeDeleting"));
}

#[test]
fn fuller_element_is_told_of() {
    let total: u64 = 10 << 30;
    for (percent, expected) in [
        (10, pair("True", "EnoughRoom")),
        (91, pair("True", "LittleRoom")),
        (95, pair("False", "AlmostFull")),
        (99, pair("False", "Full")),
    ] {
        let (mut observed, progress) = complete(json!({}));
        observed.answer = info(Mode::Edit, i64::MAX, total / 100 * percent);
        assert_eq!(
            told(&status(&observed, &progress, None, now()), Part::CapacityOk),
            expected,
            "{percent}"
        );
    }
}

#[test]
fn error_is_told_in_its_part_and_what_is_known_stays() {
    let (mut observed, progress) = complete(json!({}));
    let before = status(&observed, &progress, None, now());
    with_status(&mut observed, before.clone());
    let verdict = unreachable();
    let after = status(&observed, &Progress::default(), Some(&verdict), now());
    assert_eq!(told(&after, Part::DatabaseReady), pair("False", "DatabaseUnreachable"));
    assert_eq!(told(&after, Part::Ready), pair("False", "DatabaseUnreachable"));
    assert_eq!(told(&after, Part::Reconciling), pair("True", "DatabaseUnreachable"));
    assert_eq!(told(&after, Part::WorkloadReady), pair("True", "Available"));
    assert_eq!(
        (after.effective, after.files, after.capacity),
        (before.effective, before.files, before.capacity)
    );
}

#[test]
fn stopped_and_paused_elements_are_neither_stalled_nor_reconciling() {
    let (observed, progress) = complete(json!({"replicas": 0}));
    let stopped = status(&observed, &progress, None, now());
    assert_eq!(
        (told(&stopped, Part::Ready), stopped.phase),
        (pair("False", "Stopped"), Some(Phase::Stopped))
    );
    let (observed, _) = complete(json!({"paused": true}));
    let paused = status(&observed, &Progress::default(), None, now());
    assert_eq!(
        (told(&paused, Part::Paused), paused.phase),
        (pair("True", "Paused"), Some(Phase::Paused))
    );
    for status in [stopped, paused] {
        assert_eq!(told(&status, Part::Reconciling).0, "False");
        assert_eq!(told(&status, Part::Stalled).0, "False");
    }
}

#[test]
fn each_transition_is_told_once_and_steps_are_not() {
    let (mut observed, progress) = complete(json!({"mode": "ro"}));
    let nothing = StorageElementStatus::default();
    let ready = status(&observed, &progress, None, now());
    let verdict = unreachable();
    let broken = status(&observed, &progress, Some(&verdict), now());
    let mut archived = ready.clone();
    archived.mode.as_mut().unwrap().current = Mode::Ar;
    workload(&mut observed, json!({"observedGeneration": 1}));
    let starting = status(&observed, &progress, None, now());
    let table: [(
        &StorageElementStatus,
        &StorageElementStatus,
        Option<&Verdict>,
        &[Reason],
    ); 8] = [
        (&nothing, &starting, None, &[]),
        (&starting, &ready, None, &[Reason::Serving]),
        (&ready, &ready, None, &[]),
        (&ready, &starting, None, &[Reason::Progressing]),
        (&ready, &broken, Some(&verdict), &[Reason::DatabaseUnreachable]),
        (&broken, &broken, Some(&verdict), &[]),
        (&broken, &ready, None, &[Reason::Serving]),
        (&ready, &archived, None, &[Reason::ModeChanged]),
    ];
    for (index, (before, after, verdict, expected)) in table.into_iter().enumerate() {
        let told: Vec<_> = notices::between(before, after, verdict)
            .into_iter()
            .map(|notice| notice.reason)
            .collect();
        assert_eq!(told, expected, "row {index}");
    }
}
