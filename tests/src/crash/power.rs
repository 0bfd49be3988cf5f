//! Power cuts: from a record of every change a run made, the folders that a cut at any moment could leave; over each of them the
//! element starts and is checked against what it had acknowledged by then.
//!
//! Two file systems are modelled, both kinder to nobody than they must be. *Ordered*: as ext4 does, changes of names reach the disk
//! in the order they were made, and every flush takes all earlier ones along; content only by a flush of its own file. *Weak*: as
//! POSIX allows, a name is durable only by a flush of its folder, and whatever is not flushed may be there or not, each change on
//! its own. In both, content that was not flushed may be missing, torn or zero. (Pillai et al., "All File Systems Are Not Created
//! Equal", OSDI 2014.)

mod disk;
mod journal;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

pub use self::disk::{Disk, Model};
pub use self::journal::{Change, Journal};
use super::chance::Chance;
use super::check::{Findings, check};
use super::ledger::{Expectations, Ledger, Mark};
use super::report::{Options, Row, Tally, block_on, in_parallel};
use super::site::{Backend, World};
use super::tracer::Plan;
use super::workload::{FILES, MODES, SOME, Step, perform};

/// A run that was written down.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Every change, in order.
    pub changes: Vec<Change>,
    /// What was asked and promised.
    pub marks: Vec<Mark>,
    mode: &'static str,
}

/// A flush that a faulty element would leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Of folders with files in them.
    FolderFlush,
    /// Of the content of files and of their attributes.
    DataFlush,
}

/// One state to start over.
struct State {
    at: usize,
    model: Model,
    seed: u64,
    /// Whether the database is lost as well.
    without_database: bool,
}

/// Records the scripts on the embedded database, whose files are in the folder and so part of what a cut may harm.
pub fn record(world: &World) -> Result<Vec<Recording>> {
    [(FILES, "edit"), (MODES, "rw")]
        .iter()
        .map(|(steps, mode)| block_on(record_one(world, steps, mode)))
        .collect()
}

async fn record_one(world: &World, steps: &[Step], mode: &'static str) -> Result<Recording> {
    let mut site = world.site(Backend::Embedded)?;
    site.set("APP_MODE", mode);
    let journal = Arc::new(Journal::new(site.volume()));
    let ledger = Ledger::with(None, Some(Arc::clone(&journal)));
    // The second start goes through recovery and through what a stop has folded into the database.
    for steps in [steps, if mode == "edit" { SOME } else { &[] }] {
        let (element, _) = site.start_traced(Plan::Record(Arc::clone(&journal)), true).await?;
        let element = element.context("the element ended before it was recorded")?;
        ensure!(
            perform(steps, &element.api, &ledger).await?,
            "the element ended while it was recorded"
        );
        element.stop()?;
    }
    site.clear()?;
    Ok(Recording {
        changes: journal.take(),
        marks: ledger.marks(),
        mode,
    })
}

impl Recording {
    /// The same run by an element that leaves flushes out.
    pub fn with(&self, planted: Planted) -> Self {
        let is_left_out = |change: &Change| {
            let Change::Sync { path, .. } = change else {
                return false;
            };
            let path = path.to_string_lossy();
            let is_folder = path.starts_with("storage/2") && path.split('/').count() == 5;
            let is_file = path.contains("/tmp/") || path.split('/').count() > 5;
            match planted {
                Planted::FolderFlush => is_folder,
                Planted::DataFlush => is_file,
            }
        };
        // Marks and positions must keep their places.
        let changes = self.changes.iter().map(|change| {
            if is_left_out(change) {
                Change::Nothing
            } else {
                change.clone()
            }
        });
        Self {
            changes: changes.collect(),
            ..self.clone()
        }
    }
}

/// Starts over `options.states` states of the recordings.
pub fn run(world: &World, options: &Options, recordings: &[Recording]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let changes: usize = recordings.iter().map(|recording| recording.changes.len()).sum();
    for recording in recordings {
        for model in [Model::Ordered, Model::Weak] {
            let share = options.states * recording.changes.len() / changes.max(1) / 2;
            let states = states(recording, model, share.max(1), options.seed);
            let name = format!("power cuts, {model:?} model");
            let tallies = in_parallel(&name, options, &states, |state| {
                Box::pin(start_over(world, recording, state))
            })?;
            let mut row = Row::new("power", format!("{model:?} file system, mode {}", recording.mode));
            tallies.into_iter().for_each(|tally| row.add(tally));
            rows.push(row);
        }
    }
    Ok(rows)
}

/// As many states as are wanted, no two the same: moments spread evenly, at each the extremes first and then choices.
fn states(recording: &Recording, model: Model, wanted: usize, seed: u64) -> Vec<State> {
    let (mut states, mut seen) = (Vec::new(), HashSet::new());
    let mut chance = Chance::new(seed);
    let moments = recording.changes.len() + 1;
    for round in 0..64_usize {
        let step = (moments / wanted).max(1);
        let mut disk = Disk::default();
        for at in 0..moments {
            if at > 0
                && let Some(change) = recording.changes.get(at - 1)
            {
                disk.apply(at - 1, change);
            }
            if states.len() >= wanted {
                return states;
            }
            if (at + round) % step != 0 {
                continue;
            }
            let seed = match round {
                0 => Disk::NOTHING,
                1 => Disk::EVERYTHING,
                _ => chance.next(),
            };
            let promised = recording.promised(at);
            if seen.insert((disk.after_cut(model, seed).fingerprint(), promised)) {
                let without_database = chance.once_in(6);
                states.push(State {
                    at,
                    model,
                    seed,
                    without_database,
                });
            }
        }
    }
    states
}

impl Recording {
    /// How many lines of the ledger were written before change `at`.
    fn promised(&self, at: usize) -> usize {
        let mut before = self.changes.iter().take(at).rev();
        before
            .find_map(|change| match change {
                Change::Mark(lines) => Some(*lines),
                _ => None,
            })
            .unwrap_or_default()
    }

    fn disk(&self, at: usize) -> Disk {
        let mut disk = Disk::default();
        for (index, change) in self.changes.iter().take(at).enumerate() {
            disk.apply(index, change);
        }
        disk
    }
}

async fn start_over(world: &World, recording: &Recording, state: &State) -> Result<Tally> {
    let mut site = world.site(Backend::Embedded)?;
    site.set("APP_MODE", recording.mode);
    let left = recording.disk(state.at).after_cut(state.model, state.seed);
    left.write(&site.volume())?;
    if state.without_database {
        remove_database(&site.root())?;
    }
    let marks = recording.marks.get(..recording.promised(state.at)).unwrap_or_default();
    let verdict = async {
        let element = site.start().await?;
        let findings = check(
            &element.api,
            &site.root(),
            &Expectations::of(marks),
            state.without_database,
        )
        .await?;
        element.kill()?;
        Ok::<_, anyhow::Error>(findings)
    };
    let findings = verdict
        .await
        .unwrap_or_else(|error| Findings(vec![format!("{error:#}")]));
    let State { at, model, seed, .. } = state;
    let last = recording.changes.get(at.saturating_sub(1));
    let place = format!("{model:?} after change {at} ({last:?}), seed {seed}");
    site.clear()?;
    Ok(Tally::new(true, &findings, &place))
}

fn remove_database(root: &Path) -> Result<()> {
    for name in ["element.db", "element.db-wal", "element.db-shm", "element.db-journal"] {
        match std::fs::remove_file(root.join(".artstore").join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
