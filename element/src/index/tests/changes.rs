//! Changes of rows and log entries, alone and together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use element_api::FileMetadata;
use futures::future::BoxFuture;
use jiff::Timestamp;
use uuid::Uuid;

use super::{TestDatabase, file, put};
use crate::index::migrate::Step;
use crate::index::sql::Statement;
use crate::index::writer::Writer;
use crate::index::{Backend, Change, FileChange, IndexError, MigrationStatus};
use crate::wal::{OperationType, Status, Wal};

#[tokio::test]
async fn stored_file_reads_back_equal_field_by_field() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        for number in 1..=6 {
            put(&index, &file(number)).await;
            assert_eq!(
                index.get(file(number).file_id).await.unwrap(),
                Some(file(number)),
                "{}",
                index.kind()
            );
        }
        let mut bare = file(7);
        (bare.ttl_days, bare.expires_at, bare.version) = (None, None, None);
        (bare.tags, bare.metadata) = (Vec::new(), BTreeMap::new());
        put(&index, &bare).await;
        assert_eq!(index.get(bare.file_id).await.unwrap(), Some(bare));
        assert_eq!(index.get(Uuid::from_u128(99)).await.unwrap(), None);
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn changes_made_at_once_are_all_kept_and_counted() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        let files: Vec<_> = (1..=200).map(file).collect();
        futures::future::join_all(files.iter().map(|file| put(&index, file))).await;
        let stats = index.stats().await.unwrap();
        assert_eq!(stats.files, 200);
        assert_eq!(stats.bytes, (1..=200).map(|number| number * 1000).sum::<u64>());
        assert_eq!((stats.wal_pending, stats.wal_oldest_seconds), (0, None));
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn totals_follow_every_change_and_a_recount_mends_them() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        let wal = Wal::new(index.clone(), "test".into());
        futures::future::join_all(
            (1..=50)
                .map(file)
                .collect::<Vec<_>>()
                .iter()
                .map(|file| put(&index, file)),
        )
        .await;
        // Again, larger, gone, gone again, and gone from another path.
        let mut larger = file(2);
        larger.file_size += 11;
        put(&index, &file(1)).await;
        put(&index, &larger).await;
        for (id, storage_path) in [
            (file(3).file_id, file(3).storage_path),
            (file(3).file_id, file(3).storage_path),
            (file(4).file_id, "2020/01/01/00/other".to_owned()),
        ] {
            let record = wal.record(OperationType::FileDelete, id, &storage_path);
            let gone = FileChange::Remove { id, storage_path };
            wal.settle(&record, Status::Committed, gone, None).await.unwrap();
        }
        let stats = index.stats().await.unwrap();
        assert_eq!((stats.files, stats.bytes), index.count().await.unwrap());
        assert_eq!(
            (stats.files, stats.bytes),
            (49, (1..=50).sum::<u64>() * 1000 - 3000 + 11)
        );
        let wrong = "UPDATE storage_elem_01_totals SET files = 7";
        index
            .backend
            .transact(&[Statement::new(wrong, Vec::new())])
            .await
            .unwrap();
        assert_eq!(index.stats().await.unwrap().files, 7);
        index.recount().await.unwrap();
        assert_eq!(index.stats().await.unwrap().files, 49);
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn rows_come_in_order_by_id_and_by_the_time_they_expire() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        for number in 1..=7 {
            put(&index, &file(number)).await;
        }
        let ids = |files: Vec<FileMetadata>| files.iter().map(|file| file.file_id.as_u128()).collect::<Vec<_>>();
        assert!(!index.is_empty().await.unwrap());
        assert_eq!(ids(index.rows_after(Uuid::nil(), 3).await.unwrap()), [1, 2, 3]);
        assert_eq!(ids(index.rows_after(Uuid::from_u128(6), 3).await.unwrap()), [7]);
        let mut many = ids(index
            .many(&[file(5).file_id, Uuid::from_u128(99), file(2).file_id])
            .await
            .unwrap());
        many.sort_unstable();
        assert_eq!(many, [2, 5]);
        let now = file(4).expires_at.unwrap();
        let first = (Timestamp::UNIX_EPOCH, Uuid::nil());
        assert_eq!(ids(index.expired(now, first, 3).await.unwrap()), [1, 2, 3]);
        let behind = (file(3).expires_at.unwrap(), file(3).file_id);
        assert_eq!(ids(index.expired(now, behind, 3).await.unwrap()), [4]);
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn file_is_touched_while_its_entry_is_open_and_for_a_while_after() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        assert!(index.is_empty().await.unwrap());
        let wal = Wal::new(index.clone(), "test".into());
        let (id, now) = (Uuid::from_u128(5), Timestamp::now());
        let record = wal.record(OperationType::FileDelete, id, "2024/a");
        let later = now + jiff::SignedDuration::from_hours(1);
        assert!(!index.is_touched(Some(id), "2024/a", now).await.unwrap());
        wal.put(&record).await.unwrap();
        for (id, path, expected) in [
            (Some(id), "2024/b", true),
            (None, "2024/a", true),
            (None, "2024/b", false),
            (Some(Uuid::from_u128(6)), "2024/b", false),
        ] {
            assert_eq!(
                index.is_touched(id, path, later).await.unwrap(),
                expected,
                "{id:?} {path}"
            );
        }
        wal.settle(&record, Status::Committed, FileChange::Keep, None)
            .await
            .unwrap();
        assert!(index.is_touched(Some(id), "2024/a", now).await.unwrap());
        assert!(!index.is_touched(Some(id), "2024/a", later).await.unwrap());
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn one_refused_change_fails_alone() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        let wal = Wal::new(index.clone(), "test".into());
        let record = wal.record(OperationType::FileCreate, Uuid::nil(), "a");
        wal.put(&record).await.unwrap();
        // No database takes more than 63 bits of size.
        let mut bad = file(1);
        bad.file_size = u64::MAX;
        bad.original_filename = "\0".into();
        let bad = Change {
            record: record.clone(),
            file: FileChange::Put(Box::new(bad)),
        };
        let good = file(2);
        let (bad, ()) = futures::join!(index.change(bad), put(&index, &good));
        if index.kind() == "postgres" {
            assert!(bad.is_err());
        }
        assert_eq!(index.get(good.file_id).await.unwrap(), Some(good));
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn removal_spares_a_row_that_is_about_another_path() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        let wal = Wal::new(index.clone(), "test".into());
        put(&index, &file(1)).await;
        let id = file(1).file_id;
        for (path, remains) in [("2020/01/01/00/other".to_owned(), true), (file(1).storage_path, false)] {
            let record = wal.record(OperationType::FileDelete, id, &path);
            wal.put(&record).await.unwrap();
            let gone = FileChange::Remove { id, storage_path: path };
            wal.settle(&record, Status::Committed, gone, None).await.unwrap();
            assert_eq!(index.get(id).await.unwrap().is_some(), remains);
        }
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn pending_entries_are_listed_until_they_are_settled_and_pruned_after() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        let wal = Wal::new(index.clone(), "pod-1".into());
        let record = wal.record(OperationType::FileDelete, Uuid::from_u128(5), "2024/a");
        wal.put(&record).await.unwrap();
        assert_eq!(index.pending().await.unwrap(), std::slice::from_ref(&record));
        assert!(index.stats().await.unwrap().wal_oldest_seconds.is_some());
        wal.settle(&record, Status::RolledBack, FileChange::Keep, Some("why".into()))
            .await
            .unwrap();
        assert_eq!(index.pending().await.unwrap(), []);
        let logged = index.logged_since(record.started_at).await.unwrap();
        assert_eq!(logged[0].error_message.as_deref(), Some("why"));
        index
            .prune_log(Timestamp::now() + jiff::SignedDuration::from_secs(60))
            .await
            .unwrap();
        assert_eq!(index.logged_since(record.started_at).await.unwrap(), []);
        index.close().await;
        database.drop().await;
    }
}

