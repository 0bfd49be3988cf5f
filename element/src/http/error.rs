//! Failed requests: one type handlers fail with, and the one place that writes problem documents (RFC 9457). Nothing of the
//! inside reaches a client; causes go to the log under the request's id.

use std::any::Any;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use element_api::{ErrorCode, Problem};

use crate::auth::AuthError;
use crate::files::{Chain, FileError};
use crate::mode::TransitionError;

/// Seconds after which a client may try again when a part was away.
const RETRY_AFTER: &str = "5";

/// Why a request failed.
#[derive(Debug)]
pub(super) struct ApiError {
    code: ErrorCode,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<String>,
}

/// What a failed response carries until the problem document is written.
#[derive(Clone)]
struct Fault {
    code: ErrorCode,
    detail: String,
    cause: Option<String>,
}

impl ApiError {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            headers: Vec::new(),
            cause: None,
        }
    }

    pub(super) fn validation(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::ValidationError, detail)
    }

    pub(super) fn unavailable(detail: &str) -> Self {
        Self::new(ErrorCode::Unavailable, detail)
    }

    /// A fault of ours: the client learns nothing of it but the request's id.
    pub(super) fn internal(cause: impl Into<String>) -> Self {
        let detail = "the server failed; its log has more under this request's id";
        Self {
            cause: Some(cause.into()),
            ..Self::new(ErrorCode::InternalError, detail)
        }
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers
            .extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let challenge = match error {
            AuthError::NoKeys => return Self::unavailable(&error.to_string()),
            AuthError::Missing => "Bearer realm=\"artstore\"",
            AuthError::Malformed => "Bearer realm=\"artstore\", error=\"invalid_request\"",
            _ => "Bearer realm=\"artstore\", error=\"invalid_token\"",
        };
        Self::new(ErrorCode::Unauthorized, error.to_string()).with_header(header::WWW_AUTHENTICATE, challenge)
    }
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        let cause = Chain(&error).to_string();
        match error.code() {
            ErrorCode::InternalError => Self::internal(cause),
            ErrorCode::Unavailable => Self {
                cause: Some(cause),
                ..Self::unavailable("the element cannot do this right now; try again")
            },
            ErrorCode::StorageFull => Self {
                cause: Some(cause),
                ..Self::new(ErrorCode::StorageFull, error.to_string())
            },
            code => Self::new(code, error.to_string()),
        }
    }
}

impl From<TransitionError> for ApiError {
    fn from(error: TransitionError) -> Self {
        let code = match error {
            TransitionError::Keep(error) => return error.into(),
            TransitionError::Forbidden { .. } | TransitionError::Stale { .. } => ErrorCode::InvalidTransition,
            TransitionError::NeedsConfirmation { .. } => ErrorCode::ConfirmationRequired,
            TransitionError::Managed => ErrorCode::ModeManaged,
        };
        Self::new(code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        let fault = Fault {
            code: self.code,
            detail: self.detail,
            cause: self.cause,
        };
        response.extensions_mut().insert(Arc::new(fault));
        response
    }
}

/// The answer to a request whose handler panicked.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    ApiError::internal(format!("a handler panicked: {}", text.unwrap_or("no text"))).into_response()
}

/// Gives a failed response its problem document; other responses, and failures with a JSON body of their own, stay as they are.
pub(super) fn finish(mut response: Response, request_id: &str) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_json(&response) {
        return response;
    }
    let fault = match response.extensions_mut().remove::<Arc<Fault>>() {
        Some(fault) => (*fault).clone(),
        None => fault_of(status),
    };
    if status.is_server_error() {
        let cause = fault.cause.as_deref().unwrap_or(&fault.detail);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(cause, "the request failed");
        } else {
            tracing::warn!(cause, "the request failed");
        }
    }
    let problem = Problem {
        kind: "about:blank".to_owned(),
        title: title(status, fault.code).to_owned(),
        status: status.as_u16(),
        detail: fault.detail,
        code: fault.code,
        request_id: request_id.to_owned(),
    };
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers
            .entry(header::RETRY_AFTER)
            .or_insert(HeaderValue::from_static(RETRY_AFTER));
    }
    // INVARIANT: a struct of texts and numbers always encodes; an empty body would still carry the status.
    *response.body_mut() = Body::from(serde_json::to_vec(&problem).unwrap_or_default());
    response
}

fn is_json(response: &Response) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

/// What went wrong when only the router knows: an unknown path, a method a path does not take, a malformed path.
fn fault_of(status: StatusCode) -> Fault {
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => (ErrorCode::NotFound, "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => (
            ErrorCode::MethodNotAllowed,
            "this path does not take this method; see Allow",
        ),
        status if status.is_client_error() => (ErrorCode::ValidationError, "the request is malformed"),
        _ => (
            ErrorCode::InternalError,
            "the server failed; its log has more under this request's id",
        ),
    };
    Fault {
        code,
        detail: detail.to_owned(),
        cause: None,
    }
}

/// A status that no code of ours has by itself keeps its own name.
fn title(status: StatusCode, code: ErrorCode) -> &'static str {
    if status.as_u16() == code.status() {
        code.title()
    } else {
        status.canonical_reason().unwrap_or(code.title())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{StatusCode, header};
    use axum::response::{IntoResponse, Response};
    use element_api::{ErrorCode, Problem};
    use http_body_util::BodyExt;

    use super::{ApiError, finish, panicked};
    use crate::auth::AuthError;

    async fn problem(response: Response) -> Problem {
        let response = finish(response, "id-1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let status = response.status();
        let problem: Problem =
            serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!((problem.status, problem.request_id.as_str()), (status.as_u16(), "id-1"));
        problem
    }

    #[tokio::test]
    async fn panic_is_an_internal_error_that_shows_nothing() {
        for panic in [
            Box::new("secret") as Box<dyn std::any::Any + Send>,
            Box::new("secret".to_owned()),
            Box::new(7),
        ] {
            let problem = problem(panicked(panic)).await;
            assert_eq!((problem.status, problem.code), (500, ErrorCode::InternalError));
            assert!(!problem.detail.contains("secret"), "{problem:?}");
        }
    }

    #[test]
    fn challenge_names_an_error_only_when_a_token_was_sent() {
        for (reason, challenge) in [
            (AuthError::Missing, "Bearer realm=\"artstore\""),
            (
                AuthError::Malformed,
                "Bearer realm=\"artstore\", error=\"invalid_request\"",
            ),
            (AuthError::Expired, "Bearer realm=\"artstore\", error=\"invalid_token\""),
        ] {
            let response = ApiError::from(reason).into_response();
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], challenge);
        }
    }

    #[tokio::test]
    async fn failures_of_the_router_get_a_document_too() {
        for (status, code) in [
            (StatusCode::NOT_FOUND, ErrorCode::NotFound),
            (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::MethodNotAllowed),
            (StatusCode::BAD_REQUEST, ErrorCode::ValidationError),
            (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::InternalError),
        ] {
            assert_eq!(problem((status, "text of a library").into_response()).await.code, code);
        }
    }

    #[tokio::test]
    async fn success_and_json_of_its_own_stay_as_they_are() {
        for response in [
            "fine".into_response(),
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json("not_ready")).into_response(),
        ] {
            let kind = response.headers()[header::CONTENT_TYPE].clone();
            assert_eq!(finish(response, "id-1").headers()[header::CONTENT_TYPE], kind);
        }
    }

    #[tokio::test]
    async fn unavailable_tells_when_to_try_again() {
        let response = finish(ApiError::unavailable("away").into_response(), "id-1");
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
}
