//! Buffers that are used again: memory that was just read into is still in the processor's cache, and needs no zeroing.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes in one buffer. Large enough that a system call is small beside its copy, small enough for the processor's cache.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;

/// Buffers kept while nobody needs them, 4 MiB in all.
const KEPT: usize = 16;

/// The spare buffers; clones share them.
#[derive(Clone, Default)]
pub(super) struct Buffers {
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A buffer in use, of which the first bytes count. It goes back when it is dropped, also as [`Bytes`].
pub(super) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
    home: Buffers,
}

impl Buffers {
    /// A buffer of which `used` bytes count. What they are is left over from before.
    pub(super) fn take(&self, used: usize) -> Buffer {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer {
            bytes: spare.unwrap_or_else(|| vec![0; BUFFER_BYTES]),
            used: used.min(BUFFER_BYTES),
            home: self.clone(),
        }
    }
}

impl Buffer {
    /// The bytes that count, from `start` on.
    pub(super) fn from(&mut self, start: usize) -> &mut [u8] {
        self.bytes.get_mut(start..self.used).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        Self::from_owner(buffer)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = self.home.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < KEPT {
            spare.push(mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Buffers, KEPT};

    #[test]
    fn buffer_comes_back_when_its_last_user_drops_it() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(3);
        buffer.from(0).copy_from_slice(b"abc");
        let bytes = Bytes::from(buffer);
        let part = bytes.slice(1..);
        drop(bytes);
        assert!(buffers.spare.lock().unwrap().is_empty());
        assert_eq!(part, &b"bc"[..]);
        drop(part);
        assert_eq!(buffers.spare.lock().unwrap().len(), 1);
        drop(buffers.take(1));
        assert_eq!(buffers.spare.lock().unwrap().len(), 1);
    }

    #[test]
    fn spare_buffers_stay_within_the_bound() {
        let buffers = Buffers::default();
        drop((0..KEPT * 2).map(|_| buffers.take(1)).collect::<Vec<_>>());
        assert_eq!(buffers.spare.lock().unwrap().len(), KEPT);
    }
}
