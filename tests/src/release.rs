//! The images of this project: static binaries, each alone in an image from scratch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{command, run, run_visible};
use crate::layout::Layout;
use crate::step::{say, step};
use crate::{daemon, image, lifecycle, packages};

/// The largest image we ship, in bytes.
const SIZE_LIMIT: u64 = 40_000_000;

/// A cargo profile for the binaries of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As they ship.
    Release,
    /// Those that the other tests run.
    Dev,
}

impl Profile {
    /// The folder of its results.
    const fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "debug",
        }
    }
}

/// The programs that become images.
const PROGRAMS: [&str; 2] = ["artstore-element", "artstore-operator"];

/// The image of a program: no registry is ever asked for this name.
pub fn image_name(program: &str) -> String {
    format!("localhost/{program}:{}", env!("CARGO_PKG_VERSION"))
}

/// The stage of a program's Containerfile that takes the binary as it is.
fn stage_of(program: &str) -> Option<&'static str> {
    (program == "artstore-element").then_some("prebuilt")
}

/// Builds both images, checks the size of those that ship, and loads them when the cluster runs.
pub fn images(layout: &Layout, profile: Profile) -> Result<()> {
    packages::ensure(&[packages::IMAGES])?;
    let what = match profile {
        Profile::Release => "build release binaries",
        Profile::Dev => "build the tests and their binaries",
    };
    let binaries = step(what, || binaries(layout, profile))?;
    let _lock = lifecycle::lock(layout)?;
    for program in PROGRAMS {
        let archive = image::archives(layout)?.join(format!("{program}.tar"));
        let containerfile = layout.checkout().join("images").join(program).join("Containerfile");
        let name = image_name(program);
        step(&format!("build {name}"), || {
            image::build(layout, &binaries, &containerfile, stage_of(program), &name, &archive)
        })?;
        let size = fs::metadata(&archive)?.len();
        say(&format!(
            "           {name}: {:.1} MB, {}",
            size as f64 / 1e6,
            archive.display()
        ));
        if profile == Profile::Release && size > SIZE_LIMIT {
            bail!("{name} is larger than {} MB", SIZE_LIMIT / 1_000_000);
        }
        if daemon::running(layout, "containerd")?.is_some() {
            image::load(layout, &archive)?;
        } else if layout.existing_cluster().is_some() {
            say("           not loaded: bring it to the nodes of the cluster in use, or to a registry of theirs");
        }
    }
    Ok(())
}

/// Builds the element as its image gets it, and the program that measures it; answers with the command to run.
pub fn bench(layout: &Layout) -> Result<[PathBuf; 2]> {
    packages::ensure(&[packages::IMAGES])?;
    let folder = step("build the element", || binaries(layout, Profile::Release))?;
    step("build the bench", || {
        run_visible(&mut cargo(
            layout,
            &["build", "--release", "--package", "e2e", "--example", "bench"],
        ))
    })?;
    let bench = target_folder()?.join("release/examples/bench");
    Ok([bench, folder.join("artstore-element")])
}

/// Where cargo puts the results of all profiles: this program is one of them.
fn target_folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent);
    Ok(folder
        .context("this program stands in no folder of cargo's")?
        .to_owned())
}

/// A command of cargo's over this checkout.
fn cargo(layout: &Layout, arguments: &[&str]) -> Command {
    let mut cargo = command("cargo", arguments);
    cargo.arg("--locked").current_dir(layout.checkout());
    cargo
}

/// Returns a folder of nothing but the binaries.
fn binaries(layout: &Layout, profile: Profile) -> Result<PathBuf> {
    let mut build = match profile {
        Profile::Release => cargo(layout, &["build", "--release"]),
        // Binaries alone would have other features, and so compile dependencies anew.
        Profile::Dev => cargo(layout, &["test", "--workspace", "--no-run"]),
    };
    if profile == Profile::Release {
        build.args(PROGRAMS.map(|program| format!("--bin={program}")));
    }
    run_visible(&mut build)?;
    let target = target_folder()?;
    let context = target.join("context").join(profile.folder());
    fs::create_dir_all(&context)?;
    for program in PROGRAMS {
        let built = target.join(profile.folder()).join(program);
        run(command("strip", ["-o"]).arg(context.join(program)).arg(built))?;
    }
    Ok(context)
}
