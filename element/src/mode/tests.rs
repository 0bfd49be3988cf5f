//! Modes over a real folder: what a start takes, what a change keeps, and what the mode file may do.

use std::path::{Path, PathBuf};

use element_api::Mode;

use super::{Modes, OpenModeError, TransitionError, Wish};

fn wish(target: Mode) -> Wish {
    Wish {
        target,
        confirmed: false,
        generation: None,
        by: "alice".to_owned(),
        reason: None,
    }
}

fn open(folder: &Path, configured: Mode) -> Modes {
    Modes::open(folder, configured, None).unwrap()
}

fn mode_file(folder: &Path, mode: &str, generation: i64) -> PathBuf {
    let path = folder.join("asked.json");
    std::fs::write(&path, format!("{{\"mode\":\"{mode}\",\"generation\":{generation}}}")).unwrap();
    path
}

#[test]
fn first_start_takes_the_configured_mode_and_later_ones_what_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let modes = open(folder.path(), Mode::Rw);
    assert_eq!(modes.current(), Mode::Rw);
    modes.change(wish(Mode::Ro)).unwrap();
    drop(modes);
    let modes = open(folder.path(), Mode::Edit);
    let state = modes.state();
    assert_eq!(state.mode, Mode::Ro);
    let history: Vec<_> = state
        .history
        .iter()
        .map(|change| (change.from, change.to, change.by.as_str()))
        .collect();
    assert_eq!(
        history,
        [(None, Mode::Rw, "start"), (Some(Mode::Rw), Mode::Ro, "alice")]
    );
}

#[test]
fn changes_follow_the_matrix() {
    for from in Mode::ALL {
        for to in Mode::ALL {
            for confirmed in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                let modes = open(folder.path(), from);
                let result = modes.change(Wish { confirmed, ..wish(to) });
                match (from.as_str(), to.as_str(), confirmed) {
                    (a, b, _) if a == b => assert_eq!(result.unwrap().history.len(), 1),
                    ("rw", "ro", _) | ("ro", "ar", _) | ("ro", "rw", true) => assert_eq!(result.unwrap().mode, to),
                    ("ro", "rw", false) => {
                        assert!(matches!(result, Err(TransitionError::NeedsConfirmation { .. })));
                    }
                    _ => assert!(matches!(result, Err(TransitionError::Forbidden { .. })), "{from} {to}"),
                }
            }
        }
    }
}

#[test]
fn mode_file_rules_the_first_start_and_every_higher_generation() {
    let folder = tempfile::tempdir().unwrap();
    let file = mode_file(folder.path(), "rw", 3);
    let modes = Modes::open(folder.path(), Mode::Edit, Some(file.clone())).unwrap();
    assert_eq!((modes.current(), modes.state().generation), (Mode::Rw, 3));

    mode_file(folder.path(), "ro", 3);
    modes.look_at_file();
    assert_eq!(modes.current(), Mode::Rw, "the same generation was applied before");

    mode_file(folder.path(), "ro", 4);
    modes.look_at_file();
    assert_eq!((modes.current(), modes.state().generation), (Mode::Ro, 4));
    drop(modes);

    mode_file(folder.path(), "rw", 5);
    let modes = Modes::open(folder.path(), Mode::Edit, Some(file)).unwrap();
    modes.look_at_file();
    assert_eq!(
        (modes.current(), modes.state().generation),
        (Mode::Rw, 5),
        "back to rw was confirmed by the operator"
    );
}

#[test]
fn impossible_mode_in_the_file_is_refused_and_seen_until_it_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = mode_file(folder.path(), "edit", 1);
    let modes = Modes::open(folder.path(), Mode::Edit, Some(file)).unwrap();
    mode_file(folder.path(), "ar", 2);
    modes.look_at_file();
    assert_eq!((modes.current(), modes.state().generation), (Mode::Edit, 1));
    let refused = modes.refused().unwrap();
    assert_eq!((refused.mode, refused.generation), (Some(Mode::Ar), Some(2)));
    std::fs::write(folder.path().join("asked.json"), "{").unwrap();
    modes.look_at_file();
    assert_eq!(modes.refused().unwrap().mode, None);
    mode_file(folder.path(), "edit", 3);
    modes.look_at_file();
    assert_eq!((modes.refused(), modes.state().generation), (None, 3));
}

#[test]
fn broken_mode_file_stops_a_first_start_but_no_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.json");
    assert!(matches!(
        Modes::open(folder.path(), Mode::Edit, Some(missing.clone())),
        Err(OpenModeError::File(_))
    ));
    drop(open(folder.path(), Mode::Rw));
    let modes = Modes::open(folder.path(), Mode::Edit, Some(missing)).unwrap();
    modes.look_at_file();
    assert_eq!(modes.current(), Mode::Rw);
    assert!(modes.refused().is_some());
}

#[test]
fn person_cannot_change_what_a_file_rules_but_the_operator_can() {
    let folder = tempfile::tempdir().unwrap();
    let file = mode_file(folder.path(), "rw", 1);
    let modes = Modes::open(folder.path(), Mode::Edit, Some(file)).unwrap();
    assert!(matches!(modes.change(wish(Mode::Ro)), Err(TransitionError::Managed)));
    let newer = Wish {
        generation: Some(2),
        ..wish(Mode::Ro)
    };
    assert_eq!(modes.change(newer.clone()).unwrap().generation, 2);
    assert_eq!(
        modes.change(newer).unwrap().generation,
        2,
        "asking again changes nothing"
    );
    let stale = Wish {
        generation: Some(2),
        ..wish(Mode::Ar)
    };
    assert!(matches!(
        modes.change(stale),
        Err(TransitionError::Stale { given: 2, applied: 2 })
    ));
}

#[test]
fn broken_kept_mode_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mode.json"), "{").unwrap();
    assert!(matches!(
        Modes::open(folder.path(), Mode::Edit, None),
        Err(OpenModeError::Parse { .. })
    ));
}
