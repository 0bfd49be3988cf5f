//! `up`, `down` and `status`: the whole story of the cluster, one line per part.

use std::fs::{self, File};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;

use crate::layout::{KUBECONFIG_VARIABLE, Layout};
use crate::step::{print, say, step};
use crate::{control_plane, daemon, image, infra, kubeconfig, machine, node, packages, pki, tools};

/// How much of a cluster is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// An API server and its controllers: no pod ever runs.
    ControlPlane,
    /// A node, Services, names, volumes, PostgreSQL and Redis as well.
    Full,
}

/// Brings the cluster up; what runs already is only looked at.
pub fn up(layout: &Layout, extent: Extent) -> Result<()> {
    if let Some(existing) = layout.existing_cluster() {
        say(&format!(
            "{KUBECONFIG_VARIABLE}={}: using that cluster, starting nothing",
            existing.display()
        ));
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("the local cluster needs root; set {KUBECONFIG_VARIABLE} to use an existing cluster");
    }
    let started = Instant::now();
    let _lock = lock(layout)?;
    packages::ensure(&[packages::CONTROL_PLANE])?;
    tools::ensure(layout, tools::OF_CONTROL_PLANE)?;
    machine::ensure_bridge()?;
    pki::ensure(layout).context("failed to make the certificates")?;
    kubeconfig::ensure(layout)?;
    control_plane::ensure(layout)?;
    if extent == Extent::Full {
        packages::ensure(&[packages::NODE])?;
        tools::ensure(layout, tools::OF_NODE)?;
        machine::refuse_other_kubernetes(layout)?;
        machine::ensure_settings(layout)?;
        machine::ensure_control_group()?;
        node::ensure(layout)?;
        infra::ensure(layout)?;
        all_run(layout)?;
    }
    say(&format!("cluster ready after {:.1} s", started.elapsed().as_secs_f64()));
    print(&format!("export KUBECONFIG={}", layout.kubeconfig().display()));
    Ok(())
}

/// Stops the cluster and takes back everything it changed on the machine.
pub fn down(layout: &Layout) -> Result<()> {
    if let Some(existing) = layout.existing_cluster() {
        say(&format!(
            "{KUBECONFIG_VARIABLE}={}: not ours, stopping nothing",
            existing.display()
        ));
        return Ok(());
    }
    if !layout.root.exists() {
        say("no cluster here");
        return Ok(());
    }
    let _lock = lock(layout)?;
    // The agents that would start pods again come first, the container runtime after the pods.
    for name in ["local-path-provisioner", "kubelet", "kube-proxy", "coredns"] {
        daemon::stop(layout, name)?;
    }
    step("stop the pods", machine::kill_pods)?;
    for name in daemon::recorded(layout)? {
        daemon::stop(layout, &name)?;
    }
    step("take back mounts, interfaces, rules and control groups", || {
        let sockets = node::shim_sockets(layout);
        daemon::end_marked(layout)?;
        machine::kill_pods()?;
        machine::clean(layout)?;
        node::remove_sockets(&sockets)
    })?;
    step("remove the files", || remove_files(layout))
}

/// Prints what runs; true when all of it does.
pub fn status(layout: &Layout) -> Result<bool> {
    if let Some(existing) = layout.existing_cluster() {
        print(&format!(
            "existing cluster by {KUBECONFIG_VARIABLE}={}",
            existing.display()
        ));
        return Ok(true);
    }
    let names = daemon::recorded(layout)?;
    if names.is_empty() {
        print("no cluster here");
        return Ok(false);
    }
    let mut all_run = true;
    for name in names {
        match daemon::running(layout, &name)? {
            Some(pid) => print(&format!("running  {name} ({pid})")),
            None => {
                all_run = false;
                print(&format!("stopped  {name}: call `cluster up`"));
            }
        }
    }
    for name in image::imported(layout)? {
        print(&format!("image    {name}"));
    }
    all_run &= control_plane::is_ready(layout)?;
    print(if all_run {
        "the cluster is ready"
    } else {
        "the cluster is not ready"
    });
    print(&format!("export KUBECONFIG={}", layout.kubeconfig().display()));
    Ok(all_run)
}

/// Some daemons are waited for by nothing else.
fn all_run(layout: &Layout) -> Result<()> {
    for name in daemon::recorded(layout)? {
        if daemon::running(layout, &name)?.is_none() {
            bail!(
                "{name} ended soon after its start; see {}",
                daemon::log_path(layout, &name).display()
            );
        }
    }
    Ok(())
}

/// One command at a time; the lock goes with the process that holds it.
pub fn lock(layout: &Layout) -> Result<File> {
    fs::create_dir_all(&layout.root).with_context(|| format!("failed to make {}", layout.root.display()))?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(layout.at("lock"))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        say("another cluster command runs: waiting for it");
        rustix::fs::flock(&file, FlockOperation::LockExclusive).context("failed to lock")?;
    }
    Ok(file)
}

/// Removes all but the lock, which somebody may wait for.
fn remove_files(layout: &Layout) -> Result<()> {
    for entry in fs::read_dir(&layout.root)? {
        let entry = entry?;
        if entry.file_name() == "lock" {
            continue;
        }
        let path = entry.path();
        let removed = if entry.file_type()?.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("failed to remove {}", path.display()))?;
    }
    Ok(())
}
