//! Modes over a real folder and database: what a start takes, what a change keeps, and what the mode file may do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use element_api::{Mode, ModeState};
use uuid::Uuid;

use super::{Kept, Modes, OpenModeError, TransitionError, Wish, step};
use crate::files::{Files, Settings};
use crate::index::tests::TestDatabase;
use crate::mode::file::ModeFile;
use crate::store::conformance::servers::versitygw_config;
use crate::store::{MODE_NOTE, StoreConfig};
use crate::wal::{OperationType, Status};

fn wish(target: Mode) -> Wish {
    Wish {
        target,
        confirmed: false,
        generation: None,
        by: "alice".to_owned(),
        reason: None,
    }
}

/// An element that nobody serves: its files, and what goes with them.
struct Element {
    folder: tempfile::TempDir,
    database: TestDatabase,
    files: Files,
}

impl Element {
    async fn new() -> Self {
        let (folder, database) = (tempfile::tempdir().unwrap(), TestDatabase::sqlite());
        let store = StoreConfig::Local {
            root: folder.path().to_owned(),
            shared: false,
        };
        let files = open_files(store, &database).await;
        Self {
            folder,
            database,
            files,
        }
    }

    fn kept(&self) -> Kept {
        Kept::In(self.folder.path().join(".artstore").join(MODE_NOTE))
    }

    fn open(&self, configured: Mode, file: Option<PathBuf>) -> Result<Arc<Modes>, OpenModeError> {
        Modes::open(&self.kept(), configured, file).map(Arc::new)
    }

    async fn start(&self, configured: Mode, file: Option<PathBuf>) -> Arc<Modes> {
        let modes = self.open(configured, file).unwrap();
        modes.take_over(&self.files).await.unwrap();
        modes
    }

    fn mode_file(&self, mode: &str, generation: i64) -> PathBuf {
        mode_file(self.folder.path(), mode, generation)
    }

    async fn end(self) {
        self.files.shutdown().await;
        self.database.drop().await;
    }
}

async fn open_files(store: StoreConfig, database: &TestDatabase) -> Files {
    let settings = Settings {
        store,
        max_size: None,
        max_file_size: 1_000_000,
        instance_id: format!("test/{}", Uuid::now_v7()),
    };
    Files::open(settings, database.migrated().await).await.unwrap()
}

fn mode_file(folder: &Path, mode: &str, generation: i64) -> PathBuf {
    let path = folder.join("asked.json");
    std::fs::write(&path, format!("{{\"mode\":\"{mode}\",\"generation\":{generation}}}")).unwrap();
    path
}

#[tokio::test]
async fn first_start_takes_the_configured_mode_and_later_ones_what_was_kept() {
    let element = Element::new().await;
    let modes = element.start(Mode::Rw, None).await;
    assert_eq!(modes.current(), Mode::Rw);
    modes.change(&element.files, wish(Mode::Ro)).await.unwrap();
    let at_once = element.open(Mode::Edit, None).unwrap();
    assert_eq!(at_once.current(), Mode::Ro);
    let state = element.start(Mode::Edit, None).await.state();
    let history: Vec<_> = state
        .history
        .iter()
        .map(|change| (change.from, change.to, change.by.as_str()))
        .collect();
    assert_eq!(
        history,
        [(None, Mode::Rw, "start"), (Some(Mode::Rw), Mode::Ro, "alice")]
    );
    element.end().await;
}

