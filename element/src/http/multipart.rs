//! Multipart bodies, streamed: parts come one after the other, content in the chunks the network brings. Bounds what the parser may
//! hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use futures::{Stream, StreamExt};
use thiserror::Error;

use super::disposition::PartNames;
use super::error::ApiError;
use super::linger::cut_off;

/// What may arrive between two parts: their headers, and what was read ahead with them.
const MAX_BETWEEN: u64 = 1 << 20;

/// The largest media type taken from a part.
const MAX_CONTENT_TYPE: usize = 255;

/// Why the body's stream ended early.
#[derive(Debug, Error)]
enum StreamError {
    #[error("{}", cut_off(.0))]
    Cut(axum::Error),
    #[error("a part's headers are too large")]
    Headers,
}

/// The parts of a body.
pub(super) struct Parts {
    parser: multer::Multipart<'static>,
    /// Bytes that arrived since the budget was renewed.
    arrived: Arc<AtomicU64>,
}

/// One part of a body.
pub(super) struct Part {
    field: multer::Field<'static>,
    arrived: Arc<AtomicU64>,
    pub(super) name: String,
    pub(super) filename: Option<String>,
    pub(super) content_type: Option<String>,
}

impl Parts {
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Result<Self, ApiError> {
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let boundary = multer::parse_boundary(kind)
            .map_err(|_| ApiError::validation("send the file as multipart/form-data with a boundary"))?;
        let arrived = Arc::new(AtomicU64::new(0));
        Ok(Self {
            parser: multer::Multipart::new(watched(body, Arc::clone(&arrived)), boundary),
            arrived,
        })
    }

    /// The next part; none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, ApiError> {
        self.arrived.store(0, Ordering::Relaxed);
        let Some(field) = self.parser.next_field().await.map_err(malformed)? else {
            return Ok(None);
        };
        let disposition = field
            .headers()
            .get(header::CONTENT_DISPOSITION)
            .map(|value| value.as_bytes());
        let names = disposition.and_then(PartNames::read);
        let Some(PartNames {
            name: Some(name),
            filename,
        }) = names
        else {
            return Err(ApiError::validation(
                "a part has no readable Content-Disposition with a name",
            ));
        };
        let content_type = content_type(&field)?;
        Ok(Some(Part {
            field,
            arrived: Arc::clone(&self.arrived),
            name,
            filename,
            content_type,
        }))
    }
}

impl Part {
    /// The next bytes of the part; none at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.arrived.store(0, Ordering::Relaxed);
        self.field.chunk().await.map_err(malformed)
    }

    /// The whole part as text, when it has at most `limit` bytes.
    pub(super) async fn text(mut self, limit: usize) -> Result<String, ApiError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > limit {
                let detail = format!("field {:?} is larger than the {limit} bytes allowed", self.name);
                return Err(ApiError::validation(detail));
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|_| ApiError::validation(format!("field {:?} is not UTF-8 text", self.name)))
    }
}

fn content_type(field: &multer::Field<'static>) -> Result<Option<String>, ApiError> {
    let Some(value) = field.headers().get(header::CONTENT_TYPE) else {
        return Ok(None);
    };
    match field.content_type() {
        Some(kind) if kind.as_ref().len() <= MAX_CONTENT_TYPE => Ok(Some(kind.to_string())),
        _ => Err(ApiError::validation(format!(
            "a part's Content-Type {value:?} is no media type"
        ))),
    }
}

/// The body's bytes, as long as the parser keeps asking for good reason.
fn watched(body: Body, arrived: Arc<AtomicU64>) -> impl Stream<Item = Result<Bytes, StreamError>> + Send + 'static {
    futures::stream::try_unfold(body.into_data_stream(), move |mut stream| {
        let arrived = Arc::clone(&arrived);
        async move {
            let Some(chunk) = stream.next().await.transpose().map_err(StreamError::Cut)? else {
                return Ok(None);
            };
            if arrived.fetch_add(chunk.len() as u64, Ordering::Relaxed) > MAX_BETWEEN {
                return Err(StreamError::Headers);
            }
            Ok(Some((chunk, stream)))
        }
    })
}

