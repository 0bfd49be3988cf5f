//! The schema: up, down and swapped, for one prefix and for many.

use std::collections::BTreeSet;

use super::{TestDatabase, file, put, search};
use crate::index::migrate::MIGRATIONS;
use crate::index::sql::Statement;
use crate::index::{Index, Search, TablePrefix};

async fn names(database: &TestDatabase) -> BTreeSet<String> {
    let sql = match &database.postgres {
        None => "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'",
        Some(_) => {
            "SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'public'"
        }
    };
    let index = database.open("names_");
    let rows = index.backend.fetch(&Statement::new(sql, Vec::new())).await.unwrap();
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
async fn swapped_shadow_replaces_rows_and_keeps_every_name() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        let before = names(&database).await;
        put(&index, &file(1)).await;
        let lease = index.lease("rebuild", "test").await.unwrap().unwrap();
        // Twice: the first is one that was killed before its swap.
        for _ in 0..2 {
            index.shadow_create(&lease).await.unwrap();
            index.shadow_fill(&lease, &[file(2), file(3)], &[]).await.unwrap();
        }
        index
            .shadow_fill(&lease, &[], &[(file(3).file_id, file(3).storage_path)])
            .await
            .unwrap();
        assert_eq!(index.get(file(1).file_id).await.unwrap(), Some(file(1)));
        index.shadow_swap(&lease).await.unwrap();
        assert_eq!(index.get(file(1).file_id).await.unwrap(), None);
        assert_eq!(index.get(file(2).file_id).await.unwrap(), Some(file(2)));
        let stats = index.stats().await.unwrap();
        assert_eq!((stats.files, stats.bytes), (1, file(2).file_size));
        assert_eq!(names(&database).await, before);
        assert_eq!(
            search::found(
                &index,
                Search {
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
                Search {
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

#[test]
fn prefix_is_checked() {
    for good in ["storage_elem_01_", "_", "a"] {
        assert!(good.parse::<TablePrefix>().is_ok(), "{good}");
    }
    for bad in ["", "1a_", "A_", "a-b", "a;drop", "a\"", &"a".repeat(41)] {
        assert!(bad.parse::<TablePrefix>().is_err(), "{bad}");
    }
}
