//! The use cases when something is missing: room, the database, a file's other half.

use std::fs;
use std::path::PathBuf;

use element_api::ErrorCode;
use uuid::Uuid;

use super::{Details, Element, Files, Settings, Stored, author, details, eventually, on_disk, settings};
use crate::capacity::footprint;
use crate::files::unsettled::Bytes;
use crate::index::tests::TestDatabase;
use crate::index::{Index, Search};
use crate::wal::OperationType;

#[tokio::test]
async fn full_element_refuses_and_recovers_when_room_returns() {
    let (database, folder) = (TestDatabase::sqlite(), tempfile::tempdir().unwrap());
    let settings = Settings {
        max_size: Some(1_000_000),
        ..settings(folder.path())
    };
    let files = Files::open(settings, database.migrated().await).await.unwrap();
    let element = Element {
        folder,
        database,
        files,
    };
    let first = element.store(&[1; 600_000]).await;
    let error = element.try_store(details("b"), &[2; 600_000]).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::StorageFull);
    let declared = element
        .files
        .begin(author(), &details("b"), Some(600_000))
        .await
        .err()
        .unwrap();
    assert_eq!(declared.code(), ErrorCode::StorageFull);
    assert_eq!(element.read(first.file_id).await.unwrap().len(), 600_000);
    element.files.delete(first.file_id, None).await.unwrap();
    element.store(&[2; 600_000]).await;
    element.end().await;
}

#[tokio::test]
async fn rebuild_makes_the_rows_what_the_attr_files_say() {
    for element in Element::both().await {
        let mut stored = Vec::new();
        for number in 0..12_u8 {
            stored.push(element.store(&[number]).await);
        }
        let gone = stored.pop().unwrap();
        fs::remove_file(element.root().join(&gone.storage_path)).unwrap();
        fs::remove_file(element.root().join(format!("{}.attr.json", gone.storage_path))).unwrap();
        fs::write(element.root().join("2020"), b"not a folder").unwrap();
        fs::create_dir_all(element.root().join("2021/01/01/01")).unwrap();
        fs::write(element.root().join("2021/01/01/01/orphan"), b"x").unwrap();
        fs::write(element.root().join("2021/01/01/01/broken.attr.json"), b"{").unwrap();
        // Uploads and deletes go on meanwhile.
        let (report, late) = futures::join!(element.files.rebuild(), element.store(b"late"));
        stored.push(late);
        let report = report.unwrap();
        assert_eq!((report.broken, report.orphans), (1, 1));
        assert!(element.files.metadata(gone.file_id).await.is_err());
        for expected in &stored {
            assert_eq!(&element.files.metadata(expected.file_id).await.unwrap(), expected);
        }
        let page = element
            .files
            .search(&Search {
                limit: 100,
                ..Search::default()
            })
            .await
            .unwrap();
        assert_eq!(page.total, 12);
        element.end().await;
    }
}

#[tokio::test]
async fn lost_database_is_rebuilt_at_start_equal_field_by_field() {
    let element = Element::over(TestDatabase::sqlite()).await;
    let stored = element.store(b"content").await;
    element.files.shutdown().await;
    let Element {
        folder,
        database,
        files,
    } = element;
    drop((files, database));
    let database = TestDatabase::postgres().await;
    let files = Files::open(settings(folder.path()), database.migrated().await)
        .await
        .unwrap();
    assert_eq!(files.metadata(stored.file_id).await.unwrap(), stored);
    Element {
        folder,
        database,
        files,
    }
    .end()
    .await;
}

#[tokio::test]
async fn reads_by_id_go_on_while_the_database_is_away() {
    let element = Element::over(TestDatabase::postgres().await).await;
    let own = element.store(b"own id").await;
    let given = Details {
        file_id: Some(Uuid::new_v4()),
        ..details("b")
    };
    let Stored::Created(given) = element.try_store(given, b"given id").await.unwrap() else {
        panic!("existing")
    };
    // A closed pool refuses as a server does that is away.
    element.files.index().backend_close().await;
    assert_eq!(element.read(own.file_id).await.unwrap(), b"own id");
    assert_eq!(element.files.metadata(given.file_id).await.unwrap(), given);
    assert_eq!(
        element.files.metadata(Uuid::new_v4()).await.unwrap_err().code(),
        ErrorCode::NotFound
    );
    assert_eq!(
        element.try_store(details("c"), b"c").await.unwrap_err().code(),
        ErrorCode::Unavailable
    );
    assert_eq!(
        element.files.delete(own.file_id, None).await.unwrap_err().code(),
        ErrorCode::Unavailable
    );
    assert_eq!(
        element.files.search(&Search::default()).await.unwrap_err().code(),
        ErrorCode::Unavailable
    );
    assert_eq!(element.read(own.file_id).await.unwrap(), b"own id");
    element.database.drop().await;
}

