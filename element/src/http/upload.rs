//! `POST /files/upload`: streams the content of a form to the store. Who may, whether the mode allows it, and whether it can fit is
//! decided before a byte of the body is read.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use element_api::{ErrorCode, FileMetadata, Mode, Operation, RetentionPolicy};

use super::error::ApiError;
use super::extract::{allow, author, files, mode_allows};
use super::form::{FILE, Form};
use super::multipart::{Part, Parts};
use crate::auth::Caller;
use crate::files::{Details, Stored, Upload};
use crate::state::App;

/// What a form takes besides its file, at the most: a longer body cannot hold a file within the limit.
const ENVELOPE: u64 = 1 << 20;

pub(super) async fn upload(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let caller = allow(&app, &headers, Operation::Create)?;
    let declared = declared_length(&app, &headers)?;
    let mut parts = Parts::new(&headers, body)?;
    let mut form = Form::default();
    let mut upload = None;
    while let Some(part) = parts.next().await? {
        if part.name == FILE {
            form.file(&part)?;
            upload = Some(receive(&app, &caller, &form.details, declared, part).await?);
        } else {
            form.field(part).await?;
        }
        retention_allowed(&app, &form.details)?;
    }
    let upload = upload.ok_or_else(|| ApiError::validation("the form has no part \"file\""))?;
    // The mode may have changed while the content came in.
    mode_allows(&app, Operation::Create)?;
    Ok(match upload.finish(form.details).await? {
        Stored::Created(file) => answer(StatusCode::CREATED, file),
        Stored::Existing(file) => answer(StatusCode::OK, file),
    })
}

/// The content's length at the most, by what the request says of itself.
fn declared_length(app: &App, headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let limit = app.about().max_file_size;
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit.saturating_add(ENVELOPE)) {
        return Err(ApiError::new(
            ErrorCode::FileTooLarge,
            format!("the file is larger than the {limit} bytes allowed"),
        ));
    }
    Ok(length.map(|length| length.min(limit)))
}

async fn receive(
    app: &App,
    caller: &Caller,
    details: &Details,
    declared: Option<u64>,
    mut part: Part,
) -> Result<Upload, ApiError> {
    let mut upload = files(app)?.begin(author(caller), details, declared).await?;
    while let Some(chunk) = part.chunk().await? {
        app.metrics().received(chunk.len());
        upload.write(chunk).await?;
    }
    Ok(upload)
}

/// Temporary files are deleted one day, so they belong where files may be deleted.
fn retention_allowed(app: &App, details: &Details) -> Result<(), ApiError> {
    let mode = app.modes().current();
    if details.retention_policy == RetentionPolicy::Temporary && mode != Mode::Edit {
        let detail = format!("temporary files are for mode edit; the element is in mode {mode}");
        return Err(ApiError::new(ErrorCode::ModeNotAllowed, detail));
    }
    Ok(())
}

fn answer(status: StatusCode, file: FileMetadata) -> Response {
    let location = format!("/api/v1/files/{}", file.file_id);
    (status, [(header::LOCATION, location)], Json(file)).into_response()
}
