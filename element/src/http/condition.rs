//! Conditional requests (RFC 9110, section 13): entity tags and dates of a request against those of a file.

use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderName, header};

/// What a file is compared by: its content never changes, so both are fixed for ever.
pub(super) struct Validators {
    /// Strong, with its quotes.
    pub(super) etag: String,
    /// Whole seconds.
    pub(super) modified: SystemTime,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Proceed,
    NotModified,
    Failed,
}

/// The entity tags of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// `*`.
    Any,
    /// With their quotes; weak ones keep their `W/`.
    List(Vec<String>),
}

impl Tags {
    /// The tags of a header; none when the request has no such header. What is no tag matches nothing.
    pub(super) fn of(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut tags = Vec::new();
        let mut present = false;
        for value in headers.get_all(name) {
            present = true;
            let text = value.to_str().unwrap_or_default().trim();
            if text == "*" {
                return Some(Self::Any);
            }
            tags.extend(split_tags(text));
        }
        present.then_some(Self::List(tags))
    }

    fn strongly_match(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| tag == etag),
        }
    }

    fn weakly_match(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag),
        }
    }
}

/// The quoted tags of a list; a tag may hold commas.
fn split_tags(text: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => ("W/", quoted),
            None => ("", rest),
        };
        let Some((tag, after)) = quoted.strip_prefix('"').and_then(|open| open.split_once('"')) else {
            return tags;
        };
        tags.push(format!("{weak}\"{tag}\""));
        rest = after;
    }
}

/// Weighs the conditions of a GET or HEAD, in the order of RFC 9110, section 13.2.2.
pub(super) fn weigh(headers: &HeaderMap, file: &Validators) -> Verdict {
    match Tags::of(headers, &header::IF_MATCH) {
        Some(tags) if !tags.strongly_match(&file.etag) => return Verdict::Failed,
        Some(_) => {}
        None if date(headers, &header::IF_UNMODIFIED_SINCE).is_some_and(|date| file.modified > date) => {
            return Verdict::Failed;
        }
        None => {}
    }
    match Tags::of(headers, &header::IF_NONE_MATCH) {
        Some(tags) if tags.weakly_match(&file.etag) => Verdict::NotModified,
        Some(_) => Verdict::Proceed,
        None if date(headers, &header::IF_MODIFIED_SINCE).is_some_and(|date| file.modified <= date) => {
            Verdict::NotModified
        }
        None => Verdict::Proceed,
    }
}

/// Whether a Range may be honoured: If-Range is absent, or names this very file.
pub(super) fn range_applies(headers: &HeaderMap, file: &Validators) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else {
        return true;
    };
    let text = value.to_str().unwrap_or_default().trim();
    text == file.etag || httpdate::parse_http_date(text).is_ok_and(|date| date == file.modified)
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

    use super::{Tags, Validators, Verdict, range_applies, weigh};

    const BEFORE: &str = "Sat, 01 Jan 2000 00:00:00 GMT";
    const AT: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
    const AFTER: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

    fn file() -> Validators {
        Validators {
            etag: "\"abc\"".to_owned(),
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
            assert_eq!(weigh(&headers(pairs), &file()), verdict, "{pairs:?}");
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
}
