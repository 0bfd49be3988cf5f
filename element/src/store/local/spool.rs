//! An upload's content on its way to disk: streamed, hashed and flushed in bounded memory.

use std::fs::{File, OpenOptions};
use std::future::ready;
use std::io::{self, Write};
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::Inner;
use super::threads::finished;
use crate::durable;
use crate::store::{Spool, Spooled, hex};

/// Bytes handed to the disk at once. While one such buffer is written the next one fills, so an upload takes two.
const BUFFER_BYTES: usize = 32 * 1024;

/// How much is written before the disk is set to work on it. Small files are left to the flush.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// A temporary file that fills.
pub(super) struct LocalSpool {
    inner: Arc<Inner>,
    transaction: Uuid,
    state: State,
    buffer: Vec<u8>,
    size: u64,
}

enum State {
    New,
    Busy(Option<JoinHandle<io::Result<Sink>>>),
    Sealed(Content),
    /// Published, abandoned, or refused.
    Ended,
}

/// Sealed content. What never filled a buffer is written together with its attributes.
pub(super) enum Content {
    Held(Vec<u8>),
    Written(File),
}

struct Sink {
    file: File,
    hasher: Sha256,
    spare: Vec<u8>,
    written: u64,
    /// How much of that the disk was asked to begin with.
    begun: u64,
}

impl Sink {
    fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Self {
            file,
            hasher: Sha256::new(),
            spare: Vec::new(),
            written: 0,
            begun: 0,
        })
    }

    fn put(mut self, mut buffer: Vec<u8>) -> io::Result<Self> {
        self.file.write_all(&buffer)?;
        self.hasher.update(&buffer);
        self.written += buffer.len() as u64;
        let waiting = self.written - self.begun;
        if waiting >= WRITEBACK_BYTES {
            durable::begin_writeback(&self.file, self.begun, waiting);
            self.begun = self.written;
        }
        buffer.clear();
        self.spare = buffer;
        Ok(self)
    }
}

impl LocalSpool {
    pub(super) fn new(inner: Arc<Inner>, transaction: Uuid) -> Self {
        Self {
            state: State::New,
            inner,
            transaction,
            buffer: Vec::new(),
            size: 0,
        }
    }

    async fn hand_over(&mut self) -> io::Result<()> {
        let job = match &mut self.state {
            State::New => {
                let path = self.inner.temporary(self.transaction);
                let buffer = mem::replace(&mut self.buffer, Vec::with_capacity(BUFFER_BYTES));
                self.inner.threads.spawn(move || Sink::create(path)?.put(buffer))
            }
            State::Busy(job) => {
                // By reference: when this wait is cancelled, `abandon` still finds the job.
                let mut sink = finished(job).await?;
                let buffer = mem::replace(&mut self.buffer, mem::take(&mut sink.spare));
                self.inner.threads.spawn(move || sink.put(buffer))
            }
            State::Sealed(_) | State::Ended => return Err(ended_before()),
        };
        self.state = State::Busy(job);
        Ok(())
    }

    /// Writes the rest. It is flushed with the attributes.
    async fn finish(&mut self) -> io::Result<Spooled> {
        let rest = mem::take(&mut self.buffer);
        let (size, state) = (self.size, mem::replace(&mut self.state, State::Ended));
        let (content, checksum) = match state {
            // So little is hashed sooner than it is handed to a thread.
            State::New => {
                let checksum = Sha256::digest(&rest);
                (Content::Held(rest), checksum)
            }
            State::Busy(mut job) => {
                let sink = finished(&mut job).await?;
                let sink = self.inner.threads.run(move || sink.put(rest)).await?;
                (Content::Written(sink.file), sink.hasher.finalize())
            }
            State::Sealed(_) | State::Ended => return Err(ended_before()),
        };
        self.state = State::Sealed(content);
        Ok(Spooled {
            size,
            checksum: hex(&checksum),
        })
    }
}

impl Spool for LocalSpool {
    fn size(&self) -> u64 {
        self.size
    }

    fn written(&self) -> u64 {
        self.size.saturating_sub(self.buffer.len() as u64)
    }

    fn write(&mut self, chunk: Bytes) -> BoxFuture<'_, io::Result<()>> {
        if matches!(self.state, State::Sealed(_) | State::Ended) {
            return Box::pin(ready(Err(ended_before())));
        }
        self.size += chunk.len() as u64;
        self.buffer.extend_from_slice(&chunk);
        if self.buffer.len() < BUFFER_BYTES {
            return Box::pin(ready(Ok(())));
        }
        Box::pin(async move {
            let result = self.hand_over().await;
            if result.is_err() {
                self.state = State::Ended;
            }
            result
        })
    }

    fn seal(&mut self) -> BoxFuture<'_, io::Result<Spooled>> {
        Box::pin(self.finish())
    }

    fn publish<'a>(&'a mut self, storage_path: &'a str, attributes: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let State::Sealed(content) = mem::replace(&mut self.state, State::Ended) else {
                return Err(ended_before());
            };
            self.inner
                .publish(self.transaction, content, storage_path, attributes)
                .await
        })
    }

    fn abandon(mut self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move {
            // A thread that still writes would bring the file back.
            if let State::Busy(mut job) = mem::replace(&mut self.state, State::Ended) {
                // The content is thrown away: how its last write ended no longer matters.
                let _ = finished(&mut job).await;
            }
            self.inner.discard(self.transaction).await
        })
    }
}

fn ended_before() -> io::Error {
    io::Error::other("the upload ended, or an earlier write of it failed")
}
