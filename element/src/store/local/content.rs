//! Reading a file's content. What the page cache holds is copied at once on the calling thread; only what the disk must bring is
//! waited for, on a thread for it. A connection that can send files by itself is left to do so where there is much.

use std::fs::File;
use std::future::ready;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::spawn_blocking;

use super::buffers::{BUFFER_BYTES, Buffers};
use crate::store::{ByteStream, FileSender, Readable};

/// An open file. It stays readable when it is deleted meanwhile.
pub(super) struct LocalContent {
    file: Arc<File>,
    buffers: Buffers,
}

impl LocalContent {
    pub(super) fn new(file: File, buffers: Buffers) -> Self {
        Self {
            file: Arc::new(file),
            buffers,
        }
    }
}

impl Readable for LocalContent {
    fn read(
        &self,
        range: Range<u64>,
        sender: Option<Arc<dyn FileSender>>,
    ) -> BoxFuture<'static, io::Result<ByteStream>> {
        let source = (Arc::clone(&self.file), self.buffers.clone(), sender);
        let chunks = stream::try_unfold((source, range), |(source, range)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let (file, buffers, sender) = &source;
            let left = range.end - range.start;
            let chunk = match sender {
                // What fits into a buffer is sooner copied.
                Some(sender) if left > BUFFER_BYTES as u64 => sender.stand_in(file, range.clone()),
                _ => {
                    let wanted = usize::try_from(left).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
                    read_at(file, buffers, range.start, wanted).await?
                }
            };
            let rest = range.start + chunk.len() as u64..range.end;
            Ok(Some((chunk, (source, rest))))
        });
        let chunks: ByteStream = Box::pin(chunks);
        Box::pin(ready(Ok(chunks)))
    }
}

async fn read_at(file: &Arc<File>, buffers: &Buffers, position: u64, wanted: usize) -> io::Result<Bytes> {
    let mut buffer = buffers.take(wanted);
    let got = read_cached(file, buffer.from(0), position);
    if got < wanted {
        let file = Arc::clone(file);
        let rest = move || {
            file.read_exact_at(buffer.from(got), position + got as u64)?;
            Ok::<_, io::Error>(buffer)
        };
        buffer = spawn_blocking(rest).await.map_err(io::Error::other)??;
    }
    Ok(buffer.into())
}

/// How many bytes could be had without waiting. What keeps it from having any is the waiting read's to say.
fn read_cached(file: &File, buffer: &mut [u8], position: u64) -> usize {
    preadv2(file, &mut [IoSliceMut::new(buffer)], position, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

/// Opens a file whose name the kernel remembers; none when it would have to ask the disk, or has any other objection.
pub(super) fn open_cached(path: &Path, flags: OFlags) -> Option<File> {
    openat2(CWD, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::CACHED)
        .ok()
        .map(File::from)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use bytes::BytesMut;
    use futures::TryStreamExt;

    use super::{BUFFER_BYTES, Buffers, LocalContent};
    use crate::store::Readable as _;

    async fn read(content: &[u8], range: std::ops::Range<u64>) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, content).unwrap();
        let file = LocalContent::new(File::open(&path).unwrap(), Buffers::default());
        fs::remove_file(&path).unwrap();
        let read: BytesMut = file.read(range, None).await.unwrap().try_collect().await.unwrap();
        read.to_vec()
    }

    #[tokio::test]
    async fn ranges_come_whole_whatever_their_borders() {
        let content: Vec<u8> = (0..3 * BUFFER_BYTES + 7).map(|number| (number % 251) as u8).collect();
        let end = content.len();
        for (from, to) in [
            (0, end),
            (0, 0),
            (5, 6),
            (1, BUFFER_BYTES),
            (BUFFER_BYTES, end),
            (end - 1, end),
        ] {
            assert_eq!(
                read(&content, from as u64..to as u64).await,
                content[from..to],
                "{from}..{to}"
            );
        }
    }

    #[tokio::test]
    async fn file_cut_short_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"abc").unwrap();
        let file = LocalContent::new(File::open(&path).unwrap(), Buffers::default());
        let read: Result<BytesMut, _> = file.read(0..10, None).await.unwrap().try_collect().await;
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
