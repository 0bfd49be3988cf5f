//! E8: from the process's start to its first ready answer, after it was killed, with few and with many files. The rows stand in
//! the database; a start looks at no file but the temporary ones.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::listing::{filled, many};
use crate::element::Element;
use crate::measure::{Spread, take_turns};
use crate::report::{Row, Target, count, rounded};
use crate::scene::Scene;

const FEW: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(60);
const MILLISECONDS: f64 = 300.0;

/// How much longer a start may be with more files and still count as not growing: noise.
const GROWTH: f64 = 1.25;

pub(super) fn run(scene: &Scene) -> Result<Vec<Row>> {
    let large = many(scene);
    filled(scene, "few", FEW)?.kill()?;
    filled(scene, "many", large)?.kill()?;
    let results = take_turns(
        scene,
        "starts",
        &mut [
            ("many", Box::new(|| start(scene, "many"))),
            ("few", Box::new(|| start(scene, "few"))),
        ],
    )?;
    let [many, few] = results.as_slice() else {
        anyhow::bail!("a contender is missing");
    };
    for name in ["few", "many"] {
        Element::start_again(scene, name, &[])?.discard(scene, name)?;
    }
    let name = format!(
        "E8 start to ready with {}, against {}",
        count(large, "file"),
        count(FEW, "file")
    );
    let mut row = Row::compare(&name, "ms", many, few, Target::AtMost(GROWTH));
    row.met = row.met.map(|met| met && row.ours <= MILLISECONDS);
    row.target = format!("≤ {MILLISECONDS} ms and ≤ {GROWTH} ×");
    let slowest = Spread::of(many.iter().copied()).high;
    Ok(vec![row.with(&format!(
        "the slowest took {} ms; each start follows a kill",
        rounded(slowest)
    ))])
}

/// Milliseconds of one start, which is then killed.
fn start(scene: &Scene, name: &str) -> Result<f64> {
    let started = Instant::now();
    let element = Element::spawn(scene, name, &[], &[])?;
    while !element.is_ready().unwrap_or(false) {
        ensure!(started.elapsed() < LIMIT, "the element did not become ready");
        std::thread::sleep(Duration::from_millis(1));
    }
    let milliseconds = started.elapsed().as_secs_f64() * 1e3;
    element.kill()?;
    Ok(milliseconds)
}
