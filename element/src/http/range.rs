//! The Range header (RFC 9110, section 14): one range of bytes. A request for several gets the whole file, as the standard allows.

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// What part of a file is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    /// Not empty, and within the file.
    Part(Range<u64>),
    /// No byte of the file is asked for.
    Unsatisfiable,
}

/// The part of a file of `size` bytes that the request asks for. What is malformed asks for nothing special.
pub(super) fn wanted(headers: &HeaderMap, size: u64) -> Wanted {
    let mut values = headers.get_all(header::RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Wanted::Whole;
    };
    let Some((unit, set)) = value.to_str().ok().and_then(|text| text.split_once('=')) else {
        return Wanted::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Wanted::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else {
        return Wanted::Whole;
    };
    match (position(first), position(last)) {
        (Some(Bound::None), Some(Bound::At(count))) => suffix(count, size),
        (Some(Bound::At(first)), Some(Bound::None)) => between(first, u64::MAX, size),
        (Some(Bound::At(first)), Some(Bound::At(last))) if first <= last => between(first, last, size),
        _ => Wanted::Whole,
    }
}

enum Bound {
    None,
    At(u64),
}

/// A number, or nothing; none when it is neither. A number past the largest counts as the largest.
fn position(text: &str) -> Option<Bound> {
    if text.is_empty() {
        return Some(Bound::None);
    }
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| Bound::At(text.parse().unwrap_or(u64::MAX)))
}

fn suffix(count: u64, size: u64) -> Wanted {
    if count == 0 || size == 0 {
        Wanted::Unsatisfiable
    } else {
        Wanted::Part(size.saturating_sub(count)..size)
    }
}

fn between(first: u64, last: u64, size: u64) -> Wanted {
    if first >= size {
        Wanted::Unsatisfiable
    } else {
        Wanted::Part(first..last.saturating_add(1).min(size))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};
    use proptest::prelude::{any, proptest};

    use super::{Wanted, wanted};

    fn ask(range: &str, size: u64) -> Wanted {
        wanted(
            &HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(range).unwrap())]),
            size,
        )
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        use Wanted::{Part, Unsatisfiable, Whole};
        for (range, size, expected) in [
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=0-", 10, Part(0..10)),
            ("bytes=5-7", 10, Part(5..8)),
            ("bytes=5-700", 10, Part(5..10)),
            ("bytes=-3", 10, Part(7..10)),
            ("bytes=-30", 10, Part(0..10)),
            ("Bytes=9-9", 10, Part(9..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Unsatisfiable),
            ("bytes=99999999999999999999-", 10, Unsatisfiable),
            ("bytes=0-99999999999999999999", 10, Part(0..10)),
            ("bytes=7-5", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
        ] {
            assert_eq!(ask(range, size), expected, "{range} of {size}");
        }
    }

    proptest! {
        #[test]
        fn part_always_lies_within_the_file(first in any::<u64>(), last in any::<u64>(), size in any::<u64>()) {
            for range in [format!("bytes={first}-{last}"), format!("bytes={first}-"), format!("bytes=-{last}")] {
                if let Wanted::Part(part) = ask(&range, size) {
                    assert!(part.start < part.end && part.end <= size, "{range} of {size}: {part:?}");
                }
            }
        }
    }
}
