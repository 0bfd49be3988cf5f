//! Searching, on both databases.

use std::collections::BTreeMap;

use super::{TestDatabase, file, put};
use crate::index::Index;
use crate::index::search::{Cursor, Search, Sort};

/// A search for everything, in the order of the files' numbers.
pub(super) fn all() -> Search {
    Search {
        limit: 100,
        ..Search::default()
    }
}

/// The numbers of the files found.
pub(super) async fn found(index: &Index, search: Search) -> Vec<u128> {
    let page = index.search(&search).await.unwrap();
    assert_eq!(page.total, page.items.len() as u64, "{search:?}");
    page.items.iter().map(|item| item.file_id.as_u128()).collect()
}

#[tokio::test]
async fn each_filter_finds_its_files() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        for number in 1..=12 {
            put(&index, &file(number)).await;
        }
        let words = |q: &str| Search {
            q: Some(q.into()),
            ..all()
        };
        let metadata = |key: &str, value: &str| Search {
            metadata: BTreeMap::from([(key.to_owned(), value.to_owned())]),
            ..all()
        };
        let every: Vec<u128> = (1..=12).collect();
        let table: Vec<(Search, Vec<u128>)> = vec![
            (all(), every.clone()),
            (words("report"), every.clone()),
            (words("REP 007"), vec![7]),
            (words("отчёт"), vec![4, 8, 12]),
            (words("годов pdf"), vec![4, 8, 12]),
            (words("tag2"), vec![2, 5, 8, 11]),
            (words("' | ! & :* \" OR"), vec![]),
            (words("..."), vec![]),
            (words(&"w".repeat(5000)), vec![]),
            (words("port"), vec![]),
            (
                Search {
                    tags: vec!["tag0".into()],
                    ..all()
                },
                vec![3, 6, 9, 12],
            ),
            (
                Search {
                    tags: vec!["tag0".into(), "common".into()],
                    ..all()
                },
                vec![3, 6, 9, 12],
            ),
            (
                Search {
                    tags: vec!["tag".into()],
                    ..all()
                },
                vec![],
            ),
            (
                Search {
                    uploaded_by: Some("alice".into()),
                    ..all()
                },
                vec![3, 6, 9, 12],
            ),
            (
                Search {
                    content_type: Some("text/plain".into()),
                    ..all()
                },
                vec![1, 3, 5, 7, 9, 11],
            ),
            (
                Search {
                    min_size: Some(3000),
                    max_size: Some(5000),
                    ..all()
                },
                vec![3, 4, 5],
            ),
            (
                Search {
                    min_size: Some(u64::MAX),
                    ..all()
                },
                vec![],
            ),
            (
                Search {
                    created_after: Some(file(11).created_at),
                    ..all()
                },
                vec![11, 12],
            ),
            (
                Search {
                    created_before: Some(file(3).created_at),
                    ..all()
                },
                vec![1, 2],
            ),
            (metadata("case", "7"), vec![7]),
            (metadata("ratio", "100.0"), every.clone()),
            (metadata("open", "true"), every.clone()),
            (metadata("it's \"a\" key", "1e300"), every.clone()),
            (metadata("none", ""), vec![]),
            (
                Search {
                    uploaded_by: Some("alice".into()),
                    tags: vec!["tag0".into()],
                    max_size: Some(6000),
                    ..words("report")
                },
                vec![3, 6],
            ),
        ];
        for (search, expected) in table {
            assert_eq!(
                found(&index, search.clone()).await,
                expected,
                "{} {search:?}",
                index.kind()
            );
        }
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn pages_cover_everything_once_in_every_order() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        for number in 1..=10 {
            let mut file = file(number);
            // Ties, so that the id has to decide.
            file.file_size = u64::from(number / 3);
            put(&index, &file).await;
        }
        for sort in [Sort::CreatedAt, Sort::FileSize, Sort::OriginalFilename] {
            for descending in [false, true] {
                let mut search = Search {
                    sort,
                    descending,
                    limit: 3,
                    ..Search::default()
                };
                let (mut seen, mut pages) = (Vec::new(), 0);
                loop {
                    let page = index.search(&search).await.unwrap();
                    assert_eq!(page.total, 10);
                    seen.extend(page.items.iter().map(|item| item.file_id.as_u128()));
                    pages += 1;
                    let Some(cursor) = page.next_cursor else { break };
                    search.cursor = Some(cursor.parse().unwrap());
                    search.check_cursor().unwrap();
                }
                let mut expected: Vec<u128> = (1..=10).collect();
                if descending {
                    expected.reverse();
                }
                assert_eq!((seen, pages), (expected, 4), "{} {sort:?} {descending}", index.kind());
            }
        }
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn cursor_stays_valid_while_files_come_and_go() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        for number in [2, 4, 6, 8] {
            put(&index, &file(number)).await;
        }
        let mut search = Search {
            limit: 2,
            ..Search::default()
        };
        let first = index.search(&search).await.unwrap();
        put(&index, &file(1)).await;
        put(&index, &file(5)).await;
        search.cursor = Some(first.next_cursor.unwrap().parse().unwrap());
        let second = index.search(&search).await.unwrap();
        let numbers: Vec<_> = second.items.iter().map(|item| item.file_id.as_u128()).collect();
        assert_eq!(numbers, [5, 6]);
        index.close().await;
        database.drop().await;
    }
}

#[test]
fn cursor_of_another_order_or_of_no_order_is_refused() {
    let search = Search {
        sort: Sort::FileSize,
        ..all()
    };
    let cursor = search.cursor_after(&file(3));
    assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor.clone()));
    let other = Search {
        cursor: Some(cursor),
        descending: true,
        sort: Sort::FileSize,
        ..all()
    };
    assert!(other.check_cursor().is_err());
    for text in ["", "x", "e30", "bm9uc2Vuc2U"] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
}
