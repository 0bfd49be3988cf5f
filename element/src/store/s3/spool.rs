//! An upload on its way to the bucket: hashed, and sent in parts as it comes. What ends before its first part is full goes in one
//! piece, and where there is plenty of room the first part is a large one: a server then has one request, and nothing to put together.
//!
//! Memory is bounded for all uploads together. The first block of an upload is free; a further one needs room for a whole part,
//! which is given back when the part is sent. Room for a larger one is never waited for. An upload holds one such room while it waits for nothing but its client and the
//! parts it has sent, and parts that were sent wait for nobody, so uploads cannot block each other for ever.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use object_store::PutPayload;
use object_store::multipart::PartId;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::Inner;
use super::bucket::MAX_PARTS;
use crate::store::{Spool, Spooled, StoreAway, hex};

/// Memory is taken in blocks of this size.
const BLOCK: u64 = 256 * 1024;

/// The least a part may have, other than the last.
const MIN_PART: u64 = 5 * 1024 * 1024;

/// The most a first part may have.
const MAX_FIRST_PART: u64 = 16 * 1024 * 1024;

/// Parts of the least size come first, so that only files of more than 5 GB need larger ones.
const FIRST_PARTS: u64 = 1000;

/// Room for parts, of all uploads together.
const MEMORY: u64 = 256 * 1024 * 1024;

/// How long an upload waits for room. Others may be slow for ever.
const ROOM_PATIENCE: Duration = Duration::from_secs(30);

/// Parts of one upload that are sent at once, while another fills.
const IN_FLIGHT: usize = 2;

/// How large parts are, and the room there is for them.
pub(super) struct Memory {
    /// The size of the parts behind the first ones.
    later_part: u64,
    all_blocks: usize,
    blocks: Arc<Semaphore>,
}

impl Memory {
    pub(super) fn for_files_of(max_file_size: u64) -> Self {
        let behind = max_file_size.saturating_sub(FIRST_PARTS * MIN_PART);
        let later_part = behind
            .div_ceil(MAX_PARTS - FIRST_PARTS)
            .next_multiple_of(BLOCK)
            .max(MIN_PART);
        let blocks = MEMORY.max(later_part * 4) / BLOCK;
        let all_blocks =
            usize::try_from(blocks).map_or(Semaphore::MAX_PERMITS, |blocks| blocks.min(Semaphore::MAX_PERMITS));
        Self {
            later_part,
            all_blocks,
            blocks: Arc::new(Semaphore::new(all_blocks)),
        }
    }

    const fn part_size(&self, index: usize) -> u64 {
        if (index as u64) < FIRST_PARTS {
            MIN_PART
        } else {
            self.later_part
        }
    }

    /// Room for one block more, while no less is left for others than is taken.
    fn spare_block(&self) -> Option<OwnedSemaphorePermit> {
        let plenty = self.blocks.available_permits() >= self.all_blocks / 2;
        plenty
            .then(|| Arc::clone(&self.blocks).try_acquire_owned().ok())
            .flatten()
    }

    async fn room_for(&self, bytes: u64) -> io::Result<OwnedSemaphorePermit> {
        let blocks = u32::try_from(bytes / BLOCK).map_err(io::Error::other)?;
        let room = Arc::clone(&self.blocks).acquire_many_owned(blocks);
        match timeout(ROOM_PATIENCE, room).await {
            Ok(room) => room.map_err(io::Error::other),
            Err(_) => Err(StoreAway::because("too many large uploads are running")),
        }
    }
}

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

/// What has come and is not sent yet.
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

    /// Its bytes, and the room they take.
    fn into_payload(mut self) -> (PutPayload, Option<OwnedSemaphorePermit>) {
        if !self.block.is_empty() {
            self.full.push(self.block.freeze());
        }
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

    async fn send(&mut self, inner: &Arc<Inner>, key: &Path, part: &mut Part) -> io::Result<()> {
        self.wait_for(IN_FLIGHT - 1).await?;
        let id = self.id().await?;
        let (inner, key, index) = (Arc::clone(inner), key.clone(), self.begun);
        let (payload, room) = mem::take(part).into_payload();
        self.begun += 1;
        self.sending.spawn(async move {
            let sent = inner.bucket.put_part(&key, &id, index, payload).await;
            drop(room);
            Ok((index, sent?))
        });
        Ok(())
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

    /// Puts a full block behind the others, and sends the part when it is full too.
    async fn end_block(&mut self) -> io::Result<()> {
        let part_size = self
            .inner
            .memory
            .part_size(self.multipart.as_ref().map_or(0, |upload| upload.begun));
        if self.part.len() >= part_size && !self.grows_on() {
            return self.send().await;
        }
        if self.part.room.is_none() {
            self.part.room = Some(self.inner.memory.room_for(part_size).await?);
        }
        self.hasher.update(&self.part.block);
        let full = self.part.block.split().freeze();
        self.part.full.push(full);
        Ok(())
    }

    /// Whether the first part becomes larger than it must be.
    fn grows_on(&mut self) -> bool {
        if self.multipart.is_some() || self.part.len() >= MAX_FIRST_PART {
            return false;
        }
        match (&mut self.part.room, self.inner.memory.spare_block()) {
            (Some(room), Some(block)) => {
                room.merge(block);
                true
            }
            _ => false,
        }
    }

    /// Sends what has come as the next part.
    async fn send(&mut self) -> io::Result<()> {
        let key = self.inner.key(&self.planned)?;
        let inner = Arc::clone(&self.inner);
        let multipart = self.multipart.get_or_insert_with(|| Multipart::begin(&inner, &key));
        let length = self.part.len();
        self.hasher.update(&self.part.block);
        multipart.send(&inner, &key, &mut self.part).await?;
        self.sent += length;
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

#[cfg(test)]
mod tests {
    use super::{BLOCK, FIRST_PARTS, MAX_PARTS, MEMORY, MIN_PART, Memory};

    #[test]
    fn parts_suffice_for_the_largest_file() {
        for max in [1, 1 << 30, 48 << 30, 49 << 30, 1 << 40, 5 << 40] {
            let memory = Memory::for_files_of(max);
            let later = memory.part_size(usize::try_from(FIRST_PARTS).unwrap());
            assert!(
                FIRST_PARTS * MIN_PART + (MAX_PARTS - FIRST_PARTS) * later >= max,
                "{max}"
            );
            assert!(later.is_multiple_of(BLOCK) && later >= MIN_PART);
            assert_eq!(memory.part_size(0), MIN_PART);
            assert!(memory.blocks.available_permits() as u64 * BLOCK >= later * 4);
        }
    }

    #[tokio::test]
    async fn spare_room_is_half_of_all_and_comes_back() {
        let memory = Memory::for_files_of(1);
        let half = usize::try_from(MEMORY / BLOCK / 2).unwrap();
        let taken: Vec<_> = std::iter::from_fn(|| memory.spare_block()).collect();
        assert_eq!(taken.len(), half + 1);
        let others = memory.room_for(MEMORY / 2 - BLOCK).await.unwrap();
        drop((taken, others));
        assert!(memory.spare_block().is_some());
    }
}
