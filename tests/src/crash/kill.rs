//! Kills: the element dies at every call that changes a file or sends something, starts again, and is checked.

mod gc;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::check::{Findings, check};
use super::ledger::{Expectations, Ledger, Mark};
use super::report::{Options, Row, Tally, block_on, in_parallel};
use super::site::{Backend, Site, World};
use super::tracer::{Control, Plan, Traced};
use super::workload::{FILES, MODES, SOME, Step, perform};

/// What the element does while it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scene {
    /// Its first start ever, and a stop.
    Start,
    /// Every kind of write of a file, and a stop.
    Files,
    /// Every change of the mode.
    Modes,
    /// The end of a file whose time is over.
    Gc,
    /// The command that rebuilds the database.
    Rebuild,
    /// A start after it was killed at that call of [`Scene::Files`].
    Recovery(usize),
}

impl Scene {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "first start and stop",
            Self::Files => "create, update, delete, abort, stop",
            Self::Modes => "mode changes",
            Self::Gc => "garbage collection",
            Self::Rebuild => "rebuild",
            Self::Recovery(_) => "recovery itself",
        }
    }
}

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

/// Calls strace kills at.
const STRACED: [&str; 14] = [
    "openat",
    "write",
    "pwrite64",
    "writev",
    "fsync",
    "fdatasync",
    "rename",
    "unlink",
    "mkdir",
    "ftruncate",
    "sendto",
    "flock",
    "close",
    "recvfrom",
];

const STRACE: &str = "/usr/bin/strace";

/// Starts after a kill are killed themselves at this many calls of the first run, spread evenly.
const FIRST_KILLS: usize = 12;

/// Kills at every call of every scene, or at an even sample of `options.points`.
pub fn run(world: &World, options: &Options) -> Result<Vec<Row>> {
    let mut points = Vec::new();
    for backend in [Backend::Embedded, Backend::Postgres] {
        points.extend(of_tracer(world, backend)?);
        points.extend(of_strace(world, backend)?);
    }
    let points = options.sample(points);
    let tallies = in_parallel("kill points", options, &points, |point| Box::pin(at(world, point)))?;
    let mut rows: BTreeMap<(String, &str), Row> = BTreeMap::new();
    for (point, tally) in points.iter().zip(tallies) {
        let by = match point.killer {
            Killer::Tracer(_) => "",
            Killer::Strace(..) => ", by strace",
        };
        let name = (format!("{}{by}", point.scene.name()), point.backend.name());
        let row = rows
            .entry(name.clone())
            .or_insert_with(|| Row::new("kill", format!("{} on {}", name.0, name.1)));
        row.add(tally);
    }
    Ok(rows.into_values().collect())
}

/// Every call of every scene, found out by going through it once.
fn of_tracer(world: &World, backend: Backend) -> Result<Vec<Point>> {
    let count = |scene| -> Result<usize> {
        let count = block_on(async {
            let mut site = world.site(backend)?;
            let (_, control) = act(&mut site, scene, Plan::Count).await?;
            let calls = control.calls().len();
            site.clear()?;
            Ok(calls)
        });
        count.with_context(|| format!("failed to count the calls of {scene:?} on {backend:?}"))
    };
    let files = count(Scene::Files)?;
    let mut scenes = vec![Scene::Start, Scene::Files, Scene::Modes, Scene::Gc, Scene::Rebuild];
    scenes.extend((0..FIRST_KILLS).map(|at| Scene::Recovery(1 + at * files.saturating_sub(1) / (FIRST_KILLS - 1))));
    let mut points = Vec::new();
    for scene in scenes {
        let calls = if scene == Scene::Files { files } else { count(scene)? };
        points.extend((1..=calls).map(|at| Point {
            scene,
            backend,
            killer: Killer::Tracer(at),
        }));
    }
    Ok(points)
}

/// For each kind of call, as many kills as the busiest thread makes such calls.
fn of_strace(world: &World, backend: Backend) -> Result<Vec<Point>> {
    let site = world.site(backend)?;
    let list = site.folder.join("calls");
    let set = format!("trace={}", STRACED.join(","));
    let list_path = list.display().to_string();
    block_on(async {
        let element = site
            .start_under(&[STRACE, "-f", "-qqq", "-o", &list_path, "-e", &set])
            .await?;
        let element = element.context("the element ended under strace")?;
        perform(FILES, &element.api, &Ledger::default()).await?;
        element.stop()
    })?;
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for line in std::fs::read_to_string(&list)?.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(call) = STRACED
            .iter()
            .find(|call| rest.strip_prefix(**call).is_some_and(|rest| rest.starts_with('(')))
        {
            *counts.entry((thread.to_owned(), *call)).or_default() += 1;
        }
    }
    site.clear()?;
    let mut points = Vec::new();
    for call in STRACED {
        let most = counts
            .iter()
            .filter(|((_, of), _)| *of == call)
            .map(|(_, count)| *count)
            .max();
        points.extend((1..=most.unwrap_or_default()).map(|at| Point {
            scene: Scene::Files,
            backend,
            killer: Killer::Strace(call, at),
        }));
    }
    Ok(points)
}