#[test]
fn changes_follow_the_matrix() {
    for from in Mode::ALL {
        for to in Mode::ALL {
            for confirmed in [false, true] {
                let state = step::first_state(ModeFile {
                    mode: from,
                    generation: 0,
                });
                let result = step::next(&state, Wish { confirmed, ..wish(to) }, false);
                match (from.as_str(), to.as_str(), confirmed) {
                    (a, b, _) if a == b => assert_eq!(result.unwrap(), None),
                    ("rw", "ro", _) | ("ro", "ar", _) | ("ro", "rw", true) => {
                        assert_eq!(result.unwrap().unwrap().mode, to);
                    }
                    ("ro", "rw", false) => {
                        assert!(matches!(result, Err(TransitionError::NeedsConfirmation { .. })));
                    }
                    _ => assert!(matches!(result, Err(TransitionError::Forbidden { .. })), "{from} {to}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn change_is_an_entry_of_the_log() {
    let element = Element::new().await;
    let modes = element.start(Mode::Rw, None).await;
    let began = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(60);
    modes.change(&element.files, wish(Mode::Ro)).await.unwrap();
    let logged = element.files.index().logged_since(began).await.unwrap();
    let [entry] = logged.as_slice() else {
        panic!("{logged:?}");
    };
    assert_eq!(
        (entry.operation_type, entry.status, entry.file_id),
        (OperationType::ModeChange, Status::Committed, None)
    );
    assert_eq!(entry.operation_data.target_mode, Some(Mode::Ro));
    element.end().await;
}

#[tokio::test]
async fn servers_of_one_bucket_have_one_mode() {
    let (config, database) = (versitygw_config(), TestDatabase::postgres().await);
    let one = open_files(StoreConfig::S3(config.clone()), &database).await;
    let other = open_files(StoreConfig::S3(config), &database).await;
    let start = async |files: &Files, configured| {
        let modes = Arc::new(Modes::open(&Kept::Elsewhere, configured, None).unwrap());
        modes.take_over(files).await.unwrap();
        modes
    };
    let (here, there) = (start(&one, Mode::Rw).await, start(&other, Mode::Edit).await);
    assert_eq!(
        there.state(),
        here.state(),
        "the first one's mode is kept in the bucket"
    );
    here.change(&one, wish(Mode::Ro)).await.unwrap();
    there.look_at_others(&other).await.unwrap();
    assert_eq!(there.state(), here.state());
    // A change begins from what the others made of it, seen or not.
    let both = Wish {
        confirmed: true,
        ..wish(Mode::Rw)
    };
    there.change(&other, both).await.unwrap();
    let state = here.change(&one, wish(Mode::Ro)).await.unwrap();
    let history: Vec<_> = state.history.iter().map(|change| change.to).collect();
    assert_eq!(history, [Mode::Rw, Mode::Ro, Mode::Rw, Mode::Ro]);
    one.shutdown().await;
    other.shutdown().await;
    database.drop().await;
}

#[tokio::test]
async fn mode_file_rules_the_first_start_and_every_higher_generation() {
    let element = Element::new().await;
    let file = element.mode_file("rw", 3);
    let modes = element.start(Mode::Edit, Some(file.clone())).await;
    assert_eq!((modes.current(), modes.state().generation), (Mode::Rw, 3));

    element.mode_file("ro", 3);
    modes.look_at_file(&element.files).await;
    assert_eq!(modes.current(), Mode::Rw, "the same generation was applied before");

    element.mode_file("ro", 4);
    modes.look_at_file(&element.files).await;
    assert_eq!((modes.current(), modes.state().generation), (Mode::Ro, 4));

    element.mode_file("rw", 5);
    let modes = element.start(Mode::Edit, Some(file)).await;
    assert_eq!(
        (modes.current(), modes.state().generation),
        (Mode::Rw, 5),
        "back to rw was confirmed by the operator"
    );
    element.end().await;
}

#[tokio::test]
async fn impossible_mode_in_the_file_is_refused_and_seen_until_it_is_taken_back() {
    let element = Element::new().await;
    let file = element.mode_file("edit", 1);
    let modes = element.start(Mode::Edit, Some(file.clone())).await;
    element.mode_file("ar", 2);
    modes.look_at_file(&element.files).await;
    assert_eq!((modes.current(), modes.state().generation), (Mode::Edit, 1));
    let refused = modes.refused().unwrap();
    assert_eq!((refused.mode, refused.generation), (Some(Mode::Ar), Some(2)));
    std::fs::write(file, "{").unwrap();
    modes.look_at_file(&element.files).await;
    assert_eq!(modes.refused().unwrap().mode, None);
    element.mode_file("edit", 3);
    modes.look_at_file(&element.files).await;
    assert_eq!((modes.refused(), modes.state().generation), (None, 3));
    element.end().await;
}

#[tokio::test]
async fn broken_mode_file_stops_a_first_start_but_no_later_one() {
    let element = Element::new().await;
    let missing = element.folder.path().join("missing.json");
    assert!(matches!(
        element.open(Mode::Edit, Some(missing.clone())),
        Err(OpenModeError::File(_))
    ));
    element.start(Mode::Rw, None).await;
    let modes = element.start(Mode::Edit, Some(missing)).await;
    assert_eq!(modes.current(), Mode::Rw);
    assert!(modes.refused().is_some());
    element.end().await;
}

#[tokio::test]
async fn mode_kept_in_a_bucket_comes_before_a_mode_file_that_cannot_be_read() {
    let missing = PathBuf::from("/nonexistent/mode.json");
    let modes = Modes::open(&Kept::Elsewhere, Mode::Edit, Some(missing)).unwrap();
    assert!(matches!(modes.found(None), Err(OpenModeError::File(_))));
    let kept = step::first_state(ModeFile {
        mode: Mode::Ar,
        generation: 7,
    });
    modes.found(Some(kept.clone())).unwrap();
    assert_eq!(modes.state(), kept);
}

#[tokio::test]
async fn person_cannot_change_what_a_file_rules_but_the_operator_can() {
    let element = Element::new().await;
    let modes = element.start(Mode::Edit, Some(element.mode_file("rw", 1))).await;
    let change = async |wish| {
        modes
            .change(&element.files, wish)
            .await
            .map(|state: ModeState| state.generation)
    };
    assert!(matches!(change(wish(Mode::Ro)).await, Err(TransitionError::Managed)));
    let newer = Wish {
        generation: Some(2),
        ..wish(Mode::Ro)
    };
    assert_eq!(change(newer.clone()).await.unwrap(), 2);
    assert_eq!(change(newer).await.unwrap(), 2, "asking again changes nothing");
    let stale = Wish {
        generation: Some(2),
        ..wish(Mode::Ar)
    };
    assert!(matches!(
        change(stale).await,
        Err(TransitionError::Stale { given: 2, applied: 2 })
    ));
    element.end().await;
}

#[tokio::test]
async fn broken_kept_mode_stops_the_start() {
    let element = Element::new().await;
    std::fs::write(element.folder.path().join(".artstore").join(MODE_NOTE), "{").unwrap();
    assert!(matches!(
        element.open(Mode::Edit, None),
        Err(OpenModeError::Parse { .. })
    ));
    element.end().await;
}
