//! What every request goes through: an id, a log line, metrics, a trace, and a problem document when it fails.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use tracing::field::Empty;
use uuid::{Builder, Uuid};

use super::observed::Exchange;
use super::sendfile::Pieces;
use super::{error, linger, observed};
use crate::metrics::{Call, Outcome};
use crate::state::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken over from a client.
const MAX_REQUEST_ID: usize = 128;

/// The outermost layer. `silence` is how long a body may bring nothing.
pub(super) async fn observe(
    State((app, silence)): State<(App, Duration)>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str)
        .to_owned();
    let method = request.method().clone();
    let call = call(&method, &route);
    // Probes come every few seconds and tell a trace nothing.
    let traces = app.traces().filter(|_| !matches!(call, Call::health | Call::metrics));
    let trace = traces.map(|traces| traces.begin(&request, &route, &id));
    // Of the highest level, so that the lines of a request have its id whatever LOG_LEVEL is.
    let span = tracing::error_span!("request", request_id = id, %method, path = request.uri().path(), trace_id = Empty);
    if let Some(trace) = &trace {
        span.record("trace_id", trace.id());
    }
    let exchange = Exchange::new(span.clone(), trace);
    if let Some(pieces) = request.extensions_mut().get_mut::<Pieces>() {
        pieces.answer(&exchange);
    }
    let answered = async {
        let response = error::finish(next.run(linger::over(request, silence)).await, &id);
        let seconds = started.elapsed().as_secs_f64();
        let status = response.status().as_u16();
        app.metrics().request(call, outcome(status), seconds);
        if matches!(call, Call::health | Call::metrics) {
            tracing::debug!(status, seconds, "answered");
        } else {
            tracing::info!(status, seconds, "answered");
        }
        response
    };
    let mut response = answered.instrument(span).await;
    exchange.answered(response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    observed::over(response, exchange)
}

/// The client's own id when it is a sane one, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let sane = |text: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        (1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(plain)
    };
    let given = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(sane);
    given.map_or_else(|| new_id().to_string(), str::to_owned)
}

/// A UUID of version 7 (RFC 9562, section 5.7). Its random bits come from this process, where those of [`Uuid::now_v7`] are two
/// calls to the kernel.
fn new_id() -> Uuid {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(since_1970.as_millis()).unwrap_or_default();
    let mut random = [0; 10];
    match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid(),
        Err(_) => Uuid::now_v7(),
    }
}

fn call(method: &Method, route: &str) -> Call {
    let route = route.strip_prefix("/api/v1").unwrap_or(route);
    match (method.as_str(), route) {
        ("POST", "/files/upload") => Call::upload,
        ("GET" | "HEAD", "/files/{id}" | "/files/{id}/download") => Call::download,
        ("GET" | "HEAD", "/files/{id}/metadata") => Call::metadata,
        ("PATCH", "/files/{id}/metadata") => Call::update,
        ("DELETE", "/files/{id}") => Call::delete,
        ("GET" | "HEAD", "/files" | "/files/search") => Call::search,
        ("GET" | "HEAD", "/info") => Call::info,
        ("GET" | "HEAD", "/capacity") => Call::capacity,
        ("GET" | "HEAD", "/mode") => Call::mode,
        ("POST", "/mode/transition") => Call::transition,
        ("POST", "/maintenance/{kind}") | ("GET" | "HEAD", "/maintenance/tasks/{id}") => Call::maintenance,
        ("GET" | "HEAD", "/health/live" | "/health/ready") => Call::health,
        ("GET" | "HEAD", "/metrics") => Call::metrics,
        _ => Call::other,
    }
}

const fn outcome(status: u16) -> Outcome {
    match status {
        ..400 => Outcome::ok,
        400..500 => Outcome::refused,
        500.. => Outcome::failed,
    }
}
