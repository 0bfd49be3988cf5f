//! The care for files: garbage collection, scrub, quarantine, reconcile, and the offline check.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use element_api::{ErrorCode, FileMetadata, Finding, FindingKind, InspectionReport, RetentionPolicy};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Details, Element, Stored, details, on_disk, settings};
use crate::attr;
use crate::capacity::footprint;
use crate::files::{Check, Files, Patch, Plan, Reading, Rows, Unwatched, Watch};
use crate::index::tests::TestDatabase;
use crate::index::{Change, FileChange};
use crate::wal::{OperationType, Status, Wal, WalRecord};

const CHECK: Check = Check {
    repair: false,
    content: true,
};
const REPAIR: Check = Check { repair: true, ..CHECK };

fn plan(may_quarantine: &(dyn Fn() -> bool + Send + Sync)) -> Plan<'_> {
    Plan {
        rows: Rows::Check,
        content: Reading::All { rate: None },
        may_quarantine,
        restore: false,
        offline: false,
    }
}

async fn scrub(files: &Files, quarantine: bool) -> InspectionReport {
    let may = move || quarantine;
    let report = files.scrub(plan(&may), &CancellationToken::new(), &Unwatched).await;
    report.unwrap().expect("nobody stops it")
}

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

#[tokio::test]
async fn damaged_content_goes_into_quarantine_and_may_be_stored_again() {
    for element in Element::both().await {
        let (whole, damaged) = (element.store(b"whole").await, element.store(b"content").await);
        fs::write(content_of(&element, &damaged), b"c0ntent").unwrap();
        forget_log(&element).await;
        let report = scrub(&element.files, false).await;
        assert_eq!(
            (counts(&report), report.quarantined),
            (vec![(FindingKind::ContentCorrupt, 1)], 0)
        );
        assert!(
            content_of(&element, &damaged).exists(),
            "where nothing may move it is only told"
        );
        let used = element.files.capacity().used_bytes;
        let report = scrub(&element.files, true).await;
        assert_eq!((report.files, report.bytes, report.quarantined), (2, 12, 1));
        assert_eq!(report.findings[0].path, damaged.storage_path);
        assert_eq!(
            element.read(damaged.file_id).await.unwrap_err().code(),
            ErrorCode::NotFound
        );
        assert_eq!(element.read(whole.file_id).await.unwrap(), b"whole");
        assert_eq!(element.files.capacity().used_bytes, used, "it is still on disk");
        let kept: Vec<_> = on_disk(&element.root().join(".artstore/quarantine"));
        assert_eq!(kept.len(), 2, "{kept:?}");
        let folder = element.root().join(".artstore/quarantine");
        assert_eq!(fs::read(folder.join(&kept[0])).unwrap(), b"c0ntent");
        let kept_attributes = fs::read(folder.join(&kept[1])).unwrap();
        assert_eq!(attr::decode(&kept_attributes, &damaged.storage_path).unwrap(), damaged);
        let given = Details {
            file_id: Some(damaged.file_id),
            ..details("a.txt")
        };
        element.try_store(given, b"content").await.unwrap();
        let element = element.restarted().await;
        assert_eq!(element.read(damaged.file_id).await.unwrap(), b"content");
        assert_eq!(scrub(&element.files, true).await.found(), 0);
        assert!(element.files.quarantined() > 0);
        element.end().await;
    }
}

#[tokio::test]
async fn content_that_cannot_be_read_or_judged_stays_where_it_is() {
    let element = Element::over(TestDatabase::sqlite()).await;
    let (unreadable, unknown) = (element.store(b"content").await, element.store(b"older").await);
    // Reading a folder fails as a bad sector does: with an error that proves nothing.
    fs::remove_file(content_of(&element, &unreadable)).unwrap();
    fs::create_dir(content_of(&element, &unreadable)).unwrap();
    let mut older = unknown.clone();
    older.checksum = "md5:1".into();
    fs::write(attributes_of(&element, &unknown), attr::encode(&older).unwrap()).unwrap();
    forget_log(&element).await;
    let report = scrub(&element.files, true).await;
    assert_eq!(
        report.counts.get(&FindingKind::ContentUnreadable),
        Some(&1),
        "{report:?}"
    );
    assert_eq!(report.counts.get(&FindingKind::ChecksumUnknown), Some(&1), "{report:?}");
    assert_eq!(report.quarantined, 0);
    assert!(content_of(&element, &unreadable).exists() && attributes_of(&element, &unreadable).exists());
    assert_eq!(element.read(unknown.file_id).await.unwrap(), b"older");
    element.end().await;
}

