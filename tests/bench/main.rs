//! `bench`: measures a built element against nginx and against what disk and database can do at all, on this machine and in
//! this run. `cluster bench` builds the element, starts PostgreSQL and calls it. Nothing here decides whether a test passes.

mod bucket;
mod client;
mod database;
mod element;
mod experiments;
mod floor;
mod measure;
mod nginx;
mod process;
mod report;
mod scene;
mod token;
mod wrk;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use e2e::packages;
use e2e::step::{print, say};

use crate::report::Report;
use crate::scene::Scene;

#[derive(Parser)]
#[command(about = "The element's speed beside nginx, the disk and PostgreSQL")]
pub(crate) struct Arguments {
    /// The element's binary.
    #[arg(long, value_name = "FILE")]
    element: PathBuf,
    /// Only these experiments, as in E1,E3.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Fewer rounds and less of everything: a look, not a measurement.
    #[arg(long)]
    quick: bool,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 5, value_name = "NUMBER")]
    rounds: usize,
    /// Where files are stored while it runs; 10 GiB should be free.
    #[arg(long, default_value = "/var/tmp", value_name = "FOLDER")]
    folder: PathBuf,
    /// Where NAME.json and the table go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench"), value_name = "FOLDER")]
    results: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let chosen = experiments::choose(&arguments.only)?;
    packages::ensure(&[packages::BENCH])?;
    let scene = Scene::new(arguments)?;
    let mut report = Report::new(&arguments.results)?;
    let mut failed = Vec::new();
    for experiment in chosen {
        say(&format!("{}: {}", experiment.name, experiment.about));
        match (experiment.run)(&scene) {
            Ok(rows) => report.add(experiment.name, rows)?,
            Err(error) => {
                say(&format!("{} failed: {error:#}", experiment.name));
                failed.push(experiment.name);
            }
        }
    }
    print(&report.table());
    report.write_table(&scene)?;
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("these could not be measured: {}", failed.join(", "))
    }
}
