//! How large the parts of uploads are, and the memory there is for all of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::super::bucket::MAX_PARTS;
use crate::store::StoreAway;

/// Memory is taken in blocks of this size.
pub(super) const BLOCK: u64 = 256 * 1024;

/// The least a part may have, other than the last.
const MIN_PART: u64 = 5 * 1024 * 1024;

/// Parts of the least size come first, so that only files of more than 5 GB need larger ones.
const FIRST_PARTS: u64 = 1000;

/// The most that is held back to go in one request, rather than in parts.
pub(super) const MAX_WHOLE: u64 = 4 * MIN_PART;

/// Room for parts, of all uploads together.
const MEMORY: u64 = 256 * 1024 * 1024;

/// How long an upload waits for room. Others may be slow for ever.
const ROOM_PATIENCE: Duration = Duration::from_secs(30);

/// How large parts are, and the room there is for them.
pub(in crate::store::s3) struct Memory {
    /// The size of the parts behind the first ones.
    later_part: u64,
    all_blocks: usize,
    blocks: Arc<Semaphore>,
}

impl Memory {
    pub(in crate::store::s3) fn for_files_of(max_file_size: u64) -> Self {
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

    pub(super) const fn part_size(&self, index: usize) -> u64 {
        if (index as u64) < FIRST_PARTS {
            MIN_PART
        } else {
            self.later_part
        }
    }

    /// Room for a part more, while two thirds of all are free.
    pub(in crate::store::s3) fn spare_part(&self) -> Option<OwnedSemaphorePermit> {
        let plenty = self.blocks.available_permits() >= self.all_blocks / 3 * 2;
        let blocks = u32::try_from(MIN_PART / BLOCK).ok().filter(|_| plenty)?;
        Arc::clone(&self.blocks).try_acquire_many_owned(blocks).ok()
    }

    pub(in crate::store::s3) async fn room_for(&self, bytes: u64) -> io::Result<OwnedSemaphorePermit> {
        self.room_within(ROOM_PATIENCE, bytes).await
    }

    async fn room_within(&self, patience: Duration, bytes: u64) -> io::Result<OwnedSemaphorePermit> {
        let blocks = u32::try_from(bytes / BLOCK).map_err(io::Error::other)?;
        let room = Arc::clone(&self.blocks).acquire_many_owned(blocks);
        match timeout(patience, room).await {
            Ok(room) => room.map_err(io::Error::other),
            Err(_) => Err(StoreAway::because("too many large uploads are running")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use super::{BLOCK, FIRST_PARTS, MAX_PARTS, MEMORY, MIN_PART, Memory, StoreAway};

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
    async fn spare_room_is_a_third_of_all_and_comes_back() {
        let memory = Memory::for_files_of(1);
        let taken: Vec<_> = std::iter::from_fn(|| memory.spare_part()).collect();
        let bytes = taken.len() as u64 * MIN_PART;
        assert!((MEMORY / 3..MEMORY / 3 + MIN_PART).contains(&bytes), "{bytes}");
        let others = memory.room_for(MEMORY - bytes).await.unwrap();
        drop((taken, others));
        assert!(memory.spare_part().is_some());
    }

    #[tokio::test]
    async fn room_is_waited_for_until_it_is_given_back() {
        let memory = Memory::for_files_of(1);
        let part = memory.room_for(MIN_PART).await.unwrap();
        let _others = memory.room_for(MEMORY - MIN_PART).await.unwrap();
        let mut waiting = pin!(memory.room_for(MIN_PART));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(part);
        let room = waiting.await.unwrap();
        assert_eq!(room.num_permits() as u64 * BLOCK, MIN_PART);
    }

    #[tokio::test]
    async fn room_that_nobody_gives_back_is_refused_in_the_end() {
        let memory = Memory::for_files_of(1);
        let all = memory.room_for(MEMORY).await.unwrap();
        let refused = memory.room_within(Duration::ZERO, MIN_PART).await.unwrap_err();
        assert!(StoreAway::is_in(&refused), "{refused:?}");
        drop(all);
        assert!(memory.room_for(MEMORY).await.is_ok(), "who gave up holds nothing");
    }
}
