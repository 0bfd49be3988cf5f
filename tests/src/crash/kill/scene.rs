//! Scenes: what an element does while it is killed, or while a call of it fails.

mod gc;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use element_api::Mode;

use crate::crash::ledger::Ledger;
use crate::crash::report::block_on;
use crate::crash::site::{Backend, End, Site, Start, World};
use crate::crash::tracer::{Call, Control, Plan};
use crate::crash::workload::{FILES, MODES, SOME, Step, attempt, perform};

/// Between two steps of an element that something fails: what an element does after its answer shall be seen before the next
/// question.
const PAUSE: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scene {
    /// Its first start ever, and a stop.
    Start,
    /// Every kind of write of a file, and a stop.
    Files,
    /// Every change of the mode, and a stop.
    Modes,
    /// The end of a file whose time is over, and a stop.
    Gc,
    /// The command that rebuilds the database.
    Rebuild,
    /// A start after it was killed at that call of [`Scene::Files`].
    Recovery(usize),
}

/// Whether answers may be others than the script expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// No: nothing fails, and at the most the process is killed.
    Exact,
    /// Yes: something fails.
    Lenient,
}

/// A scene that was played, to its end or to that of the process.
#[derive(Debug)]
pub struct Played {
    /// What was asked and promised.
    pub ledger: Ledger,
    /// What the process did, and what was done to it.
    pub control: Arc<Control>,
    /// What became of the process; a server that is ready has not been stopped yet.
    pub process: Start,
    /// Whether all that should come before the scene did come, such as an earlier kill.
    pub prepared: bool,
    /// Whether every question was answered.
    pub complete: bool,
}

impl Played {
    fn new(ledger: Ledger, (process, control): (Start, Arc<Control>)) -> Self {
        Self {
            ledger,
            control,
            process,
            prepared: true,
            complete: true,
        }
    }
}

impl Scene {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "first start and stop",
            Self::Files => "create, update, delete, abort, stop",
            Self::Modes => "mode changes",
            Self::Gc => "garbage collection",
            Self::Rebuild => "rebuild",
            Self::Recovery(_) => "recovery itself",
        }
    }

    /// Plays it under a tracer.
    ///
    /// # Errors
    /// When it could not be set up, or an answer is another than it may be.
    pub async fn play(self, site: &mut Site<'_>, plan: Plan, manner: Manner) -> Result<Played> {
        match self {
            Self::Start => Ok(Played::new(Ledger::default(), site.start_traced(plan, true).await?)),
            Self::Files => script(site, FILES, plan, manner).await,
            Self::Modes => {
                site.set_mode(Mode::Rw);
                script(site, MODES, plan, manner).await
            }
            Self::Gc => collection(site, plan, manner).await,
            Self::Rebuild => {
                let ledger = Ledger::default();
                let element = site.start().await?;
                ensure!(
                    perform(SOME, &element.api, &ledger).await?,
                    "the element ended before its scene began"
                );
                element.stop()?;
                Ok(Played::new(ledger, site.run_traced(&["rebuild"], plan)?))
            }
            Self::Recovery(first) => {
                let before = script(site, FILES, Plan::KillAt(first), Manner::Exact).await?;
                let prepared = matches!(before.process.end()?, End::Killed);
                let traced = site.start_traced(plan, true).await?;
                Ok(Played {
                    prepared,
                    ..Played::new(before.ledger, traced)
                })
            }
        }
    }

    /// Every call it makes when nothing is done to it, in one order. Of a recovery, those until the element is ready.
    ///
    /// # Errors
    /// When anything in it goes wrong.
    pub fn calls(self, world: &World, backend: Backend) -> Result<Vec<Call>> {
        let counting = async {
            let mut site = world.site(backend)?;
            let played = self.play(&mut site, Plan::Count, Manner::Exact).await?;
            ensure!(played.prepared && played.complete, "the element broke off");
            let until_ready = played.control.calls().clone();
            match played.process.end()? {
                End::Done => {}
                other => bail!("it ended otherwise than it should: {other:?}"),
            }
            site.clear()?;
            Ok(match self {
                Self::Recovery(_) => until_ready,
                _ => played.control.calls().clone(),
            })
        };
        block_on(counting).with_context(|| format!("failed to count the calls of {self:?} on {backend:?}"))
    }

    /// Recoveries from kills at so many of the calls of [`Scene::Files`], spread evenly over those that every run comes to.
    pub fn recoveries(calls: usize, wanted: usize) -> impl Iterator<Item = Self> {
        let (last, gaps) = (calls - calls / 8, wanted.saturating_sub(1).max(1));
        (0..wanted).map(move |at| Self::Recovery(1 + at * last.saturating_sub(1) / gaps))
    }
}

async fn script(site: &Site<'_>, steps: &[Step], plan: Plan, manner: Manner) -> Result<Played> {
    let (process, control) = site.start_traced(plan, false).await?;
    let element = process.ready()?;
    let ledger = Ledger::default().followed_by(Arc::clone(&control));
    control.arm();
    let mut complete = true;
    match manner {
        Manner::Exact => complete = perform(steps, &element.api, &ledger).await?,
        Manner::Lenient => {
            for step in steps {
                if !attempt(&[*step], &element.api, &ledger).await? {
                    complete = false;
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let played = Played::new(ledger, (Start::Ready(element), control));
    Ok(Played { complete, ..played })
}

async fn collection(site: &Site<'_>, plan: Plan, manner: Manner) -> Result<Played> {
    let ledger = Ledger::default();
    gc::prepare(site, &ledger).await?;
    let (process, control) = site.start_traced(plan, false).await?;
    let element = process.ready()?;
    let ledger = ledger.followed_by(Arc::clone(&control));
    control.arm();
    let complete = match (gc::collect(&element, &ledger).await, manner) {
        (Ok(Some(false)), Manner::Exact) => bail!("the file whose time is over was not collected"),
        (Ok(None), _) => false,
        (Ok(Some(_)), _) => true,
        (Err(error), Manner::Exact) => return Err(error),
        // The collection says that it failed.
        (Err(_), Manner::Lenient) => true,
    };
    let played = Played::new(ledger, (Start::Ready(element), control));
    Ok(Played { complete, ..played })
}
