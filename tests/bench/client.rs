//! The load client: HTTP/1.1 by hand on blocking sockets, so that it costs little beside the server it measures. It reads every
//! byte, as any client does: to let the kernel throw them away would flatter a server that never touches them either. It takes
//! only answers with a Content-Length.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::RangeInclusive;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longer than anything takes that has not failed.
const SILENCE: Duration = Duration::from_secs(300);

/// Bytes read at once: what fits the processor's cache.
const READ_BYTES: usize = 256 << 10;

const MAX_HEAD: usize = 16 << 10;

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// One connection, kept open.
pub(crate) struct Connection {
    stream: TcpStream,
    scratch: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("failed to connect to the server")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Self {
            stream,
            scratch: Vec::new(),
        })
    }

    /// The socket, to write a body to.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn call(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).context("failed to send a request")?;
        self.answer()
    }

    /// Reads the whole answer.
    pub(crate) fn answer(&mut self) -> Result<Answer> {
        let (status, length, mut body) = self.head()?;
        let start = body.len();
        let length = usize::try_from(length)?;
        body.resize(length.max(start), 0);
        if let Some(rest) = body.get_mut(start..) {
            self.stream.read_exact(rest).context("failed to read an answer")?;
        }
        Ok(Answer { status, body })
    }

    /// Sends a request, expects `status`, reads its content and forgets it; answers with the content's length.
    pub(crate) fn fetch(&mut self, request: &[u8], expected: u16) -> Result<u64> {
        self.stream.write_all(request).context("failed to send a request")?;
        let (status, length, early) = self.head()?;
        if status != expected {
            bail!("the server answered {status}, not {expected}");
        }
        let mut left = length.saturating_sub(early.len() as u64);
        self.scratch.resize(READ_BYTES, 0);
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(READ_BYTES).min(READ_BYTES);
            let scratch = self.scratch.get_mut(..wanted).unwrap_or_default();
            let got = self.stream.read(scratch).context("failed to read an answer")?;
            if got == 0 {
                bail!("the server broke off with {left} bytes to come");
            }
            left -= got as u64;
        }
        Ok(length)
    }

    /// Status, length of the body, and what of the body came along.
    fn head(&mut self) -> Result<(u16, u64, Vec<u8>)> {
        let mut bytes = vec![0; MAX_HEAD];
        let mut filled = 0;
        loop {
            let room = bytes
                .get_mut(filled..)
                .filter(|room| !room.is_empty())
                .context("the head is too long")?;
            let got = self.stream.read(room).context("failed to read an answer's head")?;
            if got == 0 {
                bail!("the server closed the connection");
            }
            filled += got;
            let came = bytes.get(..filled).unwrap_or_default();
            if let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n") {
                let (head, early) = came.split_at(end + 4);
                let (status, length) = read_head(head)?;
                return Ok((status, length, early.to_vec()));
            }
        }
    }
}

fn read_head(head: &[u8]) -> Result<(u16, u64)> {
    let head = str::from_utf8(head)?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .context("no status line")?
        .parse()?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = match length {
        Some((_, value)) => value.trim().parse()?,
        None if status == 204 || status == 304 => 0,
        None => bail!("the answer has no Content-Length"),
    };
    Ok((status, length))
}

/// A request without a body.
pub(crate) fn request(method: &str, path: &str, token: &str, range: Option<RangeInclusive<u64>>) -> Vec<u8> {
    let range = range.map_or(String::new(), |range| {
        format!("Range: bytes={}-{}\r\n", range.start(), range.end())
    });
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{range}\r\n").into_bytes()
}

/// What goes before and after the content of an upload. Without a length it is sent in chunks, which the caller frames.
pub(crate) fn upload_frame(name: &str, token: &str, length: Option<u64>) -> (Vec<u8>, Vec<u8>) {
    const BOUNDARY: &str = "bench-3f9c2a7d51";
    let part = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    let framing = match length {
        Some(length) => format!("Content-Length: {}", part.len() as u64 + length + end.len() as u64),
        None => "Transfer-Encoding: chunked".to_owned(),
    };
    let head = format!(
        "POST /api/v1/files/upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n{framing}\r\n\r\n"
    );
    let start = match length {
        Some(_) => format!("{head}{part}"),
        None => format!("{head}{:x}\r\n{part}\r\n", part.len()),
    };
    let end = match length {
        Some(_) => end,
        None => format!("{:x}\r\n{end}\r\n0\r\n\r\n", end.len()),
    };
    (start.into_bytes(), end.into_bytes())
}

/// Runs `total` pieces of work on so many threads, which all begin together; each thread prepares what it works with first.
pub(crate) fn share<C: Send>(
    threads: usize,
    total: usize,
    prepare: impl Fn(usize) -> Result<C>,
    work: impl Fn(&mut C, usize) -> Result<()> + Sync,
    started: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut prepared = (0..threads).map(prepare).collect::<Result<Vec<C>>>()?;
    let (next, begin) = (AtomicUsize::new(0), Barrier::new(threads + 1));
    std::thread::scope(|scope| {
        let (next, begin, work) = (&next, &begin, &work);
        let threads: Vec<_> = prepared
            .iter_mut()
            .map(|own| {
                scope.spawn(move || {
                    begin.wait();
                    loop {
                        let piece = next.fetch_add(1, Ordering::Relaxed);
                        if piece >= total {
                            return Ok(());
                        }
                        work(own, piece)?;
                    }
                })
            })
            .collect();
        let result = started();
        begin.wait();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a load thread panicked"),
        });
        result.and(joined.collect::<Result<()>>())
    })
}
