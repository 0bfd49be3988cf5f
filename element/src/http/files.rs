//! One file's metadata, and its end: `GET` and `PATCH /files/{id}/metadata`, `DELETE /files/{id}`.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use element_api::{ErrorCode, FileMetadata, MetadataValue, Operation};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::condition::{Validators, Verdict, is_conditional, weigh_change, weigh_read};
use super::error::ApiError;
use super::extract::{self, allow, file_id, files, json, mode_allows};
use super::form::{flat, metadata_value};
use super::openapi::{ChangeConditions, FileId, ReadConditions, Text, ValueOrNull, failures};
use crate::files::{FileError, Files, Patch};
use crate::state::App;

failures!(ReadFailures: ValidationError, Unauthorized, Forbidden, NotFound, PreconditionFailed, Unavailable);
failures!(ChangeFailures: ValidationError, Unauthorized, Forbidden, NotFound, ModeNotAllowed, PreconditionFailed, StorageFull, Unavailable);

/// A JSON merge patch (RFC 7396): what is absent stays, null removes, anything else replaces. All attributes together take 4096
/// bytes at the most.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes, and is never made")]
struct MetadataPatch {
    description: Option<Text>,
    version: Option<Text>,
    tags: Option<Vec<Text>>,
    /// A flat object; a null in it removes that one value.
    metadata: Option<BTreeMap<String, ValueOrNull>>,
}

/// What is known of a file.
#[utoipa::path(
    get,
    path = "/files/{id}/metadata",
    operation_id = "metadata",
    tag = "files",
    params(FileId, ReadConditions),
    responses(
        (status = 200, description = "Its metadata.", body = FileMetadata, headers(
            ("ETag" = String, description = "The metadata's revision."),
            ("Last-Modified" = String, description = "When it changed; absent within that second.")
        )),
        (status = 304, description = "What the client has is still right.", headers(
            ("ETag" = String, description = "The metadata's revision.")
        )),
        ReadFailures
    )
)]
pub(super) async fn metadata(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    allow(&app, &headers, Operation::Search).await?;
    let file = extract::metadata(&app, file_id(&id)?).await?;
    let validators = Validators::of_metadata(&file);
    match weigh_read(&headers, &validators) {
        Verdict::Failed => Err(changed(&file)),
        Verdict::NotModified => Ok((StatusCode::NOT_MODIFIED, validators.headers()).into_response()),
        Verdict::Proceed => Ok((validators.headers(), Json(file)).into_response()),
    }
}

/// Changes a file's metadata.
#[utoipa::path(
    patch,
    path = "/files/{id}/metadata",
    operation_id = "update",
    tag = "files",
    params(FileId, ChangeConditions),
    request_body(description = "What to change.", content(
        (MetadataPatch = "application/merge-patch+json"),
        (MetadataPatch = "application/json")
    )),
    responses(
        (status = 200, description = "The metadata as it is now.", body = FileMetadata, headers(
            ("ETag" = String, description = "The metadata's new revision.")
        )),
        ChangeFailures
    )
)]
pub(super) async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    allow(&app, &headers, Operation::Update).await?;
    let id = file_id(&id)?;
    let patch = patch(json(&headers, body, &["application/merge-patch+json", "application/json"]).await?)?;
    // The mode may have changed while the body came in.
    mode_allows(&app, Operation::Update)?;
    let files = files(&app)?;
    let file = under_conditions(files, id, &headers, Validators::of_metadata, |expected| {
        files.update(id, patch.clone(), expected)
    })
    .await?;
    Ok((Validators::of_metadata(&file).headers(), Json(file)).into_response())
}

/// Deletes a file for good.
#[utoipa::path(
    delete,
    path = "/files/{id}",
    operation_id = "delete",
    tag = "files",
    description = "If-Match takes the content's tag or the metadata's.",
    params(FileId, ChangeConditions),
    responses((status = 204, description = "It is gone."), ChangeFailures)
)]
pub(super) async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    allow(&app, &headers, Operation::Delete).await?;
    let id = file_id(&id)?;
    let files = files(&app)?;
    under_conditions(files, id, &headers, Validators::of_file, |expected| {
        files.delete(id, expected)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a change at a revision at which the request's conditions hold. When another change comes between, they are weighed anew.
async fn under_conditions<T, F>(
    files: &Files,
    id: Uuid,
    headers: &HeaderMap,
    validators: fn(&FileMetadata) -> Validators,
    change: impl Fn(Option<i64>) -> F,
) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, FileError>>,
{
    if !is_conditional(headers) {
        return Ok(change(None).await?);
    }
    loop {
        let file = files.metadata_to_change(id).await?;
        if !weigh_change(headers, &validators(&file)) {
            return Err(changed(&file));
        }
        match change(Some(file.revision)).await {
            Err(FileError::PreconditionFailed { .. }) => {}
            ended => return Ok(ended?),
        }
    }
}

fn changed(file: &FileMetadata) -> ApiError {
    let detail = format!(
        "the conditions do not hold: the file's metadata is at revision {}",
        file.revision
    );
    ApiError::new(ErrorCode::PreconditionFailed, detail)
}

/// A JSON merge patch (RFC 7396) of what may be changed.
pub(super) fn patch(document: Value) -> Result<Patch, ApiError> {
    let Value::Object(members) = document else {
        return Err(ApiError::validation("the patch is no JSON object"));
    };
    let mut patch = Patch::default();
    for (name, value) in members {
        match name.as_str() {
            "description" => patch.description = Some(text(&name, value)?),
            "version" => patch.version = Some(text(&name, value)?),
            "tags" => patch.tags = Some(tags(value)?),
            "metadata" if value.is_null() => patch.replace_metadata = true,
            "metadata" => patch.metadata = Some(values(value)?),
            _ => {
                let detail = format!("{name:?} cannot be changed; description, version, tags and metadata can");
                return Err(ApiError::validation(detail));
            }
        }
    }
    Ok(patch)
}

fn text(name: &str, value: Value) -> Result<Option<String>, ApiError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(ApiError::validation(format!("{name:?} is no text"))),
    }
}

fn tags(value: Value) -> Result<Vec<String>, ApiError> {
    match value {
        Value::Null => Ok(Vec::new()),
        value => serde_json::from_value(value).map_err(|_| ApiError::new(ErrorCode::ValidationError, "tags are texts")),
    }
}

fn values(value: Value) -> Result<BTreeMap<String, Option<MetadataValue>>, ApiError> {
    let Value::Object(members) = value else {
        return Err(ApiError::validation("metadata is no JSON object"));
    };
    members
        .into_iter()
        .map(|(key, value)| match value {
            Value::Null => Ok((key, None)),
            value => metadata_value(value)
                .map(|value| (key.clone(), Some(value)))
                .ok_or_else(|| flat(&key)),
        })
        .collect()
}

#[cfg(test)]
mod tests;
