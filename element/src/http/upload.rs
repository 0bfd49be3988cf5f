//! `POST /files/upload`: streams the content of a form to the store. Who may, whether the mode allows it, and whether it can fit is
//! decided before a byte of the body is read.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use element_api::{ErrorCode, FileMetadata, MetadataValue, Mode, Operation, RetentionPolicy};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::ApiError;
use super::extract::{allow, author, files, mode_allows};
use super::form::{FILE, Form};
use super::multipart::{Part, Parts};
use super::openapi::{Text, failures};
use crate::auth::Caller;
use crate::files::{Details, Stored, Upload};
use crate::state::App;

/// What a form takes besides its file, at the most: a longer body cannot hold a file within the limit.
const ENVELOPE: u64 = 1 << 20;

failures!(
    Failures: ValidationError, Unauthorized, Forbidden, ModeNotAllowed, FileIdDuplicate, FileTooLarge, ChecksumMismatch, StorageFull,
    Unavailable
);

/// A file and what is said of it. Fields come before or after the file; all attributes together take 4096 bytes at the most.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes, and is never made")]
struct UploadForm {
    /// The content; the part's filename is the file's name.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// Free text.
    #[schema(required = false)]
    description: Text,
    /// The document's version, as its owner counts.
    #[schema(required = false)]
    version: Text,
    /// Labels: words with commas between, or a JSON array; may come several times.
    #[schema(required = false)]
    tags: Vec<Text>,
    /// A flat JSON object of strings, numbers and booleans.
    #[schema(required = false)]
    metadata: BTreeMap<String, MetadataValue>,
    /// The id the file shall have. A repeat with the same content is answered with 200 and what is stored.
    #[schema(required = false)]
    file_id: Uuid,
    /// How long the file is kept; `temporary` in mode edit only.
    #[schema(required = false)]
    retention_policy: RetentionPolicy,
    /// Days until a temporary file expires; 30 when absent, and only for temporary ones.
    #[schema(required = false, minimum = 1, maximum = 365)]
    ttl_days: u32,
    /// The content's sha256 in hex: 422 when it differs.
    #[schema(required = false, pattern = "^[0-9a-fA-F]{64}$")]
    checksum: String,
}

/// Stores a file.
#[utoipa::path(
    post,
    path = "/files/upload",
    operation_id = "upload",
    tag = "files",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "It is stored, and stays so.", body = FileMetadata, headers(
            ("Location" = String, description = "The file's path.")
        )),
        (status = 200, description = "This content was stored under this id before.", body = FileMetadata, headers(
            ("Location" = String, description = "The file's path.")
        )),
        Failures
    )
)]
pub(super) async fn upload(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let caller = allow(&app, &headers, Operation::Create).await?;
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
