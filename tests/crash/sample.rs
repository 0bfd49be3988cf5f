//! A sample of `make test-crash` for `make test`, and the proof that the harness finds what it is there to find.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not what they call")]

use std::sync::LazyLock;

use e2e::crash::power::{Planted, Recording};
use e2e::crash::report::{Options, Row, table, totals};
use e2e::crash::site::World;
use e2e::crash::{chaos, fault, kill, outage, power, volume};

/// Kept small: this machine runs other tests as well.
const OPTIONS: Options = Options {
    jobs: 2,
    points: Some(48),
    states: 64,
    seconds: 20,
    seed: 20_261_122,
};

static RECORDINGS: LazyLock<Vec<Recording>> = LazyLock::new(|| power::record(&World::new().unwrap()).unwrap());

#[track_caller]
fn expect_none(rows: &[Row], least: usize) {
    let wrong: Vec<&String> = rows.iter().flat_map(|row| &row.violations).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", table(rows));
    assert!(totals(rows).0 >= least, "too little happened\n{}", table(rows));
}

#[test]
fn killed_element_keeps_what_it_acknowledged() {
    expect_none(&kill::run(&World::new().unwrap(), &OPTIONS).unwrap(), 32);
}

#[test]
fn failing_calls_lose_nothing_and_are_never_acknowledged() {
    expect_none(&fault::run(&World::new().unwrap(), &OPTIONS).unwrap(), 32);
}

#[test]
fn full_volume_refuses_serves_and_recovers() {
    expect_none(&volume::run(&World::new().unwrap()).unwrap(), 2);
}

#[test]
fn servers_away_are_refused_soon_and_settled_later() {
    let options = Options {
        points: Some(4),
        ..OPTIONS
    };
    expect_none(&outage::run(&World::new().unwrap(), &options).unwrap(), 6);
}

#[test]
fn power_cut_loses_nothing_acknowledged() {
    expect_none(&power::run(&World::new().unwrap(), &OPTIONS, &RECORDINGS).unwrap(), 48);
}

#[test]
fn missing_folder_flush_is_found() {
    expect_found("writes", Planted::FolderFlush);
}

#[test]
fn missing_data_flush_is_found() {
    expect_found("writes", Planted::DataFlush);
}

#[test]
fn answer_before_the_folder_flush_is_found() {
    expect_found("writes", Planted::EarlyAnswer);
}

#[test]
fn flush_shared_with_one_that_came_too_late_is_found() {
    expect_found("eight clients", Planted::SharedFlush);
}

#[test]
fn missing_flush_in_recovery_is_found() {
    expect_found("recoveries", Planted::RecoveryFlush);
}

#[track_caller]
fn expect_found(recording: &str, planted: Planted) {
    let recording = RECORDINGS.iter().find(|recorded| recorded.name == recording).unwrap();
    let faulty = [recording.with(planted)];
    let rows = power::run(&World::new().unwrap(), &OPTIONS, &faulty).unwrap();
    assert!(totals(&rows).1 > 0, "nothing was found\n{}", table(&rows));
}

#[test]
fn load_and_kills_lose_nothing_and_order_changes() {
    expect_none(&chaos::run(&World::new().unwrap(), &OPTIONS).unwrap(), 4);
}
