//! Long-running processes of the cluster. Each has a record with its id and start time, written by the process itself
//! before it becomes the program, so that killing the harness at any point loses none. Nothing is ever stopped by name.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::command::wait_for;
use crate::layout::Layout;
use crate::step::step;
use crate::tools::hex;

/// In the environment of every daemon: the root of the cluster it belongs to.
pub const MARK: &str = "ARTSTORE_CLUSTER_ROOT";

/// A log larger than this (64 MiB) starts anew when its daemon starts.
const LOG_LIMIT: u64 = 64 << 20;

/// How long a process may take to end after a polite request; the API server would wait a minute for its watchers.
const GRACE: Duration = Duration::from_secs(3);

/// A program that runs until the cluster is stopped.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    files: Vec<(PathBuf, String)>,
}

/// What is known of a started process. A process id alone may have gone to somebody else since.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Record {
    pid: i32,
    start_time: u64,
    boot_id: String,
    fingerprint: String,
}

impl Daemon {
    /// Describes a daemon.
    pub fn new(name: &'static str, program: PathBuf, arguments: impl IntoIterator<Item = String>) -> Self {
        Self {
            name,
            program,
            arguments: arguments.into_iter().collect(),
            files: Vec::new(),
        }
    }

    /// Adds a configuration file: it is written when it differs, and then the daemon starts anew.
    pub fn with_file(mut self, path: PathBuf, text: String) -> Self {
        self.files.push((path, text));
        self
    }

    /// Starts the daemon unless it runs already with the same program and configuration.
    pub fn ensure(&self, layout: &Layout) -> Result<()> {
        let fingerprint = self.fingerprint();
        for (path, text) in &self.files {
            // An equal file is left alone: kube-proxy ends when its own is written.
            if fs::read_to_string(path).ok().as_ref() != Some(text) {
                fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))?;
            }
        }
        if let Some(record) = Record::running(layout, self.name)? {
            if record.fingerprint == fingerprint {
                return Ok(());
            }
            stop(layout, self.name)?;
        }
        step(&format!("start {}", self.name), || self.start(layout, &fingerprint))
    }

    fn start(&self, layout: &Layout, fingerprint: &str) -> Result<()> {
        fs::create_dir_all(layout.at("logs"))?;
        let log = log_path(layout, self.name);
        if fs::metadata(&log).is_ok_and(|metadata| metadata.len() > LOG_LIMIT) {
            fs::remove_file(&log)?;
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context("failed to open the log")?;
        // This program, also when a build has replaced its file meanwhile.
        let mut child = Command::new("/proc/self/exe")
            .arg("become")
            .args([self.name, fingerprint])
            .arg(&self.program)
            .args(&self.arguments)
            .env_clear()
            // No proxy and no credential of the person who starts the cluster reaches it.
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &layout.root)
            .env(MARK, &layout.root)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        wait_for(&format!("the record of {}", self.name), GRACE, || {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "{} ended at once: {status}; see {}",
                    self.name,
                    log_path(layout, self.name).display()
                );
            }
            Ok(Record::running(layout, self.name)?.is_some_and(|record| record.fingerprint == fingerprint))
        })
    }

    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.program.as_os_str().as_encoded_bytes());
        for argument in &self.arguments {
            hash.update([0]);
            hash.update(argument);
        }
        for (_, text) in &self.files {
            hash.update([0]);
            hash.update(text);
        }
        hex(&hash.finalize())
    }
}

/// The inner side of a start: leaves the session, writes the record of this very process and becomes the program.
pub fn become_program(root: &Path, name: &str, fingerprint: &str, program: &Path, arguments: &[String]) -> Result<()> {
    rustix::process::setsid().context("failed to leave the session")?;
    let pid = i32::try_from(std::process::id())?;
    let start_time = start_time(pid).context("this process has no start time")?;
    let record = Record {
        pid,
        start_time,
        boot_id: boot_id()?,
        fingerprint: fingerprint.to_owned(),
    };
    let folder = root.join("processes");
    fs::create_dir_all(&folder)?;
    let temporary = folder.join(format!(".{name}.{pid}"));
    fs::write(&temporary, serde_json::to_vec(&record)?)?;
    fs::rename(&temporary, folder.join(format!("{name}.json")))?;
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("failed to run {}", program.display()))
}

