//! Databases that are full, or slow.

use uuid::Uuid;

use super::{TestDatabase, file};
use crate::index::sql::Statement;
use crate::index::{Change, FileChange, IndexError};
use crate::wal::{OperationType, Wal};

#[tokio::test]
async fn embedded_database_that_was_full_takes_writes_again() {
    let database = TestDatabase::sqlite();
    let index = database.migrated().await;
    // No room for one page more, as long as this connection lives.
    let limit = Statement::new("PRAGMA max_page_count = 1", Vec::new());
    index.backend.transact(&[limit]).await.unwrap();
    let put = async |number: u32| {
        let file = FileChange::Put(Box::new(file(number)));
        let record = Wal::new(index.clone(), "test".into()).record(
            OperationType::FileCreate,
            Uuid::from_u128(number.into()),
            "a",
        );
        index.change(Change { record, file }).await
    };
    let mut last = Ok(());
    for number in 0..10_000 {
        last = put(number).await;
        if last.is_err() {
            break;
        }
    }
    assert!(matches!(last, Err(IndexError::Full(_))), "{last:?}");
    put(10_000).await.unwrap();
    index.close().await;
}

#[tokio::test]
async fn slow_statement_is_waited_for_while_the_server_lives() {
    let database = TestDatabase::postgres().await;
    let index = database.migrated().await;
    let slow = Statement::new("SELECT '7' FROM pg_sleep(2)", Vec::new());
    assert_eq!(index.backend.fetch(&slow).await.unwrap(), ["7"]);
    index.close().await;
    database.drop().await;
}
