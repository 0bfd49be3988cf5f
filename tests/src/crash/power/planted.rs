//! Faults that are planted in a recording, as a faulty element would have made it: the proof that power cuts find them.

use super::journal::Change;
use super::place;
use super::record::Recording;
use crate::crash::ledger::{Mark, Outcome};

/// What a faulty element would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// It never flushes folders with files in them.
    FolderFlush,
    /// It never flushes the content of files and of their attributes.
    DataFlush,
    /// It flushes neither while it recovers.
    RecoveryFlush,
    /// It answers before it flushes the folder of the file.
    EarlyAnswer,
    /// Whoever waits for the flush of a folder is served by the one that runs already.
    SharedFlush,
}

impl Recording {
    /// The same run by an element with this fault. Changes keep their positions, for flushes and marks name them.
    #[must_use]
    pub fn with(&self, planted: Planted) -> Self {
        let mut faulty = self.clone();
        match planted {
            Planted::FolderFlush => faulty.leave_out(|_, change| change.flushes_files_folder()),
            Planted::DataFlush => faulty.leave_out(|at, _| self.flushes_part(at)),
            Planted::RecoveryFlush => {
                let recoveries = self.recoveries();
                faulty.leave_out(|at, change| {
                    let flushes = change.flushes_files_folder() || self.flushes_part(at);
                    flushes && recoveries.iter().any(|recovery| recovery.contains(&at))
                });
            }
            Planted::EarlyAnswer => faulty.answer_early(),
            Planted::SharedFlush => {
                let flushes = (0..self.changes.len())
                    .rev()
                    .filter(|at| self.flushes_files_folder(*at));
                let left_out: Vec<usize> = flushes.step_by(2).collect();
                faulty.leave_out(|at, _| left_out.contains(&at));
            }
        }
        faulty
    }

    fn flushes_files_folder(&self, at: usize) -> bool {
        self.changes.get(at).is_some_and(Change::flushes_files_folder)
    }

    /// Whether content or attributes of a file are flushed, and not a note of the element's own that is made in the same place.
    fn flushes_part(&self, at: usize) -> bool {
        let Some(Change::Sync { path, .. }) = self.changes.get(at) else {
            return false;
        };
        let mut later = self.changes.iter().skip(at);
        let becomes = later.find_map(|change| match change {
            Change::Rename { from, to } if from == path => Some(to),
            _ => None,
        });
        place::is_part(becomes.unwrap_or(path))
    }

    fn leave_out(&mut self, is_left_out: impl Fn(usize, &Change) -> bool) {
        for (at, change) in self.changes.iter_mut().enumerate() {
            if is_left_out(at, change) {
                *change = Change::Nothing;
            }
        }
    }

    /// From each start but the first to what the element then said.
    fn recoveries(&self) -> Vec<std::ops::Range<usize>> {
        let starts = self.starts.iter().skip(1);
        let recovery = |start: &usize| {
            let rest = self.changes.iter().skip(*start);
            let length = rest.take_while(|change| !matches!(change, Change::Mark(_))).count();
            *start..start + length
        };
        starts.map(recovery).collect()
    }

    /// Each answer of a success takes the place of the flush before it, and the flush that of the answer.
    fn answer_early(&mut self) {
        let mut flush = None;
        for at in 0..self.changes.len() {
            match self.changes.get(at) {
                Some(Change::Mark(lines)) => {
                    let answer = lines.checked_sub(1).and_then(|line| self.marks.get(line));
                    let is_success = matches!(answer, Some(Mark::Ended(_, Outcome::Done(_))));
                    if let Some(flush) = flush.take().filter(|_| is_success) {
                        self.changes.swap(flush, at);
                    }
                }
                Some(change) if change.flushes_files_folder() => flush = Some(at),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use element_api::Mode;

    use super::*;
    use crate::crash::ledger::Intent;

    const FOLDER: &str = "storage/2026/11/22/09";

    fn sync(path: &str) -> Change {
        Change::Sync {
            path: path.into(),
            covers: 0,
        }
    }

    fn rename(name: &str) -> Change {
        Change::Rename {
            from: format!("storage/.artstore/tmp/{name}").into(),
            to: format!("{FOLDER}/{name}").into(),
        }
    }

    /// A create, and a recovery that flushes the folder once more.
    fn recording() -> Recording {
        let intent = Intent::Delete { name: "a".to_owned() };
        let found = Mark::Found {
            files: Vec::new(),
            mode: Mode::Edit,
        };
        Recording {
            name: "",
            changes: vec![
                Change::Mark(1),
                rename("a"),
                rename("a.attr.json"),
                sync(FOLDER),
                Change::Mark(2),
                sync(FOLDER),
                Change::Mark(3),
            ],
            marks: vec![
                Mark::Begun(intent.clone()),
                Mark::Ended(intent, Outcome::Done(None)),
                found,
            ],
            mode: Mode::Edit,
            starts: vec![0, 5],
        }
    }

    #[test]
    fn answer_comes_before_its_flush() {
        let faulty = recording().with(Planted::EarlyAnswer);
        assert_eq!(faulty.changes[3..6], [Change::Mark(2), sync(FOLDER), sync(FOLDER)]);
    }

    #[test]
    fn every_second_flush_of_a_folder_is_left_out_and_so_is_the_last() {
        let faulty = recording().with(Planted::SharedFlush);
        assert_eq!(faulty.changes[3], sync(FOLDER));
        assert_eq!(faulty.changes[5], Change::Nothing);
    }

    #[test]
    fn notes_of_the_element_are_no_files() {
        let mut recording = recording();
        recording.changes[0] = sync("storage/.artstore/tmp/a");
        assert!(recording.flushes_part(0));
        recording.changes[1] = Change::Rename {
            from: "storage/.artstore/tmp/a".into(),
            to: "storage/.artstore/mode.json".into(),
        };
        assert!(!recording.flushes_part(0));
    }

    #[test]
    fn flushes_are_left_out_of_recoveries_alone() {
        let faulty = recording().with(Planted::RecoveryFlush);
        assert_eq!(faulty.changes[3], sync(FOLDER));
        assert_eq!(faulty.changes[5], Change::Nothing);
    }
}
