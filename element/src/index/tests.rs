//! Both databases behind the same tests: whatever holds for one must hold for the other.

mod lease;
mod search;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};

use element_api::{FileMetadata, MetadataValue, RetentionPolicy};
use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use super::migrate::MIGRATIONS;
use super::{Change, FileChange, Index, IndexError, TablePrefix};
use crate::config::DatabaseConfig;
use crate::wal::{OperationType, Status, Wal};

/// A database of its own for one test.
pub(crate) struct TestDatabase {
    folder: TempDir,
    postgres: Option<PostgresDatabase>,
}

struct PostgresDatabase {
    server: sqlx::postgres::PgConnectOptions,
    name: String,
}

impl TestDatabase {
    pub(crate) fn sqlite() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            postgres: None,
        }
    }

    pub(crate) async fn postgres() -> Self {
        use sqlx::{ConnectOptions as _, Executor as _};
        let url = std::env::var("ARTSTORE_TEST_POSTGRES")
            .expect("ARTSTORE_TEST_POSTGRES must be the URL of a PostgreSQL superuser; `make test` sets it");
        let server: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        let name = format!("index_test_{}", Uuid::new_v4().simple());
        let mut connection = server.connect().await.unwrap();
        connection
            .execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await
            .unwrap();
        let postgres = PostgresDatabase { server, name };
        Self {
            folder: tempfile::tempdir().unwrap(),
            postgres: Some(postgres),
        }
    }

    pub(crate) async fn both() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    pub(crate) fn config(&self, prefix: &str) -> DatabaseConfig {
        let table_prefix: TablePrefix = prefix.parse().unwrap();
        match &self.postgres {
            None => DatabaseConfig::Embedded { table_prefix },
            Some(PostgresDatabase { server, name }) => {
                let url: String = std::env::var("ARTSTORE_TEST_POSTGRES").unwrap();
                let password = url.split(['@', ':']).nth(2).unwrap().to_owned();
                DatabaseConfig::Postgres {
                    host: server.get_host().to_owned(),
                    port: server.get_port(),
                    username: server.get_username().to_owned(),
                    password: password.into(),
                    database: name.clone(),
                    table_prefix,
                    pool_size: 4,
                    ssl_mode: sqlx::postgres::PgSslMode::Prefer,
                    ssl_ca_cert: None,
                }
            }
        }
    }

    pub(crate) fn open(&self, prefix: &str) -> Index {
        Index::open(&self.config(prefix), self.folder.path()).unwrap()
    }

    pub(crate) async fn migrated(&self) -> Index {
        let index = self.open("storage_elem_01_");
        index.migrate_up().await.unwrap();
        index
    }

    pub(crate) async fn drop(self) {
        use sqlx::{ConnectOptions as _, Executor as _};
        if let Some(PostgresDatabase { server, name }) = &self.postgres {
            let mut connection = server.connect().await.unwrap();
            connection
                .execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
                .await
                .unwrap();
        }
    }
}

impl Index {
    /// The lease of a server ran out.
    pub(crate) async fn let_expire(&self, instance_id: &str) {
        let statement = self.sql.instance_expire(instance_id);
        self.backend.transact(&[statement]).await.unwrap();
    }

    /// Takes the database away.
    pub(crate) async fn backend_close(&self) {
        self.backend.close().await;
    }
}

/// A file as no two others are.
pub(crate) fn file(number: u32) -> FileMetadata {
    let id = Uuid::from_u128(u128::from(number));
    let created_at = Timestamp::new(1_700_000_000 + i64::from(number) * 3600, 123_456_000).unwrap();
    FileMetadata {
        schema_version: "1.0".into(),
        file_id: id,
        original_filename: format!("report {number:03}.pdf"),
        storage_filename: format!("report_{id}.pdf"),
        storage_path: format!("2023/11/14/22/report_{id}.pdf"),
        file_size: u64::from(number) * 1000,
        content_type: if number.is_multiple_of(2) {
            "application/pdf".into()
        } else {
            "text/plain".into()
        },
        checksum: format!("{number:064x}"),
        created_at,
        updated_at: created_at,
        created_by_id: "u-1".into(),
        created_by_username: if number.is_multiple_of(3) {
            "alice".into()
        } else {
            "bob".into()
        },
        created_by_fullname: number.is_multiple_of(5).then(|| "Ж \"quoted\" \\ name".into()),
        description: number.is_multiple_of(4).then(|| "годовой Отчёт, final".into()),
        version: Some("v1".into()),
        tags: vec![format!("tag{}", number % 3), "common".into()],
        metadata: BTreeMap::from([
            ("case".to_owned(), MetadataValue::Number(number.into())),
            (
                "ratio".to_owned(),
                MetadataValue::Number(serde_json::Number::from_f64(100.0).unwrap()),
            ),
            (
                "large".to_owned(),
                MetadataValue::Number(serde_json::Number::from_f64(1e17).unwrap()),
            ),
            ("open".to_owned(), MetadataValue::Bool(true)),
            ("it's \"a\" key".to_owned(), MetadataValue::Text("1e300".into())),
        ]),
        retention_policy: if number.is_multiple_of(2) {
            RetentionPolicy::Permanent
        } else {
            RetentionPolicy::Temporary
        },
        ttl_days: Some(30),
        expires_at: Some(created_at),
        revision: i64::from(number),
    }
}

