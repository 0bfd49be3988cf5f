//! Reading the content of a file on disk.

use std::fs::File;
use std::future::ready;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream;
use tokio::task::spawn_blocking;

use crate::store::{ByteStream, Readable};

/// Bytes read at once. Large enough that the switch to a reading thread and back is small beside the copy.
const READ_BYTES: u64 = 256 * 1024;

/// An open file. It stays readable when it is deleted meanwhile.
pub(super) struct LocalContent {
    file: Arc<File>,
}

impl LocalContent {
    pub(super) fn new(file: File) -> Self {
        Self { file: Arc::new(file) }
    }
}

impl Readable for LocalContent {
    fn read(&self, range: Range<u64>) -> BoxFuture<'static, io::Result<ByteStream>> {
        let chunks = stream::try_unfold(
            (Arc::clone(&self.file), range.start),
            move |(file, position)| async move {
                let wanted = range.end.saturating_sub(position).min(READ_BYTES);
                if wanted == 0 {
                    return Ok(None);
                }
                let (file, chunk) = spawn_blocking(move || read_at(file, position, wanted))
                    .await
                    .map_err(io::Error::other)??;
                let position = position + chunk.len() as u64;
                Ok(Some((chunk, (file, position))))
            },
        );
        let chunks: ByteStream = Box::pin(chunks);
        Box::pin(ready(Ok(chunks)))
    }
}

fn read_at(file: Arc<File>, position: u64, wanted: u64) -> io::Result<(Arc<File>, Bytes)> {
    let mut buffer = vec![0; usize::try_from(wanted).unwrap_or_default()];
    file.read_exact_at(&mut buffer, position)?;
    Ok((file, buffer.into()))
}
