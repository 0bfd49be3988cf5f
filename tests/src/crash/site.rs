//! Where one element lives for one run: its folder, its database, its environment, and the servers started from it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::api::Api;
use super::postgres::Server;
use super::tracer::{Control, Plan, Traced};
use crate::client;
use crate::command::{command, run};

/// Far more than any start takes; reached only when something hangs.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at a process.
const PAUSE: Duration = Duration::from_millis(2);

/// Files in memory take no time to flush. To a process that is killed they are as any others are.
const MEMORY: &str = "/dev/shm";

/// What all elements of a run share.
#[derive(Debug)]
pub struct World {
    binary: PathBuf,
    folder: TempDir,
    public_key: PathBuf,
    token: String,
    postgres: Option<Server>,
    numbers: AtomicUsize,
}

/// Which database an element keeps its index in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// SQLite in the storage folder.
    Embedded,
    /// PostgreSQL.
    Postgres,
}

impl Backend {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

impl World {
    /// A world around the element's binary, debug build. PostgreSQL is the server of `ARTSTORE_TEST_POSTGRES`.
    pub fn new() -> Result<Self> {
        let memory = Path::new(MEMORY);
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let folder = tempfile::Builder::new().prefix("artstore-crash-").tempdir_in(parent)?;
        let private_key = folder.path().join("private.pem");
        let public_key = folder.path().join("public.pem");
        run(command("openssl", ["genrsa", "-out"]).arg(&private_key).arg("2048"))?;
        run(command("openssl", ["rsa", "-pubout", "-in"])
            .arg(&private_key)
            .arg("-out")
            .arg(&public_key))?;
        Ok(Self {
            binary: binary()?,
            token: client::token_of(&fs::read_to_string(private_key)?, "admin")?,
            folder,
            public_key,
            postgres: Server::of_environment()?,
            numbers: AtomicUsize::new(0),
        })
    }

    /// A folder and a database that nothing has used before.
    pub fn site(&self, backend: Backend) -> Result<Site<'_>> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.site_in(backend, &self.folder.path().join(format!("site-{number}")))
    }

    /// The same, in a folder of the caller's.
    pub fn site_in(&self, backend: Backend, folder: &Path) -> Result<Site<'_>> {
        fs::create_dir_all(folder.join("volume"))?;
        let mut variables = BTreeMap::new();
        let mut set = |name: &str, value: String| drop(variables.insert(name.to_owned(), value));
        set("SERVER_HOST", "127.0.0.1".to_owned());
        set("SERVER_PORT", "0".to_owned());
        set(
            "STORAGE_LOCAL_BASE_PATH",
            folder.join("volume/storage").display().to_string(),
        );
        set("JWT_PUBLIC_KEY_PATH", self.public_key.display().to_string());
        set("RUST_BACKTRACE", "1".to_owned());
        if backend == Backend::Postgres {
            let server = self
                .postgres
                .as_ref()
                .context("ARTSTORE_TEST_POSTGRES is not set; `cluster services` sets it")?;
            for (name, value) in server.variables()? {
                set(name, value);
            }
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            set("DB_TABLE_PREFIX", format!("t{number}_"));
        }
        Ok(Site {
            world: self,
            folder: folder.to_owned(),
            backend,
            variables,
            logs: AtomicUsize::new(0),
        })
    }
}

/// The element that was built beside this program.
fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found = own
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("artstore-element"))
        .find(|path| path.is_file());
    found.context("there is no artstore-element beside this program; run: cargo build -p artstore-element")
}

/// See [`World::site`].
#[derive(Debug)]
pub struct Site<'a> {
    world: &'a World,
    /// Holds `volume/storage`.
    pub folder: PathBuf,
    /// Its database.
    pub backend: Backend,
    variables: BTreeMap<String, String>,
    logs: AtomicUsize,
}

impl Site<'_> {
    /// The storage folder.
    pub fn root(&self) -> PathBuf {
        self.folder.join("volume/storage")
    }

    /// The folder that was there before the element came.
    pub fn volume(&self) -> PathBuf {
        self.folder.join("volume")
    }

    /// Sets a variable of the element's environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// A variable of the element's environment.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A start of the element's program.
    pub fn launch(&self, words: &[&str]) -> Launch {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        Launch {
            variables: self.variables.clone(),
            ..Launch::new(
                self.world.binary.clone(),
                words,
                self.folder.join(format!("log-{number}")),
            )
        }
    }

    /// Runs a command of the element to its end.
    pub fn run(&self, words: &[&str]) -> Result<()> {
        let launch = self.launch(words);
        let status = launch.command(&[])?.status()?;
        ensure!(status.success(), "{words:?} failed: {status}\n{}", launch.tail());
        Ok(())
    }

    /// A server that is ready.
    pub async fn start(&self) -> Result<Element> {
        let launch = self.launch(&["serve"]);
        let process = Process::Plain(launch.command(&[])?.spawn()?);
        self.follow(launch, process)
            .await?
            .context("the element ended before it was ready")
    }

    /// A server under a wrapper, such as a tracer of another make; none when it ended before it was ready.
    pub async fn start_under(&self, wrapper: &[&str]) -> Result<Option<Element>> {
        let launch = self.launch(&["serve"]);
        let process = Process::Wrapped(launch.command(wrapper)?.spawn()?);
        self.follow(launch, process).await
    }

    /// A traced server; none when it ended before it was ready, as it may be ordered to.
    pub async fn start_traced(&self, plan: Plan, armed: bool) -> Result<(Option<Element>, Arc<Control>)> {
        let launch = self.launch(&["serve"]);
        let traced = Traced::start(launch.clone(), self.volume(), plan, armed)?;
        let control = Arc::clone(&traced.control);
        let element = self.follow(launch, Process::Traced(traced)).await?;
        Ok((element, control))
    }

    async fn follow(&self, launch: Launch, process: Process) -> Result<Option<Element>> {
        let mut element = Element {
            process: Some(process),
            api: Api::new(&self.world.token)?,
            log: launch,
        };
        let started = Instant::now();
        loop {
            if element.has_ended()? {
                return Ok(None);
            }
            if element.is_ready().await? {
                return Ok(Some(element));
            }
            if started.elapsed() > START_LIMIT {
                bail!("the element did not become ready\n{}", element.log.tail());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Removes the folder.
    pub fn clear(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| format!("failed to remove {:?}", self.folder))
    }
}

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

#[derive(Debug)]
enum Process {
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
        Ok(self.api.get("/health/ready").await.status() == Some(200))
    }

    /// Whether the process is gone.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(match &mut self.process {
            None => true,
            Some(Process::Plain(child) | Process::Wrapped(child)) => child.try_wait()?.is_some(),
            Some(Process::Traced(traced)) => traced.control.has_ended(),
        })
    }

    /// Kills it as a crash does.
    pub fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.reap()
    }

    /// Stops it as Kubernetes does, and waits for its end.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.reap()
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

    fn reap(&mut self) -> Result<()> {
        match self.process.take() {
            None => Ok(()),
            Some(Process::Plain(mut child) | Process::Wrapped(mut child)) => {
                child.wait().map(drop).context("failed to wait for the element")
            }
            Some(Process::Traced(traced)) => traced.wait(),
        }
    }
}

impl Drop for Element {
    fn drop(&mut self) {
        // Only after an error on the way; that error is the one to be told of.
        let _killed = self.signal(Signal::SIGKILL);
        let _reaped = self.reap();
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
