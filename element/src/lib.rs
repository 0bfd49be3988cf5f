//! The storage element: a file server that keeps metadata beside each file. A library only so that its parsers can be fuzzed; the
//! program calls [`main`].
//!
//! This file declares the modules, reads the command line, and turns a command's end into an exit code: 0 when it went well,
//! 2 when the configuration is at fault, 1 otherwise; `fsck` has codes of its own.
#![allow(
    unreachable_pub,
    reason = "nobody else uses this library; `pub` marks what a module offers the others"
)]

mod attr;
mod auth;
mod capacity;
mod cli;
mod config;
mod dev;
mod discovery;
mod durable;
mod files;
mod fsck;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod index;
mod maintenance;
mod metrics;
mod mode;
mod run;
mod smoke_test;
mod state;
mod store;
mod tasks;
mod telemetry;
mod token;
mod traces;
mod trust;
mod wal;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command};
use crate::config::ConfigError;
use crate::config::environment::Environment;

/// Runs the command that the command line names.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let error = match dispatch(cli) {
        Ok(code) => return code,
        Err(error) => error,
    };
    // INVARIANT: with standard error gone there is nobody left to tell; the exit code still says it.
    let _ = writeln!(io::stderr(), "artstore-element: {error:#}");
    ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    // The one crypto backend, for every TLS connection.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        bail!("another crypto backend was installed before");
    }
    let environment = Environment::new(std::env::vars_os());
    environment.check(&Cli::command())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let done = match cli.command {
        Command::Fsck(args) => return runtime.block_on(fsck::run(args, &environment)),
        Command::Serve(args) => runtime.block_on(run::serve(*args, &environment)),
        Command::Migrate(args) => runtime.block_on(run::migrate(args, &environment)),
        Command::Rebuild(args) => runtime.block_on(run::rebuild(args, &environment)),
        Command::Openapi => run::print_description(),
        Command::SmokeTest(args) => runtime.block_on(smoke_test::run(args)),
        Command::Token(args) => token::run(args),
    };
    done.map(|()| ExitCode::SUCCESS)
}
