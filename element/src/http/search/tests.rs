//! The query as clients write it, and whatever else they may send.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;
use utoipa::IntoParams;
use utoipa::openapi::path::ParameterIn;

use super::{Filters, MAX_FILTERS, MAX_LIMIT, Words, read};
use crate::index::Sort;

#[test]
fn every_filter_of_the_contract_is_read() {
    let search = read(
        "q=annual+report&tags=a,b&tags=c&uploaded_by=alice&content_type=text%2Fplain&min_size=1&max_size=9\
         &created_after=2026-01-31T12:00:00%2B02:00&created_before=2026-02-01&metadata.project=%D0%B0\
         &metadata.a.b=x%3Dy&sort=file_size&order=asc&limit=1000",
    )
    .unwrap();
    assert_eq!(search.q.as_deref(), Some("annual report"));
    assert_eq!(search.tags, ["a", "b", "c"]);
    assert_eq!(
        (search.uploaded_by.as_deref(), search.content_type.as_deref()),
        (Some("alice"), Some("text/plain"))
    );
    assert_eq!((search.min_size, search.max_size), (Some(1), Some(9)));
    assert_eq!(search.created_after.unwrap().to_string(), "2026-01-31T10:00:00Z");
    assert_eq!(search.created_before.unwrap().to_string(), "2026-02-01T00:00:00Z");
    assert_eq!(search.metadata.get("project").map(String::as_str), Some("а"));
    assert_eq!(search.metadata.get("a.b").map(String::as_str), Some("x=y"));
    assert_eq!(
        (search.sort, search.descending, search.limit),
        (Sort::FileSize, false, 1000)
    );
}

#[test]
fn every_described_parameter_is_read_and_no_other() {
    let described = [Words::into_params(|| None), Filters::into_params(|| None)].concat();
    assert_eq!(described.len(), 13);
    for parameter in described {
        assert!(parameter.parameter_in == ParameterIn::Query);
        let value = match parameter.name.as_str() {
            "min_size" | "max_size" | "limit" => "7",
            "created_after" | "created_before" => "2026-01-31",
            "sort" => "file_size",
            "order" => "asc",
            "cursor" => continue,
            _ => "text",
        };
        let query = format!("{}={value}", parameter.name);
        assert!(read(&query).is_ok(), "{query}");
        assert!(read(&format!("x{query}")).is_err(), "x{query}");
    }
}

#[test]
fn defaults_are_the_newest_fifty() {
    let search = read("").unwrap();
    assert_eq!(
        (search.sort, search.descending, search.limit),
        (Sort::CreatedAt, true, 50)
    );
    assert!(search.q.is_none() && search.tags.is_empty() && search.cursor.is_none());
}

#[test]
fn unencoded_plus_of_an_offset_is_understood() {
    let search = read("created_after=2026-01-31T12:00:00+02:00").unwrap();
    assert_eq!(search.created_after.unwrap().to_string(), "2026-01-31T10:00:00Z");
}

#[test]
fn malformed_queries_are_refused() {
    for query in [
        "limit=0",
        "limit=1001",
        "limit=ten",
        "min_size=-1",
        "max_size=1k",
        "max_size=9223372036854775808",
        "created_after=yesterday",
        "sort=name",
        "order=up",
        "cursor=%%%",
        "cursor=abc",
        "tag=a",
        "metadata.=x",
        "limit=1&limit=2",
        "q=%FF",
        "q=%00",
    ] {
        assert!(read(query).is_err(), "{query}");
    }
}

#[test]
fn more_words_than_allowed_are_refused() {
    let query = |count: usize| format!("q={}", vec!["w"; count].join("+.+"));
    assert!(read(&query(64)).is_ok());
    let said = format!("{:?}", read(&query(65)).unwrap_err());
    assert!(
        said.contains("ValidationError") && said.contains("at most 64 words"),
        "{said}"
    );
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// What parameters are made of, and what they are not.
const PIECES: [&str; 25] = [
    "q=",
    "tags=",
    "metadata.",
    "metadata.a=",
    "min_size=",
    "max_size=",
    "created_after=",
    "created_before=",
    "sort=",
    "order=",
    "limit=",
    "cursor=",
    "&",
    "=",
    "%",
    "%00",
    "%FF",
    "+",
    "7",
    "1000",
    "asc",
    "file_size",
    "2026-01-31",
    "a,b",
    "\u{1f5c2}",
];

proptest! {
    /// Whatever a client means arrives as it was meant, when it is encoded as URLs ask for.
    #[test]
    fn encoded_query_is_read_back(
        q in option::of("[^\\x00]{0,20}"),
        tags in vec("[^\\x00,]{1,8}", 0..5),
        metadata in btree_map("[^\\x00]{1,8}", "[^\\x00]{0,8}", 0..5),
        min_size in option::of(0..=i64::MAX as u64),
        limit in 1..=MAX_LIMIT,
    ) {
        let mut pairs = vec![format!("limit={limit}")];
        pairs.extend(q.iter().map(|q| format!("q={}", encoded(q))));
        pairs.extend(tags.iter().map(|tag| format!("tags={}", encoded(tag))));
        pairs.extend(metadata.iter().map(|(key, value)| format!("{}={}", encoded(&format!("metadata.{key}")), encoded(value))));
        pairs.extend(min_size.map(|size| format!("min_size={size}")));
        let search = read(&pairs.join("&")).unwrap();
        let trimmed: Vec<&str> = tags.iter().map(|tag| tag.trim()).filter(|tag| !tag.is_empty()).collect();
        prop_assert_eq!(search.q, q.filter(|q| !q.trim().is_empty()));
        prop_assert_eq!(search.tags, trimmed);
        prop_assert_eq!(search.metadata, metadata);
        prop_assert_eq!((search.min_size, search.limit), (min_size, limit));
    }

    /// Nothing that is read is more than the databases are asked to bear.
    #[test]
    fn any_query_is_within_bounds_or_refused(pieces in vec(select(PIECES.to_vec()), 0..40), text in "(?s).{0,60}") {
        for query in [pieces.concat(), text] {
            let Ok(search) = read(&query) else { continue };
            prop_assert!((1..=MAX_LIMIT).contains(&search.limit));
            prop_assert!(search.tags.len() + search.metadata.len() <= MAX_FILTERS);
            prop_assert!([search.min_size, search.max_size].iter().flatten().all(|size| i64::try_from(*size).is_ok()));
            prop_assert!(search.check_cursor().is_ok() && search.check_words().is_ok());
            let mut texts = search.tags.iter().chain(search.metadata.keys()).chain(search.metadata.values());
            prop_assert!(!texts.any(|text| text.contains('\0')) && !search.q.is_some_and(|q| q.contains('\0')));
        }
    }
}
