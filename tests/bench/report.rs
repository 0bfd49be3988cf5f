//! The results: a table for people, JSON for machines.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e2e::step::say;
use serde::Serialize;

use crate::measure::{Sample, Spread, client_cores, cpus, rates};
use crate::scene::Scene;

/// `1 client`, `2 clients`; large round numbers as `10 k` and `1 M`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let text = match number {
        1_000_000.. if number.is_multiple_of(1_000_000) => format!("{} M", number / 1_000_000),
        1_000.. if number.is_multiple_of(1_000) => format!("{} k", number / 1_000),
        _ => number.to_string(),
    };
    format!("{text} {what}{}", if number == 1 { "" } else { "s" })
}

/// One comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) reference: Option<f64>,
    pub(crate) ratio: Option<f64>,
    /// The least and the largest ratio of a round.
    pub(crate) spread: Option<[f64; 2]>,
    pub(crate) target: String,
    pub(crate) met: Option<bool>,
    /// What else was seen: CPU, memory, what the reference is.
    pub(crate) detail: String,
}

/// How a ratio must lie to the number of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Nothing was promised.
    None,
}

impl Target {
    pub(crate) fn met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(value >= least),
            Self::AtMost(most) => Some(value <= most),
            Self::None => None,
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
            Self::None => "reported".to_owned(),
        }
    }
}

impl Row {
    /// A comparison of values round by round.
    pub(crate) fn compare(name: &str, unit: &'static str, ours: &[f64], reference: &[f64], target: Target) -> Self {
        let ratio = Spread::of_ratios(ours, reference);
        Self {
            name: name.to_owned(),
            unit,
            ours: Spread::of(ours.iter().copied()).median,
            reference: Some(Spread::of(reference.iter().copied()).median),
            ratio: Some(ratio.median),
            spread: Some([ratio.low, ratio.high]),
            target: target.text(),
            met: target.met(ratio.median),
            detail: String::new(),
        }
    }

    /// A value that stands for itself.
    pub(crate) fn alone(name: &str, unit: &'static str, ours: f64, target: Target) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            ours,
            reference: None,
            ratio: None,
            spread: None,
            target: target.text(),
            met: target.met(ours),
            detail: String::new(),
        }
    }

    /// A comparison of rates, with the CPU both took.
    pub(crate) fn of_rates(name: &str, unit: &'static str, samples: (&[Sample], &[Sample]), target: Target) -> Self {
        let (ours, reference) = samples;
        let cpu = |samples: &[Sample]| Spread::of(cpus(samples)).median * 1e6;
        let row = Self::compare(name, unit, &rates(ours), &rates(reference), target);
        row.with(&format!(
            "CPU per unit {} µs, reference {} µs; client {:.2} cores, against the reference {:.2}",
            rounded(cpu(ours)),
            rounded(cpu(reference)),
            client_cores(ours),
            client_cores(reference),
        ))
    }

    pub(crate) fn with(mut self, detail: &str) -> Self {
        if !self.detail.is_empty() {
            self.detail.push_str("; ");
        }
        self.detail.push_str(detail);
        self
    }
}

/// Collects rows and writes them.
pub(crate) struct Report {
    folder: PathBuf,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("failed to make {folder:?}"))?;
        Ok(Self {
            folder: folder.to_owned(),
            rows: Vec::new(),
        })
    }

    /// Writes the rows of one experiment at once: a later one may fail.
    pub(crate) fn add(&mut self, experiment: &str, rows: Vec<Row>) -> Result<()> {
        let path = self.folder.join(format!("{experiment}.json"));
        fs::write(&path, serde_json::to_vec_pretty(&rows)?).with_context(|| format!("failed to write {path:?}"))?;
        for row in &rows {
            say(&format!("  {}", line(row)));
        }
        self.rows.extend(rows);
        Ok(())
    }

    /// The table in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from(
            "| what | ratio | spread | ours | reference | target | met |\n|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", line(row));
        }
        text.push('\n');
        for row in self.rows.iter().filter(|row| !row.detail.is_empty()) {
            let _ = writeln!(text, "- {}: {}", row.name, row.detail);
        }
        text
    }

    /// The table beside the JSON, with the machine it is of.
    pub(crate) fn write_table(&self, scene: &Scene) -> Result<()> {
        let path = self.folder.join("table.md");
        let text = format!("{}\n\n{}", scene.machine()?, self.table());
        fs::write(&path, text).with_context(|| format!("failed to write {path:?}"))?;
        say(&format!("written: {}", self.folder.display()));
        Ok(())
    }
}

fn line(row: &Row) -> String {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), rounded);
    let spread = row
        .spread
        .map_or("–".to_owned(), |[low, high]| format!("{low:.2}–{high:.2}"));
    let met = match row.met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "–",
    };
    format!(
        "| {} | {} | {spread} | {} {} | {} | {} | {met} |",
        row.name,
        row.ratio.map_or("–".to_owned(), |ratio| format!("**{ratio:.2}**")),
        rounded(row.ours),
        row.unit,
        number(row.reference),
        row.target,
    )
}

/// Three digits are as many as such a measurement has.
pub(crate) fn rounded(value: f64) -> String {
    match value.abs() {
        1000.0.. => format!("{:.0}", value),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
