//! `GET` and `HEAD /files/{id}`: the content, whole or a range of it, under the conditions the client set.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use element_api::{ErrorCode, FileMetadata, Operation};
use futures::TryStreamExt;

use super::condition::{Validators, Verdict, range_applies, weigh};
use super::disposition::attachment;
use super::error::ApiError;
use super::extract::{allow, file_id, files};
use super::range::{Wanted, wanted};
use crate::files::Content;
use crate::state::App;

pub(super) async fn download(
    State(app): State<App>,
    method: Method,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    allow(&app, &headers, Operation::Read)?;
    let content = files(&app)?.content(file_id(&id)?).await?;
    let file = &content.metadata;
    let (size, validators) = (file.file_size, validators(file));
    match weigh(&headers, &validators) {
        Verdict::Failed => {
            return Err(ApiError::new(
                ErrorCode::PreconditionFailed,
                "the file is not the one If-Match asks for",
            ));
        }
        Verdict::NotModified => return Ok((StatusCode::NOT_MODIFIED, validator_headers(&validators)).into_response()),
        Verdict::Proceed => {}
    }
    let mut answer = representation_headers(file, &validators);
    if method == Method::HEAD {
        answer.insert(header::CONTENT_LENGTH, size.into());
        return Ok((answer, Body::empty()).into_response());
    }
    let wanted = if range_applies(&headers, &validators) {
        wanted(&headers, size)
    } else {
        Wanted::Whole
    };
    let (status, part) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(part) => {
            insert(
                &mut answer,
                header::CONTENT_RANGE,
                &format!("bytes {}-{}/{size}", part.start, part.end - 1),
            );
            (StatusCode::PARTIAL_CONTENT, part)
        }
        Wanted::Unsatisfiable => {
            return Err(
                ApiError::new(ErrorCode::InvalidRange, format!("the file has {size} bytes"))
                    .with_header(header::CONTENT_RANGE, &format!("bytes */{size}")),
            );
        }
    };
    answer.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    Ok((status, answer, stream(&app, &content, part).await?).into_response())
}

/// The bytes of a part, counted as they leave.
async fn stream(app: &App, content: &Content, part: Range<u64>) -> Result<Body, ApiError> {
    let sent = app.metrics().sent();
    let id = content.metadata.file_id;
    let chunks = content
        .read(part)
        .await?
        .inspect_ok(move |chunk| {
            sent.inc_by(chunk.len() as u64);
        })
        // The head is gone: all that is left is to break off, which the client sees by the length.
        .inspect_err(move |error| tracing::error!(file_id = %id, %error, "failed to read a file's content"));
    Ok(Body::from_stream(chunks))
}

fn validators(file: &FileMetadata) -> Validators {
    let seconds = u64::try_from(file.created_at.as_second()).unwrap_or_default();
    let modified = SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(SystemTime::UNIX_EPOCH);
    Validators {
        etag: format!("\"{}\"", file.checksum),
        modified,
    }
}

fn validator_headers(validators: &Validators) -> HeaderMap {
    let mut headers = HeaderMap::new();
    insert(&mut headers, header::ETAG, &validators.etag);
    insert(
        &mut headers,
        header::LAST_MODIFIED,
        &httpdate::fmt_http_date(validators.modified),
    );
    headers
}

fn representation_headers(file: &FileMetadata, validators: &Validators) -> HeaderMap {
    let mut headers = validator_headers(validators);
    // Older systems may have kept something that is no header value.
    let kind =
        HeaderValue::from_str(&file.content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    insert(
        &mut headers,
        header::CONTENT_DISPOSITION,
        &attachment(&file.original_filename),
    );
    if let Some(digest) = bytes_of_hex(&file.checksum) {
        let value = format!("sha-256=:{}:", STANDARD.encode(digest));
        insert(&mut headers, header::HeaderName::from_static("repr-digest"), &value);
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
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
