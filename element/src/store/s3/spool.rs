//! An upload on its way to the bucket: hashed, and sent in parts as it comes. What ends before its first part is full goes in one
//! piece. Where there is plenty of room several parts are waited for: a server then has one request, and nothing to put together.
//!
//! Memory is bounded for all uploads together. The first block of an upload is free; a further one needs room for a whole part,
//! which is given back when the part is sent. Room for more than one is never waited for. So an upload that holds room waits for
//! nothing but its client and the parts it has sent, and parts that were sent wait for nobody: uploads cannot block each other for
//! ever.

mod memory;

use std::io;
use std::mem;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use object_store::PutPayload;
use object_store::multipart::PartId;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinHandle, JoinSet};

pub(super) use self::memory::Memory;
use self::memory::{BLOCK, MAX_WHOLE};
use super::Inner;
use crate::store::{Spool, Spooled, StoreAway, hex};

/// Parts of one upload that are sent at once, while another fills.
const IN_FLIGHT: usize = 2;

/// An upload in progress.
pub(super) struct S3Spool {
    inner: Arc<Inner>,
    planned: String,
    size: u64,
    sent: u64,
    hasher: Sha256,
    /// That of all content, once it has come.
    sha256: [u8; 32],
    part: Part,
    multipart: Option<Multipart>,
    state: State,
}

/// What has come and is not sent yet: mostly one part.
#[derive(Default)]
struct Part {
    block: BytesMut,
    full: Vec<Bytes>,
    room: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Filling,
    Sealed,
    /// The content stands, maybe still at the planned path, but the file does not.
    Completed,
    /// It failed, or stands published.
    Ended,
}

/// A multipart upload. Both handles survive a wait that is cancelled, so that an abort still finds what was begun.
struct Multipart {
    beginning: Option<JoinHandle<io::Result<String>>>,
    id: Option<String>,
    begun: usize,
    sending: JoinSet<io::Result<(usize, PartId)>>,
    done: Vec<(usize, PartId)>,
}

impl Part {
    fn len(&self) -> u64 {
        self.full.len() as u64 * BLOCK + self.block.len() as u64
    }

    /// Takes what fits into the block.
    fn take(&mut self, chunk: &mut Bytes) {
        let space = usize::try_from(BLOCK).unwrap_or_default() - self.block.len();
        self.block.extend_from_slice(&chunk.split_to(space.min(chunk.len())));
    }

    fn is_block_full(&self) -> bool {
        self.block.len() as u64 == BLOCK
    }

    /// Puts the block behind the others.
    fn end_block(&mut self) {
        if !self.block.is_empty() {
            self.full.push(self.block.split().freeze());
        }
    }

    /// Whether it has come to the end of its room.
    fn is_full(&self) -> bool {
        let room = self.room.as_ref().map_or(0, |room| room.num_permits() as u64 * BLOCK);
        self.room.is_some() && self.len() >= room
    }

    /// Takes the first blocks out of it.
    fn cut(&mut self, blocks: u64) -> Self {
        let blocks = usize::try_from(blocks).unwrap_or(usize::MAX);
        if self.full.len() <= blocks {
            return mem::take(self);
        }
        Self {
            block: BytesMut::new(),
            full: self.full.drain(..blocks).collect(),
            room: self.room.as_mut().and_then(|room| room.split(blocks)),
        }
    }

    /// Its bytes, and the room they take.
    fn into_payload(mut self) -> (PutPayload, Option<OwnedSemaphorePermit>) {
        self.end_block();
        (self.full.into_iter().collect(), self.room)
    }
}

impl Multipart {
    fn begin(inner: &Arc<Inner>, key: &Path) -> Self {
        let (inner, key) = (Arc::clone(inner), key.clone());
        Self {
            beginning: Some(tokio::spawn(async move { inner.bucket.begin_upload(&key).await })),
            id: None,
            begun: 0,
            sending: JoinSet::new(),
            done: Vec::new(),
        }
    }

    /// The server's name for it.
    async fn id(&mut self) -> io::Result<String> {
        if let Some(beginning) = &mut self.beginning {
            let id = beginning.await.map_err(io::Error::other);
            self.beginning = None;
            self.id = Some(id??);
        }
        self.id.clone().ok_or_else(ended)
    }

    /// Waits until at most `most` parts are on their way.
    async fn wait_for(&mut self, most: usize) -> io::Result<()> {
        while self.sending.len() > most {
            let Some(sent) = self.sending.join_next().await else {
                return Ok(());
            };
            self.done.push(sent.map_err(io::Error::other)??);
        }
        Ok(())
    }

    /// Sends the first blocks of a part, and answers with their length.
    async fn send(&mut self, inner: &Arc<Inner>, key: &Path, part: &mut Part) -> io::Result<u64> {
        self.wait_for(IN_FLIGHT - 1).await?;
        let id = self.id().await?;
        let (inner, key, index) = (Arc::clone(inner), key.clone(), self.begun);
        let (payload, room) = part.cut(inner.memory.part_size(index) / BLOCK).into_payload();
        let length = payload.content_length() as u64;
        self.begun += 1;
        self.sending.spawn(async move {
            let sent = inner.bucket.put_part(&key, &id, index, payload).await;
            drop(room);
            Ok((index, sent?))
        });
        Ok(length)
    }

