//! Leases among servers: who lives, who holds what, and to whom the entries of the dead go.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{TestDatabase, file, put};
use crate::index::sql::Statement;
use crate::index::{FileChange, IndexError, Sharing};
use crate::wal::{OperationType, Status, Wal};

#[tokio::test]
async fn name_is_held_by_one_server_until_it_is_released_or_the_server_is_gone() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        for server in ["one", "two"] {
            index.keep_alive(server, Sharing::WithOthers).await.unwrap();
        }
        let held = index.lease("gc", "one").await.unwrap().unwrap();
        assert!(index.lease("gc", "two").await.unwrap().is_none());
        assert!(index.lease("gc", "one").await.unwrap().is_none(), "not twice either");
        let other = index.lease("scrub", "two").await.unwrap().unwrap();
        held.release().await;
        let held = index.lease("gc", "two").await.unwrap().unwrap();
        index.leave("two").await.unwrap();
        assert!(index.lease("gc", "one").await.unwrap().is_some());
        drop((held, other));
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn name_that_could_not_be_released_is_had_again_here_and_elsewhere_once_it_is() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        for server in ["one", "two"] {
            index.keep_alive(server, Sharing::WithOthers).await.unwrap();
        }
        let rename = async |from: &str, to: &str| {
            let text = format!("ALTER TABLE storage_elem_01_{from} RENAME TO storage_elem_01_{to}");
            index
                .backend
                .transact(&[Statement::new(text, Vec::new())])
                .await
                .unwrap();
        };
        for name in ["gc", "scrub"] {
            let held = index.lease(name, "one").await.unwrap().unwrap();
            rename("lease", "away").await;
            held.release().await;
            assert!(index.lease(name, "one").await.is_err());
            // What could not be taken is freed on a task of its own.
            while !index.leases.are_at_rest() {
                tokio::task::yield_now().await;
            }
            rename("away", "lease").await;
            assert!(
                index.lease(name, "two").await.unwrap().is_none(),
                "the database knows no better"
            );
        }
        let again = index.lease("gc", "one").await.unwrap().unwrap();
        index.release_left_over().await;
        assert!(index.lease("gc", "two").await.unwrap().is_none(), "it is in use again");
        assert!(index.lease("scrub", "two").await.unwrap().is_some());
        drop(again);
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn rebuild_of_a_server_that_lost_its_lease_changes_nothing_any_more() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        put(&index, &file(1)).await;
        for server in ["slow", "taker"] {
            index.keep_alive(server, Sharing::WithOthers).await.unwrap();
        }
        let slow = index.lease("rebuild", "slow").await.unwrap().unwrap();
        index.shadow_create(&slow).await.unwrap();
        index.let_expire("slow").await;
        let taker = index.lease("rebuild", "taker").await.unwrap().unwrap();
        index.shadow_create(&taker).await.unwrap();
        index.shadow_fill(&taker, &[file(2)], &[]).await.unwrap();
        for ended in [
            index.shadow_create(&slow).await,
            index.shadow_fill(&slow, &[file(3)], &[]).await,
            index.shadow_swap(&slow).await,
        ] {
            assert!(matches!(ended, Err(IndexError::Fenced)), "{ended:?}");
        }
        assert_eq!(index.get(file(1).file_id).await.unwrap(), Some(file(1)));
        index.shadow_swap(&taker).await.unwrap();
        assert_eq!(index.get(file(2).file_id).await.unwrap(), Some(file(2)));
        assert_eq!(index.stats().await.unwrap().files, 1);
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn entry_that_was_settled_is_not_opened_again_by_what_comes_late() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        let wal = Wal::new(index.clone(), "one".into());
        let record = wal.record(OperationType::FileCreate, Uuid::new_v4(), "2026/01/01/00/a");
        wal.settle(&record, Status::RolledBack, FileChange::Keep, None)
            .await
            .unwrap();
        assert!(matches!(wal.put(&record).await, Err(IndexError::Fenced)));
        assert_eq!(index.pending().await.unwrap(), []);
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn name_asked_for_at_once_goes_to_one() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        let servers: Vec<String> = (0..8).map(|number| format!("server-{number}")).collect();
        for server in &servers {
            index.keep_alive(server, Sharing::WithOthers).await.unwrap();
        }
        let asked = servers.iter().map(|server| index.lease("gc", server));
        let held = futures::future::try_join_all(asked).await.unwrap();
        assert_eq!(held.iter().flatten().count(), 1);
        drop(held);
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn entries_of_the_dead_are_taken_over_and_those_of_the_living_are_not() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        for server in ["living", "taker"] {
            index.keep_alive(server, Sharing::WithOthers).await.unwrap();
        }
        for (server, number) in [("living", 1), ("dead", 2), ("dead", 3), ("taker", 4)] {
            let wal = Wal::new(index.clone(), server.into());
            let record = wal.record(OperationType::FileCreate, Uuid::from_u128(number), "2026/01/01/00/a");
            wal.put(&record).await.unwrap();
        }
        let taken = index.take_over("taker", Sharing::WithOthers).await.unwrap();
        let ids: Vec<_> = taken.iter().filter_map(|record| record.file_id).collect();
        assert_eq!(ids, [Uuid::from_u128(2), Uuid::from_u128(3)]);
        assert!(taken.iter().all(|record| record.instance_id == "taker"));
        assert_eq!(index.take_over("taker", Sharing::WithOthers).await.unwrap(), []);
        assert_eq!(index.pending().await.unwrap().len(), 4);
        // One that knows to be alone takes all, whoever is said to live.
        assert_eq!(index.take_over("alone", Sharing::Alone).await.unwrap().len(), 4);
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn entries_asked_for_at_once_go_to_one_server_each() {
    const ENTRIES: usize = 300;
    let database = TestDatabase::postgres().await;
    let index = database.migrated().await;
    let wal = Wal::new(index.clone(), "dead".into());
    let entries = (0..ENTRIES).map(|_| async {
        let record = wal.record(OperationType::FileCreate, Uuid::new_v4(), "2026/01/01/00/a");
        wal.put(&record).await.unwrap();
    });
    futures::future::join_all(entries).await;
    let servers: Vec<String> = (0..4).map(|number| format!("server-{number}")).collect();
    for server in &servers {
        index.keep_alive(server, Sharing::WithOthers).await.unwrap();
    }
    let takers = servers.iter().map(|server| async {
        let mut taken = Vec::new();
        while taken.len() < ENTRIES {
            let batch = index.take_over(server, Sharing::WithOthers).await.unwrap();
            if batch.is_empty() {
                break;
            }
            taken.extend(batch.into_iter().map(|record| record.transaction_id));
        }
        taken
    });
    let taken: Vec<Uuid> = futures::future::join_all(takers).await.concat();
    assert_eq!(taken.len(), ENTRIES, "none is taken twice");
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), ENTRIES);
    index.close().await;
    database.drop().await;
}

