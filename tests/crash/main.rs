//! `make test-crash`: every part of the crash harness, with a summary as a table.

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use e2e::crash::report::{Options, Row, table, totals};
use e2e::crash::site::World;
use e2e::crash::{chaos, fault, kill, outage, power, volume};
use e2e::packages;
use e2e::step::{print, say};

/// Violations shown in full.
const SHOWN: usize = 40;

#[derive(Parser)]
#[command(about = "Kills, faults and power cuts against one element; nothing acknowledged may be lost")]
struct Arguments {
    /// The parts to run; all when none is named.
    #[arg(long, value_delimiter = ',')]
    parts: Vec<Part>,
    /// At the most so many points of each part; all when absent.
    #[arg(long)]
    points: Option<usize>,
    /// States after a power cut.
    #[arg(long, default_value_t = 700)]
    states: usize,
    /// Seconds of kill -9 under load, for each database.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Repeats the random choices of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// Elements side by side.
    #[arg(long)]
    jobs: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Kills at every call.
    Kill,
    /// Calls that fail, and a full volume.
    Fault,
    /// PostgreSQL and Redis away.
    Outage,
    /// Power cuts.
    Power,
    /// Load and kill -9.
    Chaos,
}

fn main() -> ExitCode {
    match act(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: &Arguments) -> Result<bool> {
    packages::ensure(&[packages::CONTROL_PLANE, packages::TESTS])?;
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        jobs: arguments.jobs.unwrap_or(cores),
        points: arguments.points,
        states: arguments.states,
        seconds: arguments.seconds,
        seed,
    };
    say(&format!("seed {seed}, {} elements side by side", options.jobs));
    let started = Instant::now();
    let world = World::new()?;
    let wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    let mut rows: Vec<Row> = Vec::new();
    if wanted(Part::Kill) {
        rows.extend(kill::run(&world, &options).context("failed to go through the kills")?);
    }
    if wanted(Part::Fault) {
        rows.extend(fault::run(&world, &options).context("failed to go through the failing calls")?);
        rows.extend(volume::run(&world).context("failed to fill a volume")?);
    }
    if wanted(Part::Outage) {
        rows.extend(outage::run(&world, &options).context("failed to take servers away")?);
    }
    if wanted(Part::Power) {
        let recordings = power::record(&world).context("failed to record a run")?;
        rows.extend(power::run(&world, &options, &recordings).context("failed to go through power cuts")?);
    }
    if wanted(Part::Chaos) {
        rows.extend(chaos::run(&world, &options).context("failed to kill under load")?);
    }
    for violation in rows.iter().flat_map(|row| &row.violations).take(SHOWN) {
        print(&format!("VIOLATION {violation}"));
    }
    print(table(&rows).trim_end());
    let (points, violations) = totals(&rows);
    let seconds = started.elapsed().as_secs_f64();
    print(&format!(
        "{points} points, {violations} violations, {seconds:.0} s, seed {seed}"
    ));
    Ok(violations == 0)
}
