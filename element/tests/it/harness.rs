//! Starting elements and talking to them.

pub(crate) mod announced;
pub(crate) mod bucket;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod database;
pub(crate) mod issuer;
pub(crate) mod keys;
pub(crate) mod proxy;
pub(crate) mod redis;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use self::bucket::Bucket;
use self::client::Client;
use self::database::Database;
use self::keys::KEYS;

/// Far more than anything here takes; reached only when something hangs.
pub(crate) const GENEROUS: Duration = Duration::from_secs(60);

/// What an element is started with; outlives the elements started from it.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
    variables: BTreeMap<String, String>,
    database: Option<Database>,
    pub(crate) bucket: Option<Bucket>,
}

impl Setup {
    /// An element with an embedded database.
    pub(crate) fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("public.pem");
        std::fs::write(&key, &KEYS.public_pem).unwrap();
        let mut setup = Self {
            folder,
            variables: BTreeMap::new(),
            database: None,
            bucket: None,
        };
        let root = setup.root();
        for (name, value) in [
            ("SERVER_HOST", "127.0.0.1"),
            ("SERVER_PORT", "0"),
            ("STORAGE_LOCAL_BASE_PATH", root.to_str().unwrap()),
            ("JWT_PUBLIC_KEY_PATH", key.to_str().unwrap()),
        ] {
            setup.set(name, value);
        }
        setup
    }

    /// Drops another database that the element made on the same server.
    pub(crate) async fn drop_database(&self, name: &str) {
        let database = self.database.as_ref().expect("a setup with PostgreSQL");
        database.execute(format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }

    /// An element with a PostgreSQL database of its own.
    pub(crate) async fn postgres() -> Self {
        let database = Database::create().await;
        let mut setup = Self::embedded();
        for (name, value) in database.variables() {
            setup.set(name, &value);
        }
        setup.database = Some(database);
        setup
    }

    /// An element with a PostgreSQL database of its own, and its files in a bucket.
    pub(crate) async fn bucket() -> Self {
        let (mut setup, bucket) = (Self::postgres().await, Bucket::new());
        for (name, value) in bucket.variables() {
            setup.set(name, &value);
        }
        setup.bucket = Some(bucket);
        setup
    }

    /// One of each database.
    pub(crate) async fn both() -> [Self; 2] {
        [Self::embedded(), Self::postgres().await]
    }

    /// One of each database, and one with a bucket.
    pub(crate) async fn each() -> [Self; 3] {
        [Self::embedded(), Self::postgres().await, Self::bucket().await]
    }

    /// What is kept at a path of a file's.
    pub(crate) fn kept(&self, storage_path: &str) -> Vec<u8> {
        match &self.bucket {
            Some(bucket) => bucket.object(storage_path),
            None => std::fs::read(self.root().join(storage_path)).unwrap(),
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        &self.variables[name]
    }

    /// Writes a file beside the storage folder.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_artstore-element"));
        command
            .args(words)
            .env_clear()
            .envs(&self.variables)
            // Where a measurement of coverage wants its counters.
            .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
            .current_dir(self.folder.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end: code, standard output, standard error.
    pub(crate) async fn run(&self, words: &[&str]) -> (i32, String, String) {
        let output = timeout(GENEROUS, self.command(words).output())
            .await
            .expect("the command ends")
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Starts a server and waits until it is ready.
    pub(crate) async fn start(&self) -> Element {
        let element = self.start_unready(&["serve"]).await;
        element.wait_ready().await;
        element
    }

    /// Starts a server and waits until it answers at all.
    pub(crate) async fn start_unready(&self, words: &[&str]) -> Element {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut element = self.spawn(words, address);
        let listening = element.stderr.wait_for("listening").await;
        let address = match serde_json::from_str::<Value>(&listening) {
            Ok(line) => line["address"].as_str().unwrap().to_owned(),
            Err(_) => listening
                .split("address=")
                .nth(1)
                .unwrap()
                .split_whitespace()
                .next()
                .unwrap()
                .to_owned(),
        };
        element.client = Client::new(address.parse().unwrap());
        element
    }

    /// Starts a server whose log may not say where it listens.
    pub(crate) async fn start_silent(&mut self) -> Element {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        self.set("SERVER_PORT", &address.port().to_string());
        let element = self.spawn(&["serve"], address);
        eventually("the element listens", async || {
            TcpStream::connect(address).await.is_ok()
        })
        .await;
        element.wait_ready().await;
        element
    }

    fn spawn(&self, words: &[&str], address: SocketAddr) -> Element {
        let mut child = self.command(words).spawn().unwrap();
        Element {
            stderr: Lines::follow(child.stderr.take().unwrap()),
            stdout: Lines::follow(child.stdout.take().unwrap()),
            child,
            client: Client::new(address),
            root: self.root(),
            bucket: self.bucket.clone(),
        }
    }
}

/// A running server.
pub(crate) struct Element {
    child: Child,
    pub(crate) stderr: Lines,
    pub(crate) stdout: Lines,
    pub(crate) client: Client,
    root: PathBuf,
    bucket: Option<Bucket>,
}

impl Element {
    pub(crate) async fn wait_ready(&self) {
        eventually("the element is ready", async || {
            self.client.get("/health/ready").await.status == 200
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().expect("the server runs")).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// The most memory it has had at once so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let pid = self.child.id().expect("the server runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        kib * 1024
    }

    pub(crate) async fn wait_exit(&mut self) -> ExitStatus {
        timeout(GENEROUS, self.child.wait())
            .await
            .expect("the server exits")
            .unwrap()
    }

    /// Stops it as Kubernetes does.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_exit().await;
        assert!(status.success(), "{status}\n{}", self.stderr.text());
    }

    /// Every file below the storage folder, or object in the bucket, that is a user's.
    pub(crate) fn files_on_disk(&self) -> Vec<PathBuf> {
        if let Some(bucket) = &self.bucket {
            let objects = bucket.objects().into_iter().map(PathBuf::from);
            return objects.filter(|path| !path.starts_with(".artstore")).collect();
        }
        let mut found = Vec::new();
        collect(&self.root, &mut found);
        found.retain(|path| !path.starts_with(self.root.join(".artstore")));
        found.sort();
        found
    }

    /// Uploads in progress, or what they left.
    pub(crate) fn temporary_files(&self) -> Vec<PathBuf> {
        if let Some(bucket) = &self.bucket {
            return bucket.uploads().into_iter().map(PathBuf::from).collect();
        }
        let mut found = Vec::new();
        collect(&self.root.join(".artstore/tmp"), &mut found);
        found
    }
}

/// A port for a server that cannot say which one it took. Not one the system gives away: somebody else could get it meanwhile,
/// and whoever tries to connect before the server listens could be connected to themselves.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16 % 100 * 100;
    loop {
        let port = 20_000 + (start + TAKEN.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until the condition holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(GENEROUS, waiting).await.is_ok(), "in vain waited until {what}");
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found)
        } else {
            found.push(path)
        }
    }
}

/// What a process wrote so far.
#[derive(Clone)]
pub(crate) struct Lines {
    text: Arc<Mutex<String>>,
}

impl Lines {
    fn follow(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Self { text: Arc::default() };
        let text = Arc::clone(&lines.text);
        tokio::spawn(async move {
            let mut reader = BufReader::new(stream).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                let mut text = text.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        lines
    }

    pub(crate) fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, word: &str) -> usize {
        self.text().lines().filter(|line| line.contains(word)).count()
    }

    /// The first line that contains the word.
    pub(crate) async fn wait_for(&self, word: &str) -> String {
        let line = || self.text().lines().find(|line| line.contains(word)).map(str::to_owned);
        let _ = timeout(GENEROUS, async {
            while line().is_none() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        line().unwrap_or_else(|| panic!("no line with {word:?} in:\n{}", self.text()))
    }
}
