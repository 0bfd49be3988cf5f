//! `multipart/byteranges` (RFC 9110, section 14.6): several ranges of a file in one body, streamed, its length known beforehand.

use std::io;
use std::ops::Range;

use axum::body::Bytes;
use axum::http::HeaderValue;
use futures::stream::{self, Stream, StreamExt};
use uuid::Uuid;

/// A body of several parts, to be.
pub(super) struct Byteranges {
    boundary: String,
    parts: Vec<(Bytes, Range<u64>)>,
    end: Bytes,
}

impl Byteranges {
    /// Parts of a file of `size` bytes and this media type.
    pub(super) fn new(kind: Option<HeaderValue>, ranges: Vec<Range<u64>>, size: u64) -> Self {
        // Random, so that no file can hold it by design.
        let boundary = Uuid::new_v4().simple().to_string();
        let head = |range: Range<u64>| {
            let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
            if let Some(kind) = &kind {
                head.extend(b"Content-Type: ");
                head.extend(kind.as_bytes());
                head.extend(b"\r\n");
            }
            let last = range.end.saturating_sub(1);
            head.extend(format!("Content-Range: bytes {}-{last}/{size}\r\n\r\n", range.start).into_bytes());
            (Bytes::from(head), range)
        };
        let parts = ranges.into_iter().map(head).collect();
        let end = format!("\r\n--{boundary}--\r\n").into();
        Self { boundary, parts, end }
    }

    pub(super) fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// Bytes of the whole body.
    pub(super) fn length(&self) -> u64 {
        let parts = self
            .parts
            .iter()
            .map(|(head, range)| head.len() as u64 + (range.end - range.start));
        parts.sum::<u64>() + self.end.len() as u64
    }

    /// The body. `read` gives the bytes of a range; one is read after the other.
    pub(super) fn body<S>(
        self,
        read: impl Fn(Range<u64>) -> S + Send + 'static,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let alone = |bytes: Bytes| stream::once(async move { Ok(bytes) });
        let parts = stream::iter(self.parts).flat_map(move |(head, range)| alone(head).chain(read(range)));
        parts.chain(alone(self.end))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::http::HeaderValue;
    use futures::{StreamExt, TryStreamExt, stream};

    use super::Byteranges;

    #[tokio::test]
    async fn body_is_as_long_as_it_says_and_holds_each_part() {
        let content: Vec<u8> = (0..=255).collect();
        let parts = Byteranges::new(Some(HeaderValue::from_static("text/plain")), vec![200..256, 0..2], 256);
        let (kind, length) = (parts.content_type(), parts.length());
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
        let body: Vec<Bytes> = parts
            .body(move |range| {
                let part = content[range.start as usize..range.end as usize].to_vec();
                stream::iter(
                    part.chunks(7)
                        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
                        .collect::<Vec<_>>(),
                )
                .boxed()
            })
            .try_collect()
            .await
            .unwrap();
        let body = body.concat();
        assert_eq!(body.len() as u64, length);
        let mut expected =
            format!("\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 200-255/256\r\n\r\n")
                .into_bytes();
        expected.extend(200..=255_u8);
        expected.extend(
            format!("\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/256\r\n\r\n\0\u{1}")
                .bytes(),
        );
        expected.extend(format!("\r\n--{boundary}--\r\n").bytes());
        assert_eq!(body, expected);
    }
}
