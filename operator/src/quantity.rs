//! Kubernetes quantities as numbers. Pure.

/// Whole bytes, as a CRD's size fields write them; `None` for anything else.
pub fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = split(text);
    let factor: u64 = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Whether two quantities are the same amount: the API server rewrites `1024Mi` as `1Gi` and `0.5` as `500m`.
pub fn same(left: &str, right: &str) -> bool {
    match (thousandths(left), thousandths(right)) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}

/// The amount in thousandths, exactly; `None` when the text is no quantity or finer than that.
fn thousandths(text: &str) -> Option<u128> {
    let (digits, unit) = split(text);
    let factor: u128 = match unit {
        "m" => 1,
        "" => 1_000,
        other => u128::from(bytes(&format!("1{other}"))?).checked_mul(1_000)?,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let joined = format!("{whole}{fraction}").parse::<u128>().ok()?.checked_mul(factor)?;
    (joined % scale == 0).then_some(joined / scale)
}

fn split(text: &str) -> (&str, &str) {
    let border = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    text.split_at(border)
}

#[cfg(test)]
mod tests {
    use super::{bytes, same};

    #[test]
    fn sizes_become_bytes() {
        for (text, expected) in [
            ("10Gi", Some(10_737_418_240)),
            ("512Mi", Some(536_870_912)),
            ("2k", Some(2_000)),
            ("7", Some(7)),
            ("1.5Gi", None),
            ("Gi", None),
            ("", None),
            ("10Zi", None),
            ("99999999999P", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn the_same_amount_is_recognised_however_it_is_written() {
        for (left, right) in [
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("2", "2000m"),
            ("1k", "1000"),
        ] {
            assert!(same(left, right), "{left} {right}");
        }
        for (left, right) in [("1Gi", "1G"), ("1", "1m"), ("a", "a")] {
            assert!(!same(left, right), "{left} {right}");
        }
    }
}