async fn at(world: &World, point: &Point) -> Result<Tally> {
    let mut site = world.site(point.backend)?;
    let (ledger, killed, place) = match &point.killer {
        Killer::Tracer(at) => {
            let (ledger, control) = act(&mut site, point.scene, Plan::KillAt(*at)).await?;
            let strike = control.strike();
            (
                ledger,
                strike.is_some(),
                strike.map(|strike| strike.call.to_string()).unwrap_or_default(),
            )
        }
        Killer::Strace(call, at) => {
            let (ledger, killed) = under_strace(&site, call, *at).await?;
            (ledger, killed, format!("{call} {at}"))
        }
    };
    let findings = verdict(&site, &ledger.marks())
        .await
        .unwrap_or_else(|error| Findings(vec![format!("{error:#}")]));
    let tally = Tally::new(killed, &findings, &format!("{point:?} at {place}"));
    site.clear()?;
    Ok(tally)
}

/// Starts the element as it is after a crash and checks it.
async fn verdict(site: &Site<'_>, marks: &[Mark]) -> Result<Findings> {
    let element = site.start().await?;
    let findings = check(&element.api, &site.root(), &Expectations::of(marks), false).await?;
    element.kill()?;
    Ok(findings)
}

/// Plays a scene under the tracer, to its end or to that of the element.
async fn act(site: &mut Site<'_>, scene: Scene, plan: Plan) -> Result<(Ledger, Arc<Control>)> {
    match scene {
        Scene::Start => {
            let (element, control) = site.start_traced(plan, true).await?;
            if let Some(element) = element {
                element.stop()?;
            }
            Ok((Ledger::default(), control))
        }
        Scene::Files => play(site, FILES, plan).await,
        Scene::Modes => {
            site.set("APP_MODE", "rw");
            play(site, MODES, plan).await
        }
        Scene::Gc => {
            let ledger = Ledger::default();
            gc::prepare(site, &ledger).await?;
            let (element, control) = site.start_traced(plan, false).await?;
            let element = element.context("the element ended before its scene began")?;
            control.arm();
            gc::collect(&element, &ledger).await?;
            element.stop()?;
            Ok((ledger, control))
        }
        Scene::Rebuild => {
            let ledger = Ledger::default();
            let element = site.start().await?;
            perform(SOME, &element.api, &ledger).await?;
            element.stop()?;
            let traced = Traced::start(site.launch(&["rebuild"]), site.volume(), plan, true)?;
            let control = Arc::clone(&traced.control);
            traced.wait()?;
            Ok((ledger, control))
        }
        Scene::Recovery(first) => {
            let (ledger, _) = play(site, FILES, Plan::KillAt(first)).await?;
            let (element, control) = site.start_traced(plan, true).await?;
            if let Some(element) = element {
                element.kill()?;
            }
            Ok((ledger, control))
        }
    }
}

async fn play(site: &Site<'_>, steps: &[Step], plan: Plan) -> Result<(Ledger, Arc<Control>)> {
    let (element, control) = site.start_traced(plan, false).await?;
    let element = element.context("the element ended before its scene began")?;
    let ledger = Ledger::with(Some(Arc::clone(&control)), None);
    control.arm();
    perform(steps, &element.api, &ledger).await?;
    element.stop()?;
    Ok((ledger, control))
}

async fn under_strace(site: &Site<'_>, call: &str, at: usize) -> Result<(Ledger, bool)> {
    let (set, inject) = (
        format!("trace={call}"),
        format!("inject={call}:signal=SIGKILL:when={at}"),
    );
    let wrapper = [STRACE, "-f", "-qqq", "-o", "/dev/null", "-e", &set, "-e", &inject];
    let ledger = Ledger::default();
    let Some(element) = site.start_under(&wrapper).await? else {
        return Ok((ledger, true));
    };
    let all_done = perform(FILES, &element.api, &ledger).await?;
    element.stop()?;
    Ok((ledger, !all_done))
}
