//! E4: one large durable upload, against a floor that reads, hashes, writes and flushes on one thread.

use std::fs::{self, File};
use std::io::{self, Write};

use anyhow::{Context, Result};

use super::content;
use crate::client::{Connection, upload_frame};
use crate::element::{Element, stored};
use crate::floor;
use crate::measure::{Meter, Sample, take_turns};
use crate::process;
use crate::report::{Row, Target};
use crate::scene::Scene;

pub(super) fn run(scene: &Scene) -> Result<Vec<Row>> {
    let bytes = scene.choose(1_u64 << 30, 1 << 28);
    let source = scene.at("large.bin");
    fs::write(&source, content(usize::try_from(bytes)?))?;
    let element = Element::start(scene, "large")?;
    let place = scene.at("large.floor");
    let results = take_turns(
        scene,
        "large upload",
        &mut [
            ("ours", Box::new(|| upload(scene, &element, &source, bytes))),
            (
                "floor",
                Box::new(|| {
                    let meter = Meter::start(None)?;
                    floor::large(&source, &place)?;
                    let sample = meter.stop(bytes as f64 / 1e6)?;
                    fs::remove_file(&place)?;
                    Ok(sample)
                }),
            ),
        ],
    )?;
    let [ours, floor] = results.as_slice() else {
        anyhow::bail!("a contender is missing");
    };
    let name = format!("E4 durable upload of {} MiB, one stream", bytes >> 20);
    let row = Row::of_rates(&name, "MB/s", (ours, floor), Target::AtLeast(0.7));
    let memory = process::peak_memory(element.pid())?;
    element.discard(scene, "large")?;
    fs::remove_file(&source)?;
    Ok(vec![row.with(&format!("peak memory {} MiB", memory >> 20))])
}

/// Sends the file by sendfile, which costs the client least, and deletes it afterwards.
fn upload(scene: &Scene, element: &Element, source: &std::path::Path, bytes: u64) -> Result<Sample> {
    let (start, end) = upload_frame("large.bin", &scene.token, Some(bytes));
    let mut connection = Connection::open(element.port)?;
    let mut source = File::open(source)?;
    let meter = Meter::start(Some(element.pid()))?;
    connection.stream().write_all(&start)?;
    io::copy(&mut source, connection.stream()).context("failed to send the content")?;
    connection.stream().write_all(&end)?;
    let answer = connection.answer()?;
    let sample = meter.stop(bytes as f64 / 1e6)?;
    element.delete(&stored(answer.status, &answer.body)?)?;
    Ok(sample)
}
