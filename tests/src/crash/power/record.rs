//! Recordings: runs of an element of which every change of a file and every answer is written down. A run has several lives: it is
//! stopped, or killed in the middle of a step or of a recovery, and started again.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use element_api::Mode;
use tokio::task::JoinSet;

use super::journal::{Change, Journal};
use super::place;
use crate::crash::ledger::{Intent, Ledger, Mark, Outcome};
use crate::crash::report::block_on;
use crate::crash::site::{Backend, End, Site, World};
use crate::crash::tracer::{Call, Kind, Plan, Test};
use crate::crash::workload::{FILES, LARGE, MODES, SMALL, SOME, Step, perform};

/// A run that was written down.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What it is about.
    pub name: &'static str,
    /// Every change, in order.
    pub changes: Vec<Change>,
    /// What was asked and promised.
    pub marks: Vec<Mark>,
    /// The mode in which the element began.
    pub mode: Mode,
    /// How many changes there were before each start.
    pub starts: Vec<usize>,
}

/// What is recorded.
struct Script {
    name: &'static str,
    mode: Mode,
    lives: &'static [Life],
}

/// One start of the element and what follows.
struct Life {
    /// What each client does, all of them at the same time.
    clients: &'static [&'static [Step]],
    end: Ending,
}

enum Ending {
    /// It is stopped.
    Stop,
    /// It is killed while it serves, when it is about to make the last of these calls, which come in this order.
    Kill(&'static [Test]),
    /// The same before it is ready.
    KillInStart(&'static [Test]),
}

const NOBODY: &[&[Step]] = &[];

/// Every kind of write, a clean stop, and another life with a few more.
const WRITES: Script = Script {
    name: "writes",
    mode: Mode::Edit,
    lives: &[
        Life {
            clients: &[FILES],
            end: Ending::Stop,
        },
        Life {
            clients: &[SOME],
            end: Ending::Stop,
        },
    ],
};

/// Changes of the mode, the first one cut off before it is durable.
const MODE_CHANGES: Script = Script {
    name: "mode changes",
    mode: Mode::Rw,
    lives: &[
        Life {
            clients: &[&[Step::Create("before", SMALL), Step::Mode(Mode::Ro)]],
            end: Ending::Kill(&[flushes_own_folder]),
        },
        Life {
            clients: &[&[Step::Mode(Mode::Rw)]],
            end: Ending::Stop,
        },
        Life {
            clients: &[MODES],
            end: Ending::Stop,
        },
    ],
};

/// Kills between the steps of the protocol, and in a recovery; each is followed by one that comes to its end.
const RECOVERIES: Script = Script {
    name: "recoveries",
    mode: Mode::Edit,
    lives: &[
        // Past the commit point of a create, and not durable.
        Life {
            clients: &[&[Step::Create("kept", SMALL), Step::Create("unflushed", SMALL)]],
            end: Ending::Kill(&[flushes_files_folder, flushes_files_folder]),
        },
        // The same of an update.
        Life {
            clients: &[&[Step::Patch("kept", "unflushed")]],
            end: Ending::Kill(&[flushes_files_folder]),
        },
        // Durable, and not settled.
        Life {
            clients: &[&[Step::Create("unsettled", SMALL)]],
            end: Ending::Kill(&[flushes_files_folder, writes_database]),
        },
        // In the middle of the content.
        Life {
            clients: &[&[Step::Create("half", LARGE)]],
            end: Ending::Kill(&[writes_content, writes_content]),
        },
        // Content in its place, its attributes not.
        Life {
            clients: &[&[Step::Create("nameless", SMALL)]],
            end: Ending::Kill(&[renames_attributes]),
        },
        // Past the commit point of a delete, and not durable.
        Life {
            clients: &[&[Step::Delete("kept")]],
            end: Ending::Kill(&[flushes_files_folder]),
        },
        // Past the commit point of another create, whose recovery is cut off as well.
        Life {
            clients: &[&[Step::Create("twice", SMALL)]],
            end: Ending::Kill(&[flushes_files_folder]),
        },
        Life {
            clients: NOBODY,
            end: Ending::KillInStart(&[flushes_files_folder]),
        },
        Life {
            clients: &[&[Step::Create("last", SMALL), Step::Delete("twice")]],
            end: Ending::Stop,
        },
    ],
};

/// Clients that write at the same time, and so share flushes of folders and commits; then a life in which nothing is flushed that
/// they left out.
const CROWD: Script = Script {
    name: "eight clients",
    mode: Mode::Edit,
    lives: &[
        Life {
            clients: &[
                &client(["a1", "a2", "a3"]),
                &client(["b1", "b2", "b3"]),
                &client(["c1", "c2", "c3"]),
                &client(["d1", "d2", "d3"]),
                &client(["e1", "e2", "e3"]),
                &client(["f1", "f2", "f3"]),
                &client(["g1", "g2", "g3"]),
                &client(["h1", "h2", "h3"]),
            ],
            end: Ending::Stop,
        },
        Life {
            clients: NOBODY,
            end: Ending::Stop,
        },
    ],
};

const fn client([first, second, third]: [&'static str; 3]) -> [Step; 5] {
    [
        Step::Create(first, SMALL),
        Step::Create(second, SMALL),
        Step::Patch(first, "changed"),
        Step::Delete(second),
        Step::Create(third, SMALL),
    ]
}

fn flushes_files_folder(call: &Call) -> bool {
    call.is_own_flush() && place::is_hour(&call.path)
}

fn flushes_own_folder(call: &Call) -> bool {
    call.is_own_flush() && call.path.ends_with(".artstore")
}

fn writes_database(call: &Call) -> bool {
    call.kind == Kind::Write && call.path.ends_with(".artstore/element.db-wal")
}

fn writes_content(call: &Call) -> bool {
    call.kind == Kind::Write && place::is_temporary(&call.path) && !place::is_attributes(&call.path)
}

fn renames_attributes(call: &Call) -> bool {
    call.kind == Kind::Rename && place::is_attributes(&call.path)
}

/// Records the scripts on the embedded database, whose files are in the folder and so part of what a cut may harm.
pub fn record(world: &World) -> Result<Vec<Recording>> {
    [WRITES, RECOVERIES, MODE_CHANGES, CROWD]
        .iter()
        .map(|script| block_on(script.record(world)).with_context(|| format!("failed to record {}", script.name)))
        .collect()
}

impl Script {
    async fn record(&self, world: &World) -> Result<Recording> {
        let mut site = world.site(Backend::Embedded)?;
        site.set_mode(self.mode);
        let journal = Arc::new(Journal::new(site.volume()));
        let ledger = Ledger::default().within(Arc::clone(&journal));
        let mut starts = Vec::new();
        for (number, life) in self.lives.iter().enumerate() {
            starts.push(journal.len());
            let lived = life.happen(&site, &journal, &ledger).await;
            lived.with_context(|| format!("failed to record life {}", number + 1))?;
        }
        site.clear()?;
        let recording = Recording {
            name: self.name,
            changes: journal.take(),
            marks: ledger.marks(),
            mode: self.mode,
            starts,
        };
        let several = self.lives.iter().any(|life| life.clients.len() > 1);
        ensure!(!several || recording.shares_flushes(), "no two clients shared a flush");
        Ok(recording)
    }
}

impl Life {
    async fn happen(&self, site: &Site<'_>, journal: &Arc<Journal>, ledger: &Ledger) -> Result<()> {
        let (until, in_start): (&'static [Test], bool) = match self.end {
            Ending::Stop => (&[], false),
            Ending::Kill(until) => (until, false),
            Ending::KillInStart(until) => (until, true),
        };
        let plan = Plan::Record(Arc::clone(journal), until);
        let (process, control) = site.start_traced(plan, in_start).await?;
        if in_start {
            return must_be_killed(process.end()?);
        }
        let element = process.ready()?;
        ledger.note(Mark::Found {
            files: element.api.list().await?,
            mode: element.api.mode().await?.mode,
        });
        control.arm();
        let mut clients = JoinSet::new();
        for steps in self.clients {
            let (api, ledger) = (element.api.clone(), ledger.clone());
            clients.spawn(async move { perform(steps, &api, &ledger).await });
        }
        let mut complete = true;
        while let Some(client) = clients.join_next().await {
            complete &= client??;
        }
        if until.is_empty() {
            ensure!(complete, "the element ended while it was recorded");
            return element.stop();
        }
        must_be_killed(element.end()?)
    }
}

fn must_be_killed(end: End) -> Result<()> {
    match end {
        End::Killed => Ok(()),
        other => bail!("it was to be killed and ended otherwise: {other:?}"),
    }
}

impl Recording {
    /// Whether folders of files were flushed less often than somebody waited for it: once for each create and update, twice for
    /// each delete.
    fn shares_flushes(&self) -> bool {
        let flushes = self
            .changes
            .iter()
            .filter(|change| change.flushes_files_folder())
            .count();
        let waits = self.marks.iter().map(|mark| match mark {
            Mark::Ended(Intent::Delete { .. }, Outcome::Done(_)) => 2_usize,
            Mark::Ended(_, Outcome::Done(_)) => 1,
            _ => 0,
        });
        flushes < waits.sum::<usize>()
    }

    /// How many lines of the ledger were written before change `at`.
    pub(super) fn promised(&self, at: usize) -> usize {
        let mut before = self.changes.iter().take(at).rev();
        before
            .find_map(|change| match change {
                Change::Mark(lines) => Some(*lines),
                _ => None,
            })
            .unwrap_or_default()
    }

    /// The moments right after each promise, at which nothing else has happened yet.
    pub(super) fn promises(&self) -> Vec<usize> {
        let is_promise = |change: &Change| {
            let Change::Mark(lines) = change else { return false };
            let mark = lines.checked_sub(1).and_then(|line| self.marks.get(line));
            matches!(mark, Some(Mark::Ended(_, Outcome::Done(_))))
        };
        let marks = self.changes.iter().enumerate().filter(|(_, change)| is_promise(change));
        marks.map(|(at, _)| at + 1).collect()
    }

    /// The first of them.
    pub(super) fn first_promise(&self) -> usize {
        self.promises().first().copied().unwrap_or(self.changes.len())
    }
}
