//! Servers that are away: PostgreSQL refused, silent, or gone just after a commit was sent; Redis refused or silent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::TcpListener;

use super::api::{Api, Reply};
use super::check::{Findings, check};
use super::ledger::{Expectations, Ledger};
use super::report::{Options, Row, Tally, in_parallel};
use super::site::{Backend, Element, Site, World};
use super::wire::{State, Wire};
use super::workload::{FILES, SOME, perform};

/// The contract says a second. A busy machine takes its own time, and what waits for a server to time out takes ten at least.
const REFUSAL_LIMIT: Duration = Duration::from_secs(5);

/// How long everything may take to be settled once the server is back.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(50);

/// More commits than the script needs.
const COMMITS: usize = 24;

enum Point {
    Away(State),
    BreakAfterCommit(usize),
    Redis(bool),
}

/// Goes through all of them.
pub fn run(world: &World, options: &Options) -> Result<Vec<Row>> {
    let mut points = vec![
        Point::Away(State::Cut),
        Point::Away(State::Silent),
        Point::Redis(true),
        Point::Redis(false),
    ];
    points.extend(options.sample((1..=COMMITS).map(Point::BreakAfterCommit).collect()));
    let tallies = in_parallel("servers away", options, &points, |point| Box::pin(at(world, point)))?;
    let mut rows: Vec<Row> = Vec::new();
    for (point, tally) in points.iter().zip(tallies) {
        let what = match point {
            Point::Away(State::Silent) => "PostgreSQL silent",
            Point::Away(_) => "PostgreSQL refused",
            Point::Redis(true) => "Redis silent",
            Point::Redis(false) => "Redis refused",
            Point::BreakAfterCommit(_) => "connection broken after COMMIT",
        };
        if rows.last().is_none_or(|row| row.what != what) {
            rows.push(Row::new("outage", what.to_owned()));
        }
        if let Some(row) = rows.last_mut() {
            row.add(tally);
        }
    }
    Ok(rows)
}

async fn at(world: &World, point: &Point) -> Result<Tally> {
    match point {
        Point::Away(state) => away(world, *state).await,
        Point::BreakAfterCommit(number) => break_after(world, *number).await,
        Point::Redis(silent) => without_redis(world, *silent).await,
    }
}

async fn wired(site: &mut Site<'_>) -> Result<Wire> {
    let host = site.get("DB_HOST").context("no PostgreSQL is set")?;
    let port = site.get("DB_PORT").context("no PostgreSQL is set")?;
    let wire = Wire::to(format!("{host}:{port}")).await?;
    site.set("DB_HOST", "127.0.0.1");
    site.set("DB_PORT", &wire.address.port().to_string());
    Ok(wire)
}

async fn away(world: &World, state: State) -> Result<Tally> {
    let mut site = world.site(Backend::Postgres)?;
    let wire = wired(&mut site).await?;
    let element = site.start().await?;
    let (ledger, mut findings) = (Ledger::default(), Findings::default());
    perform(SOME, &element.api, &ledger).await?;
    let files = element.api.list().await?.items;
    wire.set(state);
    for file in &files {
        let path = format!("/files/{}", file.file_id);
        for path in [format!("{path}/metadata"), path.clone()] {
            if element.api.get(&path).await.status() != Some(200) {
                findings.add(format!("{path} cannot be read while the database is away"));
            }
        }
        for what in ["search", "upload", "patch", "delete"] {
            refused(&element.api, what, file.file_id, &mut findings).await;
        }
    }
    wire.set(State::Whole);
    settled(&element, &mut findings).await;
    perform(
        &[super::workload::Step::Create("after the outage", 100)],
        &element.api,
        &ledger,
    )
    .await?;
    finish(site, element, &ledger, findings, &format!("PostgreSQL {state:?}"), true).await
}

/// What needs the database is refused soon.
async fn refused(api: &Api, what: &str, id: uuid::Uuid, findings: &mut Findings) {
    let started = Instant::now();
    let reply = match what {
        "search" => api.get("/files/search?q=one").await,
        "upload" => api.create("never", b"never".to_vec(), None).await,
        "patch" => api.patch(id, "never", None).await,
        _ => api.delete(id).await,
    };
    let took = started.elapsed();
    if reply.status() != Some(503) {
        findings.add(format!(
            "{what} answers {:?} while the database is away, not 503",
            reply.status()
        ));
    }
    if took > REFUSAL_LIMIT {
        findings.add(format!(
            "{what} is refused after {:.1} s while the database is away",
            took.as_secs_f64()
        ));
    }
}

/// Waits until the element is ready and nothing of its log is open.
async fn settled(element: &Element, findings: &mut Findings) {
    let started = Instant::now();
    loop {
        let ready = element.api.get("/health/ready").await.status() == Some(200);
        let pending = element.api.info().await.ok().and_then(|info| info.wal_pending);
        if ready && pending == Some(0) {
            return;
        }
        if started.elapsed() > RECOVERY_LIMIT {
            findings.add(format!(
                "ready is {ready} and {pending:?} log entries are pending after the outage"
            ));
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn break_after(world: &World, number: usize) -> Result<Tally> {
    let mut site = world.site(Backend::Postgres)?;
    let wire = wired(&mut site).await?;
    let element = site.start().await?;
    let (ledger, mut findings) = (Ledger::default(), Findings::default());
    wire.break_after_commit(number);
    let last = wire.commits() + number;
    if !perform(FILES, &element.api, &ledger).await? {
        findings.add("the element ended");
    }
    let happened = wire.commits() >= last;
    settled(&element, &mut findings).await;
    finish(
        site,
        element,
        &ledger,
        findings,
        &format!("commit {number} broken"),
        happened,
    )
    .await
}

/// Checks the element while it runs, and after a restart.
async fn finish(
    site: Site<'_>,
    element: Element,
    ledger: &Ledger,
    mut findings: Findings,
    place: &str,
    happened: bool,
) -> Result<Tally> {
    let expectations = Expectations::of(&ledger.marks());
    findings
        .0
        .append(&mut check(&element.api, &site.root(), &expectations, false).await?.0);
    element.kill()?;
    let element = site.start().await?;
    findings
        .0
        .append(&mut check(&element.api, &site.root(), &expectations, false).await?.0);
    element.kill()?;
    site.clear()?;
    Ok(Tally::new(happened, &findings, place))
}

/// Redis is for discovery alone: nothing else may notice that it is away.
async fn without_redis(world: &World, silent: bool) -> Result<Tally> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    // A port that nobody listens on refuses; one whose connections nobody takes is silent.
    let _listener = silent.then_some(listener);
    let mut site = world.site(Backend::Embedded)?;
    site.set("REDIS_HOST", "127.0.0.1");
    site.set("REDIS_PORT", &port.to_string());
    let element = site.start().await?;
    let (ledger, mut findings) = (Ledger::default(), Findings::default());
    perform(FILES, &element.api, &ledger).await?;
    if !matches!(
        element.api.get("/health/ready").await,
        Reply::Answer { status: 200, .. }
    ) {
        findings.add("not ready without Redis");
    }
    finish(site, element, &ledger, findings, "Redis away", true).await
}
