//! Both databases behind the same tests: whatever holds for one must hold for the other.

mod changes;
mod lease;
mod plans;
mod schema;
mod search;
mod trouble;

use std::collections::BTreeMap;

use element_api::{FileMetadata, MetadataValue, RetentionPolicy};
use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use super::{FileChange, Index, IndexError, TablePrefix};
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
