//! Sums up what `cargo llvm-cov --json --summary-only` measured, part by part of the element, beside what each part must reach.
//! Test code does not count; whether the figures were reached is the exit code.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Deserialize;

/// Parts of `element/src` and the share of their lines, in percent, that tests must run.
const PARTS: [(&str, u64); 7] = [
    ("files", 85),
    ("wal", 85),
    ("store", 85),
    ("index", 85),
    ("auth", 85),
    ("capacity", 85),
    ("http", 80),
];

/// Sums up a coverage report, part by part.
#[derive(Parser)]
struct Arguments {
    /// What `cargo llvm-cov report --json --summary-only` wrote.
    report: PathBuf,
}

#[derive(Deserialize)]
struct Report {
    data: Vec<Export>,
}

#[derive(Deserialize)]
struct Export {
    files: Vec<Source>,
}

#[derive(Deserialize)]
struct Source {
    filename: PathBuf,
    summary: Summary,
}

#[derive(Deserialize)]
struct Summary {
    lines: Lines,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Lines {
    count: u64,
    covered: u64,
}

impl Lines {
    fn percent(self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "line counts are small")]
        let share = self.covered as f64 / self.count.max(1) as f64;
        share * 100.0
    }

    fn sum(lines: impl Iterator<Item = Self>) -> Self {
        lines.fold(Self::default(), |sum, lines| Self {
            count: sum.count + lines.count,
            covered: sum.covered + lines.covered,
        })
    }
}

/// The part of the element a source belongs to: the name of its file or folder right below `element/src`.
fn part(source: &Path) -> Option<String> {
    let text = source.to_str()?;
    let (_, below) = text.split_once("/element/src/")?;
    let is_test = below.ends_with("/tests.rs") || below.contains("/tests/");
    let first = below.split('/').next()?;
    (!is_test).then(|| first.trim_end_matches(".rs").to_owned())
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let text =
        std::fs::read(&arguments.report).with_context(|| format!("failed to read {}", arguments.report.display()))?;
    let report: Report = serde_json::from_slice(&text).context("the file is no coverage report")?;
    let sources: Vec<(String, Lines)> = report
        .data
        .into_iter()
        .flat_map(|export| export.files)
        .filter_map(|source| Some((part(&source.filename)?, source.summary.lines)))
        .collect();
    ensure!(!sources.is_empty(), "the report holds no source of the element");

    let mut out = io::stdout();
    let mut reached = true;
    writeln!(
        out,
        "{:<12} {:>7} {:>8} {:>7} {:>7}",
        "part", "lines", "covered", "share", "target"
    )?;
    for (name, target) in PARTS {
        let lines = Lines::sum(sources.iter().filter(|(part, _)| part == name).map(|(_, lines)| *lines));
        let enough = lines.count > 0 && lines.covered * 100 >= lines.count * target;
        reached &= enough;
        let word = if enough { "" } else { "  missed" };
        let (count, covered, percent) = (lines.count, lines.covered, lines.percent());
        writeln!(
            out,
            "{name:<12} {count:>7} {covered:>8} {percent:>6.1}% {target:>6}%{word}"
        )?;
    }
    let all = Lines::sum(sources.iter().map(|(_, lines)| *lines));
    writeln!(
        out,
        "{:<12} {:>7} {:>8} {:>6.1}%",
        "all",
        all.count,
        all.covered,
        all.percent()
    )?;
    Ok(if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
