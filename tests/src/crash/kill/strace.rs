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

/// For each kind of call, how many of them the busiest thread makes in a run of [`FILES`]: the fewer of two runs, which spread their
/// work over threads in different ways.
pub(super) fn counts(world: &World, backend: Backend) -> Result<Vec<(&'static str, usize)>> {
    let (first, second) = (count(world, backend)?, count(world, backend)?);
    let fewer = |call: &'static str| {
        let most = |counts: &BTreeMap<&str, usize>| counts.get(call).copied().unwrap_or_default();
        (call, most(&first).min(most(&second)))
    };
    Ok(CALLS.into_iter().map(fewer).collect())
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
    let mut of_threads: BTreeMap<(String, &str), usize> = BTreeMap::new();
    let mut most: BTreeMap<&'static str, usize> = BTreeMap::new();
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
            let count = of_threads.entry((thread.to_owned(), call)).or_default();
            *count += 1;
            let most = most.entry(call).or_default();
            *most = (*most).max(*count);
        }
    }
    site.clear()?;
    Ok(most)
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
