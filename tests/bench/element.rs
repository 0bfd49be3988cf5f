//! The element under measurement: the shipped binary with its shipped settings, a database of its own, and a storage folder on
//! the disk that is measured.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::command::wait_for;
use element_api::FileMetadata;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Connection, request, upload_frame};
use crate::scene::{Scene, guarded, remove};

/// How long a start may take.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// A running element. It ends with this value.
pub(crate) struct Element {
    child: Child,
    pub(crate) port: u16,
    pub(crate) storage: PathBuf,
    token: String,
}

impl Element {
    /// An element with an empty folder and an empty database.
    pub(crate) fn start(scene: &Scene, name: &str) -> Result<Self> {
        Self::start_below(scene, name, &[])
    }

    /// The same, told more than every element is.
    pub(crate) fn start_with(scene: &Scene, name: &str, settings: &[(&'static str, String)]) -> Result<Self> {
        Self::prepare(scene, name)?;
        Self::spawn(scene, name, &[], settings)?.made_ready(scene, name)
    }

    /// The same, started by another program: that program's words come first.
    pub(crate) fn start_below(scene: &Scene, name: &str, outer: &[String]) -> Result<Self> {
        Self::prepare(scene, name)?;
        Self::start_again(scene, name, outer)
    }

    fn prepare(scene: &Scene, name: &str) -> Result<()> {
        scene.database.create(&database_of(name))?;
        scene.fresh_folder(&format!("storage-{name}"))?;
        Ok(())
    }

    /// An element over what an earlier one of this name left; ready when this returns.
    pub(crate) fn start_again(scene: &Scene, name: &str, outer: &[String]) -> Result<Self> {
        Self::spawn(scene, name, outer, &[])?.made_ready(scene, name)
    }

    fn made_ready(self, scene: &Scene, name: &str) -> Result<Self> {
        wait_for("a ready element", READY_LIMIT, || self.is_ready())
            .with_context(|| fs::read_to_string(scene.at(&log_of(name))).unwrap_or_default())?;
        Ok(self)
    }

    /// Begins a start, and does not wait for it.
    pub(crate) fn spawn(
        scene: &Scene,
        name: &str,
        outer: &[String],
        settings: &[(&'static str, String)],
    ) -> Result<Self> {
        let (port, storage) = (free_port()?, scene.at(&format!("storage-{name}")));
        let log = File::create(scene.at(&log_of(name)))?;
        let mut words = outer.iter().map(std::ffi::OsString::from).collect::<Vec<_>>();
        words.push(scene.element.clone().into());
        let mut words = words.into_iter();
        let mut command = guarded(words.next().context("no program")?);
        command.args(words).arg("serve").env_clear();
        configure(&mut command, scene, name)?;
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        let child = command
            .env("SERVER_PORT", port.to_string())
            .env("STORAGE_LOCAL_BASE_PATH", &storage)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("failed to start the element")?;
        Ok(Self {
            child,
            port,
            storage,
            token: scene.token.clone(),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_ready(&self) -> Result<bool> {
        let answer = Connection::open(self.port)?.call(&request("GET", "/health/ready", &self.token, None))?;
        Ok(answer.status == 200)
    }

    /// Stores content and answers with what the element says of it.
    pub(crate) fn store(&self, name: &str, content: &[u8]) -> Result<FileMetadata> {
        let (start, end) = upload_frame(name, &self.token, Some(content.len() as u64));
        let mut connection = Connection::open(self.port)?;
        for piece in [start.as_slice(), content, end.as_slice()] {
            connection.stream().write_all(piece)?;
        }
        let answer = connection.answer()?;
        stored(answer.status, &answer.body)
    }

    /// Deletes a file.
    pub(crate) fn delete(&self, file: &FileMetadata) -> Result<()> {
        let path = format!("/api/v1/files/{}", file.file_id);
        let answer = Connection::open(self.port)?.call(&request("DELETE", &path, &self.token, None))?;
        ensure!(answer.status == 204, "a delete was answered with {}", answer.status);
        Ok(())
    }

    /// Ends it as a power cut would, but for the kernel.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it in peace.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the element ended with {status}");
        Ok(())
    }

    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> Result<()> {
        self.child.wait().map(drop).context("failed to wait for the element")
    }

    /// Ends it and removes all it kept.
    pub(crate) fn discard(self, scene: &Scene, name: &str) -> Result<()> {
        let storage = self.storage.clone();
        drop(self);
        remove(&storage)?;
        scene.database.drop(&database_of(name))
    }
}

impl Drop for Element {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What an upload's answer says.
pub(crate) fn stored(status: u16, body: &[u8]) -> Result<FileMetadata> {
    if status != 201 {
        bail!(
            "an upload was answered with {status}: {}",
            String::from_utf8_lossy(body)
        );
    }
    serde_json::from_slice(body).context("failed to read the answer to an upload")
}

/// The database of the element of this name.
pub(crate) fn database_of(name: &str) -> String {
    format!("bench_{name}")
}

fn log_of(name: &str) -> String {
    format!("element-{name}.log")
}

/// As shipped: nothing is switched off, the log is written at its default level.
fn configure(command: &mut Command, scene: &Scene, name: &str) -> Result<()> {
    command
        .envs(scene.database.environment(&database_of(name))?)
        .env("SERVER_HOST", "127.0.0.1")
        .env("STORAGE_ELEMENT_ID", "bench")
        .env("JWT_PUBLIC_KEY_PATH", scene.public_key())
        .env("UPLOAD_MAX_FILE_SIZE", "2Gi");
    Ok(())
}

pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("failed to find a free port")?;
    Ok(listener.local_addr()?.port())
}
