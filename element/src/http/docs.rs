//! `/docs`: a page to read and try the API, from files inside the binary. It loads nothing from elsewhere.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use element_api::ErrorCode;
use utoipa_swagger_ui::Config;

use super::error::ApiError;
use crate::state::App;

/// What the page may load: its own files, and the API itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route("/docs/", get(async || page("index.html")))
        .route("/docs/{*path}", get(async |Path(path): Path<String>| page(&path)))
}

fn page(path: &str) -> Result<Response, ApiError> {
    // Without a validator's address the page would ask a server elsewhere to judge the description.
    let config: Config<'static> = Config::from("/openapi.json")
        .validator_url("none")
        .with_credentials(false);
    let file =
        utoipa_swagger_ui::serve(path, Arc::new(config)).map_err(|error| ApiError::internal(error.to_string()))?;
    let file = file.ok_or_else(|| ApiError::new(ErrorCode::NotFound, "there is nothing at this path"))?;
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let mut response = Body::from(bytes).into_response();
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(&file.content_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if file.gzpipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::page;

    #[test]
    fn page_and_its_parts_are_inside() {
        for (path, kind) in [
            ("index.html", "text/html"),
            ("swagger-ui-bundle.js", "text/javascript"),
            ("swagger-ui.css", "text/css"),
            ("swagger-initializer.js", "text/javascript"),
        ] {
            let response = page(path).unwrap();
            let headers = response.headers();
            assert!(
                headers[header::CONTENT_TYPE].to_str().unwrap().starts_with(kind),
                "{path}"
            );
            assert!(headers.contains_key(header::CONTENT_SECURITY_POLICY), "{path}");
        }
        assert!(page("nothing").is_err());
    }
}
