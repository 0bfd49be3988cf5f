//! Range sets as the standard reads them, and whatever else a client may send.

#![allow(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]

use axum::http::{HeaderMap, HeaderValue, header};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, proptest};

use super::{GAP, MAX_RANGES, Wanted, wanted};

fn ask(range: &str, size: u64) -> Wanted {
    wanted(
        &HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(range).unwrap())]),
        size,
    )
}

fn part(range: std::ops::Range<u64>) -> Wanted {
    Wanted::Parts(vec![range])
}

#[test]
fn one_range_is_read_as_the_standard_says() {
    use Wanted::{Unsatisfiable, Whole};
    for (range, size, expected) in [
        ("bytes=0-0", 10, part(0..1)),
        ("bytes=0-", 10, part(0..10)),
        ("bytes=5-7", 10, part(5..8)),
        ("bytes=5-700", 10, part(5..10)),
        ("bytes=-3", 10, part(7..10)),
        ("bytes=-30", 10, part(0..10)),
        ("Bytes=9-9", 10, part(9..10)),
        ("bytes=10-", 10, Unsatisfiable),
        ("bytes=-0", 10, Unsatisfiable),
        ("bytes=0-", 0, Unsatisfiable),
        ("bytes=-5", 0, Whole),
        ("bytes=0-,-5", 0, Whole),
        ("bytes=-0", 0, Unsatisfiable),
        ("bytes=99999999999999999999-", 10, Unsatisfiable),
        ("bytes=0-99999999999999999999", 10, part(0..10)),
        ("bytes=7-5", 10, Whole),
        ("bytes=-", 10, Whole),
        ("bytes=a-b", 10, Whole),
        ("bytes=+1-2", 10, Whole),
        ("bytes=1 - 2", 10, Whole),
        ("bytes=1-2-3", 10, Whole),
        ("bytes=", 10, Whole),
        ("bytes", 10, Whole),
        ("lines=0-1", 10, Whole),
    ] {
        assert_eq!(ask(range, size), expected, "{range} of {size}");
    }
}

#[test]
fn several_ranges_keep_their_order_and_those_that_touch_are_one() {
    for (range, expected) in [
        ("bytes=0-1,5000-5001", vec![0..2, 5000..5002]),
        ("bytes=5000-5001 ,\t0-1", vec![5000..5002, 0..2]),
        ("bytes=,0-1,,-10,", vec![0..2, 9990..10_000]),
        ("bytes=0-1,2-3", vec![0..4]),
        ("bytes=0-1,100-200", vec![0..201]),
        ("bytes=0-5000,100-200,50-9999", vec![0..10_000]),
        ("bytes=0-1,5000-5001,90-4900", vec![0..5002]),
        ("bytes=5000-5001,0-1,90-4900", vec![0..5002]),
        (
            "bytes=8000-8001,0-1,5000-5001,4950-4960",
            vec![8000..8002, 0..2, 4950..5002],
        ),
        ("bytes=0-1,10000-20000", vec![0..2]),
        ("bytes=-0,7-7", vec![7..8]),
    ] {
        assert_eq!(ask(range, 10_000), Wanted::Parts(expected), "{range}");
    }
    for range in ["bytes=10000-,20000-", "bytes=-0,-0"] {
        assert_eq!(ask(range, 10_000), Wanted::Unsatisfiable, "{range}");
    }
    for range in ["bytes=0-1,x", "bytes=0-1,5-2", "bytes=,", "bytes=0-1;5-6"] {
        assert_eq!(ask(range, 10_000), Wanted::Whole, "{range}");
    }
}

#[test]
fn too_many_ranges_are_refused() {
    let set = |count: u64| {
        (0..count)
            .map(|at| format!("{0}-{0}", at * 1000))
            .collect::<Vec<_>>()
            .join(",")
    };
    let Wanted::Parts(parts) = ask(&format!("bytes={}", set(MAX_RANGES as u64)), u64::MAX) else {
        panic!("so many are allowed");
    };
    assert_eq!(parts.len(), MAX_RANGES);
    let one_more = format!("bytes={}", set(MAX_RANGES as u64 + 1));
    assert_eq!(ask(&one_more, u64::MAX), Wanted::Unsatisfiable);
}

#[test]
fn two_headers_ask_for_the_whole() {
    let value = HeaderValue::from_static("bytes=0-1");
    let mut headers = HeaderMap::new();
    headers.append(header::RANGE, value.clone());
    headers.append(header::RANGE, value);
    assert_eq!(wanted(&headers, 10), Wanted::Whole);
}

proptest! {
    /// Whatever is asked for: each byte is sent once at the most, and none that was neither asked for nor lies in a small gap.
    #[test]
    fn parts_are_the_bytes_asked_for(asked in vec((0_u64..3000, 0_u64..400), 1..20), size in 0_u64..3000) {
        let set: Vec<String> = asked.iter().map(|(first, length)| format!("{first}-{}", first + length)).collect();
        let wanted = ask(&format!("bytes={}", set.join(",")), size);
        let inside = |at: u64| asked.iter().any(|(first, length)| (*first..=first + length).contains(&at));
        let parts = match wanted {
            Wanted::Parts(parts) => parts,
            Wanted::Unsatisfiable => Vec::new(),
            Wanted::Whole => panic!("the set is well-formed"),
        };
        for at in 0..size {
            let holders = parts.iter().filter(|part| part.contains(&at)).count();
            prop_assert!(holders <= 1, "{at} is sent {holders} times");
            prop_assert!(holders == 1 || !inside(at), "{at} is left out");
            let near = asked.iter().any(|(first, length)| at + GAP >= *first && at <= first + length + GAP);
            prop_assert!(holders == 0 || near, "{at} was not asked for");
        }
        prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
    }

    #[test]
    fn whatever_is_sent_parts_lie_within_the_file(bytes in vec(any::<u8>(), 0..200), size in any::<u64>()) {
        for start in [&b"bytes="[..], b""] {
            let Ok(value) = HeaderValue::from_bytes(&[start, &bytes].concat()) else { continue };
            let wanted = wanted(&HeaderMap::from_iter([(header::RANGE, value)]), size);
            if let Wanted::Parts(parts) = wanted {
                prop_assert!(!parts.is_empty() && parts.len() <= MAX_RANGES);
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
            }
        }
    }

    #[test]
    fn sets_of_the_right_letters_never_panic(set in "[0-9, \t-]{0,300}", size in any::<u64>()) {
        if let Wanted::Parts(parts) = ask(&format!("bytes={set}"), size) {
            prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
        }
    }
}
