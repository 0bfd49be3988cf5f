//! The scrub and the quarantine, among running operations, stops and crashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use element_api::{ErrorCode, Finding, FindingKind, InspectionReport};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{attributes_of, change_row, content_of, counts, forget_log};
use crate::attr;
use crate::files::tests::{Details, Element, details, on_disk};
use crate::files::{Files, Plan, Reading, Rows, Unwatched, Watch};
use crate::index::tests::TestDatabase;
use crate::index::{Change, FileChange};
use crate::wal::{OperationType, Wal, WalRecord};

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
