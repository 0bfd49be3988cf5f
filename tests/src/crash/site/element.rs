//! A program that was started: its log, whether it is ready, and how it ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::crash::api::Api;
use crate::crash::tracer::Traced;

/// Far more than any start takes; reached only when something hangs.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at a process.
const PAUSE: Duration = Duration::from_millis(2);

/// A program, its environment, and the file it writes its log to.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    words: Vec<String>,
    variables: BTreeMap<String, String>,
    log: PathBuf,
}

impl Launch {
    /// A program with an empty environment.
    pub fn new(program: PathBuf, words: &[&str], log: PathBuf) -> Self {
        Self {
            program,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            variables: BTreeMap::new(),
            log,
        }
    }

    /// The same in this environment.
    #[must_use]
    pub fn within(self, variables: BTreeMap<String, String>) -> Self {
        Self { variables, ..self }
    }

    /// The command, after `wrapper` if that names any.
    pub fn command(&self, wrapper: &[&str]) -> Result<Command> {
        let log = File::create(&self.log)?;
        let mut command = match wrapper.split_first() {
            None => Command::new(&self.program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        command.args(&self.words).env_clear().envs(&self.variables);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// The end of the log.
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(12)..)
            .unwrap_or_default()
            .join("\n")
    }
}

/// What became of a start.
#[derive(Debug)]
pub enum Start {
    /// The server is ready.
    Ready(Element),
    /// The process ended first, or was a command that comes to an end; with the end of its log.
    Ended(ExitStatus, String),
}

impl Start {
    /// The server, which must be ready.
    pub fn ready(self) -> Result<Element> {
        match self {
            Self::Ready(element) => Ok(element),
            Self::Ended(status, tail) => bail!("the element ended before it was ready: {status}\n{tail}"),
        }
    }

    /// How the process ends: it is asked to stop if it still runs.
    pub fn end(self) -> Result<End> {
        match self {
            Self::Ended(status, tail) => Ok(End::of(status, tail)),
            Self::Ready(element) => element.end(),
        }
    }
}

/// How a process ended.
#[derive(Debug)]
pub enum End {
    /// By kill -9.
    Killed,
    /// With success: it was asked to, or had done what it was for.
    Done,
    /// Any other way; with the end of its log.
    Failed(ExitStatus, String),
}

impl End {
    fn of(status: ExitStatus, tail: String) -> Self {
        match status.signal() {
            Some(signal) if signal == Signal::SIGKILL as i32 => Self::Killed,
            None if status.success() => Self::Done,
            _ => Self::Failed(status, tail),
        }
    }
}

#[derive(Debug)]
pub(super) enum Process {
    Plain(Child),
    Wrapped(Child),
    Traced(Traced),
}

/// A running server. It is killed when dropped.
#[derive(Debug)]
pub struct Element {
    process: Option<Process>,
    /// How to talk to it.
    pub api: Api,
    /// What it writes.
    pub log: Launch,
}

impl Element {
    pub(super) const fn new(process: Process, api: Api, log: Launch) -> Self {
        Self {
            process: Some(process),
            api,
            log,
        }
    }

    pub(super) async fn until_ready(mut self) -> Result<Start> {
        let started = Instant::now();
        loop {
            if self.has_ended()? {
                let status = self.reap()?;
                return Ok(Start::Ended(status, self.log.tail()));
            }
            if self.is_ready().await? {
                return Ok(Start::Ready(self));
            }
            if started.elapsed() > START_LIMIT {
                bail!("the element did not become ready\n{}", self.log.tail());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn is_ready(&mut self) -> Result<bool> {
        if self.api.address.is_none() {
            let text = fs::read_to_string(&self.log.log)?;
            let line = text
                .lines()
                .find(|line| line.contains("\"listening\"") && line.ends_with('}'));
            let Some(line) = line else { return Ok(false) };
            let line: serde_json::Value = serde_json::from_str(line)?;
            let address = line.get("address").and_then(|address| address.as_str());
            self.api.address = Some(address.context("the log names no address")?.parse()?);
        }
        Ok(self.api.get("/health/ready").await.status() == Some(200) || self.was_ready()?)
    }

    /// Whether a traced server said that it was ready: what failed since may keep it from answering so.
    fn was_ready(&self) -> Result<bool> {
        let is_traced = matches!(self.process, Some(Process::Traced(_)));
        Ok(is_traced && fs::read_to_string(&self.log.log)?.contains("\"message\":\"ready\""))
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(match &mut self.process {
            None => true,
            Some(Process::Plain(child) | Process::Wrapped(child)) => child.try_wait()?.is_some(),
            Some(Process::Traced(traced)) => traced.control.has_ended(),
        })
    }

    /// Kills it as a crash does.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let status = self.reap()?;
        let killed = status.signal() == Some(Signal::SIGKILL as i32);
        ensure!(killed, "the element had ended by itself: {status}\n{}", self.log.tail());
        Ok(())
    }

    /// Stops it as Kubernetes does, and waits for its end.
    ///
    /// # Errors
    /// When it ends in any other way.
    pub fn stop(self) -> Result<()> {
        match self.end()? {
            End::Done => Ok(()),
            other => bail!("the element was to stop and ended otherwise: {other:?}"),
        }
    }

    /// Asks it to stop, and answers how it ended: it may have been killed before, or end by itself.
    pub fn end(mut self) -> Result<End> {
        self.signal(Signal::SIGTERM)?;
        let status = self.reap()?;
        Ok(End::of(status, self.log.tail()))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = match &self.process {
            None => return Ok(()),
            Some(Process::Plain(child)) => i32::try_from(child.id())?,
            Some(Process::Traced(traced)) if traced.control.has_ended() => return Ok(()),
            Some(Process::Traced(traced)) => traced.pid,
            Some(Process::Wrapped(child)) => match child_of(child.id())? {
                Some(pid) => pid,
                None => return Ok(()),
            },
        };
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).context("failed to send a signal"),
        }
    }

    fn reap(&mut self) -> Result<ExitStatus> {
        match self.process.take() {
            None => bail!("the element has ended before"),
            Some(Process::Plain(mut child) | Process::Wrapped(mut child)) => {
                child.wait().context("failed to wait for the element")
            }
            Some(Process::Traced(traced)) => traced.wait(),
        }
    }
}

impl Drop for Element {
    fn drop(&mut self) {
        if self.process.is_some() {
            // Only after an error on the way; that error is the one to be told of.
            let _killed = self.signal(Signal::SIGKILL);
            let _reaped = self.reap();
        }
    }
}

/// The one child of a wrapper, if it still has it.
fn child_of(wrapper: u32) -> Result<Option<i32>> {
    let Ok(children) = fs::read_to_string(format!("/proc/{wrapper}/task/{wrapper}/children")) else {
        return Ok(None);
    };
    children
        .split_whitespace()
        .next()
        .map(str::parse)
        .transpose()
        .context("failed to read a process id")
}
