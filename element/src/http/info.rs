//! What the element says of itself to everybody: `GET /info` and `GET /capacity`.

use axum::Json;
use axum::extract::State;
use element_api::{Capacity, Info};

use super::error::ApiError;
use super::extract::files;
use super::openapi::failures;
use crate::state::App;

failures!(Failures: Unavailable);

/// Who the element is and how it stands.
#[utoipa::path(
    get,
    path = "/info",
    operation_id = "info",
    tag = "element",
    security(()),
    responses((status = 200, description = "Identity, mode, version, counts and capacity.", body = Info), Failures)
)]
pub(super) async fn info(State(app): State<App>) -> Result<Json<Info>, ApiError> {
    let files = files(&app)?;
    let (mode, about) = (app.modes().state(), app.about());
    // Away or slow, the database costs the answer its counts and nothing more.
    let stats = files.index().stats().await.ok();
    Ok(Json(Info {
        element_id: about.element_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: mode.mode,
        mode_generation: mode.generation,
        operations: mode.mode.operations().to_vec(),
        storage_type: files.storage_type().to_owned(),
        database_type: files.index().kind().to_owned(),
        schema_version: stats.and_then(|_| app.schema_version()),
        files: stats.map(|stats| stats.files),
        wal_pending: stats.map(|stats| stats.wal_pending),
        capacity: files.capacity(),
        priority: about.priority,
        endpoint: about.endpoint.clone(),
    }))
}

/// How full the element is.
#[utoipa::path(
    get,
    path = "/capacity",
    operation_id = "capacity",
    tag = "element",
    security(()),
    responses((status = 200, description = "Its capacity.", body = Capacity), Failures)
)]
pub(super) async fn capacity(State(app): State<App>) -> Result<Json<Capacity>, ApiError> {
    Ok(Json(files(&app)?.capacity()))
}
