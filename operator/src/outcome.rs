//! What a reconcile ends in when nothing is wrong, and when the next one comes. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use kube::runtime::controller::Action;

/// What a reconcile ends in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// All is as wanted; only a change brings the next reconcile.
    Settled,
    /// Something is not there yet, or is looked at again after a while.
    Waiting {
        /// When to look again, if nothing changes before.
        after: Duration,
    },
}

impl From<Outcome> for Action {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Settled => Self::await_change(),
            Outcome::Waiting { after } => Self::requeue(after),
        }
    }
}

/// The wait before attempt `failures` + 1: doubles from `shortest` to `longest`, and is spread by up to a quarter so that
/// many elements that failed together do not come back together.
pub fn backoff(who: &str, failures: u32, shortest: Duration, longest: Duration) -> Duration {
    let doubled = shortest.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    spread(who, failures, doubled.min(longest))
}

/// `period`, longer by up to a quarter, always the same for the same `who` and `round`.
pub fn spread(who: &str, round: u32, period: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (who, round).hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % 256).unwrap_or_default();
    period + period / 1024 * share
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::backoff;

    #[test]
    fn backoff_doubles_to_its_limit_and_differs_between_elements() {
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        for (failures, least) in [(1, 1), (2, 2), (3, 4), (7, 60), (40, 60)] {
            let wait = backoff("a", failures, shortest, longest);
            assert!(
                wait >= Duration::from_secs(least) && wait <= Duration::from_secs(least) * 5 / 4,
                "{wait:?}"
            );
        }
        assert_ne!(backoff("a", 3, shortest, longest), backoff("b", 3, shortest, longest));
    }
}
