//! The command line: every flag is an environment variable too.

use std::net::SocketAddr;

use clap::{Parser, Subcommand, ValueEnum};

/// The Kubernetes operator for storage elements.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reconcile elements and fleets until SIGTERM.
    Run(RunArgs),
}

/// How to run.
#[derive(Clone, Debug, Parser)]
pub struct RunArgs {
    /// Namespace to look after; may be given several times, or separated by commas. Everywhere when left out.
    #[arg(long = "namespace", env = "WATCH_NAMESPACE", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Image of elements for which neither they nor their fleet name one.
    #[arg(long, env = "ELEMENT_IMAGE")]
    pub element_image: Option<String>,
    /// Where health and metrics are served.
    #[arg(long, env = "METRICS_ADDRESS", default_value = "0.0.0.0:8080")]
    pub metrics_address: SocketAddr,
    /// Whether several operators share the work by a Lease, of which one acts.
    #[arg(long, env = "LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_election: bool,
    /// Namespace of the Lease: the operator's own.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,
    /// Name of this instance, in the Lease and in Events.
    #[arg(long, env = "POD_NAME", default_value = "artstore-operator")]
    pub instance: String,
    /// What is logged, in the words of tracing: `info`, `artstore_operator=debug,info`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How it is logged.
    #[arg(long, env = "LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command};

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn namespaces_may_be_repeated_and_separated() {
        let cli = Cli::parse_from(["operator", "run", "--namespace", "a,b", "--namespace", "c"]);
        let Command::Run(args) = cli.command;
        assert_eq!(args.namespaces, ["a", "b", "c"]);
    }
}
