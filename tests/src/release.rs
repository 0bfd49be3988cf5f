//! The images of this project: static release binaries, each alone in an image from scratch.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{command, run_visible};
use crate::layout::Layout;
use crate::step::{say, step};
use crate::{daemon, image, lifecycle, packages};

/// The only platform the images are built for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The largest image we ship, in bytes.
const SIZE_LIMIT: u64 = 40 << 20;

/// A cargo profile for the binaries of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As they ship.
    Release,
    /// The same without optimisation across crates, in half the time. For tests.
    Quick,
}

impl Profile {
    /// What cargo calls it, and the folder of its results.
    const fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Quick => "quick",
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

/// Compiles what goes into the images.
pub fn binaries(layout: &Layout, profile: Profile) -> Result<PathBuf> {
    step(&format!("build static {} binaries", profile.name()), || {
        build_binaries(layout, profile)
    })
}

/// Builds both images, checks their size, and loads them when the cluster runs.
pub fn images(layout: &Layout, profile: Profile) -> Result<()> {
    packages::ensure(&[packages::IMAGES])?;
    let binaries = binaries(layout, profile)?;
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
        if size > SIZE_LIMIT {
            bail!("{name} is larger than {} MiB", SIZE_LIMIT >> 20);
        }
        if daemon::running(layout, "containerd")?.is_some() {
            image::load(layout, &archive)?;
        }
    }
    Ok(())
}

/// Builds the element as its image gets it, and the program that measures it; answers with the command to run.
pub fn bench(layout: &Layout) -> Result<[PathBuf; 2]> {
    packages::ensure(&[packages::IMAGES])?;
    let folder = binaries(layout, Profile::Release)?;
    step("build the bench", || {
        run_visible(static_build(layout, Profile::Release).args(["--package", "e2e", "--example", "bench"]))
    })?;
    let bench = static_target(layout).join(TARGET).join("release/examples/bench");
    Ok([bench, folder.join("artstore-element")])
}

/// A folder of its own beside the tests': other flags, and neither build throws the other away.
fn static_target(layout: &Layout) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
        Some(mut folder) => {
            folder.push("-static");
            PathBuf::from(folder)
        }
        None => layout.cache.join("target/static"),
    }
}

fn static_build(layout: &Layout, profile: Profile) -> Command {
    let mut build = command(
        "cargo",
        ["build", "--locked", "--target", TARGET, "--profile", profile.name()],
    );
    build
        .env("CARGO_TARGET_DIR", static_target(layout))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .current_dir(layout.checkout());
    build
}

/// Returns the folder of the binaries.
fn build_binaries(layout: &Layout, profile: Profile) -> Result<PathBuf> {
    let mut build = static_build(layout, profile);
    for program in PROGRAMS {
        build.args(["--bin", program]);
    }
    run_visible(&mut build)?;
    let target = static_target(layout);
    let folder = target.join(TARGET).join(profile.name());
    let context = target.join("context").join(profile.name());
    fs::create_dir_all(&context)?;
    for program in PROGRAMS {
        fs::copy(folder.join(program), context.join(program)).with_context(|| format!("failed to copy {program}"))?;
    }
    Ok(context)
}
