//! Values as people write them, and what they do not get away with.

use std::time::Duration;

use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Value, parse_duration, parse_size, without_userinfo};

#[test]
fn sizes_are_read_in_both_bases() {
    for (text, bytes) in [
        ("1", 1),
        ("1024", 1024),
        ("500M", 500_000_000),
        ("10Gi", 10_737_418_240),
        ("2KiB", 2048),
        ("1k", 1000),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
}

#[test]
fn bad_sizes_are_refused() {
    for text in [
        "",
        "Gi",
        "-1",
        "1.5Gi",
        "10 Gi",
        "10gi",
        "1X",
        "10GiBBB",
        "10BB",
        "10BGi",
        "B",
        "0",
        "99999999999Ti",
        "18446744073709551615",
    ] {
        assert!(parse_size(text).is_err(), "{text}");
    }
}

#[test]
fn durations_are_read_and_bad_ones_refused() {
    assert_eq!(parse_duration("5s"), Ok(Duration::from_secs(5)));
    assert_eq!(parse_duration("30"), Ok(Duration::from_secs(30)));
    assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
    for text in ["", "s", "-5s", "5 s", "5d", "1.5s", "99999999999999999999s"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn empty_value_is_an_error_that_names_the_variable() {
    let error = Value::new("DB_HOST", Some(" ".to_owned())).unwrap_err();
    assert!(error.to_string().contains("DB_HOST"), "{error}");
}

#[test]
fn number_outside_its_bounds_is_refused_with_them() {
    let error = Value::new("DB_PORT", Some("70000".to_owned()))
        .unwrap()
        .number::<u32>(1, 65_535)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "DB_PORT has a bad value \"70000\": use a whole number from 1 to 65535"
    );
}

#[test]
fn what_stands_before_an_at_is_not_shown() {
    for (text, shown) in [
        ("http://al:x@host/a", "http://***@host/a"),
        ("http://al:x@y/z@host", "http://***@host"),
        ("redis+tls://:x@host", "redis+tls://***@host"),
        ("al:x@host://a", "***@host://a"),
        ("x y://z@host", "***@host"),
        ("http:al:x@host", "***@host"),
        ("a@", "***@"),
        ("host:80/a", "host:80/a"),
        ("", ""),
    ] {
        assert_eq!(without_userinfo(text), shown, "{text}");
    }
}

proptest! {
    /// Every size that is written as the help says is read as just that many bytes.
    #[test]
    fn written_sizes_are_read_exactly(number in prop_oneof![1_u64..100_000, any::<u64>()], unit in 0_usize..9, byte in any::<bool>()) {
        let units: [(&str, u64); 9] = [
            ("", 1),
            ("k", 1_000),
            ("M", 1_000_000),
            ("G", 1_000_000_000),
            ("T", 1_000_000_000_000),
            ("Ki", 1 << 10),
            ("Mi", 1 << 20),
            ("Gi", 1 << 30),
            ("Ti", 1 << 40),
        ];
        let (unit, factor) = units[unit];
        let bytes = u128::from(number) * u128::from(factor);
        let read = parse_size(&format!("{number}{unit}{}", if byte { "B" } else { "" }));
        if (1..=i64::MAX as u128).contains(&bytes) {
            prop_assert_eq!(read.map(u128::from), Ok(bytes));
        } else {
            prop_assert!(read.is_err());
        }
    }

    #[test]
    fn any_text_is_a_size_or_refused(text in "[0-9]{0,22}[kKMGTiB. -]{0,4}|\\PC{0,20}") {
        if let Ok(bytes) = parse_size(&text) {
            let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
            let number: u64 = digits.parse().unwrap();
            prop_assert!(text.len() - digits.len() <= 3, "{text}");
            prop_assert!((1..=i64::MAX as u64).contains(&bytes) && bytes % number == 0, "{text} is no {bytes}");
        }
    }

    #[test]
    fn written_durations_are_read_exactly(number in prop_oneof![0_u64..100_000, any::<u64>()], unit in 0_usize..5) {
        let (unit, factor) = [("ms", 1_u64), ("", 1_000), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)][unit];
        let read = parse_duration(&format!("{number}{unit}"));
        prop_assert_eq!(read.ok(), number.checked_mul(factor).map(Duration::from_millis));
    }

    #[test]
    fn any_text_is_a_duration_or_refused(text in "[0-9]{0,22}[smh. -]{0,3}|\\PC{0,20}") {
        if parse_duration(&text).is_ok() {
            let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
            prop_assert!(unit.len() < text.len() && ["", "ms", "s", "m", "h"].contains(&unit), "{text}");
        }
    }

    /// Whatever the password is, nothing of it is left.
    #[test]
    fn userinfo_is_never_shown(user in "[a-z]{0,5}", password in "\\PC{1,20}", host in "[a-z.]{1,10}(:[0-9]{1,4})?(/[a-z]{0,5})?") {
        let shown = without_userinfo(&format!("https://{user}:{password}@{host}"));
        prop_assert_eq!(shown, format!("https://***@{host}"));
    }
}