#[tokio::test]
async fn structure_is_told_by_kind_and_path() {
    for element in Element::both().await {
        let mut files = Vec::new();
        for content in [b"1", b"2", b"3", b"4", b"5"] {
            files.push(element.store(content).await);
        }
        fs::remove_file(content_of(&element, &files[0])).unwrap();
        fs::remove_file(attributes_of(&element, &files[1])).unwrap();
        fs::write(content_of(&element, &files[2]), b"longer").unwrap();
        fs::write(attributes_of(&element, &files[3]), b"{").unwrap();
        let twin = Path::new("2020/01/01/00/twin");
        fs::create_dir_all(element.root().join("2020/01/01/00")).unwrap();
        fs::copy(content_of(&element, &files[4]), element.root().join(twin)).unwrap();
        fs::copy(
            attributes_of(&element, &files[4]),
            element.root().join("2020/01/01/00/twin.attr.json"),
        )
        .unwrap();
        forget_log(&element).await;
        let report = scrub(&element.files, false).await;
        let found: BTreeMap<_, _> = report
            .findings
            .iter()
            .map(|finding| (finding.kind, finding.path.clone()))
            .collect();
        for (kind, path) in [
            (FindingKind::ContentMissing, &files[0].storage_path),
            (FindingKind::AttributesMissing, &files[1].storage_path),
            (FindingKind::SizeMismatch, &files[2].storage_path),
            (FindingKind::ContentCorrupt, &files[2].storage_path),
            (FindingKind::AttributesUnreadable, &files[3].storage_path),
            (FindingKind::DuplicateId, &twin.to_str().unwrap().to_owned()),
        ] {
            assert_eq!(found.get(&kind), Some(path), "{kind:?} in {report:?}");
        }
        assert_eq!(report.found(), 6, "{report:?}");
        element.end().await;
    }
}

#[tokio::test]
async fn upload_that_is_being_published_is_no_finding() {
    for element in Element::both().await {
        let wal = Wal::new(element.files.index().clone(), "other".into());
        let file = crate::index::tests::file(1);
        wal.put(&wal.record(OperationType::FileCreate, file.file_id, &file.storage_path))
            .await
            .unwrap();
        fs::create_dir_all(content_of(&element, &file).parent().unwrap()).unwrap();
        fs::write(content_of(&element, &file), b"half").unwrap();
        assert_eq!(scrub(&element.files, true).await.found(), 0);
        assert!(content_of(&element, &file).exists());
        element.end().await;
    }
}

/// Stops the scrub once it has seen so many files.
struct StopAfter {
    files: Mutex<u64>,
    stop: CancellationToken,
}

impl Watch for StopAfter {
    fn expect(&self, _files: u64) {}
    fn did(&self, files: u64, _bytes: u64) {
        let mut left = self.files.lock().unwrap();
        *left = left.saturating_sub(files);
        if *left == 0 {
            self.stop.cancel();
        }
    }
    fn found(&self, _finding: &Finding) {}
}

#[tokio::test]
async fn stopped_scrub_goes_on_where_it_was_even_after_a_restart() {
    for element in Element::both().await {
        for number in 0..6_u8 {
            element.store(&[number; 10]).await;
        }
        let week = SignedDuration::from_hours(168);
        let now = Timestamp::now();
        assert!(element.files.scrub_due(week, now).await.unwrap() > now);
        let stop = CancellationToken::new();
        let watch = StopAfter {
            files: Mutex::new(2),
            stop: stop.clone(),
        };
        let slow = Plan {
            content: Reading::All { rate: Some(1 << 20) },
            ..plan(&|| true)
        };
        assert_eq!(element.files.scrub(slow, &stop, &watch).await.unwrap(), None);
        assert_eq!(element.files.last_scrub().await.unwrap(), None);
        let element = element.restarted().await;
        assert_eq!(element.files.scrub_due(week, now).await.unwrap(), now);
        let seen = Mutex::new((0, 0));
        let report = element
            .files
            .scrub(plan(&|| true), &CancellationToken::new(), &Counting(&seen))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((report.files, report.rows, report.found()), (6, 6, 0), "{report:?}");
        assert_eq!(seen.lock().unwrap().0, 6, "those of before count as done");
        assert!(seen.lock().unwrap().1 < 60 + 20, "they are not read again");
        assert!(element.files.last_scrub().await.unwrap().is_some());
        assert!(element.files.scrub_due(week, now).await.unwrap() > now);
        element.end().await;
    }
}

struct Counting<'a>(&'a Mutex<(u64, u64)>);

impl Watch for Counting<'_> {
    fn expect(&self, _files: u64) {}
    fn did(&self, files: u64, bytes: u64) {
        let mut seen = self.0.lock().unwrap();
        (seen.0, seen.1) = (seen.0 + files, seen.1 + bytes);
    }
    fn found(&self, _finding: &Finding) {}
}

