//! Recovery at start from every state that the protocol of `wal` can leave, on both databases.

use std::fs;
use std::path::Path;

use element_api::{FileMetadata, Mode, ModeState};
use jiff::Timestamp;

use super::{Element, on_disk, settings};
use crate::files::Files;
use crate::index::tests::TestDatabase;
use crate::index::{FileChange, Index};
use crate::wal::{OperationType, Status, Wal, WalRecord};

/// What a crash left, and whether the file must stand afterwards.
struct State {
    name: &'static str,
    operation: OperationType,
    temporary_content: bool,
    temporary_attributes: bool,
    content: bool,
    attributes: bool,
    row: bool,
    stands: bool,
}

const fn create(name: &'static str) -> State {
    State {
        name,
        operation: OperationType::FileCreate,
        temporary_content: false,
        temporary_attributes: false,
        content: false,
        attributes: false,
        row: false,
        stands: false,
    }
}

const fn existing(name: &'static str, operation: OperationType) -> State {
    State {
        operation,
        content: true,
        attributes: true,
        row: true,
        stands: true,
        ..create(name)
    }
}

const STATES: [State; 13] = [
    create("create: log entry only"),
    State {
        temporary_content: true,
        ..create("create: content streamed")
    },
    State {
        temporary_content: true,
        temporary_attributes: true,
        ..create("create: attributes written")
    },
    State {
        temporary_attributes: true,
        content: true,
        ..create("create: content renamed")
    },
    State {
        content: true,
        attributes: true,
        stands: true,
        ..create("create: attributes renamed")
    },
    // A power cut may keep the later of two renames and lose the earlier one.
    State {
        temporary_content: true,
        attributes: true,
        ..create("create: attributes renamed, content not")
    },
    State {
        content: true,
        attributes: true,
        row: true,
        stands: true,
        ..create("create: settled twice")
    },
    existing("update: log entry only", OperationType::FileUpdate),
    State {
        temporary_attributes: true,
        ..existing("update: attributes written", OperationType::FileUpdate)
    },
    existing("delete: log entry only", OperationType::FileDelete),
    State {
        attributes: false,
        stands: false,
        ..existing("delete: attributes gone", OperationType::FileDelete)
    },
    State {
        attributes: false,
        content: false,
        stands: false,
        ..existing("delete: content gone", OperationType::FileDelete)
    },
    State {
        row: false,
        stands: false,
        attributes: false,
        content: false,
        ..existing("delete: row gone", OperationType::FileDelete)
    },
];

#[tokio::test]
async fn every_state_of_the_protocol_is_finished_or_undone() {
    for state in &STATES {
        for database in TestDatabase::both().await {
            check(state, database).await;
        }
    }
}

async fn check(state: &State, database: TestDatabase) {
    let (index, folder) = (database.migrated().await, tempfile::tempdir().unwrap());
    let file = crate::index::tests::file(1);
    let record = leave(state, &index, folder.path(), &file).await;
    // Twice: recovery itself may be killed, or its last commit not be heard of.
    for round in 0..2 {
        if round == 1 {
            index
                .change(crate::index::Change {
                    record: WalRecord {
                        transaction_id: uuid::Uuid::now_v7(),
                        ..record.clone()
                    },
                    file: FileChange::Keep,
                })
                .await
                .unwrap();
        }
        let files = Files::open(settings(folder.path()), database.open("storage_elem_01_"))
            .await
            .unwrap();
        let found = files.metadata(file.file_id).await;
        assert_eq!(found.is_ok(), state.stands, "{} round {round}: {found:?}", state.name);
        if let Ok(found) = found {
            assert_eq!(found, file, "{}", state.name);
        }
        let left = on_disk(folder.path());
        assert_eq!(left.len(), if state.stands { 2 } else { 0 }, "{}: {left:?}", state.name);
        assert_eq!(files.index().pending().await.unwrap(), [], "{}", state.name);
        assert_eq!(
            files.index().stats().await.unwrap().files,
            u64::from(state.stands),
            "{}",
            state.name
        );
        files.shutdown().await;
        drop(files);
    }
    index.close().await;
    database.drop().await;
}

/// Makes the folder and the database what a crash in this state leaves.
async fn leave(state: &State, index: &Index, root: &Path, file: &FileMetadata) -> WalRecord {
    let wal = Wal::new(index.clone(), "crashed".into());
    if state.row {
        crate::index::tests::put(index, file).await;
    }
    let record = wal.record(state.operation, file.file_id, &file.storage_path);
    wal.put(&record).await.unwrap();
    let place = root.join(&file.storage_path);
    let temporary = root.join(".artstore/tmp").join(record.transaction_id.to_string());
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::create_dir_all(temporary.parent().unwrap()).unwrap();
    let attributes = crate::attr::encode(file).unwrap();
    let with_suffix =
        |path: &Path| path.with_file_name(format!("{}.attr.json", path.file_name().unwrap().to_str().unwrap()));
    for (present, path, bytes) in [
        (state.temporary_content, temporary.clone(), b"content".to_vec()),
        (state.temporary_attributes, with_suffix(&temporary), attributes.clone()),
        (state.content, place.clone(), b"content".to_vec()),
        (state.attributes, with_suffix(&place), attributes),
    ] {
        if present {
            fs::write(path, bytes).unwrap();
        }
    }
    record
}

