//! Power cuts: from a record of every change a run made, the folders that a cut at any moment could leave; over each of them the
//! element starts and is checked against what it had acknowledged by then.
//!
//! Two file systems are modelled. *Ordered* is nearly ext4: changes of names reach the disk in the order they were made, and every
//! flush takes all earlier ones along, which is kinder than ext4 where a flush has no metadata to write; content only by a flush of
//! its own file. *Weak*: as POSIX allows, a name is durable only by a flush of its folder, and whatever is not flushed may be there
//! or not, each change on its own. In both, content that was not flushed may be missing, torn or zero. (Pillai et al., "All File
//! Systems Are Not Created Equal", OSDI 2014.)

mod disk;
mod journal;
mod place;
mod planted;
mod record;

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use anyhow::Result;

pub use self::disk::{Disk, Model};
pub use self::journal::{Change, Journal};
pub use self::planted::Planted;
pub use self::record::{Recording, record};
use super::chance::Chance;
use super::check::{Findings, check};
use super::ledger::Expectations;
use super::report::{Options, Row, Tally, in_parallel, rows};
use super::site::{Backend, World};

/// Moments before the first promise get one state in so many: nothing can be lost there, only a start fail.
const FIRST_START: usize = 12;

/// How often all moments are gone through for states that no other moment has, at the most.
const ROUNDS: usize = 64;

/// One state to start over.
struct State<'a> {
    recording: &'a Recording,
    at: usize,
    model: Model,
    seed: u64,
    /// Whether the database is lost as well.
    without_database: bool,
}

/// Starts over `options.states` states of the recordings, to each as many as it has changes.
pub fn run(world: &World, options: &Options, recordings: &[Recording]) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    let changes: usize = recordings.iter().map(|recording| recording.changes.len()).sum();
    for recording in recordings {
        let share = options.states * recording.changes.len() / changes.max(1) / 2;
        let (first, last) = (recording.first_promise(), recording.changes.len() + 1);
        for model in [Model::Ordered, Model::Weak] {
            let early = (share / FIRST_START).max(1);
            all.extend(states(recording, model, 0..first, early, options.seed));
            let late = share.saturating_sub(early).max(1);
            all.extend(states(recording, model, first..last, late, options.seed));
        }
    }
    let tallies = in_parallel("power cuts", options, &all, |state| Box::pin(start_over(world, state)))?;
    Ok(rows("power", tallies))
}

/// As many states as are wanted, no two the same: up to half of them right after a promise, when nothing that was not flushed is
/// there; then moments spread evenly, and by turns the two extremes and two choices.
fn states(recording: &Recording, model: Model, moments: Range<usize>, wanted: usize, seed: u64) -> Vec<State<'_>> {
    let step = (moments.len() / wanted).max(1);
    let mut choice = Choice {
        recording,
        model,
        wanted,
        states: Vec::new(),
        seen: HashSet::new(),
        chance: Chance::new(seed),
    };
    let promises = recording.promises();
    let (all, half) = (promises.len(), wanted / 2);
    let told: HashSet<usize> = promises
        .into_iter()
        .enumerate()
        .filter(|(number, _)| (number + 1) * half / all > number * half / all)
        .map(|(_, at)| at)
        .collect();
    choice.go_through(moments.clone(), |_, at, _| told.contains(&at).then_some(Disk::NOTHING));
    for round in 0..ROUNDS {
        choice.go_through(moments.clone(), |number, _, chance| {
            let is_due = (number + round) % step == 0;
            is_due.then(|| match (number / step + round) % 4 {
                0 => Disk::NOTHING,
                1 => Disk::EVERYTHING,
                _ => chance.next(),
            })
        });
    }
    choice.states
}

/// Choosing states of one recording.
struct Choice<'a> {
    recording: &'a Recording,
    model: Model,
    wanted: usize,
    states: Vec<State<'a>>,
    /// What is there, and how much was promised.
    seen: HashSet<(u64, usize)>,
    chance: Chance,
}

impl Choice<'_> {
    /// Takes those moments for which `pick` has a seed, until there are enough states. It is told the number of the moment, and
    /// the changes before it.
    fn go_through(&mut self, moments: Range<usize>, pick: impl Fn(usize, usize, &mut Chance) -> Option<u64>) {
        let mut disk = self.recording.disk(moments.start);
        for (number, at) in moments.enumerate() {
            if self.states.len() >= self.wanted {
                return;
            }
            if number > 0
                && let Some(change) = self.recording.changes.get(at - 1)
            {
                disk.apply(at - 1, change);
            }
            let Some(seed) = pick(number, at, &mut self.chance) else {
                continue;
            };
            let left = disk.after_cut(self.model, seed).fingerprint();
            if self.seen.insert((left, self.recording.promised(at))) {
                self.states.push(State {
                    recording: self.recording,
                    at,
                    model: self.model,
                    seed,
                    without_database: self.chance.once_in(6),
                });
            }
        }
    }
}

impl Recording {
    fn disk(&self, at: usize) -> Disk {
        let mut disk = Disk::default();
        for (index, change) in self.changes.iter().take(at).enumerate() {
            disk.apply(index, change);
        }
        disk
    }
}

async fn start_over(world: &World, state: &State<'_>) -> Result<Tally> {
    let recording = state.recording;
    let mut site = world.site(Backend::Embedded)?;
    site.set_mode(recording.mode);
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
            &Expectations::of(recording.mode, marks),
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
    let what = if *at < recording.first_promise() {
        format!("first start, {model:?} file system")
    } else {
        format!("{}, {model:?} file system", recording.name)
    };
    let last = recording.changes.get(at.saturating_sub(1));
    let place = format!("{what}, after change {at} ({last:?}), choice {seed}");
    site.clear()?;
    Ok(Tally::new(what, true, &findings, &place))
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
