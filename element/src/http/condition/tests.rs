//! Every condition alone and together, and headers that are none.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{Tags, Validators, Verdict, range_applies, weigh_change, weigh_read};

const BEFORE: &str = "Sat, 01 Jan 2000 00:00:00 GMT";
const AT: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
const AFTER: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

fn file() -> Validators {
    Validators {
        etag: "\"abc\"".to_owned(),
        other: None,
        modified: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
    }
}

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

#[test]
fn conditions_are_weighed_as_the_standard_orders() {
    use Verdict::{Failed, NotModified, Proceed};
    let (match_, none) = (header::IF_MATCH, header::IF_NONE_MATCH);
    let (unmodified, modified) = (header::IF_UNMODIFIED_SINCE, header::IF_MODIFIED_SINCE);
    let table: [(&[(HeaderName, &str)], Verdict); 15] = [
        (&[], Proceed),
        (&[(match_.clone(), "\"abc\"")], Proceed),
        (&[(match_.clone(), "\"x\", \"abc\"")], Proceed),
        (&[(match_.clone(), "*")], Proceed),
        (&[(match_.clone(), "W/\"abc\"")], Failed),
        (&[(match_.clone(), "\"x\"")], Failed),
        (&[(match_.clone(), "abc")], Failed),
        (&[(none.clone(), "\"abc\"")], NotModified),
        (&[(none.clone(), "W/\"abc\"")], NotModified),
        (&[(none.clone(), "*")], NotModified),
        (&[(none.clone(), "\"x\""), (modified.clone(), AFTER)], Proceed),
        (&[(match_, "\"abc\""), (unmodified.clone(), BEFORE)], Proceed),
        (&[(unmodified, BEFORE)], Failed),
        (&[(modified.clone(), AT)], NotModified),
        (&[(modified, BEFORE)], Proceed),
    ];
    for (pairs, verdict) in table {
        assert_eq!(weigh_read(&headers(pairs), &file()), verdict, "{pairs:?}");
    }
}

#[test]
fn if_range_holds_for_this_very_file_only() {
    assert!(range_applies(&HeaderMap::new(), &file()));
    for (value, applies) in [
        ("\"abc\"", true),
        (AT, true),
        ("W/\"abc\"", false),
        ("\"x\"", false),
        (AFTER, false),
        ("nonsense", false),
    ] {
        assert_eq!(
            range_applies(&headers(&[(header::IF_RANGE, value)]), &file()),
            applies,
            "{value}"
        );
    }
}

#[test]
fn tags_may_hold_commas_and_come_in_several_headers() {
    let many = headers(&[(header::IF_MATCH, "\"a,b\" , W/\"c\""), (header::IF_MATCH, "\"d\"")]);
    let expected = ["\"a,b\"", "W/\"c\"", "\"d\""].map(str::to_owned).to_vec();
    assert_eq!(Tags::of(&many, &header::IF_MATCH), Some(Tags::List(expected)));
    assert_eq!(Tags::of(&many, &header::IF_NONE_MATCH), None);
}

#[test]
fn change_happens_only_under_all_its_conditions() {
    let (match_, none, unmodified) = (header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE);
    let named_twice = Validators {
        other: Some("\"7\"".to_owned()),
        ..file()
    };
    let table: [(&[(HeaderName, &str)], bool); 13] = [
        (&[], true),
        (&[(match_.clone(), "\"abc\"")], true),
        (&[(match_.clone(), "\"7\"")], true),
        (&[(match_.clone(), "\"8\"")], false),
        (&[(match_.clone(), "W/\"7\"")], false),
        (&[(match_.clone(), "*")], true),
        (&[(none.clone(), "*")], false),
        (&[(none.clone(), "W/\"7\"")], false),
        (&[(none.clone(), "\"8\"")], true),
        (&[(match_.clone(), "\"7\""), (none, "\"abc\"")], false),
        (&[(unmodified.clone(), AT)], true),
        (&[(unmodified.clone(), BEFORE)], false),
        (&[(match_, "\"7\""), (unmodified, BEFORE)], true),
    ];
    for (pairs, holds) in table {
        assert_eq!(weigh_change(&headers(pairs), &named_twice), holds, "{pairs:?}");
    }
    let read = headers(&[(header::IF_MODIFIED_SINCE, AFTER)]);
    assert!(weigh_change(&read, &named_twice), "a condition of reads only");
}

