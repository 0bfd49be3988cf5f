//! Conditional requests (RFC 9110, section 13): entity tags and dates of a request against those of what it is about, in the order of
//! section 13.2.2. A date nobody can read is no condition.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use element_api::FileMetadata;

/// What conditions are compared with. All are strong.
pub(super) struct Validators {
    /// With its quotes.
    pub(super) etag: String,
    /// Another tag that names the same state, for who knows the file by that.
    pub(super) other: Option<String>,
    /// Whole seconds.
    pub(super) modified: SystemTime,
}

impl Validators {
    /// Of a file's content, which never changes.
    pub(super) fn of_content(file: &FileMetadata) -> Self {
        Self {
            etag: format!("\"{}\"", file.checksum),
            other: None,
            modified: time(file.created_at.as_second()),
        }
    }

    /// Of a file's metadata. The date is the first whole second after the change: two changes within a second never share a date that
    /// was sent, since it is sent only once it has passed.
    pub(super) fn of_metadata(file: &FileMetadata) -> Self {
        let begun = i64::from(file.updated_at.subsec_nanosecond() > 0);
        Self {
            etag: format!("\"{}\"", file.revision),
            other: None,
            modified: time(file.updated_at.as_second().saturating_add(begun)),
        }
    }

    /// Of a file as a whole: its content's, and its metadata's tag.
    pub(super) fn of_file(file: &FileMetadata) -> Self {
        Self {
            other: Some(Self::of_metadata(file).etag),
            ..Self::of_content(file)
        }
    }

    /// Both as headers; the date only once it has passed.
    pub(super) fn headers(&self) -> HeaderMap {
        // Room for those of a whole answer.
        let mut headers = HeaderMap::with_capacity(12);
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            headers.insert(header::ETAG, etag);
        }
        if self.modified <= SystemTime::now()
            && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(self.modified))
        {
            headers.insert(header::LAST_MODIFIED, date);
        }
        headers
    }

    fn tags(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.etag.as_str()).chain(self.other.as_deref())
    }
}

/// A second since 1970 as HTTP can say it: from 1970 to the year 9999.
fn time(second: i64) -> SystemTime {
    const LAST: u64 = 253_402_300_799;
    let second = u64::try_from(second).unwrap_or_default().min(LAST);
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
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

    fn strongly_match(&self, file: &Validators) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => file.tags().any(|own| tags.iter().any(|tag| tag == own)),
        }
    }

    fn weakly_match(&self, file: &Validators) -> bool {
        let opaque = |tag: &str, own: &str| tag.strip_prefix("W/").unwrap_or(tag) == own;
        match self {
            Self::Any => true,
            Self::List(tags) => file.tags().any(|own| tags.iter().any(|tag| opaque(tag, own))),
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

/// Weighs the conditions of a GET or HEAD.
pub(super) fn weigh_read(headers: &HeaderMap, file: &Validators) -> Verdict {
    if !still_is(headers, file) {
        return Verdict::Failed;
    }
    match Tags::of(headers, &header::IF_NONE_MATCH) {
        Some(tags) if tags.weakly_match(file) => Verdict::NotModified,
        Some(_) => Verdict::Proceed,
        None if date(headers, &header::IF_MODIFIED_SINCE).is_some_and(|date| file.modified <= date) => {
            Verdict::NotModified
        }
        None => Verdict::Proceed,
    }
}

/// Whether the conditions of a change hold.
pub(super) fn weigh_change(headers: &HeaderMap, file: &Validators) -> bool {
    let none = Tags::of(headers, &header::IF_NONE_MATCH);
    still_is(headers, file) && !none.is_some_and(|tags| tags.weakly_match(file))
}

/// Whether a change has conditions at all.
pub(super) fn is_conditional(headers: &HeaderMap) -> bool {
    [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE]
        .iter()
        .any(|name| headers.contains_key(name))
}

/// If-Match or, only without it, If-Unmodified-Since.
fn still_is(headers: &HeaderMap, file: &Validators) -> bool {
    match Tags::of(headers, &header::IF_MATCH) {
        Some(tags) => tags.strongly_match(file),
        None => date(headers, &header::IF_UNMODIFIED_SINCE).is_none_or(|date| file.modified <= date),
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
mod tests;