pub(crate) async fn put(index: &Index, file: &FileMetadata) {
    let wal = Wal::new(index.clone(), "test".into());
    let record = wal.record(OperationType::FileCreate, file.file_id, &file.storage_path);
    wal.put(&record).await.unwrap();
    wal.settle(
        &record,
        Status::Committed,
        FileChange::Put(Box::new(file.clone())),
        None,
    )
    .await
    .unwrap();
}

/// Every table and index of the database.
async fn names(database: &TestDatabase) -> BTreeSet<String> {
    let sql = match &database.postgres {
        None => "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'",
        Some(_) => {
            "SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'public'"
        }
    };
    let index = database.open("names_");
    let rows = index
        .backend
        .fetch(&super::Statement::new(sql, Vec::new()))
        .await
        .unwrap();
    index.close().await;
    rows.into_iter().collect()
}

#[tokio::test]
async fn migrations_go_up_and_down_for_two_prefixes_in_one_database() {
    for database in TestDatabase::both().await {
        let (one, two) = (database.open("storage_elem_01_"), database.open("storage_elem_02_"));
        assert_eq!(one.migration_status().await.unwrap().current(), None);
        let versions = MIGRATIONS.map(|entry| entry.version);
        let newest = versions.last().copied();
        assert_eq!(one.migrate_up().await.unwrap().current(), newest);
        assert_eq!(two.migrate_up().await.unwrap().current(), newest);
        put(&one, &file(1)).await;
        assert_eq!(two.get(file(1).file_id).await.unwrap(), None);
        let both = names(&database).await;
        for name in &both {
            assert!(name.starts_with("storage_elem_0"), "{name} is without a prefix");
        }
        for version in versions.iter().rev().skip(1) {
            assert_eq!(one.migrate_down().await.unwrap().current(), Some(*version));
        }
        assert_eq!(one.migrate_down().await.unwrap().current(), None);
        assert_eq!(one.migrate_down().await.unwrap().current(), None);
        let left: Vec<_> = names(&database)
            .await
            .into_iter()
            .filter(|name| name.starts_with("storage_elem_01_"))
            .collect();
        assert!(
            left.iter()
                .all(|name| name.starts_with("storage_elem_01_schema_migrations")),
            "{left:?}"
        );
        assert_eq!(one.migrate_up().await.unwrap().current(), newest);
        assert_eq!(names(&database).await, both);
        assert_eq!(two.stats().await.unwrap().files, 0);
        one.close().await;
        two.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn migrations_of_many_elements_at_once_all_succeed() {
    for database in TestDatabase::both().await {
        let indexes: Vec<_> = (0..4)
            .map(|number| database.open(&format!("storage_elem_{number}_")))
            .collect();
        for result in futures::future::join_all(indexes.iter().map(Index::migrate_up)).await {
            assert_eq!(result.unwrap().current(), MIGRATIONS.last().map(|entry| entry.version));
        }
        for index in indexes {
            index.close().await;
        }
        database.drop().await;
    }
}

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
            .transact(&[super::Statement::new(wrong, Vec::new())])
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

#[tokio::test]
async fn swapped_shadow_replaces_rows_and_keeps_every_name() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        let before = names(&database).await;
        put(&index, &file(1)).await;
        // Twice: the first is one that was killed before its swap.
        for _ in 0..2 {
            index.shadow_create().await.unwrap();
            index.shadow_fill(&[file(2), file(3)], &[]).await.unwrap();
        }
        index
            .shadow_fill(&[], &[(file(3).file_id, file(3).storage_path)])
            .await
            .unwrap();
        assert_eq!(index.get(file(1).file_id).await.unwrap(), Some(file(1)));
        index.shadow_swap().await.unwrap();
        assert_eq!(index.get(file(1).file_id).await.unwrap(), None);
        assert_eq!(index.get(file(2).file_id).await.unwrap(), Some(file(2)));
        let stats = index.stats().await.unwrap();
        assert_eq!((stats.files, stats.bytes), (1, file(2).file_size));
        assert_eq!(names(&database).await, before);
        assert_eq!(
            search::found(
                &index,
                super::Search {
                    q: Some("report".into()),
                    ..search::all()
                }
            )
            .await,
            [2]
        );
        put(&index, &file(4)).await;
        assert_eq!(
            search::found(
                &index,
                super::Search {
                    q: Some("report".into()),
                    ..search::all()
                }
            )
            .await,
            [2, 4]
        );
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn server_that_is_away_gives_unavailable() {
    let config = DatabaseConfig::Postgres {
        host: "127.0.0.1".into(),
        port: 1,
        username: "nobody".into(),
        password: "secret-word".to_owned().into(),
        database: "none".into(),
        table_prefix: "p_".parse().unwrap(),
        pool_size: 1,
        ssl_mode: sqlx::postgres::PgSslMode::Disable,
        ssl_ca_cert: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(&config, folder.path()).unwrap();
    let error = index.ping().await.unwrap_err();
    assert!(matches!(error, IndexError::Unavailable(_)), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("secret-word"));
}

#[test]
fn prefix_is_checked() {
    for good in ["storage_elem_01_", "_", "a"] {
        assert!(good.parse::<TablePrefix>().is_ok(), "{good}");
    }
    for bad in ["", "1a_", "A_", "a-b", "a;drop", "a\"", &"a".repeat(41)] {
        assert!(bad.parse::<TablePrefix>().is_err(), "{bad}");
    }
}
