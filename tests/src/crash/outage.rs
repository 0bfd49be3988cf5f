//! Servers that are away: PostgreSQL refused, silent, or gone just before or after a commit; Redis refused or silent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::net::TcpListener;

use super::api::{Api, Reply};
use super::check::{Findings, check};
use super::ledger::{Expectations, Ledger};
use super::report::{Options, Row, Tally, block_on, in_parallel, rows};
use super::site::{Backend, Element, Site, World};
use super::wire::{Fate, State, Wire};
use super::workload::{FILES, SOME, Step, attempt, perform};

/// The contract says a second. A busy machine takes its own time, and what waits for a server to time out takes ten at least.
const REFUSAL_LIMIT: Duration = Duration::from_secs(5);

/// How long everything may take to be settled once the server is back.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(50);

enum Point {
    Away(State),
    Broken(Broken),
    Redis(bool),
}

/// A connection that breaks at a commit.
#[derive(Clone, Copy)]
struct Broken {
    fate: Fate,
    number: usize,
    /// Whether the element is killed as soon as it has answered, before it can settle what it put off.
    killed: bool,
}

/// Goes through all of them.
pub fn run(world: &World, options: &Options) -> Result<Vec<Row>> {
    let mut points = vec![
        Point::Away(State::Cut),
        Point::Away(State::Silent),
        Point::Redis(true),
        Point::Redis(false),
    ];
    let commits = commits(world)?;
    let mut broken = Vec::new();
    for fate in [Fate::Unheard, Fate::Lost] {
        for killed in [false, true] {
            broken.extend((1..=commits).map(|number| Broken { fate, number, killed }));
        }
    }
    points.extend(options.sample(broken).into_iter().map(Point::Broken));
    let tallies = in_parallel("servers away", options, &points, |point| Box::pin(at(world, point)))?;
    Ok(rows("outage", tallies))
}

/// How many commits the script takes.
fn commits(world: &World) -> Result<usize> {
    let counting = async {
        let mut site = world.site(Backend::Postgres)?;
        let wire = wired(&mut site).await?;
        let element = site.start().await?;
        let before = wire.commits();
        ensure!(
            perform(FILES, &element.api, &Ledger::default()).await?,
            "the element broke off"
        );
        let commits = wire.commits() - before;
        // Not stopped: whoever waits for that does not carry what it still has to say.
        element.kill()?;
        site.clear()?;
        ensure!(commits > 0, "no commit was seen on the wire");
        Ok(commits)
    };
    block_on(counting).context("failed to count the commits")
}

async fn at(world: &World, point: &Point) -> Result<Tally> {
    let tally = match point {
        Point::Away(state) => away(world, *state, point.what()).await,
        Point::Broken(broken) => broken.happen(world, point.what()).await,
        Point::Redis(silent) => without_redis(world, *silent, point.what()).await,
    };
    // One that did not start again is a finding as well.
    let failed =
        |error: anyhow::Error| Tally::new(point.what(), true, &Findings(vec![format!("{error:#}")]), point.what());
    Ok(tally.unwrap_or_else(failed))
}

impl Point {
    const fn what(&self) -> &'static str {
        match self {
            Self::Away(State::Silent) => "PostgreSQL silent",
            Self::Away(_) => "PostgreSQL refused",
            Self::Redis(true) => "Redis silent",
            Self::Redis(false) => "Redis refused",
            Self::Broken(Broken { fate, killed, .. }) => match (fate, killed) {
                (Fate::Unheard, false) => "connection broken after a commit",
                (Fate::Unheard, true) => "connection broken after a commit, then killed",
                (Fate::Lost, false) => "connection broken before a commit",
                (Fate::Lost, true) => "connection broken before a commit, then killed",
            },
        }
    }
}

async fn wired(site: &mut Site<'_>) -> Result<Wire> {
    let host = site.get("DB_HOST").context("no PostgreSQL is set")?;
    let port = site.get("DB_PORT").context("no PostgreSQL is set")?;
    let wire = Wire::to(format!("{host}:{port}")).await?;
    site.set("DB_HOST", "127.0.0.1");
    site.set("DB_PORT", &wire.address.port().to_string());
    // The wire reads what it carries.
    site.set("DB_SSL_MODE", "disable");
    Ok(wire)
}

