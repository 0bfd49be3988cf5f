//! The care for files: garbage collection and reconcile here, the scrub and the offline check below.

mod fsck;
mod scrub;

use std::fs;
use std::path::PathBuf;

use element_api::{FileMetadata, FindingKind, InspectionReport, RetentionPolicy};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Details, Element, Stored, details, on_disk};
use crate::attr;
use crate::capacity::footprint;
use crate::files::Unwatched;
use crate::index::tests::TestDatabase;
use crate::index::{Change, FileChange};
use crate::wal::{OperationType, Status, Wal};

fn counts(report: &InspectionReport) -> Vec<(FindingKind, u64)> {
    report.counts.iter().map(|(kind, count)| (*kind, *count)).collect()
}

fn content_of(element: &Element, file: &FileMetadata) -> PathBuf {
    element.root().join(&file.storage_path)
}

fn attributes_of(element: &Element, file: &FileMetadata) -> PathBuf {
    element.root().join(format!("{}{}", file.storage_path, attr::SUFFIX))
}

async fn change_row(element: &Element, file: &FileMetadata, change: FileChange) {
    let wal = Wal::new(element.files.index().clone(), "test".into());
    let mut record = wal.record(OperationType::FileReconcile, file.file_id, &file.storage_path);
    (record.status, record.completed_at) = (Status::Committed, Some(long_ago()));
    element
        .files
        .index()
        .change(Change { record, file: change })
        .await
        .unwrap();
}

fn long_ago() -> Timestamp {
    "2020-01-01T00:00:00Z".parse().unwrap()
}

/// Makes every operation so far one of long ago, as far as the log tells.
async fn forget_log(element: &Element) {
    element
        .files
        .index()
        .prune_log(Timestamp::now() + SignedDuration::from_hours(1))
        .await
        .unwrap();
}

async fn store_temporary(element: &Element, days: u32) -> FileMetadata {
    let temporary = Details {
        retention_policy: RetentionPolicy::Temporary,
        ttl_days: Some(days),
        ..details("t.txt")
    };
    match element.try_store(temporary, b"temporary").await.unwrap() {
        Stored::Created(metadata) => metadata,
        Stored::Existing(_) => panic!("new"),
    }
}

#[tokio::test]
async fn only_expired_files_are_collected_and_only_where_the_mode_lets() {
    for element in Element::both().await {
        let kept = element.store(b"permanent").await;
        let (soon, late) = (store_temporary(&element, 1).await, store_temporary(&element, 30).await);
        // A row that says so does not make a file expired.
        let mut lying = kept.clone();
        (lying.retention_policy, lying.expires_at) = (RetentionPolicy::Temporary, Some(long_ago()));
        change_row(&element, &kept, FileChange::Put(Box::new(lying))).await;
        let now = Timestamp::now() + SignedDuration::from_hours(25);
        let report = element.files.collect(now, &|| false, &Unwatched).await.unwrap();
        assert_eq!(report.expired, 0);
        let report = element.files.collect(now, &|| true, &Unwatched).await.unwrap();
        assert_eq!((report.expired, report.bytes, report.failed), (1, 9, 0));
        assert!(element.files.metadata(soon.file_id).await.is_err());
        for file in [&kept, &late] {
            assert!(element.read(file.file_id).await.is_ok());
        }
        assert_eq!(element.files.capacity().used_bytes, 2 * footprint(9));
        assert_eq!(
            element.files.collect(now, &|| true, &Unwatched).await.unwrap().expired,
            0
        );
        assert_eq!(element.files.index().pending().await.unwrap(), []);
        element.end().await;
    }
}

