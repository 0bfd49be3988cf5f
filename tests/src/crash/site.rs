//! Where one element lives for one run: its folder, its database, its environment, and the servers started from it.

mod element;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use element_api::Mode;
use tempfile::TempDir;

use self::element::Process;
pub use self::element::{Element, End, Launch, Start};
use super::api::Api;
use super::postgres::Server;
use super::tracer::{Control, Plan, Traced};
use crate::client;
use crate::command::{command, run};

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
            mode: Mode::Edit,
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
    /// The mode in which its element begins.
    pub mode: Mode,
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

    /// Lets its element begin in another mode.
    pub fn set_mode(&mut self, mode: Mode) {
        self.set("APP_MODE", &mode.to_string());
        self.mode = mode;
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
        let log = self.folder.join(format!("log-{number}"));
        Launch::new(self.world.binary.clone(), words, log).within(self.variables.clone())
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
        self.follow(launch, process).await?.ready()
    }

    /// A server under a wrapper, such as a tracer of another make.
    pub async fn start_under(&self, wrapper: &[&str]) -> Result<Start> {
        let launch = self.launch(&["serve"]);
        let process = Process::Wrapped(launch.command(wrapper)?.spawn()?);
        self.follow(launch, process).await
    }

    /// A traced server.
    pub async fn start_traced(&self, plan: Plan, armed: bool) -> Result<(Start, Arc<Control>)> {
        let launch = self.launch(&["serve"]);
        let traced = Traced::start(launch.clone(), self.volume(), plan, armed)?;
        let control = Arc::clone(&traced.control);
        Ok((self.follow(launch, Process::Traced(traced)).await?, control))
    }

    /// A traced command of the element, when it has ended.
    pub fn run_traced(&self, words: &[&str], plan: Plan) -> Result<(Start, Arc<Control>)> {
        let launch = self.launch(words);
        let traced = Traced::start(launch.clone(), self.volume(), plan, true)?;
        let control = Arc::clone(&traced.control);
        let status = traced.wait()?;
        Ok((Start::Ended(status, launch.tail()), control))
    }

    async fn follow(&self, launch: Launch, process: Process) -> Result<Start> {
        Element::new(process, Api::new(&self.world.token)?, launch)
            .until_ready()
            .await
    }

    /// Removes the folder.
    pub fn clear(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| format!("failed to remove {:?}", self.folder))
    }
}
