//! Going through many points side by side, counting, and saying how it went.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};

use super::check::Findings;
use crate::step::Progress;

/// How much to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Elements that run side by side.
    pub jobs: usize,
    /// At the most so many points of each part; all when unset.
    pub points: Option<usize>,
    /// Folders to make out of a power cut.
    pub states: usize,
    /// How long writers and kills compete.
    pub seconds: u64,
    /// What random choices follow from.
    pub seed: u64,
}

impl Options {
    /// An even sample of `points`.
    pub fn sample<T>(&self, points: Vec<T>) -> Vec<T> {
        let (all, wanted) = (points.len(), self.points.unwrap_or(usize::MAX).max(1));
        if all <= wanted {
            return points;
        }
        let mut taken = 0;
        let is_taken = |(index, point)| {
            let due = index * wanted / all >= taken;
            taken += usize::from(due);
            due.then_some(point)
        };
        points.into_iter().enumerate().filter_map(is_taken).collect()
    }
}

/// How one point went.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Whether what was to happen there did happen; a run does not always make the same calls.
    pub happened: bool,
    /// What was found wrong.
    pub violations: Vec<String>,
}

impl Tally {
    /// Findings of a point, with the words that name it.
    pub fn new(happened: bool, findings: &Findings, place: &str) -> Self {
        let violations = findings.0.iter().map(|finding| format!("{place}: {finding}")).collect();
        Self { happened, violations }
    }
}

/// One line of the summary.
#[derive(Clone, Debug)]
pub struct Row {
    /// The part of the harness.
    pub part: &'static str,
    /// What was done.
    pub what: String,
    /// Points at which it happened.
    pub points: usize,
    /// Points that passed without it.
    pub missed: usize,
    /// What was found wrong.
    pub violations: Vec<String>,
}

impl Row {
    /// A line with nothing counted yet.
    pub const fn new(part: &'static str, what: String) -> Self {
        Self {
            part,
            what,
            points: 0,
            missed: 0,
            violations: Vec::new(),
        }
    }

    /// Counts a point.
    pub fn add(&mut self, tally: Tally) {
        if tally.happened {
            self.points += 1;
        } else {
            self.missed += 1;
        }
        self.violations.extend(tally.violations);
    }
}

/// All lines, as a table of Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| part | what | points | violations |\n|---|---|---:|---:|\n");
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            row.part,
            row.what,
            row.points,
            row.violations.len()
        );
    }
    let (points, violations) = totals(rows);
    let _ = writeln!(text, "| **all** | | **{points}** | **{violations}** |");
    text
}

/// Points and violations of all lines.
pub fn totals(rows: &[Row]) -> (usize, usize) {
    (
        rows.iter().map(|row| row.points).sum(),
        rows.iter().map(|row| row.violations.len()).sum(),
    )
}

/// What a point does.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Goes through all points, several at a time, and answers their results in the points' order. The first error ends it.
pub fn in_parallel<'a, P: Sync, T: Send>(
    what: &str,
    options: &Options,
    points: &'a [P],
    work: impl Fn(&'a P) -> Work<'a, T> + Sync,
) -> Result<Vec<T>> {
    let progress = Progress::start(what, points.len());
    let queue: Mutex<VecDeque<usize>> = Mutex::new((0..points.len()).collect());
    let done = Mutex::new(Vec::with_capacity(points.len()));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let worker = || -> Result<()> {
        while let Some(index) = next() {
            let Some(point) = points.get(index) else { break };
            let result = block_on(work(point)).inspect_err(|_| {
                queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
            })?;
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((index, result));
            progress.advance();
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow!("a worker panicked"))??;
        }
        Ok(())
    })?;
    progress.finish();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// Runs a future on this thread.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("failed to start a runtime")?.block_on(future)
}