/// Counts what goes through.
struct Counting {
    backend: Arc<dyn Backend>,
    transactions: AtomicUsize,
}

impl Backend for Counting {
    fn transact<'a>(&'a self, statements: &'a [Statement]) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.backend.transact(statements)
    }

    fn fetch<'a>(&'a self, statement: &'a Statement) -> BoxFuture<'a, Result<Vec<String>, sqlx::Error>> {
        self.backend.fetch(statement)
    }

    fn migrate<'a>(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<MigrationStatus, IndexError>> {
        self.backend.migrate(step)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.backend.close()
    }
}

#[tokio::test]
async fn changes_made_at_once_share_commits() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        let counting = Arc::new(Counting {
            backend: Arc::clone(&index.backend),
            transactions: 0.into(),
        });
        let writer = Writer::start(counting.clone(), Arc::clone(&index.sql));
        let wal = Wal::new(index.clone(), "test".into());
        let changes = (1..=200).map(|number| Change {
            record: wal.record(
                OperationType::FileCreate,
                file(number).file_id,
                &file(number).storage_path,
            ),
            file: FileChange::Put(Box::new(file(number))),
        });
        for result in futures::future::join_all(changes.map(|change| writer.submit(change))).await {
            result.unwrap();
        }
        let transactions = counting.transactions.load(Ordering::Relaxed);
        assert!(transactions <= 20, "{transactions} transactions for 200 changes");
        assert_eq!(index.stats().await.unwrap().files, 200);
        index.close().await;
        database.drop().await;
    }
}
