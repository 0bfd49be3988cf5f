//! The offline check: what it finds, what it repairs, and what it leaves as it is.

use std::fs;
use std::path::Path;

use element_api::{FindingKind, InspectionReport};
use uuid::Uuid;

use super::counts;
use crate::attr;
use crate::files::tests::{Element, settings};
use crate::files::{Check, Files, Patch, Unwatched};
use crate::index::tests::TestDatabase;
use crate::wal::{OperationType, Wal};

const CHECK: Check = Check {
    repair: false,
    content: true,
};
const REPAIR: Check = Check { repair: true, ..CHECK };

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
