//! `cluster`: the local Kubernetes of this project, from the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use e2e::lifecycle::Extent;
use e2e::release::Profile;
use e2e::step::print;
use e2e::{Layout, daemon, image, lifecycle, packages, release, services};

#[derive(Parser)]
#[command(about = "A real Kubernetes on this machine, for the tests and the demo")]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Brings the cluster up, or does nothing when it is.
    Up {
        /// Only an API server and its controllers: no node, no pods.
        #[arg(long)]
        control_plane_only: bool,
    },
    /// Stops the cluster and leaves nothing of it on the machine.
    Down,
    /// Tells what runs; fails when not all of it does.
    Status,
    /// Loads an image from an archive into the cluster.
    LoadImage {
        /// The archive, as `buildah push docker-archive:` writes it.
        archive: PathBuf,
    },
    /// Builds the images of this project, and loads them when the cluster runs.
    Images {
        /// Not as they ship: of the binaries that the other tests run.
        #[arg(long)]
        dev: bool,
    },
    /// Installs the Debian packages that the tests need.
    Packages,
    /// Builds all Go programs that are not in the cache.
    Tools,
    /// Builds a Go tool if it is not in the cache, and prints its path.
    Tool {
        /// kubectl or helm.
        name: String,
    },
    /// Runs a command with a PostgreSQL, a Redis and an S3 server of its own, and the cluster when it is up: all that tests
    /// need.
    Services {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Measures the element as it ships; the arguments are the bench's.
    Bench {
        /// See `--help` behind `--`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The inner side of starting a daemon.
    #[command(hide = true)]
    Become {
        name: String,
        fingerprint: String,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match act(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(verb: Verb) -> Result<ExitCode> {
    let layout = Layout::of_this_machine()?;
    match verb {
        Verb::Up {
            control_plane_only: true,
        } => lifecycle::up(&layout, Extent::ControlPlane)?,
        Verb::Up {
            control_plane_only: false,
        } => lifecycle::up(&layout, Extent::Full)?,
        Verb::Down => lifecycle::down(&layout)?,
        Verb::Status => {
            if !lifecycle::status(&layout)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Verb::LoadImage { archive } => {
            let _lock = lifecycle::lock(&layout)?;
            image::load(&layout, &archive)?;
        }
        Verb::Images { dev } => release::images(&layout, if dev { Profile::Dev } else { Profile::Release })?,
        Verb::Packages => {
            packages::ensure(&[
                packages::CONTROL_PLANE,
                packages::IMAGES,
                packages::SERVICES,
                packages::TESTS,
            ])?;
        }
        Verb::Tools => {
            let _lock = lifecycle::lock(&layout)?;
            e2e::tools::ensure(&layout, &e2e::tools::ALL.concat())?;
        }
        Verb::Tool { name } => print(&e2e::tools::by_name(&name)?.ensure(&layout)?.display().to_string()),
        Verb::Services { command } => return services::run_with_services(&layout, &command),
        Verb::Bench { arguments } => {
            let [bench, element] = release::bench(&layout)?.map(|path| path.display().to_string());
            let command = [bench, "--element".to_owned(), element].into_iter().chain(arguments);
            return services::run_with_services(&layout, &command.collect::<Vec<_>>());
        }
        Verb::Become {
            name,
            fingerprint,
            program,
            arguments,
        } => {
            let root = std::env::var_os(daemon::MARK).context("only `cluster up` calls this")?;
            daemon::become_program(root.as_ref(), &name, &fingerprint, &program, &arguments)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
