//! Reading requests: who asks and whether they may, which file, and small bodies. Every refusal is an [`ApiError`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use element_api::{ErrorCode, FileMetadata, Operation};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use super::error::ApiError;
use crate::auth::{Caller, Identity};
use crate::files::{Author, Content, Files};
use crate::state::App;

/// The largest JSON body; attributes take 4 KiB at the most.
const MAX_JSON: usize = 64 * 1024;

/// How long a small body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// The caller, when their rights and the element's mode both allow the operation.
pub(super) async fn allow(app: &App, headers: &HeaderMap, operation: Operation) -> Result<Arc<Caller>, ApiError> {
    let caller = match app.authenticator().identify(headers).await? {
        Identity::Caller(caller) => caller,
        Identity::Operator => {
            return Err(ApiError::new(
                ErrorCode::Forbidden,
                "the operator's token is good for mode and maintenance only",
            ));
        }
    };
    if !caller.rights.may(operation) {
        let detail = format!("the token's role does not allow to {operation}");
        return Err(ApiError::new(ErrorCode::Forbidden, detail));
    }
    mode_allows(app, operation)?;
    Ok(caller)
}

/// Who calls, when they may change the mode and start maintenance: an admin by name, or the operator.
pub(super) async fn admin(app: &App, headers: &HeaderMap, what: &str) -> Result<Option<String>, ApiError> {
    match app.authenticator().identify(headers).await? {
        Identity::Operator => Ok(None),
        Identity::Caller(caller) if caller.rights.is_admin() => Ok(Some(caller.subject.clone())),
        Identity::Caller(_) => Err(ApiError::new(ErrorCode::Forbidden, format!("{what} is for admins"))),
    }
}

/// Whether the element's mode allows the operation now.
pub(super) fn mode_allows(app: &App, operation: Operation) -> Result<(), ApiError> {
    let mode = app.modes().current();
    if mode.allows(operation) {
        return Ok(());
    }
    let detail = format!("the element is in mode {mode}, which does not allow to {operation}");
    Err(ApiError::new(ErrorCode::ModeNotAllowed, detail))
}

/// What is known of a file; while the element starts up, by its attr file alone.
pub(super) async fn metadata(app: &App, id: Uuid) -> Result<FileMetadata, ApiError> {
    Ok(match (app.files(), app.reader()) {
        (None, Some(reader)) => reader.metadata(id).await?,
        _ => files(app)?.metadata(id).await?,
    })
}

/// A file's content, in the same way.
pub(super) async fn content(app: &App, id: Uuid) -> Result<Content, ApiError> {
    Ok(match (app.files(), app.reader()) {
        (None, Some(reader)) => reader.content(id).await?,
        _ => files(app)?.content(id).await?,
    })
}

/// The files, once the element has started up.
pub(super) fn files(app: &App) -> Result<&Files, ApiError> {
    app.files()
        .ok_or_else(|| ApiError::unavailable("the element is starting up; try again"))
}

pub(super) fn author(caller: &Caller) -> Author {
    Author {
        id: caller.subject.clone(),
        username: caller.username.clone(),
        fullname: caller.fullname.clone(),
    }
}

pub(super) fn file_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(text).map_err(|_| ApiError::validation("the file's id in the path is no UUID"))
}

/// A JSON body of one of these media types.
pub(super) async fn json(headers: &HeaderMap, body: Body, kinds: &[&str]) -> Result<Value, ApiError> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !kinds.iter().any(|kind| kind.eq_ignore_ascii_case(essence)) {
        return Err(ApiError::validation(format!("send the body as {}", kinds.join(" or "))));
    }
    let bytes = small_body(body).await?;
    serde_json::from_slice(&bytes).map_err(|error| ApiError::validation(format!("the body is no JSON: {error}")))
}

async fn small_body(body: Body) -> Result<Bytes, ApiError> {
    match timeout(BODY_TIME, Limited::new(body, MAX_JSON).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(_)) => Err(ApiError::validation(format!(
            "the body was cut off, went silent, or is larger than the {MAX_JSON} bytes allowed"
        ))),
        Err(_) => Err(ApiError::validation("the body took too long to arrive")),
    }
}
