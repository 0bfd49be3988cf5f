//! The HTTP API: routes, and what every request goes through. Handlers are thin: they read the request, ask the use cases, and
//! write the answer.

mod byteranges;
mod condition;
mod disposition;
mod docs;
mod download;
mod error;
mod extract;
mod files;
mod form;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod health;
mod info;
mod linger;
mod maintenance;
mod mode;
mod multipart;
mod observed;
mod openapi;
mod range;
mod request;
mod search;
mod sendfile;
pub(crate) mod server;
pub(crate) mod tls;
mod upload;

use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::App;

/// Everything the element answers. `silence` is how long a body may bring nothing.
pub(crate) fn router(app: App, silence: Duration) -> Router {
    let (described, _) = calls().split_for_parts();
    described
        .merge(docs::routes())
        // Together: each layer of a router costs a request another allocated service. The first is the outer one.
        .layer((
            from_fn_with_state((app.clone(), silence), request::observe),
            CatchPanicLayer::custom(error::panicked),
        ))
        .with_state(app)
}

/// The API's description, OpenAPI 3.1 in JSON.
pub(crate) fn description() -> Result<String, serde_json::Error> {
    openapi::text(calls().into_openapi())
}

/// Every call, each with its description.
fn calls() -> OpenApiRouter<App> {
    let api = OpenApiRouter::default()
        .routes(routes!(search::list))
        .routes(routes!(search::search))
        .routes(routes!(upload::upload))
        .routes(routes!(download::content, files::delete))
        .routes(routes!(download::download))
        .routes(routes!(files::metadata, files::update))
        .routes(routes!(info::info))
        .routes(routes!(info::capacity))
        .routes(routes!(mode::show))
        .routes(routes!(mode::transition))
        .routes(routes!(maintenance::start))
        .routes(routes!(maintenance::show));
    OpenApiRouter::with_openapi(openapi::frame())
        .nest("/api/v1", api)
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::openapi))
}