#[tokio::test]
async fn server_whose_entry_was_taken_over_cannot_settle_it() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        index.keep_alive("taker", Sharing::WithOthers).await.unwrap();
        let (slow, lively) = (
            Wal::new(index.clone(), "slow".into()),
            Wal::new(index.clone(), "lively".into()),
        );
        let lost = slow.record(OperationType::FileCreate, file(1).file_id, &file(1).storage_path);
        slow.put(&lost).await.unwrap();
        let taken = index.take_over("taker", Sharing::WithOthers).await.unwrap();
        assert_eq!(taken.len(), 1);
        let kept = lively.record(OperationType::FileCreate, file(2).file_id, &file(2).storage_path);
        lively.put(&kept).await.unwrap();
        // Both at once share a transaction; the one that is refused must not take the other with it.
        let (refused, settled) = futures::join!(
            slow.settle(&lost, Status::Committed, FileChange::Put(Box::new(file(1))), None),
            lively.settle(&kept, Status::Committed, FileChange::Put(Box::new(file(2))), None)
        );
        assert!(matches!(refused, Err(IndexError::Fenced)), "{refused:?}");
        settled.unwrap();
        assert_eq!(index.get(file(1).file_id).await.unwrap(), None);
        assert_eq!(index.get(file(2).file_id).await.unwrap(), Some(file(2)));
        assert!(matches!(slow.put(&lost).await, Err(IndexError::Fenced)));
        // Settling twice is settling once.
        lively
            .settle(&kept, Status::RolledBack, FileChange::Keep, None)
            .await
            .unwrap();
        put(&index, &file(3)).await;
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn server_that_no_longer_says_it_lives_is_dead_by_the_database_clock() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        for server in ["silent", "taker"] {
            index.keep_alive(server, Sharing::WithOthers).await.unwrap();
        }
        let held = index.lease("gc", "silent").await.unwrap();
        assert!(index.lease("gc", "taker").await.unwrap().is_none());
        index.let_expire("silent").await;
        assert!(index.lease("gc", "taker").await.unwrap().is_some());
        index.prune_instances().await.unwrap();
        drop(held);
        index.close().await;
        database.drop().await;
    }
}
