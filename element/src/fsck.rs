//! The `fsck` command: a line for each finding on standard output, a summary at the end, progress on a terminal, and an exit code
//! that says how it stands.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use element_api::{Finding, InspectionReport};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use uuid::Uuid;

use crate::cli::FsckArgs;
use crate::config::environment::Environment;
use crate::config::{ConfigError, DatabaseConfig, ElementConfig, LogConfig, LogFormat};
use crate::files::{Check, Files, Settings, Watch};
use crate::index::Index;
use crate::store::StoreConfig;
use crate::telemetry;

/// As e2fsck has them: something was wrong; something still is; the check could not be made.
const WRONG: u8 = 1;
const LEFT_WRONG: u8 = 4;
const NOT_CHECKED: u8 = 8;

/// The `fsck` command.
pub(crate) async fn run(args: FsckArgs, environment: &Environment) -> Result<ExitCode> {
    let repair = args.repair;
    match check(args, environment).await {
        Ok(report) => Ok(code(&report, repair)),
        Err(error) if error.is::<ConfigError>() => Err(error),
        Err(error) => {
            // INVARIANT: with standard error gone there is nobody left to tell; the exit code still says it.
            let _ = writeln!(io::stderr(), "artstore-element: {error:#}");
            Ok(ExitCode::from(NOT_CHECKED))
        }
    }
}

async fn check(args: FsckArgs, environment: &Environment) -> Result<InspectionReport> {
    telemetry::init(LogConfig::read(args.logs, LogFormat::Text)?);
    let element = ElementConfig::read(args.element)?;
    let database = DatabaseConfig::read(args.database, &element.id, environment)?;
    element.check(&database)?;
    if let StoreConfig::Local { root, .. } = &element.store
        && !root.is_dir()
    {
        bail!("there is no folder {root:?}; STORAGE_LOCAL_BASE_PATH names it");
    }
    let index = Index::open(&database, &element.root)
        .context("failed to set up the database")?
        .for_a_command();
    index
        .migrate_up()
        .await
        .context("failed to bring the database up to date")?;
    let settings = Settings {
        store: element.store.clone(),
        max_size: None,
        max_file_size: u64::MAX,
        instance_id: format!("{}/fsck/{}", element.id, Uuid::now_v7()),
    };
    let files = Files::open_for_check(settings, index).await?;
    let printer = Printer::new(args.json);
    let check = Check {
        repair: args.repair,
        content: !args.quick,
    };
    let report = files.check(check, &printer).await;
    files.shutdown().await;
    printer.finish(&report?)
}

fn code(report: &InspectionReport, repair: bool) -> ExitCode {
    match (report.found(), report.found() - report.repaired) {
        (0, _) => ExitCode::SUCCESS,
        (_, left) if left > 0 && repair => ExitCode::from(LEFT_WRONG),
        _ => ExitCode::from(WRONG),
    }
}

/// Shows findings and progress.
struct Printer {
    json: bool,
    bar: ProgressBar,
    bytes: AtomicU64,
    /// What kept a finding from being printed.
    failed: Mutex<Option<io::Error>>,
}

impl Printer {
    fn new(json: bool) -> Self {
        // Draws on a terminal only.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let template = "{bar:40} {pos} of {len} files, {msg} read in {elapsed}";
        // INVARIANT: the template is right; were it not, the default one would do.
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self {
            json,
            bar,
            bytes: AtomicU64::new(0),
            failed: Mutex::new(None),
        }
    }

    fn print(&self, line: &str) {
        let printed = self.bar.suspend(|| writeln!(io::stdout(), "{line}"));
        if let Err(error) = printed {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }

    /// Prints the summary.
    fn finish(self, report: &InspectionReport) -> Result<InspectionReport> {
        self.bar.finish_and_clear();
        let InspectionReport {
            files,
            rows,
            bytes,
            quarantined,
            repaired,
            counts,
            ..
        } = report;
        let found = report.found();
        self.print(&if self.json {
            json!({ "summary": { "files": files, "rows": rows, "bytes": bytes, "quarantined": quarantined,
                "found": found, "repaired": repaired, "counts": counts } })
            .to_string()
        } else {
            format!("checked {files} files, {bytes} bytes and {rows} rows: {found} findings, {repaired} repaired")
        });
        match self.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error).context("failed to print"),
            None => Ok(report.clone()),
        }
    }
}

impl Watch for Printer {
    fn expect(&self, files: u64) {
        self.bar.set_length(files);
    }

    fn did(&self, files: u64, bytes: u64) {
        self.bar.inc(files);
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bar.set_message(HumanBytes(bytes).to_string());
    }

    fn found(&self, finding: &Finding) {
        self.print(&if self.json {
            // INVARIANT: texts and an enum always encode.
            serde_json::to_string(finding).unwrap_or_default()
        } else {
            let repaired = if finding.repaired { ", repaired" } else { "" };
            format!(
                "{} {:?}: {}{repaired}",
                finding.kind.as_str(),
                finding.path,
                finding.detail
            )
        });
    }
}
