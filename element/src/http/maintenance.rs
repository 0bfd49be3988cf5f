//! `POST /maintenance/{rebuild,scrub,gc,reconcile}` and `GET /maintenance/tasks/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use element_api::{ErrorCode, Task, TaskKind};
use uuid::Uuid;

use super::error::ApiError;
use super::extract::admin;
use crate::maintenance::Maintenance;
use crate::state::App;

/// Starts a task, unless one of its kind runs.
pub(super) async fn start(
    State(app): State<App>,
    Path(kind): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let by = admin(&app, &headers, "maintenance")?;
    let kind = TaskKind::from_name(&kind).ok_or_else(|| {
        let kinds = TaskKind::ALL.map(TaskKind::as_str).join(", ");
        ApiError::new(
            ErrorCode::NotFound,
            format!("there is no such maintenance; there are {kinds}"),
        )
    })?;
    match maintenance(&app)?.start(kind, by.as_deref().unwrap_or("operator")) {
        Ok(task) => Ok((StatusCode::ACCEPTED, [(header::LOCATION, location(&task))], Json(task)).into_response()),
        Err(running) => {
            let detail = format!("task {} of kind {kind} is running", running.id);
            Err(ApiError::new(ErrorCode::TaskRunning, detail).with_header(header::LOCATION, &location(&running)))
        }
    }
}

/// How far a task came.
pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Task>, ApiError> {
    admin(&app, &headers, "maintenance")?;
    let id = Uuid::try_parse(&id).map_err(|_| ApiError::validation("the task's id in the path is no UUID"))?;
    let task = maintenance(&app)?.task(id);
    let missing = || {
        ApiError::new(
            ErrorCode::NotFound,
            format!("there is no task {id}; a restart forgets all"),
        )
    };
    task.map(Json).ok_or_else(missing)
}

fn maintenance(app: &App) -> Result<&Maintenance, ApiError> {
    app.maintenance()
        .ok_or_else(|| ApiError::unavailable("the element is starting up; try again"))
}

fn location(task: &Task) -> String {
    format!("/api/v1/maintenance/tasks/{}", task.id)
}
