//! `GET /mode` and `POST /mode/transition`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use element_api::{ErrorCode, Mode, ModeState};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

use super::error::ApiError;
use super::extract::{admin, files, json};
use super::openapi::failures;
use crate::auth::Identity;
use crate::mode::{Refused, Wish};
use crate::state::App;

/// Longest reason kept in the history, in characters.
const MAX_REASON: usize = 1000;

/// The mode, and how it is ruled.
#[derive(Serialize, ToSchema)]
#[schema(as = ModeAnswer)]
pub(super) struct Answer {
    #[serde(flatten)]
    state: ModeState,
    /// Whether a mode file rules it.
    managed: bool,
    /// What the mode file asks for and cannot have.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
}

/// Which mode is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModeTransition)]
struct Request {
    #[schema(value_type = Mode)]
    target_mode: String,
    /// Needed where the way back is not obvious: from `ro` to `rw`.
    #[serde(default)]
    confirm: bool,
    /// Kept in the history.
    #[schema(max_length = 1000)]
    reason: Option<String>,
    /// Of the mode file. For the operator's token only, which must give it where a mode file rules.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1)]
    generation: Option<i64>,
}

/// A whole number; JSON does not tell 7 from 7.0.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let exact = |value: f64| (value.fract() == 0.0 && value.abs() < MAX_EXACT).then_some(value as i64);
    match number.as_i64().or_else(|| number.as_f64().and_then(exact)) {
        Some(number) => Ok(Some(number)),
        None => Err(D::Error::custom(format!("{number} is no whole number"))),
    }
}

/// Below it every whole number is a floating point number: 2 to the power of 53.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

failures!(ReadFailures: Unauthorized, Forbidden, Unavailable);
failures!(
    Failures: ValidationError, Unauthorized, Forbidden, InvalidTransition, ConfirmationRequired, ModeManaged, Unavailable
);

/// The mode and its history.
#[utoipa::path(
    get,
    path = "/mode",
    operation_id = "mode",
    tag = "element",
    security(("token" = []), ("operator" = [])),
    responses((status = 200, description = "The mode.", body = Answer), ReadFailures)
)]
pub(super) async fn show(State(app): State<App>, headers: HeaderMap) -> Result<Json<Answer>, ApiError> {
    if let Identity::Caller(caller) = app.authenticator().identify(&headers).await?
        && caller.rights.are_none()
    {
        return Err(ApiError::new(ErrorCode::Forbidden, "the token's role has no rights"));
    }
    Ok(Json(answer(&app, app.modes().state())))
}

/// Changes the mode.
#[utoipa::path(
    post,
    path = "/mode/transition",
    operation_id = "transition",
    tag = "element",
    security(("token" = []), ("operator" = [])),
    request_body = Request,
    responses((status = 200, description = "The mode as it is now.", body = Answer), Failures)
)]
pub(super) async fn transition(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Answer>, ApiError> {
    let by = admin(&app, &headers, "changing the mode").await?;
    let request = json(&headers, body, &["application/json"]).await?;
    let request: Request = serde_json::from_value(request).map_err(|error| ApiError::validation(error.to_string()))?;
    if by.is_some() && request.generation.is_some() {
        return Err(ApiError::new(ErrorCode::Forbidden, "generation is for the operator"));
    }
    if request.generation.is_some_and(|generation| generation < 1) {
        return Err(ApiError::validation("generation is at least 1"));
    }
    let length = request.reason.as_ref().map_or(0, |reason| reason.chars().count());
    if length > MAX_REASON {
        return Err(ApiError::validation(format!(
            "reason is longer than the {MAX_REASON} characters allowed"
        )));
    }
    let wish = Wish {
        target: request
            .target_mode
            .parse::<Mode>()
            .map_err(|error| ApiError::validation(error.to_string()))?,
        confirmed: request.confirm,
        generation: request.generation,
        by: by.unwrap_or_else(|| "operator".to_owned()),
        reason: request.reason,
    };
    // Until the element has started up another server may hold the folder the mode is kept in.
    let state = app.modes().change(files(&app)?, wish).await?;
    Ok(Json(answer(&app, state)))
}

fn answer(app: &App, state: ModeState) -> Answer {
    Answer {
        state,
        managed: app.modes().is_managed(),
        refused: app.modes().refused(),
    }
}
