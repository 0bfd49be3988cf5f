//! Whether what many clients saw of a file could have happened one after the other (Herlihy and Wing, "Linearizability", 1990).
//!
//! Each change under If-Match makes the next revision of a file, so the order of changes is known, and it is enough to see that no
//! revision was made twice, that nobody saw an older one than was already known when he asked, and that all was once asked for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use element_api::FileMetadata;
use uuid::Uuid;

/// What a client saw, and when it asked and knew, since the beginning of the run.
#[derive(Clone, Debug)]
pub struct Event {
    start: Duration,
    end: Duration,
    seen: Seen,
}

/// See [`Event`]. The token is what the client wrote, and no two are the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Read.
    Value {
        /// The revision.
        revision: i64,
        /// What it says.
        token: Option<String>,
    },
    /// Changed.
    Swapped {
        /// The revision that was to be changed.
        expected: i64,
        /// The one that it became.
        revision: i64,
        /// What was written.
        token: String,
    },
    /// Refused, since the revision was another.
    Refused {
        /// The revision that was to be changed.
        expected: i64,
    },
    /// Not answered: it may have happened.
    Unknown {
        /// The revision that was to be changed.
        expected: i64,
        /// What was written.
        token: String,
    },
}

impl Seen {
    /// What a read saw.
    pub fn of(file: &FileMetadata) -> Self {
        Self::Value {
            revision: file.revision,
            token: file.description.clone(),
        }
    }

    /// The revision that is known to have been reached.
    const fn revision(&self) -> Option<i64> {
        match self {
            Self::Value { revision, .. } | Self::Swapped { revision, .. } => Some(*revision),
            Self::Refused { .. } | Self::Unknown { .. } => None,
        }
    }
}

impl Event {
    /// Something that was asked at `start` and is known now.
    pub fn now(began: Instant, start: Duration, seen: Seen) -> Self {
        Self {
            start,
            end: began.elapsed(),
            seen,
        }
    }
}

/// Events of several files.
#[derive(Debug, Default)]
pub struct History(BTreeMap<Uuid, Vec<Event>>);

impl History {
    /// Adds one.
    pub fn add(&mut self, id: Uuid, event: Event) {
        self.0.entry(id).or_default().push(event);
    }

    /// How many events there were, and what cannot have been.
    pub fn judge(&self) -> (usize, Vec<String>) {
        let mut wrong = Vec::new();
        for (id, events) in &self.0 {
            one_value_a_revision(events, &mut wrong);
            one_change_a_revision(events, &mut wrong);
            nothing_older(events, &mut wrong);
            refused_for_a_reason(events, &mut wrong);
            wrong
                .iter_mut()
                .filter(|text| !text.starts_with("file "))
                .for_each(|text| *text = format!("file {id}: {text}"));
        }
        (self.0.values().map(Vec::len).sum(), wrong)
    }
}

/// Everybody who saw a revision saw the same, and it was written by somebody who changed the revision before.
fn one_value_a_revision(events: &[Event], wrong: &mut Vec<String>) {
    let mut asked: BTreeMap<&str, i64> = BTreeMap::new();
    for event in events {
        if let Seen::Swapped { expected, token, .. } | Seen::Unknown { expected, token } = &event.seen {
            asked.insert(token, *expected);
        }
    }
    let mut values: BTreeMap<i64, Option<&str>> = BTreeMap::new();
    for event in events {
        let (revision, token) = match &event.seen {
            Seen::Value { revision, token } => (*revision, token.as_deref()),
            Seen::Swapped { revision, token, .. } => (*revision, Some(token.as_str())),
            Seen::Refused { .. } | Seen::Unknown { .. } => continue,
        };
        let first = *values.entry(revision).or_insert(token);
        if first != token {
            wrong.push(format!("revision {revision} was seen as {first:?} and as {token:?}"));
        }
        if let Some(token) = token
            && asked.get(token) != Some(&(revision - 1))
        {
            wrong.push(format!(
                "revision {revision} says {token:?}, which nobody wrote at {}",
                revision - 1
            ));
        }
    }
}

