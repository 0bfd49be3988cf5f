//! Capacity: how full an element is, and the words for it.

use serde::{Deserialize, Serialize};

/// How full an element is, in words. Ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum CapacityStatus {
    /// Room enough.
    Ok,
    /// Less than the warning threshold is free.
    Warning,
    /// Less than the critical threshold is free.
    Critical,
    /// Less than the full threshold is free: new files are refused.
    Full,
}

/// The free bytes below which each status begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Thresholds {
    /// Below this many free bytes: warning.
    pub warning: u64,
    /// Below this many free bytes: critical.
    pub critical: u64,
    /// Below this many free bytes: full.
    pub full: u64,
}

/// The answer of `GET /api/v1/capacity`. Sizes are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Capacity {
    /// What the element may hold in all.
    pub total_bytes: u64,
    /// What its files take, uploads in progress included.
    pub used_bytes: u64,
    /// What may still be stored.
    pub free_bytes: u64,
    /// `used_bytes` as a percentage of `total_bytes`, one decimal.
    pub percent: f64,
    /// The same in a word.
    pub status: CapacityStatus,
    /// Where the words change.
    pub thresholds: Thresholds,
}

impl CapacityStatus {
    /// The status as users read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Full => "full",
        }
    }
}

/// The share of the total below which each status begins, percent free.
const WARNING_PERCENT: u64 = 15;
const CRITICAL_PERCENT: u64 = 8;
const FULL_PERCENT: u64 = 2;

/// Of a volume up to this size no status but `ok` takes more than a tenth.
const SMALL_VOLUME: u64 = 20_000_000_000;
const MOST_OF_A_SMALL_VOLUME_PERCENT: u64 = 10;

impl Thresholds {
    /// The thresholds for a volume of `total` bytes: shares of it, so that a small volume is not "full" when it is nearly empty.
    pub const fn for_total(total: u64) -> Self {
        let warning = if total <= SMALL_VOLUME {
            MOST_OF_A_SMALL_VOLUME_PERCENT
        } else {
            WARNING_PERCENT
        };
        Self {
            warning: total / 100 * warning,
            critical: total / 100 * CRITICAL_PERCENT,
            full: total / 100 * FULL_PERCENT,
        }
    }

    /// The status at `free` bytes.
    pub const fn status(&self, free: u64) -> CapacityStatus {
        if free <= self.full {
            CapacityStatus::Full
        } else if free < self.critical {
            CapacityStatus::Critical
        } else if free < self.warning {
            CapacityStatus::Warning
        } else {
            CapacityStatus::Ok
        }
    }
}

impl Capacity {
    /// The capacity of an element that may hold `total` bytes, holds `used` and can store `free` more.
    pub fn new(total: u64, used: u64, free: u64) -> Self {
        let thresholds = Thresholds::for_total(total);
        let percent = if total == 0 {
            100.0
        } else {
            (used as f64 / total as f64 * 1000.0).round() / 10.0
        };
        Self {
            total_bytes: total,
            used_bytes: used,
            free_bytes: free,
            percent,
            status: thresholds.status(free),
            thresholds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Capacity, CapacityStatus};

    const MIB: u64 = 1 << 20;

    #[test]
    fn status_follows_the_share_of_free_bytes() {
        for (total, warning_percent) in [
            (100 * MIB, 10),
            (10_240 * MIB, 10),
            (102_400 * MIB, 15),
            (10_485_760 * MIB, 15),
        ] {
            for (free_percent, expected) in [
                (100, CapacityStatus::Ok),
                (warning_percent + 1, CapacityStatus::Ok),
                (warning_percent - 1, CapacityStatus::Warning),
                (7, CapacityStatus::Critical),
                (1, CapacityStatus::Full),
                (0, CapacityStatus::Full),
            ] {
                let free = total / 100 * free_percent;
                assert_eq!(
                    Capacity::new(total, total - free, free).status,
                    expected,
                    "{free} of {total}"
                );
            }
        }
    }

    #[test]
    fn empty_small_volume_is_ok() {
        assert_eq!(Capacity::new(10 * MIB, 0, 10 * MIB).status, CapacityStatus::Ok);
    }

    #[test]
    fn no_volume_is_full() {
        let capacity = Capacity::new(0, 0, 0);
        assert_eq!(capacity.status, CapacityStatus::Full);
        assert!((capacity.percent - 100.0).abs() < f64::EPSILON);
    }
}
