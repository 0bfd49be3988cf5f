//! E7: a page of a search and the metadata of one file, at 10 thousand files and at a hundred times as many. The rows are made in
//! the database alone: neither call looks at the disk while the database answers.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::next;
use crate::client::{Connection, request};
use crate::database::{fill, filled_id};
use crate::element::{Element, database_of};
use crate::measure::{Spread, percentile, take_turns};
use crate::report::{Row, Target, count, rounded};
use crate::scene::Scene;

const FEW: u64 = 10_000;
const MANY: u64 = 1_000_000;
const MANY_QUICK: u64 = 100_000;

/// The longest a call may take, in milliseconds, 99 times of a hundred; and how much longer it may be with more files.
const P99_MILLISECONDS: f64 = 10.0;
const GROWTH: f64 = 1.5;

/// What is asked, by a number that differs from call to call and how many files there are.
type Ask = fn(u64, u64) -> String;

const CALLS: [(&str, Ask); 5] = [
    ("the newest 100", |_, _| "/api/v1/files?limit=100".to_owned()),
    ("100 of the 200 of some minutes", |number, files| {
        let from = number % (files - 400);
        let (after, before) = (time(from), time(from + 200));
        format!("/api/v1/files?limit=100&created_after={after}&created_before={before}")
    }),
    ("the 100 with a word", |number, files| {
        format!(
            "/api/v1/files/search?limit=100&q=word{}",
            1 + number % (files / 100 - 2)
        )
    }),
    ("the newest 100 of a user who stored all", |_, _| {
        "/api/v1/files?limit=100&uploaded_by=bench".to_owned()
    }),
    ("metadata by id", |number, files| {
        format!("/api/v1/files/{}/metadata", filled_id(1 + number % files))
    }),
];

/// So many seconds after the first file was stored; all were stored in one month.
fn time(second: u64) -> String {
    let (day, hour, minute) = (1 + second / 86400, second / 3600 % 24, second / 60 % 60);
    format!("2026-01-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

/// An element with so many files in its database.
pub(super) fn filled(scene: &Scene, name: &str, files: u64) -> Result<Element> {
    // The first start makes the tables; the rows must be there at the second.
    Element::start(scene, name)?.stop()?;
    fill(&mut scene.database.connect(&database_of(name))?, i64::try_from(files)?)?;
    Element::start_again(scene, name, &[])
}

/// How many files the larger element has.
pub(super) fn many(scene: &Scene) -> u64 {
    scene.choose(MANY, MANY_QUICK)
}

pub(super) fn run(scene: &Scene) -> Result<Vec<Row>> {
    let few = filled(scene, "few", FEW)?;
    let large = many(scene);
    let many = filled(scene, "many", large)?;
    let mut rows = Vec::new();
    for (what, ask) in CALLS {
        let times = |element: &Element, files: u64| calls(scene, element.port, |number| ask(number, files));
        let results = take_turns(
            scene,
            what,
            &mut [
                ("many", Box::new(|| times(&many, large))),
                ("few", Box::new(|| times(&few, FEW))),
            ],
        )?;
        let [many, few] = results.as_slice() else {
            anyhow::bail!("a contender is missing");
        };
        rows.push(row(what, large, many, few));
    }
    few.discard(scene, "few")?;
    many.discard(scene, "many")?;
    Ok(rows)
}

fn row(what: &str, files: u64, many: &[Vec<f64>], few: &[Vec<f64>]) -> Row {
    let each =
        |rounds: &[Vec<f64>], percent| -> Vec<f64> { rounds.iter().map(|times| percentile(times, percent)).collect() };
    let (many_p99, few_p99) = (each(many, 99.0), each(few, 99.0));
    let (many_p50, few_p50) = (each(many, 50.0), each(few, 50.0));
    let medians = Spread::of_ratios(&many_p50, &few_p50).median;
    let mut row = Row::compare(
        &format!(
            "E7 p99 of {what}, {} against {}",
            count(files, "file"),
            count(FEW, "file")
        ),
        "ms",
        &many_p99,
        &few_p99,
        Target::AtMost(GROWTH),
    );
    let slowest = row.reference.map_or(row.ours, |few| few.max(row.ours));
    row.met = row.met.map(|met| met && slowest <= P99_MILLISECONDS);
    row.target = format!("≤ {P99_MILLISECONDS} ms and ≤ {GROWTH} ×");
    row.with(&format!(
        "medians {} and {} ms, {medians:.2} ×",
        rounded(Spread::of(many_p50).median),
        rounded(Spread::of(few_p50).median)
    ))
}

/// The milliseconds of each call, sorted.
fn calls(scene: &Scene, port: u16, path: impl Fn(u64) -> String) -> Result<Vec<f64>> {
    let mut connection = Connection::open(port)?;
    let (mut state, mut times) = (7, Vec::new());
    for _ in 0..scene.choose(1000, 200) {
        state = next(state);
        let path = path(state);
        let request = request("GET", &path, &scene.token, None);
        let started = Instant::now();
        let answer = connection.call(&request).with_context(|| path.clone())?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        ensure!(answer.status == 200, "{path} was answered with {}", answer.status);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