async fn away(world: &World, state: State, what: &str) -> Result<Tally> {
    let mut site = world.site(Backend::Postgres)?;
    let wire = wired(&mut site).await?;
    let element = site.start().await?;
    let (ledger, mut findings) = (Ledger::default(), Findings::default());
    go_through(SOME, &element, &ledger, &mut findings).await;
    let files = element.api.list().await?;
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
    let afterwards = [Step::Create("after the outage", 100)];
    go_through(&afterwards, &element, &ledger, &mut findings).await;
    finish(site, element, &ledger, findings, (what, what)).await
}

/// Nothing may be refused, and no connection break.
async fn go_through(steps: &[Step], element: &Element, ledger: &Ledger, findings: &mut Findings) {
    match perform(steps, &element.api, ledger).await {
        Ok(true) => {}
        Ok(false) => findings.add("a connection broke"),
        Err(error) => findings.add(format!("{error:#}")),
    }
}

/// What needs the database is refused soon.
async fn refused(api: &Api, what: &str, id: uuid::Uuid, findings: &mut Findings) {
    let started = Instant::now();
    let reply = match what {
        "search" => api.get("/files/search?q=one").await,
        "upload" => api.create("never", b"never".to_vec(), &[]).await,
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

impl Broken {
    async fn happen(self, world: &World, what: &str) -> Result<Tally> {
        let mut site = world.site(Backend::Postgres)?;
        let wire = wired(&mut site).await?;
        let element = site.start().await?;
        let (ledger, mut findings) = (Ledger::default(), Findings::default());
        wire.break_at_commit(self.fate, self.number);
        for step in FILES {
            if !attempt(&[*step], &element.api, &ledger).await? {
                findings.add("the element ended, or a connection of a client broke");
                break;
            }
            if self.killed && wire.has_broken() {
                break;
            }
        }
        let place = format!("{what} {}", self.number);
        if !wire.has_broken() {
            element.kill()?;
            site.clear()?;
            return Ok(Tally::new(what, false, &findings, &place));
        }
        if self.killed {
            element.kill()?;
            return check_again(site, &ledger, findings, (what, place.as_str())).await;
        }
        settled(&element, &mut findings).await;
        finish(site, element, &ledger, findings, (what, place.as_str())).await
    }
}

/// Checks the element while it runs, and after a restart.
async fn finish(
    site: Site<'_>,
    element: Element,
    ledger: &Ledger,
    mut findings: Findings,
    names: (&str, &str),
) -> Result<Tally> {
    let expectations = Expectations::of(site.mode, &ledger.marks());
    let mut found = check(&element.api, &site.root(), &expectations, false).await?;
    findings.0.append(&mut found.0);
    element.kill()?;
    check_again(site, ledger, findings, names).await
}

/// Checks it after a restart. The names are that of the summary's line and that of the point.
async fn check_again(
    site: Site<'_>,
    ledger: &Ledger,
    mut findings: Findings,
    (what, place): (&str, &str),
) -> Result<Tally> {
    let expectations = Expectations::of(site.mode, &ledger.marks());
    let element = site.start().await?;
    let mut found = check(&element.api, &site.root(), &expectations, false).await?;
    findings.0.append(&mut found.0);
    element.kill()?;
    site.clear()?;
    Ok(Tally::new(what, true, &findings, place))
}

/// Redis is for discovery alone: nothing else may notice that it is away.
async fn without_redis(world: &World, silent: bool, what: &str) -> Result<Tally> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    // A port that nobody listens on refuses; one whose connections nobody takes is silent.
    let _listener = silent.then_some(listener);
    let mut site = world.site(Backend::Embedded)?;
    site.set("REDIS_HOST", "127.0.0.1");
    site.set("REDIS_PORT", &port.to_string());
    let element = site.start().await?;
    let (ledger, mut findings) = (Ledger::default(), Findings::default());
    go_through(FILES, &element, &ledger, &mut findings).await;
    if !matches!(
        element.api.get("/health/ready").await,
        Reply::Answer { status: 200, .. }
    ) {
        findings.add("not ready without Redis");
    }
    finish(site, element, &ledger, findings, (what, what)).await
}
