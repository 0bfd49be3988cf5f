//! The Debian packages the harness needs. It installs what is missing, and lets none of them start a service.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::command::{command, run};
use crate::step::step;

/// A file that a package brings, and the package.
type Needed = (&'static str, &'static str);

/// What the API server and its storage need.
pub const CONTROL_PLANE: &[Needed] = &[("/usr/bin/openssl", "openssl"), ("/usr/sbin/ip", "iproute2")];

/// What a node needs beyond that.
pub const NODE: &[Needed] = &[
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/sbin/iptables", "iptables"),
    ("/usr/sbin/conntrack", "conntrack"),
    ("/usr/bin/buildah", "buildah"),
    ("/usr/bin/mmdebstrap", "mmdebstrap"),
    ("/usr/bin/mount", "mount"),
];

/// What images of our own binaries need.
pub const IMAGES: &[Needed] = &[
    ("/usr/bin/buildah", "buildah"),
    ("/usr/bin/gcc", "gcc"),
    ("/usr/bin/cmake", "cmake"),
];

/// What `cluster services` runs.
pub const SERVICES: &[Needed] = &[
    ("/usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
    ("/usr/bin/redis-server", "redis-server"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/bin/python3", "python3"),
    ("/usr/lib/python3.11/ensurepip/__init__.py", "python3-venv"),
];

/// What tests of ours call.
pub const TESTS: &[Needed] = &[("/usr/bin/strace", "strace"), ("/usr/sbin/mkfs.ext4", "e2fsprogs")];

/// What `cluster bench` measures against and with.
pub const BENCH: &[Needed] = &[
    ("/usr/sbin/nginx", "nginx"),
    ("/usr/bin/wrk", "wrk"),
    ("/usr/bin/strace", "strace"),
    ("/usr/bin/openssl", "openssl"),
];

/// While this file says 101, Debian's packages start no service when they are installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs those packages whose file is not there yet.
pub fn ensure(groups: &[&[Needed]]) -> Result<()> {
    let mut missing: Vec<&str> = groups
        .iter()
        .flat_map(|group| group.iter())
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| *package)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    step(&format!("install Debian packages: {}", missing.join(" ")), || {
        install(&missing)
    })
}

fn install(packages: &[&str]) -> Result<()> {
    let policy_is_ours = !Path::new(POLICY).exists();
    if policy_is_ours {
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("failed to write {POLICY}"))?;
        run(&mut command("chmod", ["755", POLICY]))?;
    }
    let installed = update_and_install(packages);
    if policy_is_ours {
        fs::remove_file(POLICY).with_context(|| format!("failed to remove {POLICY}"))?;
    }
    installed
}

fn update_and_install(packages: &[&str]) -> Result<()> {
    // A fresh machine may be upgrading itself: wait for its lock instead of failing.
    const PATIENT: [&str; 2] = ["-o", "DPkg::Lock::Timeout=600"];
    run(command("apt-get", PATIENT)
        .arg("update")
        .env("DEBIAN_FRONTEND", "noninteractive"))?;
    let mut install = command("apt-get", PATIENT);
    install.args(["install", "-y", "--no-install-recommends"]);
    run(install.args(packages).env("DEBIAN_FRONTEND", "noninteractive"))?;
    Ok(())
}
