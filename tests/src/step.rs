//! Saying what happens and how long it took. The only module that prints.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often a long step says that it is still running.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How often a bar moves, and how long it is.
const MOVE: Duration = Duration::from_millis(200);
const BAR: usize = 30;

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

/// How far a long work has come: a bar that moves on a terminal, a line now and then elsewhere.
#[derive(Debug)]
pub struct Progress {
    name: String,
    all: usize,
    started: Instant,
    done: Mutex<(usize, Instant)>,
}

impl Progress {
    /// Nothing of `all` is done yet.
    pub fn start(name: &str, all: usize) -> Self {
        let started = Instant::now();
        Self {
            name: name.to_owned(),
            all,
            started,
            done: Mutex::new((0, started)),
        }
    }

    /// One more is done.
    pub fn advance(&self) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.0 += 1;
        let moves = std::io::stderr().is_terminal();
        let pause = if moves { MOVE } else { HEARTBEAT };
        if done.1.elapsed() < pause {
            return;
        }
        done.1 = Instant::now();
        let filled = BAR * done.0 / self.all.max(1);
        let bar = format!("[{}{}]", "#".repeat(filled), " ".repeat(BAR - filled.min(BAR)));
        let line = format!("  {bar} {}/{} {}", done.0, self.all, self.name);
        if moves {
            // A closed stream stops nothing.
            let mut output = std::io::stderr().lock();
            let _closed = write!(output, "{line}\r").and_then(|()| output.flush());
        } else {
            say(&line);
        }
    }

    /// All is done.
    pub fn finish(&self) {
        let seconds = self.started.elapsed().as_secs_f64();
        say(&format!("{seconds:7.1} s  {}: {}", self.name, self.all));
    }
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
