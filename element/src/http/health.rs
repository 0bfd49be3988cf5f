//! Whether the element lives, whether it is ready, and its metrics. Open to everybody, so nothing here says more than a word.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use crate::files::Files;
use crate::state::App;

pub(super) async fn live(State(app): State<App>) -> Json<Value> {
    let uptime = app.uptime_seconds();
    Json(json!({ "status": "alive", "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": uptime }))
}

pub(super) async fn ready(State(app): State<App>) -> Response {
    let (database, storage) = match app.files() {
        Some(files) => (database(files).await, storage(files).await),
        None => (Err("not reached since the start"), Err("waits for the database")),
    };
    let serving = if app.is_stopping() { Err("stopping") } else { Ok(()) };
    let checks = [("database", database), ("storage", storage), ("serving", serving)];
    let ready = checks.iter().all(|(_, result)| result.is_ok());
    let checks: Map<String, Value> = checks
        .into_iter()
        .map(|(name, result)| match result {
            Ok(()) => (name.to_owned(), json!({ "status": "ok" })),
            Err(detail) => (name.to_owned(), json!({ "status": "failing", "detail": detail })),
        })
        .collect();
    let (status, word) = if ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    (status, Json(json!({ "status": word, "checks": checks }))).into_response()
}

async fn database(files: &Files) -> Result<(), &'static str> {
    files.index().ping().await.map_err(|_| "does not answer")
}

async fn storage(files: &Files) -> Result<(), &'static str> {
    files.writable().map_err(|_| "a flush to disk has failed")?;
    files.reach_store().await.map_err(|_| "the store does not answer")?;
    // A volume that does not say how large it is counts as having no room.
    if files.capacity().total_bytes == 0 {
        Err("the volume does not answer")
    } else {
        Ok(())
    }
}

pub(super) async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let text = app
        .metrics()
        .render(&app.snapshot().await)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
