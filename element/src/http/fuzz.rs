//! Bytes from outside into the parsers of requests, for fuzzing. What they make of them must hold whatever comes.

use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use futures::executor::block_on;
use futures::stream;
use serde_json::{Map, Value, json};

use super::condition::{Validators, range_applies, weigh_change, weigh_read};
use super::disposition::{PartNames, attachment};
use super::error::ApiError;
use super::files;
use super::form::{FILE, Form};
use super::multipart::Parts;
use super::range::{Wanted, wanted};
use super::search::read;
use crate::index::Search;

/// Range: eight bytes of size, then the header.
pub fn range(bytes: &[u8]) {
    let Some((size, value)) = bytes.split_first_chunk() else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    let asked = HeaderMap::from_iter([(header::RANGE, value)]);
    if let Wanted::Parts(parts) = wanted(&asked, size) {
        assert!(!parts.is_empty());
        assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
        let length: u128 = parts.iter().map(|part| u128::from(part.end - part.start)).sum();
        assert!(length <= u128::from(size), "no byte is sent twice");
    }
}

/// If-Match, If-None-Match, If-Range and the dates: one value for each of them.
pub fn conditions(bytes: &[u8]) {
    let file = Validators {
        etag: "\"abc\"".to_owned(),
        other: Some("\"7\"".to_owned()),
        modified: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
    };
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let names: [HeaderName; 5] = [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ];
    for name in names {
        let headers = HeaderMap::from_iter([(name, value.clone())]);
        let (_verdict, holds) = (weigh_read(&headers, &file), weigh_change(&headers, &file));
        let names_it = |tag: &[u8]| bytes.windows(tag.len()).any(|window| window == tag);
        let must_be_named = headers.contains_key(header::IF_MATCH) && bytes.trim_ascii() != b"*";
        assert!(!holds || !must_be_named || names_it(b"\"abc\"") || names_it(b"\"7\""));
        let _applies = range_applies(&headers, &file);
    }
}

/// The Content-Disposition of a form's part, and the one that offers what it names.
pub fn disposition(bytes: &[u8]) {
    let Some(names) = PartNames::read(bytes) else { return };
    let header = attachment(&names.filename.unwrap_or_default());
    assert!(header.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{header:?}");
    let read = PartNames::read(header.replacen("attachment", "form-data", 1).as_bytes());
    let offered = read.and_then(|names| names.filename).unwrap_or_default();
    assert!(!offered.is_empty() && !offered.contains(['/', '\\']), "{offered:?}");
}

/// A whole form, in pieces as long as its first byte says.
pub fn multipart(bytes: &[u8]) {
    let Some((size, body)) = bytes.split_first() else {
        return;
    };
    let kind = HeaderValue::from_static("multipart/form-data; boundary=XX");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
    let pieces: Vec<_> = body
        .chunks(usize::from(*size).max(1))
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    let Ok(parts) = Parts::new(&headers, Body::from_stream(stream::iter(pieces))) else {
        return;
    };
    if let Ok(content) = block_on(form(parts)) {
        assert!(content <= body.len());
    }
}

async fn form(mut parts: Parts) -> Result<usize, ApiError> {
    let (mut form, mut content) = (Form::default(), 0);
    while let Some(mut part) = parts.next().await? {
        if part.name != FILE {
            form.field(part).await?;
            continue;
        }
        form.file(&part)?;
        while let Some(chunk) = part.chunk().await? {
            content += chunk.len();
        }
    }
    Ok(content)
}

/// A media type with its boundary.
pub fn content_type(bytes: &[u8]) {
    if let Ok(kind) = HeaderValue::from_bytes(bytes) {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        let _either = Parts::new(&headers, Body::empty());
    }
}

/// One field of a form: a line with its name, then its text.
pub fn field(bytes: &[u8]) {
    let Some((name, text)) = str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) else {
        return;
    };
    let mut form = Form::default();
    if form.set(name, text.to_owned()).is_ok() {
        let checksum = form.details.checksum.unwrap_or_default();
        assert!(
            checksum
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        );
    }
}

/// A JSON merge patch: what was read says all that the document said, and nothing else.
pub fn patch(bytes: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let Ok(read) = files::patch(document.clone()) else {
        return;
    };
    assert!(!read.replace_metadata || read.metadata.is_none());
    let values = if read.replace_metadata {
        Some(Value::Null)
    } else {
        read.metadata.map(|values| json!(values))
    };
    let members = [
        ("description", read.description.map(Value::from)),
        ("version", read.version.map(Value::from)),
        ("tags", read.tags.map(Value::from)),
        ("metadata", values),
    ];
    let written: Map<_, _> = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    let mut expected = document;
    if let Some(tags @ Value::Null) = expected.get_mut("tags") {
        // To remove all tags and to have none is the same.
        *tags = json!([]);
    }
    assert_eq!(Value::Object(written), expected);
}

/// The query of a search: its bounds hold, and a cursor that was read is written alike.
pub fn query(bytes: &[u8]) {
    let Ok(query) = str::from_utf8(bytes) else { return };
    let Ok(search) = read(query) else { return };
    assert!((1..=1000).contains(&search.limit));
    assert!(search.check_words().is_ok() && search.check_cursor().is_ok());
    assert!(!search.q.is_some_and(|q| q.contains('\0')));
    if let Some(cursor) = search.cursor {
        assert_eq!(cursor.to_string().parse().ok(), Some(cursor));
    }
}

/// A cursor alone.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let search = Search {
        cursor: text.parse().ok(),
        ..Search::default()
    };
    if let Some(cursor) = search.cursor {
        assert_eq!(cursor.to_string().parse().ok(), Some(cursor));
    }
}
