//! The experiments, one a file, each with its targets. Each starts what it needs and leaves nothing.

mod bucket;
mod download;
mod health;
mod large_upload;
mod listing;
mod memory;
mod range;
mod small_upload;
mod start;

use anyhow::{Result, bail};

use crate::report::Row;
use crate::scene::Scene;

/// One experiment.
#[derive(Clone, Copy)]
pub(crate) struct Experiment {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Scene) -> Result<Vec<Row>>,
}

const ALL: [Experiment; 10] = [
    Experiment {
        name: "E1",
        about: "downloads against nginx",
        run: download::throughput,
    },
    Experiment {
        name: "E2",
        about: "CPU of downloads against nginx without sendfile",
        run: download::cpu,
    },
    Experiment {
        name: "E3",
        about: "durable uploads of 4 KiB against disk and database alone",
        run: small_upload::run,
    },
    Experiment {
        name: "E4",
        about: "a durable upload of 1 GiB against one thread that reads, hashes, writes and flushes",
        run: large_upload::run,
    },
    Experiment {
        name: "E5",
        about: "memory, idle and under 64 uploads at once",
        run: memory::run,
    },
    Experiment {
        name: "E6",
        about: "random ranges against nginx",
        run: range::run,
    },
    Experiment {
        name: "E7",
        about: "search and metadata, at a hundred times the files",
        run: listing::run,
    },
    Experiment {
        name: "E8",
        about: "start to ready, at a hundred times the files",
        run: start::run,
    },
    Experiment {
        name: "E9",
        about: "files in a bucket against a bare client",
        run: bucket::run,
    },
    Experiment {
        name: "E10",
        about: "health while uploads saturate the element",
        run: health::run,
    },
];

/// Those of these names, or all.
pub(crate) fn choose(names: &[String]) -> Result<Vec<Experiment>> {
    for name in names {
        if !ALL.iter().any(|one| one.name.eq_ignore_ascii_case(name)) {
            let known: Vec<_> = ALL.iter().map(|one| one.name).collect();
            bail!("there is no experiment {name:?}, only {}", known.join(" "));
        }
    }
    let chosen = |one: &Experiment| names.is_empty() || names.iter().any(|name| one.name.eq_ignore_ascii_case(name));
    Ok(ALL.into_iter().filter(chosen).collect())
}

/// Bytes that do not compress, the same in every run.
pub(crate) fn content(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = next(state);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Marsaglia's xorshift: the next of a row of numbers that look random and are not.
pub(crate) fn next(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}
