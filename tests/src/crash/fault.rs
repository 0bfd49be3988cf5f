//! Calls that fail: the disk refuses one call, or takes half of a write, and the element goes on running.
//!
//! What was acknowledged stays readable at once and after a restart; nothing is acknowledged before its flush, or when that failed;
//! writes come back by themselves, but for a flush that failed with EIO: after that nothing is written until a restart, and a start
//! in which it happens ends with an error. `aftermath` looks at the element that lives on.

mod aftermath;

use std::sync::Arc;

use anyhow::Result;
use nix::errno::Errno;

use self::aftermath::Writes;
use super::check::{Findings, check};
use super::kill::scene::{Manner, Played, Scene};
use super::ledger::{Expectations, Intent, Ledger, Mark, Outcome};
use super::report::{Options, Row, Tally, in_parallel, rows};
use super::site::{Backend, End, Site, Start, World};
use super::tracer::{Failure, Plan, Strike};

/// What is done to a call, and how that is called.
const FAILURES: [(Failure, &str); 3] = [
    (EIO, "EIO"),
    (Failure::Error(Errno::ENOSPC), "ENOSPC"),
    (Failure::Short, "short write"),
];

const EIO: Failure = Failure::Error(Errno::EIO);

/// Recoveries in which calls fail, after kills at this many calls, spread evenly.
const RECOVERIES: usize = 4;

/// The exit code of a Rust program whose main thread panicked.
const PANICKED: i32 = 101;

struct Point {
    scene: Scene,
    backend: Backend,
    failure: Failure,
    name: &'static str,
    at: usize,
}

impl Point {
    fn what(&self) -> String {
        format!("{} in {} on {}", self.name, self.scene.name(), self.backend.name())
    }
}

/// Fails every call that can, in every way it can, or an even sample of `options.points`.
pub fn run(world: &World, options: &Options) -> Result<Vec<Row>> {
    let mut points = Vec::new();
    for backend in [Backend::Embedded, Backend::Postgres] {
        let files = Scene::Files.calls(world, backend)?.len();
        let mut scenes = vec![Scene::Files, Scene::Modes, Scene::Gc, Scene::Rebuild, Scene::Start];
        scenes.extend(Scene::recoveries(files, RECOVERIES));
        for scene in scenes {
            let calls = scene.calls(world, backend)?;
            for (failure, name) in FAILURES.into_iter().filter(|(failure, _)| suits(scene, *failure)) {
                let suited = calls.iter().enumerate().filter(|(_, call)| failure.suits(call));
                points.extend(suited.map(|(index, _)| Point {
                    scene,
                    backend,
                    failure,
                    name,
                    at: index + 1,
                }));
            }
        }
    }
    let points = options.sample(points);
    let tallies = in_parallel("failing calls", options, &points, |point| Box::pin(at(world, point)))?;
    Ok(rows("fault", tallies))
}

/// A volume without room is left to the scene in which most is written.
const fn suits(scene: Scene, failure: Failure) -> bool {
    matches!(scene, Scene::Files) || matches!(failure, EIO)
}

async fn at(world: &World, point: &Point) -> Result<Tally> {
    let mut site = world.site(point.backend)?;
    let plan = Plan::FailAt(point.at, point.failure);
    let mut findings = Findings::default();
    let mut strike = None;
    match point.scene.play(&mut site, plan, Manner::Lenient).await {
        Err(error) => findings.add(format!("{error:#}")),
        Ok(played) => {
            let (control, ledger) = (Arc::clone(&played.control), played.ledger.clone());
            if let Err(error) = live_on(point, played, &mut findings).await {
                findings.add(format!("{error:#}"));
            }
            strike = control.strike();
            if let Err(error) = start_again(&site, &ledger, &mut findings).await {
                findings.add(format!("{error:#}"));
            }
        }
    }
    let call = strike.as_ref().map(|strike| strike.call.to_string());
    let place = format!("{} at {} ({})", point.what(), point.at, call.unwrap_or_default());
    site.clear()?;
    // One that could not be played is counted, or its violation would stand in a line of no points.
    let happened = strike.is_some() || !findings.0.is_empty();
    Ok(Tally::new(point.what(), happened, &findings, &place))
}

/// What becomes of the element after the failure.
async fn live_on(point: &Point, played: Played, findings: &mut Findings) -> Result<()> {
    let ledger = &played.ledger;
    if !played.complete {
        findings.add("a connection broke");
    }
    match (played.process, played.control.strike()) {
        (Start::Ready(element), Some(strike)) if played.complete => {
            if strike.call.is_own_flush() && acknowledged_before(&strike, ledger) {
                findings.add("ACKNOWLEDGED although its flush had failed, or was yet to come");
            }
            aftermath::reads_go_on(&element.api, ledger, findings).await?;
            let writes = Writes::after(point.failure, &strike, &played.control.calls());
            aftermath::writes(&element.api, writes, ledger, findings).await?;
            element.kill()
        }
        (process, _) => {
            let was_ready = matches!(process, Start::Ready(_));
            let end = process.end()?;
            // The call may have come while it stopped.
            let strike = played.control.strike();
            judge_end(end, point, was_ready, strike.as_ref(), findings);
            Ok(())
        }
    }
}

/// A process may end because a call failed, and must say so; it never panics.
fn judge_end(end: End, point: &Point, was_ready: bool, strike: Option<&Strike>, findings: &mut Findings) {
    let is_command = point.scene == Scene::Rebuild;
    let flush_failed = strike.is_some_and(|strike| point.failure == EIO && strike.call.is_own_flush());
    match end {
        End::Killed => findings.add("somebody else killed the element"),
        End::Done if flush_failed && !was_ready => findings.add("ended with success although a flush had failed"),
        End::Done if !was_ready && !is_command => findings.add("ended with success before it was ready"),
        End::Done => {}
        End::Failed(status, tail) if status.code().is_none_or(|code| code == PANICKED) => {
            findings.add(format!("ended with {status}\n{tail}"));
        }
        End::Failed(status, tail) if strike.is_none() => {
            findings.add(format!("ended by itself: {status}\n{tail}"));
        }
        End::Failed(..) => {}
    }
}

async fn start_again(site: &Site<'_>, ledger: &Ledger, findings: &mut Findings) -> Result<()> {
    let element = site.start().await?;
    let expectations = Expectations::of(site.mode, &ledger.marks());
    let mut found = check(&element.api, &site.root(), &expectations, false).await?;
    findings.0.append(&mut found.0);
    element.kill()
}

/// Whether what a failed flush was for has been answered with a success: what was under way then, or, when nothing was, what had
/// been answered last.
fn acknowledged_before(strike: &Strike, ledger: &Ledger) -> bool {
    let marks = ledger.marks();
    let last = strike.moment.checked_sub(1).and_then(|last| marks.get(last));
    match last {
        Some(Mark::Begun(Intent::Never { .. })) | None => false,
        Some(Mark::Begun(_)) => matches!(marks.get(strike.moment), Some(Mark::Ended(_, Outcome::Done(_)))),
        Some(Mark::Ended(_, outcome)) => matches!(outcome, Outcome::Done(_)),
        Some(Mark::Found { .. }) => false,
    }
}
