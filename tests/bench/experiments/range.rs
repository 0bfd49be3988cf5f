//! E6: random ranges of a large file, against nginx serving the same file.

use anyhow::{Context, Result};

use super::{content, next};
use crate::client::{Connection, request, share};
use crate::element::Element;
use crate::measure::{Meter, Sample, take_turns};
use crate::nginx::Nginx;
use crate::report::{Row, Target};
use crate::scene::Scene;

const FILE: u64 = 1 << 30;
const RANGE: u64 = 64 << 10;
const CONNECTIONS: usize = 8;

/// The ranges asked for, so many that a turn takes about a second: the thousand, again and again.
const RANGES: usize = 1000;
const REPEATS: usize = 20;

pub(super) fn run(scene: &Scene) -> Result<Vec<Row>> {
    let element = Element::start(scene, "range")?;
    let file = element.store("file.bin", &content(usize::try_from(FILE)?))?;
    let nginx = Nginx::start(scene, &element.storage)?;
    let ours = requests(scene, &format!("/api/v1/files/{}", file.file_id));
    let theirs = requests(scene, &format!("/{}", file.storage_path));
    let repeats = scene.choose(REPEATS, REPEATS / 4);
    let turn = |pid, port, requests: &[Vec<u8>]| turn(pid, port, requests, repeats);
    let results = take_turns(
        scene,
        "ranges",
        &mut [
            ("ours", Box::new(|| turn(element.pid(), element.port, &ours))),
            ("sendfile", Box::new(|| turn(nginx.pid(), nginx.sendfile, &theirs))),
            ("copying", Box::new(|| turn(nginx.pid(), nginx.copying, &theirs))),
        ],
    )?;
    let [ours, sendfile, copying] = results.as_slice() else {
        anyhow::bail!("a contender is missing");
    };
    let total = |samples: &[Sample]| samples.iter().map(|sample| sample.rate).sum::<f64>();
    let (better, word) = if total(sendfile) > total(copying) {
        (sendfile, "with sendfile")
    } else {
        (copying, "without sendfile")
    };
    let name = format!("E6 random 64 KiB ranges of 1 GiB, {CONNECTIONS} connections");
    let row = Row::of_rates(&name, "/s", (ours, better), Target::AtLeast(0.7));
    element.discard(scene, "range")?;
    Ok(vec![row.with(&format!("nginx is faster {word}; load by own client"))])
}

/// The same ranges for everybody.
fn requests(scene: &Scene, path: &str) -> Vec<Vec<u8>> {
    let mut state = 42;
    let mut make = || {
        state = next(state);
        let start = state % (FILE - RANGE);
        request("GET", path, &scene.token, Some(start..=start + RANGE - 1))
    };
    (0..RANGES).map(|_| make()).collect()
}

fn turn(pid: u32, port: u16, requests: &[Vec<u8>], repeats: usize) -> Result<Sample> {
    let total = requests.len() * repeats;
    let mut meter = None;
    share(
        CONNECTIONS,
        total,
        |_| Connection::open(port),
        |connection, piece| {
            let request = requests.get(piece % requests.len()).context("no such range")?;
            let length = connection.fetch(request, 206)?;
            anyhow::ensure!(length == RANGE, "a range has {length} bytes");
            Ok(())
        },
        || {
            meter = Some(Meter::start(Some(pid))?);
            Ok(())
        },
    )?;
    meter.context("nothing was measured")?.stop(total as f64)
}
