//! Searching, on both databases.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;

use super::{TestDatabase, file, put};
use crate::index::Index;
use crate::index::dialect::Dialect;
use crate::index::search::{Cursor, Search, Sort};
use crate::index::sql::{Parameter, Sql};

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

/// Puts twelve files and asks for each search of the table, on both databases.
async fn check(table: &[(Search, &[u128])]) {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        for number in 1..=12 {
            put(&index, &file(number)).await;
        }
        for (search, expected) in table {
            assert_eq!(
                found(&index, search.clone()).await,
                *expected,
                "{} {search:?}",
                index.kind()
            );
        }
        index.close().await;
        database.drop().await;
    }
}

const EVERY: [u128; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

fn words(q: &str) -> Search {
    Search {
        q: Some(q.into()),
        ..all()
    }
}

fn metadata(key: &str, value: &str) -> Search {
    Search {
        metadata: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        ..all()
    }
}

fn tags(tags: &[&str]) -> Search {
    Search {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..all()
    }
}

#[tokio::test]
async fn words_find_files_by_name_description_and_tags() {
    check(&[
        (words("report"), &EVERY),
        (words("REP 007"), &[7]),
        (words("отчёт"), &[4, 8, 12]),
        (words("годов pdf"), &[4, 8, 12]),
        (words("tag2"), &[2, 5, 8, 11]),
        (words("' | ! & :* \" OR"), &[]),
        (words("..."), &[]),
        (words(&"w".repeat(5000)), &[]),
        (words("port"), &[]),
    ])
    .await;
}

#[tokio::test]
async fn tags_and_metadata_find_their_files() {
    check(&[
        (tags(&["tag0"]), &[3, 6, 9, 12]),
        (tags(&["tag0", "common"]), &[3, 6, 9, 12]),
        (tags(&["tag"]), &[]),
        (metadata("case", "7"), &[7]),
        (metadata("ratio", "100.0"), &EVERY),
        (metadata("open", "true"), &EVERY),
        (metadata("it's \"a\" key", "1e300"), &EVERY),
        (metadata("none", ""), &[]),
    ])
    .await;
}

#[tokio::test]
async fn user_type_size_and_time_find_their_files() {
    let by = |change: fn(&mut Search)| {
        let mut search = all();
        change(&mut search);
        search
    };
    check(&[
        (all(), &EVERY),
        (by(|search| search.uploaded_by = Some("alice".into())), &[3, 6, 9, 12]),
        (
            by(|search| search.content_type = Some("text/plain".into())),
            &[1, 3, 5, 7, 9, 11],
        ),
        (
            by(|search| (search.min_size, search.max_size) = (Some(3000), Some(5000))),
            &[3, 4, 5],
        ),
        (by(|search| search.min_size = Some(u64::MAX)), &[]),
        (by(|search| search.created_after = Some(file(11).created_at)), &[11, 12]),
        (by(|search| search.created_before = Some(file(3).created_at)), &[1, 2]),
        (
            by(|search| {
                (search.q, search.max_size) = (Some("report".into()), Some(6000));
                (search.tags, search.uploaded_by) = (vec!["tag0".into()], Some("alice".into()));
            }),
            &[3, 6],
        ),
    ])
    .await;
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
async fn total_is_exact_of_all_files_and_up_to_ten_thousand_matches() {
    for database in TestDatabase::both().await {
        let index = database.migrated().await;
        let lease = index.lease("rebuild", "test").await.unwrap().unwrap();
        index.shadow_create(&lease).await.unwrap();
        let files: Vec<_> = (1..=10_001).map(file).collect();
        for batch in files.chunks(2_000) {
            index.shadow_fill(&lease, batch, &[]).await.unwrap();
        }
        index.shadow_swap(&lease).await.unwrap();
        let mut search = Search {
            limit: 1,
            ..Search::default()
        };
        let page = index.search(&search).await.unwrap();
        assert_eq!((page.total, page.total_exact), (10_001, true));
        search.created_after = Some(file(1).created_at);
        let page = index.search(&search).await.unwrap();
        assert_eq!((page.total, page.total_exact), (10_000, false));
        search.created_after = Some(file(2).created_at);
        let page = index.search(&search).await.unwrap();
        assert_eq!((page.total, page.total_exact), (10_000, true));
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

const SORTS: [Sort; 3] = [Sort::CreatedAt, Sort::FileSize, Sort::OriginalFilename];

/// A text of two databases' full text searches, taken apart: nothing in it but quoted words and our own operators.
fn quoted_words<'a>(text: &'a str, joint: &str, close: &str) -> Option<Vec<&'a str>> {
    let open = close.get(..1)?;
    let word = |part: &'a str| part.strip_prefix(open)?.strip_suffix(close);
    text.split(joint).map(word).collect()
}

proptest! {
    #[test]
    fn cursor_is_read_back_in_its_own_order_only(
        sort in select(SORTS.to_vec()),
        descending in any::<bool>(),
        name in "[^\\x00]{0,20}",
        size in 0..=i64::MAX as u64,
        microsecond in 0_i64..=253_402_300_799_999_999,
    ) {
        let mut last = file(3);
        (last.original_filename, last.file_size) = (name, size);
        last.created_at = Timestamp::from_microsecond(microsecond).unwrap();
        let mut search = Search { sort, descending, ..all() };
        let cursor = search.cursor_after(&last);
        let text = cursor.to_string();
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')), "{text}");
        prop_assert_eq!(text.parse::<Cursor>(), Ok(cursor.clone()));
        search.cursor = Some(cursor);
        prop_assert!(search.check_cursor().is_ok());
        search.descending = !descending;
        prop_assert!(search.check_cursor().is_err());
    }

    /// Whatever passes for a cursor makes a statement, and is written as it was read.
    #[test]
    fn any_text_is_a_cursor_or_refused(
        text in "[A-Za-z0-9_-]{0,60}|\\PC{0,20}",
        sort in "created_at|file_size|original_filename|x",
        key in "7|-7|1e3|null|\"[0-9TZ:.-]{0,30}\"|\"2026-01-31T12:00:00.000000Z\"|\"\\PC{0,8}\"|\"\\\\u0000\"",
        id in "00000000-0000-0000-0000-00000000000[0-9]|x",
    ) {
        use base64::Engine as _;
        let made_up = format!("{{\"sort\":\"{sort}\",\"descending\":true,\"key\":{key},\"id\":\"{id}\"}}");
        let made_up = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(made_up);
        for text in [text, made_up] {
            let Ok(cursor) = text.parse::<Cursor>() else { continue };
            prop_assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor.clone()));
            let search = Search { cursor: Some(cursor), ..all() };
            for dialect in [Dialect::Postgres, Dialect::Sqlite] {
                let page = search.statements(&Sql::new(dialect, &"p_".parse().unwrap())).page;
                let holds_nul = |parameter: &Parameter| matches!(parameter, Parameter::Text(text) if text.contains('\0'));
                prop_assert!(!page.parameters.iter().any(holds_nul));
            }
        }
    }

    /// No letter of a client's words may be taken for an operator of a search.
    #[test]
    fn words_are_searched_for_as_words_whatever_they_are(q in "[a-zA-Z0-9'\"*:&|!() \\\\<>-]{0,40}|\\PC{0,40}|(?s).{0,40}") {
        let search = Search { q: Some(q.clone()), ..all() };
        for (dialect, joint, close) in [(Dialect::Postgres, " & ", "':*"), (Dialect::Sqlite, " AND ", "\"*")] {
            let count = search.statements(&Sql::new(dialect, &"p_".parse().unwrap())).count;
            let Some(Parameter::Text(text)) = count.parameters.first() else {
                prop_assert!(!q.to_lowercase().contains(char::is_alphanumeric), "{q:?} has words");
                continue;
            };
            let words = quoted_words(text, joint, close);
            prop_assert!(words.is_some(), "{text}");
            for word in words.unwrap_or_default() {
                prop_assert!(!word.is_empty() && word.chars().all(char::is_alphanumeric), "{word:?} in {text}");
            }
        }
    }
}
