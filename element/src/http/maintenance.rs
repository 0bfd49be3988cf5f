//! `POST /maintenance/{rebuild,scrub,gc,reconcile}` and `GET /maintenance/tasks/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use element_api::{ErrorCode, Task, TaskKind};
use uuid::Uuid;

use super::error::ApiError;
use super::extract::admin;
use super::openapi::failures;
use crate::maintenance::{Maintenance, NotStarted};
use crate::state::App;

failures!(StartFailures: ValidationError, Unauthorized, Forbidden, NotFound, TaskRunning, Unavailable);
failures!(ShowFailures: ValidationError, Unauthorized, Forbidden, NotFound, Unavailable);

/// Starts a task, unless one of its kind runs.
#[utoipa::path(
    post,
    path = "/maintenance/{kind}",
    operation_id = "maintain",
    tag = "maintenance",
    security(("token" = []), ("operator" = [])),
    params(("kind" = inline(TaskKind), Path, description = "What the task does.")),
    responses(
        (status = 202, description = "It has begun.", body = Task, headers(
            ("Location" = String, description = "Where to ask how far it came.")
        )),
        StartFailures
    )
)]
pub(super) async fn start(
    State(app): State<App>,
    Path(kind): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let by = admin(&app, &headers, "maintenance").await?;
    let kind = TaskKind::from_name(&kind).ok_or_else(|| {
        let kinds = TaskKind::ALL.map(TaskKind::as_str).join(", ");
        ApiError::new(
            ErrorCode::NotFound,
            format!("there is no such maintenance; there are {kinds}"),
        )
    })?;
    let started = maintenance(&app)?
        .start(kind, by.as_deref().unwrap_or("operator"))
        .await;
    let refused = match started {
        Ok(task) => {
            return Ok((StatusCode::ACCEPTED, [(header::LOCATION, location(&task))], Json(task)).into_response());
        }
        Err(refused) => refused,
    };
    let detail = refused.to_string();
    Err(match refused {
        NotStarted::Running(task) => {
            ApiError::new(ErrorCode::TaskRunning, detail).with_header(header::LOCATION, &location(&task))
        }
        NotStarted::Elsewhere => ApiError::new(ErrorCode::TaskRunning, detail),
        NotStarted::Failed(error) => error.into(),
    })
}

/// How far a task came.
#[utoipa::path(
    get,
    path = "/maintenance/tasks/{id}",
    operation_id = "task",
    tag = "maintenance",
    security(("token" = []), ("operator" = [])),
    params(("id" = Uuid, Path, description = "The task's id.")),
    responses((status = 200, description = "The task.", body = Task), ShowFailures)
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Task>, ApiError> {
    admin(&app, &headers, "maintenance").await?;
    let id = Uuid::try_parse(&id).map_err(|_| ApiError::validation("the task's id in the path is no UUID"))?;
    let task = maintenance(&app)?.task(id).await?;
    let missing = || {
        let detail = format!("there is no task {id}; those that began more than 30 days ago are forgotten");
        ApiError::new(ErrorCode::NotFound, detail)
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
