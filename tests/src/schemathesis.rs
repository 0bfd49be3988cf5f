//! schemathesis, which tries an API by its description: installed once per machine from a pinned list, beside the Go tools.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::command::{command, run};
use crate::layout::Layout;
use crate::step::step;
use crate::tools::hex;

/// Debian's own Python, whichever else the machine has.
const PYTHON: &str = "/usr/bin/python3";

/// The program; it is installed first when it is not there.
pub fn ensure(layout: &Layout) -> Result<PathBuf> {
    let list = layout.checkout().join("tests/api/requirements.txt");
    let pinned = fs::read(&list).with_context(|| format!("failed to read {}", list.display()))?;
    let key: String = hex(&Sha256::digest(&pinned)).chars().take(16).collect();
    let folder = layout.cache.join("python").join(key);
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive).context("failed to lock the Python folder")?;
    // Programs of a virtual environment hold its path, so it cannot be moved into place; this file says that it is whole.
    let whole = folder.join("whole");
    let environment = folder.join("environment");
    if !whole.exists() {
        step("install schemathesis (Python, once per machine)", || {
            run(command(PYTHON, ["-m", "venv", "--clear"]).arg(&environment))?;
            let mut install = command(
                environment.join("bin/pip"),
                ["install", "--quiet", "--no-input", "--requirement"],
            );
            run(install.arg(&list))?;
            File::create(&whole).context("failed to mark the environment as whole")
        })?;
    }
    Ok(environment.join("bin/schemathesis"))
}
