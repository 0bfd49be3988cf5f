//! The Range header (RFC 9110, section 14): which bytes of a file a request asks for. Pure.

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// Ranges in one request, at the most. More of them cost more than the whole file would.
const MAX_RANGES: usize = 64;

/// Ranges this close are sent as one: a part's own head takes about as much.
const GAP: u64 = 128;

/// What part of a file is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    /// At least one range. None is empty, all lie within the file, no two touch. In the order asked for.
    Parts(Vec<Range<u64>>),
    /// No byte of the file is asked for, or far too many ranges.
    Unsatisfiable,
}

/// The parts of a file of `size` bytes that the request asks for. What is malformed asks for nothing special.
pub(super) fn wanted(headers: &HeaderMap, size: u64) -> Wanted {
    let mut values = headers.get_all(header::RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Wanted::Whole;
    };
    let Some((unit, set)) = value.to_str().ok().and_then(|text| text.split_once('=')) else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    match parts(set, size) {
        None => Wanted::Whole,
        Some(parts) if parts.is_empty() => Wanted::Unsatisfiable,
        // The last bytes of an empty file: all it has, and no range can say so.
        Some(_) if size == 0 => Wanted::Whole,
        Some(parts) => Wanted::Parts(parts),
    }
}

/// The satisfiable ranges of a set, those that touch joined; none of them when there are too many. None when the set is malformed.
fn parts(set: &str, size: u64) -> Option<Vec<Range<u64>>> {
    let mut parts = Vec::new();
    let mut count = 0;
    // A list may have empty elements.
    for text in set
        .split(',')
        .map(|text| text.trim_matches([' ', '\t']))
        .filter(|text| !text.is_empty())
    {
        let range = read(text, size)?;
        count += 1;
        if count <= MAX_RANGES
            && let Some(range) = range
        {
            join(&mut parts, range);
        }
    }
    match count {
        0 => None,
        1..=MAX_RANGES => Some(parts),
        _ => Some(Vec::new()),
    }
}

/// Adds a range, swallowing those it touches; the joined range stands where the first of them stood.
fn join(parts: &mut Vec<Range<u64>>, mut range: Range<u64>) {
    let mut place = parts.len();
    let mut at = 0;
    while let Some(part) = parts.get(at) {
        let touches = range.start <= part.end.saturating_add(GAP) && part.start <= range.end.saturating_add(GAP);
        if touches {
            range = range.start.min(part.start)..range.end.max(part.end);
            parts.remove(at);
            place = place.min(at);
            // What it has grown into may touch those before.
            at = 0;
        } else {
            at += 1;
        }
    }
    parts.insert(place.min(parts.len()), range);
}

/// One range-spec. The outer none: it is malformed. The inner: no byte of the file is in it.
fn read(text: &str, size: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = text.split_once('-')?;
    match (position(first)?, position(last)?) {
        (None, Some(count)) => Some(suffix(count, size)),
        (Some(first), None) => Some(between(first, u64::MAX, size)),
        (Some(first), Some(last)) if first <= last => Some(between(first, last, size)),
        _ => None,
    }
}

/// A number, or nothing; the outer none when it is neither. A number past the largest counts as the largest.
fn position(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

/// Satisfiable whatever the size, when it is for any byte (RFC 9110, section 14.1.2); of an empty file it is empty.
fn suffix(count: u64, size: u64) -> Option<Range<u64>> {
    (count > 0).then(|| size.saturating_sub(count)..size)
}

fn between(first: u64, last: u64, size: u64) -> Option<Range<u64>> {
    (first < size).then(|| first..last.saturating_add(1).min(size))
}

#[cfg(test)]
mod tests;