fn one_change_a_revision(events: &[Event], wrong: &mut Vec<String>) {
    let mut changed = BTreeMap::new();
    for event in events {
        if let Seen::Swapped {
            expected,
            revision,
            token,
        } = &event.seen
        {
            if *revision != expected + 1 {
                wrong.push(format!("a change of revision {expected} made revision {revision}"));
            }
            if let Some(other) = changed.insert(*expected, token) {
                wrong.push(format!("revision {expected} was changed by {other:?} and by {token:?}"));
            }
        }
    }
}

/// Whoever asks after somebody knew of a revision sees that one or a newer.
fn nothing_older(events: &[Event], wrong: &mut Vec<String>) {
    let mut known: Vec<(Duration, i64)> = events
        .iter()
        .filter_map(|event| Some((event.end, event.seen.revision()?)))
        .collect();
    known.sort_unstable();
    let mut newest = i64::MIN;
    for (_, revision) in &mut known {
        newest = newest.max(*revision);
        *revision = newest;
    }
    for event in events {
        let before = known.partition_point(|(end, _)| *end < event.start);
        let Some((_, known)) = before.checked_sub(1).and_then(|last| known.get(last)) else {
            continue;
        };
        let is_older = match &event.seen {
            Seen::Value { revision, .. } => revision < known,
            // It changed a revision that was there when it asked, or later.
            Seen::Swapped { expected, .. } => expected < known,
            Seen::Refused { .. } | Seen::Unknown { .. } => false,
        };
        if is_older {
            wrong.push(format!("{:?} though revision {known} was known before", event.seen));
        }
    }
}

/// A change is refused only when another one of the same revision was under way by then.
fn refused_for_a_reason(events: &[Event], wrong: &mut Vec<String>) {
    let mut first: BTreeMap<i64, Duration> = BTreeMap::new();
    for event in events {
        if let Seen::Swapped { expected, .. } | Seen::Unknown { expected, .. } = &event.seen {
            let start = first.entry(*expected).or_insert(event.start);
            *start = event.start.min(*start);
        }
    }
    for event in events {
        if let Seen::Refused { expected } = &event.seen
            && first.get(expected).is_none_or(|start| *start > event.end)
        {
            wrong.push(format!(
                "a change of revision {expected} was refused though nobody else had changed it"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(start: u64, end: u64, seen: Seen) -> Event {
        Event {
            start: Duration::from_millis(start),
            end: Duration::from_millis(end),
            seen,
        }
    }

    fn value(revision: i64, token: Option<&str>) -> Seen {
        Seen::Value {
            revision,
            token: token.map(str::to_owned),
        }
    }

    fn swapped(expected: i64, token: &str) -> Seen {
        Seen::Swapped {
            expected,
            revision: expected + 1,
            token: token.to_owned(),
        }
    }

    fn wrongs(events: Vec<Event>) -> usize {
        let mut history = History::default();
        events.into_iter().for_each(|event| history.add(Uuid::nil(), event));
        history.judge().1.len()
    }

    #[test]
    fn changes_one_after_the_other_are_right() {
        let unknown = Seen::Unknown {
            expected: 2,
            token: "b".to_owned(),
        };
        let events = vec![
            event(0, 1, value(1, None)),
            event(2, 5, swapped(1, "a")),
            event(3, 9, Seen::Refused { expected: 1 }),
            event(6, 7, unknown),
            event(8, 9, value(3, Some("b"))),
        ];
        assert_eq!(wrongs(events), 0);
    }

    #[test]
    fn lost_change_and_stale_read_are_wrong() {
        assert_eq!(
            wrongs(vec![event(0, 1, swapped(1, "a")), event(2, 3, value(1, None))]),
            1
        );
    }

    #[test]
    fn revision_changed_twice_is_wrong() {
        assert!(wrongs(vec![event(0, 9, swapped(1, "a")), event(0, 9, swapped(1, "b"))]) > 0);
    }

    #[test]
    fn value_nobody_wrote_is_wrong() {
        assert_eq!(wrongs(vec![event(0, 1, value(2, Some("x")))]), 1);
    }

    #[test]
    fn refusal_without_a_rival_is_wrong() {
        assert_eq!(wrongs(vec![event(0, 1, Seen::Refused { expected: 1 })]), 1);
    }
}
