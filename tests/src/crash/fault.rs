//! Calls that fail: the disk refuses one call, or takes half of a write, and the element goes on running.
//!
//! What was acknowledged stays readable at once and after a restart; what hit the failure is not acknowledged when a flush failed;
//! writes come back by themselves, but for a flush that failed: after that nothing is written until a restart.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use super::api::Api;
use super::check::{Findings, check};
use super::ledger::{Expectations, Intent, Ledger, Mark, Outcome, Presence};
use super::report::{Options, Row, Tally, block_on, in_parallel};
use super::site::{Backend, World};
use super::tracer::{Call, Failure, Kind, Plan, Strike};
use super::workload::{FILES, checksum, perform};

/// How long writes may take to come back. Generous: only a defect reaches it.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// What is done to a call, and how that is called.
const FAILURES: [(Failure, &str); 3] = [
    (Failure::Error(Errno::EIO), "EIO"),
    (Failure::Error(Errno::ENOSPC), "ENOSPC"),
    (Failure::Short, "short write"),
];

struct Point {
    backend: Backend,
    failure: Failure,
    name: &'static str,
    at: usize,
}

/// Fails every call that can, in every way it can, or an even sample of `options.points`.
pub fn run(world: &World, options: &Options) -> Result<Vec<Row>> {
    let mut points = Vec::new();
    for backend in [Backend::Embedded, Backend::Postgres] {
        let calls = calls(world, backend)?;
        for (failure, name) in FAILURES {
            let suited = calls.iter().enumerate().filter(|(_, call)| failure.suits(call));
            points.extend(suited.map(|(index, _)| Point {
                backend,
                failure,
                name,
                at: index + 1,
            }));
        }
    }
    let points = options.sample(points);
    let tallies = in_parallel("failing calls", options, &points, |point| Box::pin(at(world, point)))?;
    let mut rows: Vec<Row> = Vec::new();
    for (point, tally) in points.iter().zip(tallies) {
        let what = format!("{} on {}", point.name, point.backend.name());
        if rows.last().is_none_or(|row| row.what != what) {
            rows.push(Row::new("fault", what));
        }
        if let Some(row) = rows.last_mut() {
            row.add(tally);
        }
    }
    Ok(rows)
}

fn calls(world: &World, backend: Backend) -> Result<Vec<Call>> {
    block_on(async {
        let site = world.site(backend)?;
        let (element, control) = site.start_traced(Plan::Count, false).await?;
        let element = element.context("the element ended before it was counted")?;
        control.arm();
        perform(FILES, &element.api, &Ledger::default()).await?;
        let calls = control.calls().clone();
        element.kill()?;
        site.clear()?;
        Ok(calls)
    })
}

async fn at(world: &World, point: &Point) -> Result<Tally> {
    let site = world.site(point.backend)?;
    let (element, control) = site.start_traced(Plan::FailAt(point.at, point.failure), false).await?;
    let element = element.context("the element ended before a call failed")?;
    let ledger = Ledger::with(Some(Arc::clone(&control)), None);
    control.arm();
    let mut findings = Findings::default();
    if !perform(FILES, &element.api, &ledger).await? {
        findings.add("the element ended");
    }
    let strike = control.strike();
    if let Some(strike) = &strike {
        reads_go_on(&element.api, &ledger, &mut findings).await?;
        writes(&element.api, point.failure, strike, &ledger, &mut findings).await?;
    }
    element.kill()?;
    let again = async {
        let element = site.start().await?;
        let mut found = check(&element.api, &site.root(), &Expectations::of(&ledger.marks()), false).await?;
        findings.0.append(&mut found.0);
        element.kill()
    };
    if let Err(error) = again.await {
        findings.add(format!("{error:#}"));
    }
    let call = strike
        .as_ref()
        .map(|strike| strike.call.to_string())
        .unwrap_or_default();
    let place = format!("{} on {} at {} ({call})", point.name, point.backend.name(), point.at);
    site.clear()?;
    Ok(Tally::new(strike.is_some(), &findings, &place))
}

/// Everything acknowledged is served while the element lives with the failure.
async fn reads_go_on(api: &Api, ledger: &Ledger, findings: &mut Findings) -> Result<()> {
    for (name, expected) in Expectations::of(&ledger.marks()).files {
        if expected.presence != Presence::Must {
            continue;
        }
        let id = ledger.marks().iter().rev().find_map(|mark| match mark {
            Mark::Ended(Outcome::Done(Some(file))) if file.original_filename == name => Some(file.file_id),
            _ => None,
        });
        let Some(id) = id else { continue };
        match api.get(&format!("/files/{id}")).await {
            super::api::Reply::Answer { status: 200, body } if Some(checksum(&body)) == expected.checksum => {}
            other => findings.add(format!(
                "{name}: cannot be read after the failure: {:?}",
                other.status()
            )),
        }
    }
    Ok(())
}

/// Whether writes may go on depends on what failed.
async fn writes(api: &Api, failure: Failure, strike: &Strike, ledger: &Ledger, findings: &mut Findings) -> Result<()> {
    let is_own_flush = strike.call.kind == Kind::Sync && !is_of_sqlite(&strike.call.path);
    if is_own_flush && acknowledged_next(strike, ledger) {
        findings.add("ACKNOWLEDGED although a flush had failed");
    }
    if is_own_flush && failure == Failure::Error(Errno::EIO) {
        let content = b"refused".to_vec();
        let intent = Intent::Create {
            name: "refused".to_owned(),
            checksum: checksum(&content),
        };
        ledger.note(Mark::Begun(intent));
        let reply = api.create("refused", content, None).await;
        if reply.status() != Some(503) {
            findings.add(format!(
                "a write after a failed flush answers {:?}, not 503",
                reply.status()
            ));
        }
        let ready = api.get("/health/ready").await.status();
        if ready != Some(503) {
            findings.add(format!("ready answers {ready:?} after a failed flush, not 503"));
        }
        return Ok(());
    }
    come_back(api, ledger).await.or_else(|error| {
        findings.add(format!("{error:#}"));
        Ok(())
    })
}

/// SQLite flushes its files, and the folder they are in when it has made one. What it holds is not the truth about any file.
fn is_of_sqlite(path: &Path) -> bool {
    path.ends_with(".artstore") || path.to_string_lossy().contains("/.artstore/element.db")
}

/// Waits until a file is stored.
async fn come_back(api: &Api, ledger: &Ledger) -> Result<()> {
    let (started, content) = (Instant::now(), b"stored again".to_vec());
    let name = "afterwards";
    ledger.note(Mark::Begun(Intent::Create {
        name: name.to_owned(),
        checksum: checksum(&content),
    }));
    loop {
        let reply = api.create(name, content.clone(), None).await;
        if reply.is_success() {
            ledger.note(Mark::Ended(Outcome::Done(Some(Box::new(reply.json()?)))));
            return Ok(());
        }
        if started.elapsed() > RECOVERY_LIMIT {
            bail!("writes did not come back: {:?}", reply.status());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether what was under way when the call failed was answered with a success.
fn acknowledged_next(strike: &Strike, ledger: &Ledger) -> bool {
    let marks = ledger.marks();
    let under_way = strike.moment.checked_sub(1).and_then(|last| marks.get(last));
    let is_write = matches!(under_way, Some(Mark::Begun(intent)) if !matches!(intent, Intent::Abort { .. }));
    is_write && matches!(marks.get(strike.moment), Some(Mark::Ended(Outcome::Done(_))))
}