#[tokio::test]
async fn leftovers_of_finished_transactions_go_and_those_of_running_ones_stay() {
    for element in Element::both().await {
        let temporary = element.root().join(".artstore/tmp");
        let left = Uuid::now_v7();
        fs::write(temporary.join(left.to_string()), b"x").unwrap();
        fs::write(temporary.join(format!("{left}{}", attr::SUFFIX)), b"x").unwrap();
        let mut upload = element.files.begin(super::author(), &details("a"), None).await.unwrap();
        upload.write(vec![1; 300_000].into()).await.unwrap();
        upload.write(vec![2; 300_000].into()).await.unwrap();
        let report = element
            .files
            .collect(Timestamp::now(), &|| true, &Unwatched)
            .await
            .unwrap();
        assert_eq!(report.temporary_files, 2);
        assert!(!temporary.join(left.to_string()).exists());
        upload.finish(details("a")).await.unwrap();
        element.end().await;
    }
}

#[tokio::test]
async fn empty_folders_of_past_hours_go_and_files_may_still_come_into_them() {
    let element = Element::over(TestDatabase::sqlite()).await;
    for folder in [
        "2021/01/01/01",
        "2021/01/02/03",
        "2021/02/01/00",
        "2021/01/01/notes",
        "odd/01",
    ] {
        fs::create_dir_all(element.root().join(folder)).unwrap();
    }
    fs::write(element.root().join("2021/02/01/00/a"), b"x").unwrap();
    let stored = element.store(b"content").await;
    let report = element
        .files
        .collect(Timestamp::now(), &|| true, &Unwatched)
        .await
        .unwrap();
    assert_eq!(report.folders, 3, "two hours and a day");
    for (folder, stands) in [
        ("2021/01/01/01", false),
        ("2021/01/02", false),
        ("2021/01/01/notes", true),
        ("2021/02/01/00", true),
        ("odd/01", true),
    ] {
        assert_eq!(element.root().join(folder).exists(), stands, "{folder}");
    }
    element.files.delete(stored.file_id, None).await.unwrap();
    let later = Timestamp::now() + SignedDuration::from_hours(24 * 3);
    assert!(
        element
            .files
            .collect(later, &|| true, &Unwatched)
            .await
            .unwrap()
            .folders
            >= 2,
        "its hour and its day"
    );
    let again = element.store(b"content").await;
    assert_eq!(element.read(again.file_id).await.unwrap(), b"content");
    element.end().await;
}

#[tokio::test]
async fn reconcile_repairs_rows_and_touches_no_file() {
    for element in Element::both().await {
        let (missing, stale, fine) = (
            element.store(b"1").await,
            element.store(b"2").await,
            element.store(b"3").await,
        );
        let mut orphan = crate::index::tests::file(9);
        orphan.file_size = 1;
        change_row(&element, &orphan, FileChange::Put(Box::new(orphan.clone()))).await;
        let gone = FileChange::Remove {
            id: missing.file_id,
            storage_path: missing.storage_path.clone(),
        };
        change_row(&element, &missing, gone).await;
        let mut other = stale.clone();
        other.checksum = "0".repeat(64);
        change_row(&element, &stale, FileChange::Put(Box::new(other))).await;
        let before = on_disk(element.root());
        // What the log tells of a moment ago explains all of it.
        let report = element.files.reconcile(&Unwatched).await.unwrap();
        assert!(
            report.counts.keys().all(|kind| *kind == FindingKind::RowOrphaned),
            "{report:?}"
        );
        forget_log(&element).await;
        let report = element.files.reconcile(&Unwatched).await.unwrap();
        let expected = [(FindingKind::RowMissing, 1), (FindingKind::RowStale, 1)];
        assert_eq!(
            counts(&report)
                .into_iter()
                .filter(|(kind, _)| *kind != FindingKind::RowOrphaned)
                .collect::<Vec<_>>(),
            expected
        );
        assert_eq!(report.repaired, report.found());
        assert_eq!(on_disk(element.root()), before);
        for file in [&missing, &stale, &fine] {
            assert_eq!(&element.files.metadata(file.file_id).await.unwrap(), file);
        }
        assert!(element.files.metadata(orphan.file_id).await.is_err());
        assert_eq!(element.files.index().stats().await.unwrap().files, 3);
        forget_log(&element).await;
        assert_eq!(element.files.reconcile(&Unwatched).await.unwrap().found(), 0);
        element.end().await;
    }
}
