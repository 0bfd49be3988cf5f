//! The operator.

use artstore_operator::cli::{Cli, Command};
use artstore_operator::{run, telemetry};
use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Command::Run(args) = Cli::parse().command;
    telemetry::start(&args.log_level, args.log_format)?;
    run::run(args).await
}
