//! Saying what happens and how long it took. The only module that prints.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often a long step says that it is still running.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Runs `work`, prints its name and its seconds, and every `HEARTBEAT` that it still runs.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let (finished, waiting) = channel::<()>();
    let result = std::thread::scope(|scope| {
        scope.spawn(move || {
            while waiting.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                say(&format!(
                    "  … {name}: still running after {} s",
                    started.elapsed().as_secs()
                ));
            }
        });
        let result = work();
        drop(finished);
        result
    });
    let seconds = started.elapsed().as_secs_f64();
    match &result {
        Ok(_) => say(&format!("{seconds:7.1} s  {name}")),
        Err(_) => say(&format!("{seconds:7.1} s  {name}: FAILED")),
    }
    result.with_context(|| format!("failed to {name}"))
}

/// Prints one line of progress at once. Progress goes to standard error, so that results can be used by programs. A closed
/// stream is nobody's mistake and stops nothing.
pub fn say(line: &str) {
    write(std::io::stderr().lock(), line);
}

/// Prints one line of a result at once.
pub fn print(line: &str) {
    write(std::io::stdout().lock(), line);
}

fn write(mut output: impl Write, line: &str) {
    let _closed = writeln!(output, "{line}").and_then(|()| output.flush());
}
