//! Running other programs: one place that waits, captures output and turns a failure into a message with its cause.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How much of a failed program's standard error goes into the message, in bytes.
const STDERR_TAIL: usize = 4000;

/// Builds a command from a program and its arguments.
pub fn command<P, A>(program: P, arguments: A) -> Command
where
    P: AsRef<OsStr>,
    A: IntoIterator,
    A::Item: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs the command with no input and returns its standard output. A non-zero exit is an error that carries the end of
/// its standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = run_any(command)?;
    checked(command, output)
}

/// Like [`run`], and gives the program `input` on its standard input.
pub fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {}", describe(command)))?;
    let mut stdin = child.stdin.take().context("the child has no standard input")?;
    let text = input.to_owned();
    // The writer has a thread of its own, so that neither side waits for the other with a full pipe.
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child
        .wait_with_output()
        .with_context(|| format!("failed to wait for {}", describe(command)))?;
    let written = writer
        .join()
        .map_err(|_| anyhow::anyhow!("the writing thread panicked"))?;
    let answer = checked(command, output)?;
    written.with_context(|| format!("failed to write to {}", describe(command)))?;
    Ok(answer)
}

/// Runs the command with no input and returns what it printed and how it ended, whatever that was.
pub fn run_any(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to run {}", describe(command)))
}

/// Runs the command with this process's own output; a non-zero exit is an error.
pub fn run_visible(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("failed to run {}", describe(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", describe(command));
    }
    Ok(())
}

/// Asks `ready` until it answers `Ok(true)`; after `limit` the last answer becomes the error.
pub fn wait_for(what: &str, limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    loop {
        let last = match ready() {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(error) => Some(error),
        };
        if started.elapsed() > limit {
            let message = format!("{what} did not come within {} s", limit.as_secs());
            return Err(match last {
                Some(error) => error.context(message),
                None => anyhow::anyhow!(message),
            });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn checked(command: &Command, output: Output) -> Result<String> {
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let start = text.len().saturating_sub(STDERR_TAIL);
        let start = (start..=text.len())
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(text.len());
        bail!(
            "{} failed: {}\n{}",
            describe(command),
            output.status,
            text.get(start..).unwrap_or_default().trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn describe(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default();
    let arguments = command
        .get_args()
        .take(4)
        .map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program.to_owned())
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}
