//! Whether the element lives, whether it is ready, and its metrics. Open to everybody, so nothing here says more than a word.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::openapi::failures;
use crate::files::Files;
use crate::state::App;

failures!(Failures:);

/// That the process lives.
#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    /// `alive`.
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
}

/// Whether requests should come here.
#[derive(Serialize, ToSchema)]
struct Readiness {
    status: Word,
    /// Each part by its name.
    checks: BTreeMap<&'static str, Check>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Word {
    Ready,
    NotReady,
}

/// One part.
#[derive(Serialize, ToSchema)]
struct Check {
    status: Health,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    detail: Option<&'static str>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Failing,
}

/// Whether the process lives.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "live",
    tag = "health",
    security(()),
    responses((status = 200, description = "It lives.", body = Alive), Failures)
)]
pub(super) async fn live(State(app): State<App>) -> Json<Alive> {
    Json(Alive {
        status: "alive",
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.uptime_seconds(),
    })
}

/// Whether the element is ready.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "ready",
    tag = "health",
    security(()),
    responses(
        (status = 200, description = "It is.", body = Readiness),
        (status = 503, description = "It is not; a failing check says why.", body = Readiness),
        Failures
    )
)]
pub(super) async fn ready(State(app): State<App>) -> Response {
    let (database, storage) = match app.files() {
        Some(files) => (database(files).await, storage(files).await),
        None => (Err("not reached since the start"), Err("waits for the database")),
    };
    let serving = if app.is_stopping() { Err("stopping") } else { Ok(()) };
    let keys = app.authenticator().trouble().map_or(Ok(()), Err);
    let checks = [
        ("database", database),
        ("storage", storage),
        ("keys", keys),
        ("serving", serving),
    ];
    let ready = checks.iter().all(|(_, result)| result.is_ok());
    let check = |result: Result<(), &'static str>| Check {
        status: if result.is_ok() { Health::Ok } else { Health::Failing },
        detail: result.err(),
    };
    let checks = checks.into_iter().map(|(name, result)| (name, check(result))).collect();
    let (code, status) = if ready {
        (StatusCode::OK, Word::Ready)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Word::NotReady)
    };
    (code, Json(Readiness { status, checks })).into_response()
}

async fn database(files: &Files) -> Result<(), &'static str> {
    files.index().look().await.map_err(|_| "does not answer")
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

/// Metrics, as Prometheus reads them.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "health",
    security(()),
    responses(
        (status = 200, description = "OpenMetrics text.", body = String, content_type = "application/openmetrics-text"),
        Failures
    )
)]
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let text = app
        .metrics()
        .render(&app.snapshot().await)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
