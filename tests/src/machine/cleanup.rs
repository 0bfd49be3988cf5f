//! Taking back what the cluster changed on the machine, and proving that nothing of it is left. It touches only what is
//! below the root, on the bridge, in the cluster's control group, or named like a chain of kube-proxy.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{BRIDGE, had_node, pod_groups, restore_settings};
use crate::command::{command, run, run_any, run_with_input};
use crate::daemon;
use crate::layout::Layout;

/// The two packet filters; the package brings both.
const PROGRAMS: [&str; 2] = ["iptables", "ip6tables"];

/// Folders that kubelet and the container runtime make at fixed places.
const FOLDERS: [&str; 9] = [
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/var/log/containers",
    "/run/containerd/runc/k8s.io",
    "/run/containerd/runc",
    "/run/containerd/s",
    "/run/containerd",
];

/// Takes back everything the cluster changed on the machine. All its processes must have ended.
pub fn clean(layout: &Layout) -> Result<()> {
    unmount(layout)?;
    for group in pod_groups()? {
        fs::remove_dir(&group).with_context(|| format!("failed to remove the control group {}", group.display()))?;
    }
    if had_node(layout) {
        for program in PROGRAMS {
            remove_rules(program)?;
        }
    }
    remove_interfaces()?;
    restore_settings(layout)?;
    remove_matching(Path::new("/var/log/containers"), |path| {
        fs::read_link(path).is_ok_and(|target| target.starts_with(&layout.root))
    })?;
    // Each result names the namespace it was made for, and ours are below the root.
    let root = layout.root.display().to_string();
    remove_matching(Path::new("/var/lib/cni/results"), |path| {
        fs::read_to_string(path).is_ok_and(|text| text.contains(&root))
    })?;
    remove_matching(Path::new("/var/lib/kubelet/device-plugins"), |path| {
        path.ends_with("kubelet.sock")
    })?;
    for folder in FOLDERS {
        // Only what is empty goes: another container engine may use these as well.
        let _kept = fs::remove_dir(folder);
    }
    let remains = remains(layout)?;
    if !remains.is_empty() {
        bail!("these are still there: {}", remains.join(", "));
    }
    Ok(())
}

/// What of the cluster is still on the machine, in words.
fn remains(layout: &Layout) -> Result<Vec<String>> {
    let mut found: Vec<String> = mounts(layout)?
        .iter()
        .map(|point| format!("mount {}", point.display()))
        .collect();
    found.extend(
        pod_groups()?
            .iter()
            .map(|group| format!("control group {}", group.display())),
    );
    found.extend(daemon::marked(layout)?.iter().map(|(pid, _)| format!("process {pid}")));
    if Path::new("/sys/class/net").join(BRIDGE).exists() {
        found.push(format!("interface {BRIDGE}"));
    }
    for program in PROGRAMS.iter().filter(|_| had_node(layout)) {
        if !removal_of_rules(&saved_rules(program)?).is_empty() {
            found.push(format!("rules of {program}"));
        }
    }
    Ok(found)
}

/// Removes the bridge and the virtual cables plugged into it.
fn remove_interfaces() -> Result<()> {
    let Ok(ports) = fs::read_dir(Path::new("/sys/class/net").join(BRIDGE).join("brif")) else {
        return Ok(());
    };
    for port in ports {
        let name = port?.file_name().to_string_lossy().into_owned();
        // The kernel removes a cable by itself once its namespace is gone; both orders are fine.
        run_any(&mut command("ip", ["link", "delete", &name]))?;
    }
    run(&mut command("ip", ["link", "delete", BRIDGE]))?;
    Ok(())
}

/// Unmounts everything below the root, the deepest and latest first.
fn unmount(layout: &Layout) -> Result<()> {
    for point in mounts(layout)?.iter().rev() {
        run(command("umount", ["--lazy"]).arg(point))?;
    }
    Ok(())
}

fn mounts(layout: &Layout) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let points = points.map(|point| PathBuf::from(point.replace("\\040", " ")));
    Ok(points.filter(|point| point.starts_with(&layout.root)).collect())
}

/// Removes the chains of kubelet and kube-proxy and every rule that leads to them.
fn remove_rules(program: &str) -> Result<()> {
    let removal = removal_of_rules(&saved_rules(program)?);
    if removal.is_empty() {
        return Ok(());
    }
    run_with_input(&mut command(format!("{program}-restore"), ["--noflush"]), &removal).map(drop)
}

fn saved_rules(program: &str) -> Result<String> {
    run(&mut command(format!("{program}-save"), [] as [&str; 0]))
}

/// From the text of iptables-save, what iptables-restore must read to remove our rules and chains.
fn removal_of_rules(saved: &str) -> String {
    let mut text = String::new();
    for table in saved.split_inclusive("COMMIT\n") {
        let lines = table.lines().filter(|line| !line.starts_with('#'));
        let Some(header) = lines.clone().find(|line| line.starts_with('*')) else {
            continue;
        };
        let chains: Vec<&str> = lines
            .clone()
            .filter_map(|line| line.strip_prefix(':')?.split(' ').next())
            .filter(|chain| chain.starts_with("KUBE-"))
            .collect();
        if chains.is_empty() {
            continue;
        }
        text.push_str(&format!("{header}\n"));
        let jumps = lines
            .filter_map(|line| line.strip_prefix("-A "))
            .filter(|rule| !rule.starts_with("KUBE-"));
        for rule in jumps.filter(|rule| rule.contains("-j KUBE-")) {
            text.push_str(&format!("-D {rule}\n"));
        }
        for action in ["-F", "-X"] {
            for chain in &chains {
                text.push_str(&format!("{action} {chain}\n"));
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

fn remove_matching(folder: &Path, ours: impl Fn(&Path) -> bool) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if ours(&path) {
            fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_rules_give_removal_of_kubernetes_chains_only() {
        let saved = "# by iptables-save\n*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:MINE - [0:0]\n\
                     -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
                     -A PREROUTING -j MINE\n-A KUBE-SERVICES -j RETURN\nCOMMIT\n\
                     *filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n";
        let removal = "*nat\n-D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
                       -F KUBE-SERVICES\n-X KUBE-SERVICES\nCOMMIT\n";
        assert_eq!(removal_of_rules(saved), removal);
    }
}