fn malformed(error: multer::Error) -> ApiError {
    match error {
        multer::Error::StreamReadFailed(cause) => ApiError::validation(cause.to_string()),
        error => ApiError::validation(format!("the multipart body is malformed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use axum::http::{HeaderMap, HeaderValue, header};
    use futures::stream;
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert, prop_oneof, proptest};
    use proptest::sample::select;

    use super::Parts;

    fn parts(pieces: Vec<Bytes>) -> Parts {
        let kind = HeaderValue::from_static("multipart/form-data; boundary=XX");
        let stream = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
        Parts::new(
            &HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]),
            Body::from_stream(stream),
        )
        .unwrap()
    }

    fn cut(body: &[u8], size: usize) -> Vec<Bytes> {
        body.chunks(size.max(1)).map(Bytes::copy_from_slice).collect()
    }

    async fn read(mut parts: Parts) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut found = Vec::new();
        while let Some(mut part) = parts.next().await.map_err(|error| format!("{error:?}"))? {
            let mut content = Vec::new();
            while let Some(chunk) = part.chunk().await.map_err(|error| format!("{error:?}"))? {
                content.extend_from_slice(&chunk);
            }
            found.push((part.name.clone(), content));
        }
        Ok(found)
    }

    proptest! {
        #[test]
        fn content_is_the_same_however_it_is_cut(content in vec(any::<u8>(), 0..600), size in 1_usize..700) {
            let mut body = b"--XX\r\nContent-Disposition: form-data; name=\"tags\"\r\n\r\na\r\n".to_vec();
            body.extend(b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n");
            body.extend(&content);
            body.extend(b"\r\n--XX--\r\n");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let found = runtime.block_on(read(parts(cut(&body, size)))).unwrap();
            assert_eq!(found, [("tags".to_owned(), b"a".to_vec()), ("file".to_owned(), content)]);
        }
    }

    proptest! {
        /// Whatever comes, however it is cut: an end or an error, and no more content than came.
        #[test]
        fn any_bytes_are_parts_or_an_error(pieces in vec(piece(), 0..12), size in 1_usize..100) {
            let body = pieces.concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            if let Ok(found) = runtime.block_on(read(parts(cut(&body, size)))) {
                let content: usize = found.iter().map(|(_, content)| content.len()).sum();
                prop_assert!(content <= body.len());
            }
        }

        #[test]
        fn any_content_type_is_a_form_or_an_error(kind in vec(any::<u8>(), 0..80), form in any::<bool>()) {
            let start: &[u8] = if form { b"multipart/form-data; boundary=" } else { b"" };
            let Ok(kind) = HeaderValue::from_bytes(&[start, &kind].concat()) else { return Ok(()) };
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
            if let Err(error) = Parts::new(&headers, Body::empty()) {
                let said = format!("{error:?}");
                prop_assert!(said.contains("multipart/form-data"), "{}", said);
            }
        }
    }

    /// What forms are made of, and what they are not.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "--XX\r\n",
            "--XX--",
            "\r\n",
            "\r\n\r\n",
            "Content-Disposition: form-data; name=\"a\"\r\n\r\n",
            "Content-Disposition: form-data; name=\"file\"; filename=\"b\"\r\n\r\n",
            "Content-Disposition: form-data; name=\"\"\r\n",
            "Content-Type: text/plain\r\n",
        ];
        prop_oneof![
            4 => select(words.map(|word| word.as_bytes().to_vec()).to_vec()),
            1 => vec(any::<u8>(), 0..40),
        ]
    }

    #[tokio::test]
    async fn cut_off_body_is_an_error() {
        let body = b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nabc\r\n--XX--";
        for length in 0..body.len() - 2 {
            assert!(read(parts(cut(&body[..length], 7))).await.is_err(), "{length}");
        }
    }

    #[tokio::test]
    async fn endless_part_headers_are_an_error() {
        let mut pieces = cut(b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\nX: ", 10);
        pieces.extend(std::iter::repeat_n(Bytes::from(vec![b'x'; 64 * 1024]), 1000));
        let error = read(parts(pieces)).await.unwrap_err();
        assert!(error.contains("too large"), "{error}");
    }

    #[tokio::test]
    async fn part_without_a_name_is_an_error() {
        let body = b"--XX\r\nContent-Type: text/plain\r\n\r\nabc\r\n--XX--\r\n";
        assert!(read(parts(cut(body, 1000))).await.unwrap_err().contains("name"));
    }
}
