//! An upload's content on its way to disk: streamed, hashed and flushed in bounded memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::threads::{WriterThreads, finished};
use crate::durable;

/// Bytes handed to the disk at once. While one such buffer is written the next one fills, so an upload takes two.
const BUFFER_BYTES: usize = 256 * 1024;

/// Content that stands complete and flushed in its temporary file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Its bytes.
    pub size: u64,
    /// Its sha256, 64 lower-case hex digits.
    pub checksum: String,
}

/// A temporary file that fills.
pub struct Spool {
    threads: Arc<WriterThreads>,
    state: State,
    buffer: Vec<u8>,
    size: u64,
}

enum State {
    New(PathBuf),
    Busy(Option<JoinHandle<io::Result<Sink>>>),
    Failed,
}

struct Sink {
    file: File,
    hasher: Sha256,
    spare: Vec<u8>,
}

impl Sink {
    fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Self {
            file,
            hasher: Sha256::new(),
            spare: Vec::new(),
        })
    }

    fn put(mut self, mut buffer: Vec<u8>) -> io::Result<Self> {
        self.file.write_all(&buffer)?;
        self.hasher.update(&buffer);
        buffer.clear();
        self.spare = buffer;
        Ok(self)
    }
}

impl Spool {
    pub(super) const fn new(threads: Arc<WriterThreads>, path: PathBuf) -> Self {
        Self {
            threads,
            state: State::New(path),
            buffer: Vec::new(),
            size: 0,
        }
    }

    /// Bytes taken so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes handed to the disk so far.
    pub fn written(&self) -> u64 {
        self.size.saturating_sub(self.buffer.len() as u64)
    }

    /// Takes the next bytes; waits for the disk when it is behind.
    ///
    /// # Errors
    /// When the disk refused any bytes given so far.
    pub async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        self.size += chunk.len() as u64;
        self.buffer.extend_from_slice(&chunk);
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.hand_over().await.inspect_err(|_| self.state = State::Failed)
    }

    async fn hand_over(&mut self) -> io::Result<()> {
        let job = match &mut self.state {
            State::New(path) => {
                let (path, buffer) = (
                    mem::take(path),
                    mem::replace(&mut self.buffer, Vec::with_capacity(BUFFER_BYTES)),
                );
                self.threads.spawn(move || Sink::create(path)?.put(buffer))
            }
            State::Busy(job) => {
                // By reference: when this wait is cancelled, `abandon` still finds the job.
                let mut sink = finished(job).await?;
                let buffer = mem::replace(&mut self.buffer, mem::take(&mut sink.spare));
                self.threads.spawn(move || sink.put(buffer))
            }
            State::Failed => return Err(failed_before()),
        };
        self.state = State::Busy(job);
        Ok(())
    }

    /// Writes the rest and flushes.
    ///
    /// # Errors
    /// When the disk refused anything: then the content is not there.
    pub async fn finish(mut self) -> io::Result<Spooled> {
        let rest = mem::take(&mut self.buffer);
        let (size, state) = (self.size, mem::replace(&mut self.state, State::Failed));
        let seal = move |sink: Sink| {
            let sink = sink.put(rest)?;
            durable::sync_file(&sink.file)?;
            Ok(Spooled {
                size,
                checksum: hex(&sink.hasher.finalize()),
            })
        };
        match state {
            State::New(path) => self.threads.run(move || seal(Sink::create(path)?)).await,
            State::Busy(mut job) => {
                let sink = finished(&mut job).await?;
                self.threads.run(move || seal(sink)).await
            }
            State::Failed => Err(failed_before()),
        }
    }

    /// Waits until no thread touches the file any more, so that it can be removed for good.
    pub async fn abandon(mut self) {
        if let State::Busy(mut job) = mem::replace(&mut self.state, State::Failed) {
            // The content is thrown away: how its last write ended no longer matters.
            let _ = finished(&mut job).await;
        }
    }
}

fn failed_before() -> io::Error {
    io::Error::other("an earlier write of this upload failed")
}

/// Lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}
