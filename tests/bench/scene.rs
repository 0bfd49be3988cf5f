//! What every experiment needs: the binary, a folder on the disk that is measured, PostgreSQL, and a token.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use e2e::command::{command, run};
use tempfile::TempDir;

use crate::Arguments;
use crate::database::Database;
use crate::token;

/// The surroundings of a measurement. Its folder goes with it.
pub(crate) struct Scene {
    pub(crate) element: PathBuf,
    pub(crate) database: Database,
    pub(crate) token: String,
    pub(crate) rounds: usize,
    quick: bool,
    folder: TempDir,
}

impl Scene {
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("artstore-bench-")
            .tempdir_in(&arguments.folder)
            .with_context(|| format!("failed to make a folder in {:?}", arguments.folder))?;
        spread(folder.path());
        let (private, public) = (folder.path().join("key.pem"), folder.path().join("key.pub.pem"));
        run(command("openssl", ["genrsa", "-out"]).arg(&private).arg("2048"))?;
        let key = run(command("openssl", ["rsa", "-pubout", "-in"]).arg(&private))?;
        fs::write(&public, key)?;
        Ok(Self {
            element: fs::canonicalize(&arguments.element)
                .with_context(|| format!("failed to find the element {:?}", arguments.element))?,
            database: Database::from_environment()?,
            token: token::sign(&fs::read(&private)?)?,
            rounds: if arguments.quick { 2 } else { arguments.rounds.max(1) },
            quick: arguments.quick,
            folder,
        })
    }

    /// One of two amounts, by how much time there is.
    pub(crate) fn choose<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A path of this name and this run: ext4 chooses a folder's place on the disk by its name, and where that of the last run lay
    /// are the inodes it freed (see [`spread`]).
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        let run = self.folder.path().file_name().unwrap_or_default();
        self.folder.path().join(format!("{name}-{}", run.display()))
    }

    pub(crate) fn public_key(&self) -> PathBuf {
        self.folder.path().join("key.pub.pem")
    }

    /// An empty folder of this name.
    pub(crate) fn fresh_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.at(name);
        remove(&folder)?;
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// A folder nobody used before.
    pub(crate) fn new_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = tempfile::Builder::new().prefix(name).tempdir_in(self.folder.path())?;
        Ok(folder.keep())
    }

    /// What the figures were measured on, in a line.
    pub(crate) fn machine(&self) -> Result<String> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown processor", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let kernel = rustix::system::uname();
        let mode = if self.quick { ", quick: a look only" } else { "" };
        Ok(format!(
            "{} × {model}, Linux {}, {}, {} rounds{mode}",
            std::thread::available_parallelism()?,
            kernel.release().to_string_lossy(),
            file_system(self.folder.path())?,
            self.rounds,
        ))
    }

    /// Waits until nothing is left to be written, so that no measurement pays for the one before it.
    pub(crate) fn settle(&self) {
        rustix::fs::sync();
    }
}

/// Lets ext4 put each folder of this one elsewhere on the disk, where no file was deleted a moment ago: it gives no freed inode away
/// for minutes, and whoever creates files beside many of them pays for the search. Other file systems know no such flag.
fn spread(folder: &Path) {
    let spread = || {
        let folder = fs::File::open(folder)?;
        let flags = rustix::fs::ioctl_getflags(&folder)? | rustix::fs::IFlags::TOPDIR;
        Ok::<_, std::io::Error>(rustix::fs::ioctl_setflags(&folder, flags)?)
    };
    if let Err(error) = spread() {
        e2e::step::say(&format!(
            "the folders of the bench stand side by side on this file system: {error}"
        ));
    }
}

/// A program that ends when this one does, however that happens.
pub(crate) fn guarded(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut guarded = command("setpriv", ["--pdeathsig=KILL"]);
    guarded.arg(program);
    guarded
}

pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {folder:?}"))
        }
        _ => Ok(()),
    }
}

fn file_system(folder: &Path) -> Result<String> {
    Ok(
        run(command("findmnt", ["--noheadings", "--output", "FSTYPE", "--target"]).arg(folder))?
            .trim()
            .to_owned(),
    )
}
