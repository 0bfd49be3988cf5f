//! Kills by strace, which counts calls of each kind in each thread: other moments, another tool.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, ensure};

use crate::crash::ledger::Ledger;
use crate::crash::report::block_on;
use crate::crash::site::{Backend, End, Site, Start, World};
use crate::crash::workload::{FILES, perform};

/// Calls it kills at.
const CALLS: [&str; 14] = [
    "openat",
    "write",
    "pwrite64",
    "writev",
    "fsync",
    "fdatasync",
    "rename",
    "unlink",
    "mkdir",
    "ftruncate",
    "sendto",
    "flock",
    "close",
    "recvfrom",
];

const STRACE: &str = "/usr/bin/strace";

/// Runs of which the fewest calls count: each spreads its work over threads in a way of its own.
const RUNS: usize = 3;

/// For each kind of call, how many of them the busiest thread makes in any run of [`FILES`], however the work is spread: no fewer than
/// all of them divided by the threads that make them.
pub(super) fn counts(world: &World, backend: Backend) -> Result<Vec<(&'static str, usize)>> {
    let runs: Vec<_> = (0..RUNS).map(|_| count(world, backend)).collect::<Result<_>>()?;
    let fewest = |call: &'static str| {
        let counts = runs.iter().map(|run| run.get(call).copied().unwrap_or_default());
        (call, counts.min().unwrap_or_default())
    };
    Ok(CALLS.into_iter().map(fewest).collect())
}

fn count(world: &World, backend: Backend) -> Result<BTreeMap<&'static str, usize>> {
    let site = world.site(backend)?;
    let list = site.folder.join("calls");
    let set = format!("trace={}", CALLS.join(","));
    let list_path = list.display().to_string();
    block_on(async {
        let wrapper = [STRACE, "-f", "-qqq", "-o", &list_path, "-e", &set];
        let element = site.start_under(&wrapper).await?.ready()?;
        ensure!(
            perform(FILES, &element.api, &Ledger::default()).await?,
            "the element broke off under strace"
        );
        element.stop()
    })?;
    let mut of_threads: BTreeMap<&'static str, BTreeMap<String, usize>> = BTreeMap::new();
    for line in fs::read_to_string(&list)?.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let is_of = |call: &&str| {
            rest.trim_start()
                .strip_prefix(*call)
                .is_some_and(|rest| rest.starts_with('('))
        };
        if let Some(call) = CALLS.into_iter().find(is_of) {
            let threads = of_threads.entry(call).or_default();
            *threads.entry(thread.to_owned()).or_default() += 1;
        }
    }
    site.clear()?;
    let share = |threads: BTreeMap<String, usize>| threads.values().sum::<usize>().div_ceil(threads.len().max(1));
    Ok(of_threads
        .into_iter()
        .map(|(call, threads)| (call, share(threads)))
        .collect())
}

/// Kills it at the n-th call of one kind. Answers whether every question was answered, and how it ended.
pub(super) async fn kill(site: &Site<'_>, call: &str, at: usize, ledger: &Ledger) -> Result<(bool, End)> {
    let (set, inject) = (
        format!("trace={call}"),
        format!("inject={call}:signal=SIGKILL:when={at}"),
    );
    let wrapper = [STRACE, "-f", "-qqq", "-o", "/dev/null", "-e", &set, "-e", &inject];
    let process = site.start_under(&wrapper).await?;
    let complete = match &process {
        Start::Ready(element) => perform(FILES, &element.api, ledger).await?,
        // Killed in its start.
        Start::Ended(..) => true,
    };
    Ok((complete, process.end()?))
}
