//! Content that goes from the page cache to a connection without passing through this process (`sendfile`(2)).
//!
//! The HTTP library passes on bytes it holds, and nothing else. So a body yields stand-ins: as many bytes of one region of memory
//! that is never written or sent. The connection knows them by their address, and sends the piece of a file each stands for.
//! Should the library ever copy one, the connection finds pieces and stand-ins that do not belong together, and breaks off.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use rustix::fs::sendfile;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_blocking};

use super::observed::Exchange;
use crate::store::FileSender;

/// The longest piece. The region takes address space only: nobody touches its pages.
const PIECE_BYTES: usize = 1 << 20;

/// What is sent at once: it was seen in the page cache, or brought there.
const WINDOW_BYTES: usize = 256 << 10;

/// What is copied at once where the file system has no `sendfile`.
const COPIED_BYTES: usize = 64 << 10;

static REGION: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; PIECE_BYTES]));

fn is_stand_in(bytes: &[u8]) -> bool {
    REGION.as_ptr_range().contains(&bytes.as_ptr())
}

/// The pieces of files that a connection is still to send; clones share them.
#[derive(Clone, Default)]
pub(super) struct Pieces {
    waiting: Arc<Mutex<VecDeque<Piece>>>,
    exchange: Option<Arc<Exchange>>,
}

struct Piece {
    file: Arc<File>,
    position: u64,
    left: usize,
    /// The request whose answer it is in.
    exchange: Option<Arc<Exchange>>,
}

