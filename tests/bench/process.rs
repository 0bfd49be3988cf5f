//! What processes cost, as /proc tells it.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The fields of `/proc/PID/stat` behind the program's name, which may hold spaces.
fn stat(pid: &str) -> Result<Vec<u64>> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("failed to look at process {pid}"))?;
    let (_, rest) = text.rsplit_once(')').context("a process has no name")?;
    // The state is a letter; the rest are numbers, a few of them negative and of no interest.
    Ok(rest
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect())
}

fn field(fields: &[u64], number: usize) -> u64 {
    // proc(5) counts from 1, and the state is number 3.
    fields.get(number - 3).copied().unwrap_or_default()
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// User and system time of a process and of its children that have ended.
fn cpu_of(pid: &str) -> Result<f64> {
    let fields = stat(pid)?;
    Ok(seconds((14..=17).map(|number| field(&fields, number)).sum()))
}

/// CPU seconds of a process, its descendants, and those of them that have ended.
pub(crate) fn cpu_of_tree(root: u32) -> Result<f64> {
    let children = children()?;
    let mut total = cpu_of(&root.to_string())?;
    let mut left = children.get(&root).cloned().unwrap_or_default();
    while let Some(pid) = left.pop() {
        total += cpu_of(&pid.to_string()).unwrap_or(0.0);
        left.extend(children.get(&pid).into_iter().flatten());
    }
    Ok(total)
}

/// The children of every process.
fn children() -> Result<HashMap<u32, Vec<u32>>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // A process may end while we look.
        if let Ok(fields) = stat(&pid.to_string()) {
            children.entry(u32::try_from(field(&fields, 4))?).or_default().push(pid);
        }
    }
    Ok(children)
}

/// CPU seconds of this process and of the children it waited for.
pub(crate) fn own_cpu() -> Result<f64> {
    cpu_of("self")
}

/// The process that started another.
pub(crate) fn parent(pid: u32) -> Result<u32> {
    Ok(u32::try_from(field(&stat(&pid.to_string())?, 4))?)
}

/// The one child of a process.
pub(crate) fn only_child(parent: u32) -> Result<u32> {
    match children()?.get(&parent).map(Vec::as_slice) {
        Some([child]) => Ok(*child),
        other => bail!(
            "process {parent} has {} children, not one",
            other.map_or(0, <[u32]>::len)
        ),
    }
}

/// Asks a process to end.
pub(crate) fn terminate(pid: u32) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("there is no process 0")?;
    kill_process(pid, Signal::TERM).context("failed to end a process")
}

/// The most memory a process ever had, in bytes.
pub(crate) fn peak_memory(pid: u32) -> Result<u64> {
    memory(pid, "VmHWM:")
}

/// The memory a process has, in bytes.
pub(crate) fn memory_now(pid: u32) -> Result<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .context("no memory figure")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes << 10)
}
