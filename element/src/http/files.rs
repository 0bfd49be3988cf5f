//! One file's metadata, and its end: `GET` and `PATCH /files/{id}/metadata`, `DELETE /files/{id}`.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use element_api::{ErrorCode, FileMetadata, MetadataValue, Operation};
use serde_json::Value;

use super::condition::Tags;
use super::error::ApiError;
use super::extract::{allow, file_id, files, json};
use super::form::{flat, metadata_value};
use crate::files::{Patch, RevisionMatch};
use crate::state::App;

pub(super) async fn metadata(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    allow(&app, &headers, Operation::Search)?;
    let file = files(&app)?.metadata(file_id(&id)?).await?;
    let etag = etag(&file);
    let unchanged = match Tags::of(&headers, &header::IF_NONE_MATCH) {
        Some(Tags::Any) => true,
        Some(Tags::List(tags)) => tags.iter().any(|tag| tag.trim_start_matches("W/") == etag),
        None => false,
    };
    if unchanged {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    Ok(with_etag(file))
}

pub(super) async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    allow(&app, &headers, Operation::Update)?;
    let id = file_id(&id)?;
    let patch = patch(json(&headers, body, &["application/merge-patch+json", "application/json"]).await?)?;
    let expected = Tags::of(&headers, &header::IF_MATCH).map(revisions);
    Ok(with_etag(files(&app)?.update(id, patch, expected).await?))
}

pub(super) async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    allow(&app, &headers, Operation::Delete)?;
    let id = file_id(&id)?;
    let files = files(&app)?;
    let expected = match Tags::of(&headers, &header::IF_MATCH) {
        // The path's own tag is the content's, which never changes; the metadata's is understood too.
        Some(Tags::List(tags)) => {
            let content = format!("\"{}\"", files.metadata(id).await?.checksum);
            if tags.contains(&content) {
                Some(RevisionMatch::Any)
            } else {
                Some(revisions(Tags::List(tags)))
            }
        }
        tags => tags.map(revisions),
    };
    files.delete(id, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn etag(file: &FileMetadata) -> String {
    format!("\"{}\"", file.revision)
}

fn with_etag(file: FileMetadata) -> Response {
    ([(header::ETAG, etag(&file))], Json(file)).into_response()
}

/// The revisions that tags name; a tag that names none, such as a weak one, never holds.
fn revisions(tags: Tags) -> RevisionMatch {
    match tags {
        Tags::Any => RevisionMatch::Any,
        Tags::List(tags) => RevisionMatch::OneOf(
            tags.iter()
                .filter_map(|tag| tag.trim_matches('"').parse().ok())
                .collect(),
        ),
    }
}

/// A JSON merge patch (RFC 7396) of what may be changed.
fn patch(document: Value) -> Result<Patch, ApiError> {
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
mod tests {
    use element_api::MetadataValue;
    use serde_json::json;

    use super::{patch, revisions};
    use crate::files::RevisionMatch;
    use crate::http::condition::Tags;

    #[test]
    fn patch_tells_absent_null_and_value_apart() {
        let read = patch(json!({ "description": null, "version": "2", "metadata": { "a": null, "b": 1 } })).unwrap();
        assert_eq!(read.description, Some(None));
        assert_eq!(read.version, Some(Some("2".to_owned())));
        assert_eq!(read.tags, None);
        let metadata = read.metadata.unwrap();
        assert_eq!(metadata.get("a"), Some(&None));
        assert_eq!(metadata.get("b"), Some(&Some(MetadataValue::Number(1.into()))));
        assert!(!read.replace_metadata);
        let cleared = patch(json!({ "tags": null, "metadata": null })).unwrap();
        assert_eq!(
            (cleared.tags, cleared.metadata, cleared.replace_metadata),
            (Some(Vec::new()), None, true)
        );
    }

    #[test]
    fn patch_of_anything_else_is_refused() {
        for document in [
            json!([]),
            json!("x"),
            json!({ "file_size": 1 }),
            json!({ "revision": 2 }),
            json!({ "description": 1 }),
            json!({ "tags": "a" }),
            json!({ "tags": [1] }),
            json!({ "metadata": [] }),
            json!({ "metadata": { "a": {} } }),
        ] {
            assert!(patch(document.clone()).is_err(), "{document}");
        }
    }

    #[test]
    fn tag_that_is_no_revision_never_holds() {
        let tags = ["\"3\"", "W/\"4\"", "\"abc\""].map(str::to_owned).to_vec();
        assert_eq!(revisions(Tags::List(tags)), RevisionMatch::OneOf(vec![3]));
    }
}