#[tokio::test]
async fn temporary_files_without_an_entry_are_swept() {
    let element = Element::over(TestDatabase::sqlite()).await;
    fs::write(element.root().join(".artstore/tmp/left-over"), b"x").unwrap();
    let element = element.restarted().await;
    assert_eq!(on_disk(element.root()).len(), 0);
    element.end().await;
}

#[tokio::test]
async fn refused_duplicate_that_crashed_spares_the_first_file() {
    for element in Element::both().await {
        let stored = element.store(b"first").await;
        let wal = Wal::new(element.files.index().clone(), "crashed".into());
        let record = wal.record(OperationType::FileCreate, stored.file_id, "2020/01/01/00/second");
        wal.put(&record).await.unwrap();
        let element = element.restarted().await;
        assert_eq!(element.read(stored.file_id).await.unwrap(), b"first");
        element.end().await;
    }
}

#[tokio::test]
async fn operation_the_database_could_not_take_is_read_from_disk_and_settled_later() {
    for element in Element::both().await {
        let stored = element.store(b"content").await;
        let inner = &element.files.inner;
        // As after an update whose last commit failed: the attr file is ahead of the row.
        let record = inner
            .begin(OperationType::FileUpdate, stored.file_id, &stored.storage_path)
            .await
            .unwrap();
        let mut ahead = stored.clone();
        ahead.revision = 2;
        let attributes = crate::attr::encode(&ahead).unwrap();
        inner
            .store
            .replace_attributes(record.transaction_id, &stored.storage_path, attributes)
            .await
            .unwrap();
        inner.unsettled.keep(record, crate::files::unsettled::Bytes::AsCounted);
        assert_eq!(element.files.metadata(stored.file_id).await.unwrap(), ahead);
        inner.retry_unsettled().await;
        assert_eq!(inner.unsettled.all(), []);
        assert_eq!(inner.index.get(stored.file_id).await.unwrap(), Some(ahead));
        assert_eq!(inner.index.pending().await.unwrap(), []);
        element.end().await;
    }
}

#[tokio::test]
async fn file_the_database_refuses_keeps_neither_the_start_nor_a_rebuild_from_going_on() {
    let database = TestDatabase::postgres().await;
    let (index, folder) = (database.migrated().await, tempfile::tempdir().unwrap());
    let mut file = crate::index::tests::file(1);
    // Longer than PostgreSQL takes into an index, and hard to compress, as an older system may have let in.
    file.created_by_username = (0..1200_u32)
        .filter_map(|number| char::from_u32(0x4e00 + number * 7))
        .collect();
    let place = folder.path().join(&file.storage_path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, b"content").unwrap();
    let attributes = serde_json::to_vec(&file).unwrap();
    fs::write(
        place.with_file_name(format!("{}.attr.json", file.storage_filename)),
        attributes,
    )
    .unwrap();
    let wal = Wal::new(index.clone(), "crashed".into());
    wal.put(&wal.record(OperationType::FileCreate, file.file_id, &file.storage_path))
        .await
        .unwrap();
    let files = Files::open(settings(folder.path()), database.open("storage_elem_01_"))
        .await
        .unwrap();
    assert_eq!(files.index().pending().await.unwrap(), []);
    assert_eq!(files.rebuild().await.unwrap().broken, 1);
    assert_eq!(fs::read(&place).unwrap(), b"content");
    files.shutdown().await;
    index.close().await;
    database.drop().await;
}

#[tokio::test]
async fn settled_entry_is_not_looked_at_again() {
    let element = Element::over(TestDatabase::sqlite()).await;
    let stored = element.store(b"content").await;
    let wal = Wal::new(element.files.index().clone(), "test".into());
    let record = wal.record(OperationType::FileDelete, stored.file_id, &stored.storage_path);
    wal.put(&record).await.unwrap();
    wal.settle(&record, Status::RolledBack, FileChange::Keep, None)
        .await
        .unwrap();
    let element = element.restarted().await;
    assert_eq!(element.read(stored.file_id).await.unwrap(), b"content");
    element.end().await;
}

#[tokio::test]
async fn mode_change_that_was_cut_short_is_told_by_the_note_that_keeps_the_mode() {
    for element in Element::both().await {
        let index = element.files.index();
        let dead = Wal::new(index.clone(), "dead".to_owned());
        for (kept, target, status) in [
            (None, Mode::Ro, Status::RolledBack),
            (Some(Mode::Rw), Mode::Ro, Status::RolledBack),
            (Some(Mode::Ro), Mode::Ro, Status::Committed),
        ] {
            if let Some(mode) = kept {
                let state = ModeState {
                    mode,
                    since: Timestamp::now(),
                    generation: 0,
                    history: Vec::new(),
                };
                element.files.keep_mode(&state).await.unwrap();
            }
            let record = dead.mode_record(target);
            dead.put(&record).await.unwrap();
            assert_eq!(element.files.inner.recover_left_over().await.unwrap(), 1);
            let logged = index.logged_since(record.started_at).await.unwrap();
            let settled = logged
                .iter()
                .find(|entry| entry.transaction_id == record.transaction_id);
            assert_eq!(settled.unwrap().status, status, "{kept:?}");
            let mode = element.files.kept_mode().await.unwrap().map(|state| state.mode);
            assert_eq!(mode, kept, "recovery changes no mode");
        }
        element.end().await;
    }
}