/// A crash in every state that moving a file into quarantine goes through.
#[tokio::test]
async fn crash_on_the_way_into_quarantine_is_finished_and_never_removes_content() {
    for (content_moved, attributes_moved, row) in [
        (false, false, true),
        (false, true, true),
        (true, false, true),
        (true, true, true),
        (true, true, false),
    ] {
        for element in Element::both().await {
            let file = element.store(b"content").await;
            let wal = Wal::new(element.files.index().clone(), "crashed".into());
            let record = wal.record(OperationType::FileQuarantine, file.file_id, &file.storage_path);
            wal.put(&record).await.unwrap();
            let folder = element
                .root()
                .join(".artstore/quarantine")
                .join(record.transaction_id.to_string());
            fs::create_dir_all(&folder).unwrap();
            for (moved, path) in [
                (content_moved, content_of(&element, &file)),
                (attributes_moved, attributes_of(&element, &file)),
            ] {
                if moved {
                    crate::durable::rename(&path, &folder.join(path.file_name().unwrap())).unwrap();
                }
            }
            if !row {
                let gone = FileChange::Remove {
                    id: file.file_id,
                    storage_path: file.storage_path.clone(),
                };
                change_row(&element, &file, gone).await;
            }
            let begun = content_moved || attributes_moved;
            let element = again_pending(element, &record).await;
            assert_eq!(element.files.index().pending().await.unwrap(), []);
            let read = element.read(file.file_id).await;
            if begun {
                assert_eq!(read.unwrap_err().code(), ErrorCode::NotFound);
                assert_eq!(fs::read(folder.join(&file.storage_filename)).unwrap(), b"content");
                assert_eq!(on_disk(&folder).len(), 2);
            } else {
                assert_eq!(read.unwrap(), b"content");
            }
            element.end().await;
        }
    }
}

/// Restarts twice, the second time with such an entry pending again: recovery's own last commit may be lost.
async fn again_pending(element: Element, record: &WalRecord) -> Element {
    let element = element.restarted().await;
    let change = Change {
        record: WalRecord {
            transaction_id: Uuid::now_v7(),
            ..record.clone()
        },
        file: FileChange::Keep,
    };
    element.files.index().change(change).await.unwrap();
    element.restarted().await
}

#[tokio::test]
async fn offline_check_finds_everything_and_repairs_what_can_be() {
    for element in Element::both().await {
        let (fine, damaged, lost) = (
            element.store(b"fine").await,
            element.store(b"content").await,
            element.store(b"lost").await,
        );
        let patch = Patch {
            description: Some(Some("kept".into())),
            ..Patch::default()
        };
        let lost = element.files.update(lost.file_id, patch, None).await.unwrap();
        element.files.shutdown().await;
        let Element {
            folder,
            database,
            files,
        } = element;
        drop(files);
        let root = folder.path();
        fs::write(root.join(&damaged.storage_path), b"c0ntent").unwrap();
        fs::remove_file(root.join(format!("{}{}", lost.storage_path, attr::SUFFIX))).unwrap();
        fs::write(root.join(".artstore/tmp/left"), b"x").unwrap();
        let index = database.open("storage_elem_01_");
        let wal = Wal::new(index.clone(), "crashed".into());
        wal.put(&wal.record(OperationType::FileCreate, Uuid::from_u128(1), "2020/01/01/00/x"))
            .await
            .unwrap();
        index.close().await;

        let expected = [
            (FindingKind::AttributesMissing, 1),
            (FindingKind::ContentCorrupt, 1),
            (FindingKind::LogPending, 1),
            (FindingKind::TemporaryFile, 1),
        ];
        for (check, repaired) in [(CHECK, 0), (CHECK, 0), (REPAIR, 4)] {
            let report = checked(root, &database, check).await;
            assert_eq!(
                (counts(&report), report.repaired),
                (expected.to_vec(), repaired),
                "{report:?}"
            );
        }
        let report = checked(root, &database, CHECK).await;
        assert_eq!((report.found(), report.files, report.rows), (0, 2, 2), "{report:?}");
        let files = Files::open(settings(root), database.open("storage_elem_01_"))
            .await
            .unwrap();
        assert_eq!(files.metadata(lost.file_id).await.unwrap(), lost);
        assert_eq!(files.metadata(fine.file_id).await.unwrap(), fine);
        Element {
            folder,
            database,
            files,
        }
        .end()
        .await;
    }
}

#[tokio::test]
async fn offline_check_of_an_empty_database_says_it_once_and_fills_it() {
    for database in TestDatabase::both().await {
        let element = Element::over(TestDatabase::sqlite()).await;
        let files = [element.store(b"1").await, element.store(b"2").await];
        element.files.shutdown().await;
        let Element {
            folder,
            database: lost,
            files: closed,
        } = element;
        drop((closed, lost));
        database.migrated().await.close().await;
        for check in [CHECK, REPAIR] {
            let report = checked(folder.path(), &database, check).await;
            assert_eq!(counts(&report), [(FindingKind::DatabaseEmpty, 1)], "{report:?}");
        }
        assert_eq!(checked(folder.path(), &database, CHECK).await.found(), 0);
        let index = database.open("storage_elem_01_");
        assert_eq!(index.get(files[1].file_id).await.unwrap().as_ref(), Some(&files[1]));
        index.close().await;
        database.drop().await;
    }
}

async fn checked(root: &Path, database: &TestDatabase, check: Check) -> InspectionReport {
    let files = Files::open_for_check(settings(root), database.open("storage_elem_01_"))
        .await
        .unwrap();
    let report = files.check(check, &Unwatched).await.unwrap();
    files.shutdown().await;
    report
}
