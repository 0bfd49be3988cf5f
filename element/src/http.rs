//! The HTTP API: routes, and what every request goes through. Handlers are thin: they read the request, ask the use cases, and
//! write the answer.

mod condition;
mod disposition;
mod download;
mod error;
mod extract;
mod files;
mod form;
mod health;
mod info;
mod linger;
mod maintenance;
mod mode;
mod multipart;
mod range;
mod request;
mod search;
pub(crate) mod server;
mod upload;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::state::App;

/// Every route of the element.
pub(crate) fn router(app: App) -> Router {
    let api = Router::new()
        .route("/files", get(search::list))
        .route("/files/search", get(search::search))
        .route("/files/upload", post(upload::upload))
        .route("/files/{id}", get(download::download).delete(files::delete))
        .route("/files/{id}/download", get(download::download))
        .route("/files/{id}/metadata", get(files::metadata).patch(files::update))
        .route("/info", get(info::info))
        .route("/capacity", get(info::capacity))
        .route("/mode", get(mode::show))
        .route("/mode/transition", post(mode::transition))
        .route("/maintenance/{kind}", post(maintenance::start))
        .route("/maintenance/tasks/{id}", get(maintenance::show));
    Router::new()
        .nest("/api/v1", api)
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(app.clone(), request::observe))
        .with_state(app)
}