#[test]
fn unreadable_date_is_no_condition() {
    for name in [header::IF_UNMODIFIED_SINCE, header::IF_MODIFIED_SINCE] {
        for value in ["", "yesterday", "Sat, 01 Jan 2000 00:00:00 +0100", "9999999999"] {
            let headers = headers(&[(name.clone(), value)]);
            assert_eq!(weigh_read(&headers, &file()), Verdict::Proceed, "{name}: {value}");
        }
    }
}

proptest! {
    /// A date that was sent is a condition that holds until the file changes, and no longer.
    #[test]
    fn date_that_was_sent_tells_this_state_from_others(second in 0_u64..=253_402_300_799, later in 1_u64..1_000_000_000) {
        let file = |second: u64| Validators {
            modified: super::time(i64::try_from(second).unwrap()),
            ..file()
        };
        let date = httpdate::fmt_http_date(file(second).modified);
        let (since, unmodified) = (
            headers(&[(header::IF_MODIFIED_SINCE, &date)]),
            headers(&[(header::IF_UNMODIFIED_SINCE, &date)]),
        );
        prop_assert_eq!(weigh_read(&since, &file(second)), Verdict::NotModified);
        prop_assert_eq!(weigh_read(&unmodified, &file(second)), Verdict::Proceed);
        prop_assert!(weigh_change(&unmodified, &file(second)));
        prop_assert!(range_applies(&headers(&[(header::IF_RANGE, &date)]), &file(second)));
        let changed = file(second.saturating_add(later).min(253_402_300_799));
        if changed.modified > file(second).modified {
            prop_assert_eq!(weigh_read(&since, &changed), Verdict::Proceed);
            prop_assert_eq!(weigh_read(&unmodified, &changed), Verdict::Failed);
            prop_assert!(!weigh_change(&unmodified, &changed));
            prop_assert!(!range_applies(&headers(&[(header::IF_RANGE, &date)]), &changed));
        }
    }

    /// What is no date is no condition, save for If-Range, which then does not hold.
    #[test]
    fn any_text_is_a_date_or_no_condition(text in "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} [A-Z]{3}|[ -~]{0,40}", seconds in any::<i64>()) {
        prop_assert!(super::time(seconds) >= SystemTime::UNIX_EPOCH);
        if httpdate::parse_http_date(&text).is_err() {
            for name in [header::IF_UNMODIFIED_SINCE, header::IF_MODIFIED_SINCE] {
                prop_assert_eq!(weigh_read(&headers(&[(name, &text)]), &file()), Verdict::Proceed);
            }
            let names_it = text.trim() == file().etag;
            prop_assert_eq!(range_applies(&headers(&[(header::IF_RANGE, &text)]), &file()), names_it);
        }
    }

    #[test]
    fn tags_that_are_written_are_read(tags in vec("[!#-~]{0,20}", 0..8), weak in any::<bool>(), gap in "[ ,\t]{0,3}") {
        let written: Vec<String> = tags
            .iter()
            .map(|tag| format!("{}\"{tag}\"", if weak { "W/" } else { "" }))
            .collect();
        let value = HeaderValue::from_str(&written.join(&format!(",{gap}"))).unwrap();
        let headers = HeaderMap::from_iter([(header::IF_MATCH, value)]);
        prop_assert_eq!(Tags::of(&headers, &header::IF_MATCH), Some(Tags::List(written)));
    }

    /// Nothing that is sent in place of a tag may pass for the file's own, or for every tag.
    #[test]
    fn whatever_is_sent_only_the_own_tag_holds(bytes in vec(any::<u8>(), 0..100)) {
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let names_it = bytes.windows(5).any(|window| window == b"\"abc\"") || bytes.trim_ascii() == b"*";
        for name in [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_RANGE] {
            let headers = HeaderMap::from_iter([(name, value.clone())]);
            let verdict = weigh_read(&headers, &file());
            prop_assert!(verdict != Verdict::NotModified || names_it);
            prop_assert!(!weigh_change(&headers, &file()) || names_it || !headers.contains_key(header::IF_MATCH));
            prop_assert!(!range_applies(&headers, &file()) || names_it || !headers.contains_key(header::IF_RANGE));
        }
    }
}