#[tokio::test]
async fn file_named_after_another_id_is_never_taken_for_it() {
    let element = Element::over(TestDatabase::postgres().await).await;
    let (asked, also) = (Uuid::new_v4(), Uuid::new_v4());
    for name in [
        format!("x_{asked}.pdf"),
        format!("x_{asked}"),
        format!("_{asked}.{also}"),
    ] {
        element.try_store(details(&name), b"somebody else's").await.unwrap();
    }
    element.files.index().backend_close().await;
    let error = element.files.metadata(asked).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    element.database.drop().await;
}

#[tokio::test]
async fn file_stored_again_is_found_while_the_end_of_the_first_is_not_settled() {
    for element in Element::both().await {
        let given = Details {
            file_id: Some(Uuid::new_v4()),
            ..details("a.txt")
        };
        let Stored::Created(first) = element.try_store(given.clone(), b"one").await.unwrap() else {
            panic!("existing")
        };
        let inner = &element.files.inner;
        // As after a delete whose last commit failed.
        let record = inner
            .begin(OperationType::FileDelete, first.file_id, &first.storage_path)
            .await
            .unwrap();
        inner.store.remove(&first.storage_path).await.unwrap();
        inner.unsettled.keep(record, Bytes::ReleaseIfUndone(3));
        assert_eq!(
            element.read(first.file_id).await.unwrap_err().code(),
            ErrorCode::NotFound
        );
        // The names differ by the second; another name keeps the two paths apart.
        let again = Details {
            filename: "b.txt".into(),
            ..given
        };
        element.try_store(again, b"two").await.unwrap();
        assert_eq!(element.read(first.file_id).await.unwrap(), b"two");
        inner.retry_unsettled().await;
        assert_eq!(element.read(first.file_id).await.unwrap(), b"two");
        assert_eq!(element.files.capacity().used_bytes, footprint(3));
        element.end().await;
    }
}

#[tokio::test]
async fn file_whose_content_was_lost_can_be_deleted() {
    for element in Element::both().await {
        let stored = element.store(b"content").await;
        fs::remove_file(element.root().join(&stored.storage_path)).unwrap();
        assert_eq!(
            element.read(stored.file_id).await.unwrap_err().code(),
            ErrorCode::InternalError
        );
        element.files.delete(stored.file_id, None).await.unwrap();
        assert_eq!(on_disk(element.root()), Vec::<PathBuf>::new());
        assert_eq!(element.files.index().stats().await.unwrap().files, 0);
        element.end().await;
    }
}

#[tokio::test]
async fn folder_in_use_is_refused() {
    let element = Element::over(TestDatabase::sqlite()).await;
    let other = TestDatabase::sqlite();
    let index: Index = other.migrated().await;
    let error = Files::open(settings(element.root()), index).await.err().unwrap();
    assert!(error.to_string().contains("another element is using"), "{error}");
    element.end().await;
}

#[tokio::test]
async fn uploads_that_run_have_their_room_reserved() {
    let (database, folder) = (TestDatabase::sqlite(), tempfile::tempdir().unwrap());
    let settings = Settings {
        max_size: Some(1_000_000),
        ..settings(folder.path())
    };
    let files = Files::open(settings, database.migrated().await).await.unwrap();
    let before = files.capacity().used_bytes;
    let begin = || async { files.begin(author(), &details("a"), Some(600_000)).await };
    let first = begin().await.unwrap();
    assert!(files.capacity().used_bytes >= before + 600_000);
    assert_eq!(begin().await.err().unwrap().code(), ErrorCode::StorageFull);
    drop(first);
    eventually("it comes true", async || files.capacity().used_bytes == before).await;
    drop(begin().await.unwrap());
    files.shutdown().await;
    database.drop().await;
}

#[tokio::test]
async fn more_uploads_at_once_than_allowed_are_told_to_come_back() {
    let element = Element::over(TestDatabase::sqlite()).await;
    let begin = || async { element.files.begin(author(), &details("a"), Some(1)).await };
    let mut running = Vec::new();
    for _ in 0..crate::files::MAX_UPLOADS {
        running.push(begin().await.unwrap());
    }
    assert_eq!(begin().await.err().unwrap().code(), ErrorCode::Unavailable);
    running.pop();
    eventually("it comes true", async || begin().await.is_ok()).await;
    drop(running);
    element.end().await;
}

#[tokio::test]
async fn log_is_pruned_by_itself_once_its_entries_are_old() {
    let (database, folder) = (TestDatabase::sqlite(), tempfile::tempdir().unwrap());
    let (index, began) = (database.migrated().await, jiff::Timestamp::UNIX_EPOCH);
    let wal = crate::wal::Wal::new(index.clone(), "earlier".into());
    let mut entry = wal.record(OperationType::FileDelete, Uuid::now_v7(), "2020/01/01/00/gone");
    entry.status = crate::wal::Status::Committed;
    entry.completed_at = Some(jiff::Timestamp::now() - jiff::SignedDuration::from_hours(25));
    wal.put(&entry).await.unwrap();
    assert_eq!(index.logged_since(began).await.unwrap().len(), 1);
    let files = Files::open(settings(folder.path()), index.clone()).await.unwrap();
    eventually("it comes true", async || {
        index.logged_since(began).await.unwrap().is_empty()
    })
    .await;
    files.shutdown().await;
    database.drop().await;
}