    /// Waits for every part, in whatever state, and ends the upload at the server.
    async fn abort(mut self, inner: &Inner, key: &Path) -> io::Result<()> {
        // How the parts ended no longer matters; while one is on its way, an abort could miss it.
        while self.sending.join_next().await.is_some() {}
        match self.id().await {
            Ok(id) => inner.bucket.abort(key, &id).await,
            // It could not even be begun, as far as can be known; recovery lists what the bucket has.
            Err(error) => Err(error),
        }
    }
}

impl S3Spool {
    pub(super) fn new(inner: Arc<Inner>, storage_path: &str) -> Self {
        Self {
            inner,
            planned: storage_path.to_owned(),
            size: 0,
            sent: 0,
            hasher: Sha256::new(),
            sha256: [0; 32],
            part: Part::default(),
            multipart: None,
            state: State::Filling,
        }
    }

    async fn take(&mut self, mut chunk: Bytes) -> io::Result<()> {
        while !chunk.is_empty() {
            if self.part.is_block_full() {
                self.end_block().await?;
            }
            self.part.take(&mut chunk);
        }
        Ok(())
    }

    /// Puts a full block behind the others, or sends all of them when there is no room for more.
    async fn end_block(&mut self) -> io::Result<()> {
        if self.part.is_full() && !self.grows_on() {
            return self.send().await;
        }
        if self.part.room.is_none() {
            let begun = self.multipart.as_ref().map_or(0, |upload| upload.begun);
            let memory = &self.inner.memory;
            self.part.room = Some(memory.room_for(memory.part_size(begun)).await?);
        }
        self.hasher.update(&self.part.block);
        self.part.end_block();
        Ok(())
    }

    /// Whether a further part is waited for before the first is sent.
    fn grows_on(&mut self) -> bool {
        if self.multipart.is_some() || self.part.len() >= MAX_WHOLE {
            return false;
        }
        match (&mut self.part.room, self.inner.memory.spare_part()) {
            (Some(room), Some(more)) => {
                room.merge(more);
                true
            }
            _ => false,
        }
    }

    /// Sends what has come. Some servers want all parts but the last to have one length, so what is more than one is cut.
    async fn send(&mut self) -> io::Result<()> {
        let key = self.inner.key(&self.planned)?;
        let inner = Arc::clone(&self.inner);
        let multipart = self.multipart.get_or_insert_with(|| Multipart::begin(&inner, &key));
        self.hasher.update(&self.part.block);
        self.part.end_block();
        while !self.part.full.is_empty() {
            self.sent += multipart.send(&inner, &key, &mut self.part).await?;
        }
        Ok(())
    }

    async fn end(&mut self) -> io::Result<Spooled> {
        if self.multipart.is_some() {
            if self.part.len() > 0 {
                self.send().await?;
            }
            if let Some(multipart) = &mut self.multipart {
                multipart.wait_for(0).await?;
            }
        } else {
            self.hasher.update(&self.part.block);
        }
        self.sha256 = mem::take(&mut self.hasher).finalize().into();
        Ok(Spooled {
            size: self.size,
            checksum: hex(&self.sha256),
        })
    }

    /// Gives the content its key.
    async fn place(&mut self, storage_path: &str) -> io::Result<()> {
        let (planned, key) = (self.inner.key(&self.planned)?, self.inner.key(storage_path)?);
        let Some(multipart) = &mut self.multipart else {
            let (payload, _room) = mem::take(&mut self.part).into_payload();
            return self.inner.bucket.put_hashed(&key, payload, self.sha256).await;
        };
        let id = multipart.id().await?;
        let mut parts = mem::take(&mut multipart.done);
        parts.sort_by_key(|(index, _)| *index);
        let parts = parts.into_iter().map(|(_, part)| part).collect();
        self.inner.bucket.complete(&planned, &id, parts).await?;
        self.multipart = None;
        self.state = State::Completed;
        if planned != key {
            self.inner.bucket.copy(&planned, &key).await?;
            self.inner.bucket.delete(&planned).await?;
        }
        Ok(())
    }
}

impl Spool for S3Spool {
    fn size(&self) -> u64 {
        self.size
    }

    fn written(&self) -> u64 {
        self.sent
    }

    fn write(&mut self, chunk: Bytes) -> BoxFuture<'_, io::Result<()>> {
        self.size += chunk.len() as u64;
        Box::pin(async move {
            if self.state != State::Filling {
                return Err(ended());
            }
            let result = self.take(chunk).await;
            if result.is_err() {
                self.state = State::Ended;
            }
            result
        })
    }

    fn seal(&mut self) -> BoxFuture<'_, io::Result<Spooled>> {
        Box::pin(async move {
            if mem::replace(&mut self.state, State::Ended) != State::Filling {
                return Err(ended());
            }
            let spooled = self.end().await?;
            self.state = State::Sealed;
            Ok(spooled)
        })
    }

    fn publish<'a>(&'a mut self, storage_path: &'a str, attributes: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            if mem::replace(&mut self.state, State::Ended) != State::Sealed {
                return Err(ended());
            }
            self.inner.fence.check()?;
            self.place(storage_path).await?;
            self.inner.commit(storage_path, attributes).await?;
            self.state = State::Ended;
            Ok(())
        })
    }

    fn abandon(mut self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move {
            let key = self.inner.key(&self.planned)?;
            if let Some(multipart) = self.multipart.take() {
                multipart.abort(&self.inner, &key).await?;
            }
            if self.state == State::Completed {
                self.inner.bucket.delete(&key).await?;
            }
            Ok(())
        })
    }
}

fn ended() -> io::Error {
    StoreAway::because("the upload ended, or an earlier part of it failed")
}
