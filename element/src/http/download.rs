//! `GET` and `HEAD /files/{id}`: the content, whole or parts of it, under the conditions the client set.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use element_api::{ErrorCode, FileMetadata, Operation};
use futures::{Stream, TryStreamExt, stream};
use prometheus_client::metrics::counter::Counter;
use utoipa::IntoResponses;
use utoipa::openapi::{self, RefOr, ResponseBuilder};

use super::byteranges::Byteranges;
use super::condition::{Validators, Verdict, range_applies, weigh_read};
use super::disposition::attachment;
use super::error::ApiError;
use super::extract::{self, allow, file_id};
use super::openapi::{FileId, ReadConditions, described, failures};
use super::range::{Wanted, wanted};
use super::sendfile::Pieces;
use crate::files::Content;
use crate::state::App;
use crate::store::{ByteStream, FileSender};

failures!(Failures: ValidationError, Unauthorized, Forbidden, NotFound, ModeNotAllowed, PreconditionFailed, InvalidRange, Unavailable);

/// Which bytes are wanted.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes, and is never made")]
struct Ranges {
    /// `bytes=…`, up to 64 ranges (RFC 9110, section 14.2); ignored when malformed.
    #[param(rename = "Range", value_type = String, required = false)]
    range: Option<String>,
    /// An entity tag or a date: the range counts only while it fits.
    #[param(rename = "If-Range", value_type = String, required = false)]
    if_range: Option<String>,
}

/// The answers that are no failures.
struct Answers;

impl IntoResponses for Answers {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let answer = |description: &str| {
            ResponseBuilder::new()
                .description(description)
                .header("ETag", described("The whole content's sha256."))
                .header("Last-Modified", described("When the file was stored."))
        };
        let content = |description: &str| {
            answer(description)
                .content("*/*", openapi::Content::default())
                .header("Repr-Digest", described("The whole content's sha256 (RFC 9530)."))
                .header("Accept-Ranges", described("`bytes`."))
                .header(
                    "Content-Disposition",
                    described("`attachment`, with the file's name (RFC 6266)."),
                )
        };
        let parts = "One range of it, or several as `multipart/byteranges`. Ranges that touch are sent as one.";
        [
            ("200", content("The content, in its own media type.")),
            ("206", content(parts)),
            ("304", answer("What the client has is still right.")),
        ]
        .map(|(status, answer)| (status.to_owned(), answer.build().into()))
        .into()
    }
}

/// A file's content.
#[utoipa::path(
    get,
    path = "/files/{id}",
    operation_id = "content",
    tag = "files",
    params(FileId, Ranges, ReadConditions),
    responses(Answers, Failures)
)]
pub(super) async fn content(
    State(app): State<App>,
    method: Method,
    Path(id): Path<String>,
    pieces: Option<Extension<Pieces>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    allow(&app, &headers, Operation::Read).await?;
    let sender = pieces.map(|Extension(pieces)| Arc::new(pieces) as Arc<dyn FileSender>);
    let content = extract::content(&app, file_id(&id)?).await?;
    let validators = Validators::of_content(&content.metadata);
    match weigh_read(&headers, &validators) {
        Verdict::Failed => {
            let detail = "the file is not the one the conditions ask for";
            return Err(ApiError::new(ErrorCode::PreconditionFailed, detail));
        }
        Verdict::NotModified => return Ok((StatusCode::NOT_MODIFIED, validators.headers()).into_response()),
        Verdict::Proceed => {}
    }
    let size = content.metadata.file_size;
    let wanted = if method == Method::GET && range_applies(&headers, &validators) {
        wanted(&headers, size)
    } else {
        Wanted::Whole
    };
    let mut answer = representation_headers(&content.metadata, &validators);
    let (status, body) = match wanted {
        Wanted::Unsatisfiable => return Err(unsatisfiable(size)),
        Wanted::Whole => {
            answer.insert(header::CONTENT_LENGTH, size.into());
            let body = if method == Method::HEAD {
                Body::empty()
            } else {
                part(&app, &content, 0..size, sender).await?
            };
            (StatusCode::OK, body)
        }
        Wanted::Parts(mut parts) => {
            let body = match (parts.pop(), parts.is_empty()) {
                (Some(only), true) => one_part(&app, &mut answer, &content, only, sender).await?,
                (last, _) => several_parts(&app, &mut answer, content, parts.into_iter().chain(last).collect()),
            };
            (StatusCode::PARTIAL_CONTENT, body)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = answer;
    Ok(response)
}

/// A file's content, by the path of older clients.
#[utoipa::path(
    get,
    path = "/files/{id}/download",
    operation_id = "download",
    tag = "files",
    params(FileId, Ranges, ReadConditions),
    responses(Answers, Failures)
)]
pub(super) async fn download(
    app: State<App>,
    method: Method,
    id: Path<String>,
    pieces: Option<Extension<Pieces>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    content(app, method, id, pieces, headers).await
}

fn unsatisfiable(size: u64) -> ApiError {
    let detail = format!("the ranges name no byte of the file, which has {size}, or are too many");
    ApiError::new(ErrorCode::InvalidRange, detail).with_header(header::CONTENT_RANGE, &format!("bytes */{size}"))
}

/// The connection, where it can send files by itself.
type Sender = Option<Arc<dyn FileSender>>;

async fn one_part(
    app: &App,
    answer: &mut HeaderMap,
    content: &Content,
    range: Range<u64>,
    sender: Sender,
) -> Result<Body, ApiError> {
    let size = content.metadata.file_size;
    let place = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
    insert(answer, header::CONTENT_RANGE, place);
    answer.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
    part(app, content, range, sender).await
}

fn several_parts(app: &App, answer: &mut HeaderMap, content: Content, ranges: Vec<Range<u64>>) -> Body {
    let kind = answer.get(header::CONTENT_TYPE).cloned();
    let parts = Byteranges::new(kind, ranges, content.metadata.file_size);
    insert(answer, header::CONTENT_TYPE, parts.content_type());
    answer.insert(header::CONTENT_LENGTH, parts.length().into());
    let sent = app.metrics().sent();
    let content = Arc::new(content);
    Body::from_stream(parts.body(move |range| {
        let (content, sent) = (Arc::clone(&content), sent.clone());
        let opening = async move {
            let chunks = content.read(range, None).await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(counted(sent, chunks))
        };
        stream::once(opening).try_flatten()
    }))
}

async fn part(app: &App, content: &Content, range: Range<u64>, sender: Sender) -> Result<Body, ApiError> {
    let chunks = content.read(range, sender).await?;
    Ok(Body::from_stream(counted(app.metrics().sent(), chunks)))
}

/// The bytes of a range, counted as they leave.
fn counted(sent: Counter, chunks: ByteStream) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    chunks.inspect_ok(move |chunk| {
        sent.inc_by(chunk.len() as u64);
    })
}

fn representation_headers(file: &FileMetadata, validators: &Validators) -> HeaderMap {
    let mut headers = validators.headers();
    // Older systems may have kept something that is no header value.
    let kind =
        HeaderValue::from_str(&file.content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    insert(
        &mut headers,
        header::CONTENT_DISPOSITION,
        attachment(&file.original_filename),
    );
    if let Some(digest) = bytes_of_hex(&file.checksum) {
        let value = format!("sha-256=:{}:", STANDARD.encode(digest));
        insert(&mut headers, HeaderName::from_static("repr-digest"), value);
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    if text.is_empty() || !digits.remainder().is_empty() {
        return None;
    }
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
