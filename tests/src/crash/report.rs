//! Going through many points side by side, counting, and saying how it went.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};

use super::check::Findings;
use crate::step::{Progress, say};

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
    /// The line of the summary it belongs to.
    pub what: String,
    /// Whether what was to happen there did happen; a run does not always make the same calls.
    pub happened: bool,
    /// What was found wrong.
    pub violations: Vec<String>,
}

impl Tally {
    /// Findings of a point, with the words that name it.
    pub fn new(what: impl Into<String>, happened: bool, findings: &Findings, place: &str) -> Self {
        let violations = findings.0.iter().map(|finding| format!("{place}: {finding}")).collect();
        Self {
            what: what.into(),
            happened,
            violations,
        }
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

/// Of fewer points, how many missed says nothing.
const JUDGED: usize = 6;

/// The lines of a part, each where its first point came.
pub fn rows(part: &'static str, tallies: Vec<Tally>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for tally in tallies {
        let at = rows.iter().position(|row| row.what == tally.what);
        let at = at.unwrap_or_else(|| {
            rows.push(Row {
                part,
                what: tally.what,
                points: 0,
                missed: 0,
                violations: Vec::new(),
            });
            rows.len() - 1
        });
        if let Some(row) = rows.get_mut(at) {
            row.points += usize::from(tally.happened);
            row.missed += usize::from(!tally.happened);
            row.violations.extend(tally.violations);
        }
    }
    for row in &mut rows {
        let all = row.points + row.missed;
        if all >= JUDGED && row.missed * 3 > all {
            let violation = format!("{}: {} of {all} points missed, more than a third", row.what, row.missed);
            row.violations.push(violation);
        }
    }
    rows
}

/// All lines, as a table of Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| part | what | points | missed | violations |\n|---|---|---:|---:|---:|\n");
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.part,
            row.what,
            row.points,
            row.missed,
            row.violations.len()
        );
    }
    let (points, violations) = totals(rows);
    let missed: usize = rows.iter().map(|row| row.missed).sum();
    let _ = writeln!(text, "| **all** | | **{points}** | **{missed}** | **{violations}** |");
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
pub type Work<'a> = Pin<Box<dyn Future<Output = Result<Tally>> + 'a>>;

/// Goes through all points, several at a time, says at once what was found wrong, and answers how they went in the points' order.
/// The first error ends it.
pub fn in_parallel<'a, P: Sync>(
    what: &str,
    options: &Options,
    points: &'a [P],
    work: impl Fn(&'a P) -> Work<'a> + Sync,
) -> Result<Vec<Tally>> {
    let progress = Progress::start(what, points.len());
    let queue: Mutex<VecDeque<usize>> = Mutex::new((0..points.len()).collect());
    let done = Mutex::new(Vec::with_capacity(points.len()));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let worker = || -> Result<()> {
        while let Some(index) = next() {
            let Some(point) = points.get(index) else { break };
            let tally = block_on(work(point)).inspect_err(|_| {
                queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
            })?;
            for violation in &tally.violations {
                say(&format!("VIOLATION {violation}"));
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, tally));
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
    Ok(done.into_iter().map(|(_, tally)| tally).collect())
}

/// Runs a future on this thread.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("failed to start a runtime")?.block_on(future)
}

#[cfg(test)]
mod tests {
    use super::{Tally, rows};
    use crate::crash::check::Findings;

    fn tally(what: &str, happened: bool) -> Tally {
        Tally::new(what, happened, &Findings::default(), "")
    }

    #[test]
    fn points_of_one_line_are_counted_together() {
        let rows = rows("kill", vec![tally("a", true), tally("b", true), tally("a", false)]);
        assert_eq!((rows[0].points, rows[0].missed, rows[1].points), (1, 1, 1));
        assert!(rows.iter().all(|row| row.violations.is_empty()));
    }

    #[test]
    fn line_of_which_more_than_a_third_missed_is_a_violation() {
        let line = |missed| (0..9).map(|at| tally("a", at >= missed)).collect();
        assert!(rows("kill", line(3))[0].violations.is_empty());
        assert_eq!(rows("kill", line(4))[0].violations.len(), 1);
    }
}
