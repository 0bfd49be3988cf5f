//! Kills: the element dies at every call that changes a file or sends something, starts again, and is checked.

pub mod scene;
mod strace;

use anyhow::Result;

use self::scene::{Manner, Scene};
use super::check::{Findings, check};
use super::ledger::{Expectations, Ledger};
use super::report::{Options, Row, Tally, in_parallel, rows};
use super::site::{Backend, End, Site, World};
use super::tracer::Plan;

/// How the kill is done.
#[derive(Clone, Debug)]
enum Killer {
    /// At the n-th call of all.
    Tracer(usize),
    /// By strace, at the n-th call of one kind that any thread makes.
    Strace(&'static str, usize),
}

#[derive(Clone, Debug)]
struct Point {
    scene: Scene,
    backend: Backend,
    killer: Killer,
}

/// A run that was to be killed.
struct Killed {
    ledger: Ledger,
    end: End,
    /// Whether the kill was this harness's.
    ours: bool,
    /// Whether every question was answered.
    complete: bool,
    /// The line of the summary.
    what: String,
    /// Where the kill came.
    place: String,
}

/// Starts after a kill are killed themselves at this many calls of the first run, spread evenly.
const FIRST_KILLS: usize = 12;

/// Kills at every call of every scene, or at an even sample of `options.points`.
pub fn run(world: &World, options: &Options) -> Result<Vec<Row>> {
    let mut points = Vec::new();
    for backend in [Backend::Embedded, Backend::Postgres] {
        points.extend(of_tracer(world, backend)?);
        points.extend(strace::counts(world, backend)?.into_iter().flat_map(|(call, most)| {
            (1..=most).map(move |at| Point {
                scene: Scene::Files,
                backend,
                killer: Killer::Strace(call, at),
            })
        }));
    }
    let points = options.sample(points);
    let tallies = in_parallel("kill points", options, &points, |point| Box::pin(at(world, point)))?;
    Ok(rows("kill", tallies))
}

/// Every call of every scene, found out by going through it once.
fn of_tracer(world: &World, backend: Backend) -> Result<Vec<Point>> {
    let files = Scene::Files.calls(world, backend)?.len();
    let mut scenes = vec![Scene::Start, Scene::Files, Scene::Modes, Scene::Gc, Scene::Rebuild];
    scenes.extend(Scene::recoveries(files, FIRST_KILLS));
    let mut points = Vec::new();
    for scene in scenes {
        let calls = match scene {
            Scene::Files => files,
            _ => scene.calls(world, backend)?.len(),
        };
        points.extend((1..=calls).map(|at| Point {
            scene,
            backend,
            killer: Killer::Tracer(at),
        }));
    }
    Ok(points)
}

async fn at(world: &World, point: &Point) -> Result<Tally> {
    let mut site = world.site(point.backend)?;
    let killed = match &point.killer {
        Killer::Tracer(at) => by_tracer(&mut site, point.scene, *at).await,
        Killer::Strace(call, at) => by_strace(&site, call, *at).await,
    };
    let tally = match killed {
        Ok(killed) => {
            let findings = verdict(&site, &killed)
                .await
                .unwrap_or_else(|error| Findings(vec![format!("{error:#}")]));
            let happened = killed.ours && matches!(killed.end, End::Killed);
            Tally::new(
                killed.what,
                happened,
                &findings,
                &format!("{point:?} at {}", killed.place),
            )
        }
        Err(error) => {
            let what = format!("{} on {}", point.scene.name(), point.backend.name());
            Tally::new(what, true, &Findings(vec![format!("{error:#}")]), &format!("{point:?}"))
        }
    };
    site.clear()?;
    Ok(tally)
}

async fn by_tracer(site: &mut Site<'_>, scene: Scene, at: usize) -> Result<Killed> {
    let played = scene.play(site, Plan::KillAt(at), Manner::Exact).await?;
    let end = played.process.end()?;
    let strike = played.control.strike();
    Ok(Killed {
        ledger: played.ledger,
        end,
        ours: strike.is_some() && played.prepared,
        complete: played.complete,
        what: format!("{} on {}", scene.name(), site.backend.name()),
        place: strike.map(|strike| strike.call.to_string()).unwrap_or_default(),
    })
}

async fn by_strace(site: &Site<'_>, call: &str, at: usize) -> Result<Killed> {
    let ledger = Ledger::default();
    let (complete, end) = strace::kill(site, call, at, &ledger).await?;
    let scene = if ledger.marks().is_empty() {
        "start"
    } else {
        Scene::Files.name()
    };
    Ok(Killed {
        ledger,
        end,
        ours: true,
        complete,
        what: format!("{scene}, by strace on {}", site.backend.name()),
        place: format!("{call} {at}"),
    })
}

/// An element ends by a kill or as it is asked to, and no connection breaks before. Then it starts as after a crash and is checked.
async fn verdict(site: &Site<'_>, killed: &Killed) -> Result<Findings> {
    let mut findings = Findings::default();
    match &killed.end {
        End::Killed => {}
        End::Done if killed.complete => {}
        End::Done => findings.add("a connection broke though nobody killed the element"),
        End::Failed(status, tail) => findings.add(format!("the element ended by itself: {status}\n{tail}")),
    }
    let element = site.start().await?;
    let expectations = Expectations::of(site.mode, &killed.ledger.marks());
    let mut found = check(&element.api, &site.root(), &expectations, false).await?;
    findings.0.append(&mut found.0);
    element.kill()?;
    Ok(findings)
}
