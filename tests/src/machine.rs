//! What the cluster changes on the machine itself: one bridge, a few kernel settings, and the traces that containers
//! and kube-proxy leave. [`clean`] takes all of it back.

mod cleanup;

pub use cleanup::clean;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::command::{command, run};
use crate::daemon;
use crate::layout::{KUBECONFIG_VARIABLE, Layout};

/// The interface that carries the pods. Every server of the cluster listens on its address only.
pub const BRIDGE: &str = "artstore0";
/// The address of the bridge.
pub const ADDRESS: &str = "10.244.0.1";
/// The addresses of pods.
pub const POD_RANGE: &str = "10.244.0.0/24";
/// The addresses of Services.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The address of the Service `kubernetes`.
pub const SERVICE_API_ADDRESS: &str = "10.96.0.1";
/// The name of the only node.
pub const NODE_NAME: &str = "artstore-node";
/// The name of the CNI network.
pub const NETWORK: &str = "artstore";

/// The control group above all pods, in every hierarchy.
pub const CONTROL_GROUP: &str = "artstore";

/// Kernel settings, and what a node needs them to be.
const SETTINGS: [(&str, &str); 3] = [
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    ("/proc/sys/net/ipv4/conf/all/route_localnet", "0"),
    ("/proc/sys/net/bridge/bridge-nf-call-iptables", "1"),
];

/// Makes the bridge, with its address and the route to the Services, unless it is there.
pub fn ensure_bridge() -> Result<()> {
    if !Path::new("/sys/class/net").join(BRIDGE).exists() {
        run(&mut command("ip", ["link", "add", BRIDGE, "type", "bridge"]))?;
    }
    let prefix = POD_RANGE.rsplit('/').next().unwrap_or_default();
    run(&mut command(
        "ip",
        ["address", "replace", &format!("{ADDRESS}/{prefix}"), "dev", BRIDGE],
    ))?;
    run(&mut command("ip", ["link", "set", BRIDGE, "up"]))?;
    // A Service without endpoints ends here too, instead of leaving by the default route.
    run(&mut command(
        "ip",
        ["route", "replace", SERVICE_RANGE, "dev", BRIDGE, "src", ADDRESS],
    ))?;
    Ok(())
}

/// Sets what a node needs of the kernel, and keeps the values from before.
pub fn ensure_settings(layout: &Layout) -> Result<()> {
    if !Path::new("/proc/sys/net/bridge").exists() {
        run(&mut command("modprobe", ["br_netfilter"]))?;
    }
    let saved = saved_settings(layout);
    if !saved.exists() {
        let mut before = Vec::new();
        for (path, _) in SETTINGS {
            let value = fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?;
            before.push(Setting {
                path: path.into(),
                value: value.trim().into(),
            });
        }
        fs::write(&saved, serde_json::to_vec(&before)?)?;
    }
    for (path, value) in SETTINGS {
        if path.ends_with("route_localnet") {
            continue; // kube-proxy sets this one itself; it is listed to be set back.
        }
        fs::write(path, value).with_context(|| format!("failed to set {path}"))?;
    }
    Ok(())
}

/// Makes the control group that holds all pods of this cluster, apart from anybody else's.
pub fn ensure_control_group() -> Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(CONTROL_GROUP);
        fs::create_dir_all(&group).with_context(|| format!("failed to make {}", group.display()))?;
    }
    Ok(())
}

/// Refuses to share the machine with another Kubernetes: both would write the same iptables chains.
pub fn refuse_other_kubernetes(layout: &Layout) -> Result<()> {
    if !had_node(layout) && run(&mut command("iptables-save", ["-t", "nat"]))?.contains(":KUBE-SERVICES ") {
        bail!("another Kubernetes runs on this machine; set {KUBECONFIG_VARIABLE} to use it");
    }
    Ok(())
}

/// Kills what runs in pods, by the process ids of their control groups.
pub fn kill_pods() -> Result<()> {
    for group in pod_groups()? {
        let Ok(members) = fs::read_to_string(group.join("cgroup.procs")) else {
            continue;
        };
        for pid in members.lines().filter_map(|line| line.parse().ok()) {
            daemon::kill_now(pid)?;
        }
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Setting {
    path: String,
    value: String,
}

fn saved_settings(layout: &Layout) -> PathBuf {
    layout.at("kernel-settings.json")
}

/// Whether this cluster ever came so far that it has, or had, a node. Otherwise rules of that kind are somebody else's.
fn had_node(layout: &Layout) -> bool {
    saved_settings(layout).exists()
}

fn restore_settings(layout: &Layout) -> Result<()> {
    let Ok(text) = fs::read(saved_settings(layout)) else {
        return Ok(());
    };
    for setting in serde_json::from_slice::<Vec<Setting>>(&text)? {
        fs::write(&setting.path, &setting.value).with_context(|| format!("failed to set back {}", setting.path))?;
    }
    Ok(())
}

/// The control groups of pods, children before their parents, in every hierarchy.
fn pod_groups() -> Result<Vec<PathBuf>> {
    let mut groups = Vec::new();
    for hierarchy in hierarchies()? {
        collect_groups(&hierarchy.join(CONTROL_GROUP), &mut groups)?;
    }
    Ok(groups)
}

/// The roots of control groups: one with cgroup v2, one per controller with v1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.procs").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        // Some are links to others: cpu and cpuacct to "cpu,cpuacct".
        if entry.file_type()?.is_dir() && entry.path().join("cgroup.procs").exists() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn collect_groups(group: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(group) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_groups(&entry.path(), found)?;
        }
    }
    found.push(group.to_owned());
    Ok(())
}
