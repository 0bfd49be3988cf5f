//! Reading a file's content from the disk itself to learn its sha256, a piece at a time, so that whoever reads sets the pace.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;

use futures::future::BoxFuture;
use rustix::fs::{Advice, fadvise};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::store::{Scan, Spooled, hex};

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// Content that is being read. The page cache is left as it was but for this file, which has no place in it: what was cached is
/// dropped first, since the cache says nothing of the disk, and what is read is dropped again.
pub(super) struct LocalScan {
    state: Option<State>,
}

struct State {
    file: File,
    hasher: Sha256,
    buffer: Vec<u8>,
    position: u64,
}

impl LocalScan {
    pub(super) fn new(file: File) -> Self {
        drop_cached(&file, 0, None);
        let state = State {
            file,
            hasher: Sha256::new(),
            buffer: vec![0; PIECE],
            position: 0,
        };
        Self { state: Some(state) }
    }
}

impl Scan for LocalScan {
    fn step(&mut self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move {
            let Some(state) = self.state.take() else {
                return Err(io::Error::other("an earlier piece could not be read"));
            };
            let (state, read) = spawn_blocking(move || state.step()).await.map_err(io::Error::other)??;
            self.state = Some(state);
            Ok(read)
        })
    }

    fn finish(self: Box<Self>) -> io::Result<Spooled> {
        let state = self
            .state
            .ok_or_else(|| io::Error::other("the content was not read whole"))?;
        Ok(Spooled {
            size: state.position,
            checksum: hex(&state.hasher.finalize()),
        })
    }
}

impl State {
    fn step(mut self) -> io::Result<(Self, u64)> {
        let read = loop {
            match self.file.read_at(&mut self.buffer, self.position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.hasher.update(self.buffer.get(..read).unwrap_or_default());
        drop_cached(&self.file, self.position, NonZeroU64::new(read as u64));
        self.position += read as u64;
        Ok((self, read as u64))
    }
}

/// A file system that knows no advice reads all the same.
fn drop_cached(file: &File, offset: u64, length: Option<NonZeroU64>) {
    if let Err(error) = fadvise(file, offset, length, Advice::DontNeed) {
        tracing::debug!(%error, "the file system takes no advice on its cache");
    }
}