impl Pieces {
    /// Pieces put in from now on belong to the answer of this request.
    pub(super) fn answer(&mut self, exchange: &Arc<Exchange>) {
        self.exchange = Some(Arc::clone(exchange));
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Piece>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileSender for Pieces {
    fn stand_in(&self, file: &Arc<File>, range: Range<u64>) -> Bytes {
        let left = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(PIECE_BYTES);
        let left = left.min(PIECE_BYTES);
        self.waiting().push_back(Piece {
            file: Arc::clone(file),
            position: range.start,
            left,
            exchange: self.exchange.clone(),
        });
        REGION.slice(..left)
    }
}

/// A connection that sends pieces of files where it is given their stand-ins.
pub(super) struct SendfileStream {
    stream: TcpStream,
    pieces: Pieces,
    /// Brings what is sent next into the page cache.
    loading: Option<JoinHandle<()>>,
}

impl SendfileStream {
    pub(super) fn new(stream: TcpStream) -> (Self, Pieces) {
        let pieces = Pieces::default();
        let connection = Self {
            stream,
            pieces: pieces.clone(),
            loading: None,
        };
        (connection, pieces)
    }
}

/// Sends bytes that a piece follows; they leave together.
fn send_before(stream: &TcpStream, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    let sent = sendmsg(
        stream,
        buffers,
        &mut SendAncillaryBuffer::default(),
        SendFlags::MORE | SendFlags::NOSIGNAL,
    );
    Ok(sent?)
}

/// Whether the same may go on when it is tried again.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Piece {
    /// What is sent of it next.
    fn window(&self) -> usize {
        self.left.min(WINDOW_BYTES)
    }

    /// Whether sending the next of it waits for no disk, as far as its ends tell.
    fn is_cached(&self) -> bool {
        let last = self.position + self.window().saturating_sub(1) as u64;
        [self.position, last].into_iter().all(|position| {
            let read = preadv2(
                &self.file,
                &mut [IoSliceMut::new(&mut [0])],
                position,
                ReadWriteFlags::NOWAIT,
            );
            read.is_ok_and(|got| got == 1)
        })
    }

    /// Reads the next of it on a thread that may wait. What keeps it from being read shows when it is sent.
    fn load(&self) -> JoinHandle<()> {
        let (file, position, length) = (Arc::clone(&self.file), self.position, self.window());
        spawn_blocking(move || drop(file.read_exact_at(&mut vec![0; length], position)))
    }

    /// Sends the next of it.
    fn send(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let (wanted, mut position) = (self.window(), self.position);
        let sent = match sendfile(stream, &self.file, Some(&mut position), wanted) {
            Err(Errno::INVAL | Errno::NOSYS) => self.copy(stream, wanted),
            sent => sent.map_err(io::Error::from),
        };
        match sent {
            Ok(sent @ 1..) => {
                self.position += sent as u64;
                self.left -= sent;
                Ok(sent)
            }
            Ok(_) => Err(self.failure(io::ErrorKind::WriteZero.into())),
            Err(error) if is_passing(&error) => Err(error),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Why the next of it cannot be sent. The system call does not say at which end it failed.
    fn failure(&self, error: io::Error) -> io::Error {
        let unreadable = match self.file.read_at(&mut [0], self.position) {
            Ok(0) => io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut short"),
            Ok(_) => return error,
            Err(passing) if is_passing(&passing) => return error,
            Err(unreadable) => unreadable,
        };
        if let Some(exchange) = &self.exchange {
            exchange.broke_off(&unreadable);
        }
        unreadable
    }

    /// The same over a file system that has no `sendfile`.
    fn copy(&self, stream: &TcpStream, wanted: usize) -> io::Result<usize> {
        let mut bytes = vec![0; wanted.min(COPIED_BYTES)];
        let got = self.file.read_at(&mut bytes, self.position)?;
        match got {
            0 => Ok(0),
            _ => Ok(send(stream, bytes.get(..got).unwrap_or_default(), SendFlags::NOSIGNAL)?),
        }
    }
}

impl AsyncWrite for SendfileStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut waiting = this.pieces.waiting();
        let own = buffers.iter().take_while(|buffer| !is_stand_in(buffer)).count();
        let piece = match (waiting.front_mut(), buffers.get(own)) {
            (Some(piece), Some(stand_in)) if stand_in.len() == piece.left => piece,
            (None, None) => {
                drop(waiting);
                return Pin::new(&mut this.stream).poll_write_vectored(context, buffers);
            }
            _ => {
                let what = "a piece of a file and its stand-in did not arrive together";
                return Poll::Ready(Err(io::Error::other(what)));
            }
        };
        loop {
            ready!(this.stream.poll_write_ready(context))?;
            if own == 0 && this.loading.is_none() && !piece.is_cached() {
                this.loading = Some(piece.load());
            }
            if let Some(loading) = &mut this.loading {
                // However it went: sending tells.
                let _ = ready!(Pin::new(loading).poll(context));
                this.loading = None;
            }
            let stream = &this.stream;
            let sent = stream.try_io(Interest::WRITABLE, || match own {
                0 => piece.send(stream),
                _ => send_before(stream, buffers.get(..own).unwrap_or_default()),
            });
            match sent {
                Err(error) if is_passing(&error) => {}
                sent => {
                    if piece.left == 0 {
                        waiting.pop_front();
                    }
                    return Poll::Ready(sent);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncRead for SendfileStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::IoSlice;
    use std::sync::Arc;

    use tempfile::NamedTempFile;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::{PIECE_BYTES, Pieces, SendfileStream};
    use crate::store::FileSender;

    async fn connected() -> (SendfileStream, Pieces, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (connection, pieces) = SendfileStream::new(stream);
        (connection, pieces, client)
    }

    fn file(length: usize) -> (Vec<u8>, NamedTempFile, Arc<File>) {
        let content: Vec<u8> = (0..length).map(|number| (number % 251) as u8 + 1).collect();
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), &content).unwrap();
        let opened = Arc::new(File::open(file.path()).unwrap());
        (content, file, opened)
    }

    #[tokio::test]
    async fn stand_ins_become_the_pieces_they_stand_for_between_other_bytes() {
        let (mut connection, pieces, mut client) = connected().await;
        let (content, _kept, opened) = file(3 * PIECE_BYTES);
        let end = content.len() as u64;
        let reading = tokio::spawn(async move {
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            got
        });
        let (first, last) = (pieces.stand_in(&opened, 7..end), pieces.stand_in(&opened, end - 5..end));
        assert_eq!((first.len(), last.len()), (PIECE_BYTES, 5));
        let (mut sent, total) = (0, 4 + first.len() + 2 + last.len());
        while sent < total {
            let mut slices = [b"head", &first[..], b"--", &last[..]].map(IoSlice::new);
            let mut left = &mut slices[..];
            IoSlice::advance_slices(&mut left, sent);
            sent += connection.write_vectored(left).await.unwrap();
        }
        connection.write_all(b"end").await.unwrap();
        drop(connection);
        let whole = [
            b"head",
            &content[7..7 + PIECE_BYTES],
            b"--",
            &content[content.len() - 5..],
            b"end",
        ]
        .concat();
        assert!(reading.await.unwrap() == whole);
    }

    #[tokio::test]
    async fn copied_stand_in_or_one_without_a_piece_breaks_the_connection_off() {
        let (mut connection, pieces, mut client) = connected().await;
        let (_, _kept, opened) = file(10);
        let stand_in = pieces.stand_in(&opened, 0..10);
        let copied = stand_in.to_vec();
        assert!(connection.write(&copied).await.is_err());
        pieces.waiting().clear();
        assert!(connection.write(&stand_in).await.is_err());
        drop(connection);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert!(got.is_empty(), "nothing was sent");
    }

    #[tokio::test]
    async fn file_that_cannot_be_sent_is_copied() {
        let (mut connection, pieces, mut client) = connected().await;
        let path = "/proc/self/limits";
        let (content, file) = (fs::read(path).unwrap(), Arc::new(File::open(path).unwrap()));
        let length = content.len() as u64;
        let mut position = 0;
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(
            rustix::fs::sendfile(&writer, &file, Some(&mut position), 10).is_err(),
            "it can be sent"
        );
        drop(reader);
        connection.write_all(&pieces.stand_in(&file, 0..length)).await.unwrap();
        drop(connection);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, content);
    }

    #[tokio::test]
    async fn file_cut_short_is_an_error() {
        let (mut connection, pieces, _client) = connected().await;
        let (_, kept, opened) = file(10);
        let stand_in = pieces.stand_in(&opened, 0..10);
        kept.as_file().set_len(4).unwrap();
        assert_eq!(connection.write(&stand_in).await.unwrap(), 4);
        let error = connection.write(&stand_in[4..]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