/// Whether the daemon of that name runs, and its process id.
pub fn running(layout: &Layout, name: &str) -> Result<Option<i32>> {
    Ok(Record::running(layout, name)?.map(|record| record.pid))
}

/// The names of all daemons that have a record.
pub fn recorded(layout: &Layout) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(layout.at("processes")) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let file = entry?.file_name().to_string_lossy().into_owned();
        names.extend(file.strip_suffix(".json").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Stops the daemon of that name, politely first, and forgets it.
pub fn stop(layout: &Layout, name: &str) -> Result<()> {
    if let Some(record) = Record::running(layout, name)? {
        step(&format!("stop {name}"), || end(record.pid, record.start_time))?;
    }
    match fs::remove_file(record_path(layout, name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("failed to remove the record"),
        _ => Ok(()),
    }
}

/// Ends every process that carries the mark of this cluster: those that lost their record, and the children of daemons.
pub fn end_marked(layout: &Layout) -> Result<()> {
    marked(layout)?
        .into_iter()
        .try_for_each(|(pid, start_time)| end(pid, start_time))
}

/// All processes that carry the mark of this cluster, each with its start time.
pub fn marked(layout: &Layout) -> Result<Vec<(i32, u64)>> {
    let mark = format!("{MARK}={}", layout.root.display());
    let mut found = processes()?;
    found.retain(|(pid, _)| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == mark.as_bytes())
    });
    Ok(found)
}

/// Kills one process at once, if it is still the one that started then.
pub fn kill_now(pid: i32) -> Result<()> {
    let Some(started) = start_time(pid) else { return Ok(()) };
    signal(pid, started, Signal::KILL)?;
    wait_for(&format!("the end of process {pid}"), GRACE, || {
        Ok(start_time(pid) != Some(started))
    })
}

fn end(pid: i32, started: u64) -> Result<()> {
    signal(pid, started, Signal::TERM)?;
    let asked = Instant::now();
    while start_time(pid) == Some(started) {
        if asked.elapsed() > GRACE {
            return kill_now(pid);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn signal(pid: i32, started: u64, signal: Signal) -> Result<()> {
    let target = Pid::from_raw(pid).context("the process id is zero")?;
    if start_time(pid) != Some(started) {
        return Ok(());
    }
    match kill_process(target, signal) {
        Err(error) if error != rustix::io::Errno::SRCH => {
            Err(error).with_context(|| format!("failed to signal process {pid}"))
        }
        _ => Ok(()),
    }
}

fn processes() -> Result<Vec<(i32, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        found.extend(start_time(pid).map(|time| (pid, time)));
    }
    Ok(found)
}

/// When the process started, in ticks since boot; none when it is gone or only waits to be reaped.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the fields are counted from its end. Field 3 is the state, 22 the time.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let time = fields.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(time)
}

fn boot_id() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn record_path(layout: &Layout, name: &str) -> PathBuf {
    layout.at("processes").join(format!("{name}.json"))
}

/// Where the daemon of that name writes its log.
pub fn log_path(layout: &Layout, name: &str) -> PathBuf {
    layout.at("logs").join(format!("{name}.log"))
}

impl Record {
    fn running(layout: &Layout, name: &str) -> Result<Option<Self>> {
        let Ok(text) = fs::read(record_path(layout, name)) else {
            return Ok(None);
        };
        let record: Self = serde_json::from_slice(&text).context("failed to read the record of a process")?;
        let same = record.boot_id == boot_id()? && start_time(record.pid) == Some(record.start_time);
        Ok(same.then_some(record))
    }
}
