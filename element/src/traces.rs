//! Traces: one span a request, sent to an OpenTelemetry collector by OTLP over HTTP. Without an endpoint none of this runs.
//!
//! The spans are made here and not by a layer over the logs: a layer would put every log event into them, and the logs' filter
//! would decide which of them there are. The exporter works on a thread of its own behind a bounded queue, so with the collector
//! away or slow spans are lost and no request waits. No header but those named here, no query and no body reaches a span.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, Method, Request, header};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Response};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use reqwest::redirect::Policy;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::config::TracesConfig;
use crate::trust::trusting;

const SERVICE: &str = "artstore-element";

/// How long the collector may take for one batch.
const EXPORT_TIME: Duration = Duration::from_secs(5);

/// How long stopping waits for the last spans to be sent.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// The longest text of a client's that a span keeps, in bytes: the queue is bounded in spans, and so in memory. A `tracestate`
/// must be carried up to this length at least (W3C Trace Context, 3.3.1.5).
const MAX_TEXT: usize = 512;

/// Why traces could not be set up.
#[derive(Debug, Error)]
pub(crate) enum TracesError {
    #[error("failed to set up a client for OTEL_EXPORTER_OTLP_ENDPOINT")]
    Client(#[source] reqwest::Error),
    #[error("failed to set up the exporter for OTEL_EXPORTER_OTLP_ENDPOINT")]
    Exporter(#[source] ExporterBuildError),
}

/// Where spans are made and sent from.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
    /// `http` or `https`.
    scheme: &'static str,
}

/// The span of one request; ends when it is dropped.
pub(crate) struct RequestTrace {
    span: Span,
}

impl Traces {
    /// Starts the exporter. Must be called within the runtime, which then does the sending.
    pub(crate) fn start(config: &TracesConfig, element_id: &str, scheme: &'static str) -> Result<Self, TracesError> {
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(EXPORT_TIME);
        let sender = Sender {
            http: trusting(builder, config.url.as_str(), None)
                .build()
                .map_err(TracesError::Client)?,
            runtime: Handle::current(),
            reachable: AtomicBool::new(true),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(sender)
            .with_endpoint(config.url.as_str())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIME)
            .build()
            .map_err(TracesError::Exporter)?;
        let resource = Resource::builder()
            .with_service_name(SERVICE)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", element_id.to_owned()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Self {
            tracer: provider.tracer(SERVICE),
            provider,
            propagator: TraceContextPropagator::new(),
            scheme,
        })
    }

    /// Begins the span of a request, below the caller's where `traceparent` names one.
    pub(crate) fn begin<B>(&self, request: &Request<B>, route: &str, request_id: &str) -> RequestTrace {
        let headers = request.headers();
        let parent = self.propagator.extract_with_context(&Context::new(), &Carrier(headers));
        let method = known(request.method());
        let mut attributes = vec![
            KeyValue::new("http.request.method", method.unwrap_or("_OTHER")),
            KeyValue::new("url.scheme", self.scheme),
            KeyValue::new("url.path", cut(request.uri().path()).to_owned()),
            KeyValue::new("artstore.request_id", request_id.to_owned()),
        ];
        if !route.is_empty() {
            attributes.push(KeyValue::new("http.route", route.to_owned()));
        }
        if method.is_none() {
            let original = cut(request.method().as_str()).to_owned();
            attributes.push(KeyValue::new("http.request.method_original", original));
        }
        if let Some(agent) = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()) {
            attributes.push(KeyValue::new("user_agent.original", cut(agent).to_owned()));
        }
        let name = format!("{} {route}", method.unwrap_or("HTTP")).trim_end().to_owned();
        let builder = self
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        RequestTrace {
            span: self.tracer.build_with_context(builder, &parent),
        }
    }

    /// Sends what is left, for some seconds at the most.
    pub(crate) async fn stop(&self) {
        let provider = self.provider.clone();
        match spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIME)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last traces were not sent"),
            Err(error) => tracing::warn!(%error, "the last traces were not sent"),
        }
    }
}

impl RequestTrace {
    /// The trace's id, as logs and collectors write it.
    pub(crate) fn id(&self) -> String {
        self.span.span_context().trace_id().to_string()
    }

    /// The head of the answer is known.
    pub(crate) fn answered(&mut self, status: u16) {
        self.span
            .set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            self.fail(status.to_string());
        }
    }

    /// The answer's body broke off.
    pub(crate) fn broke_off(&mut self) {
        self.fail("body".to_owned());
    }

    fn fail(&mut self, kind: String) {
        self.span.set_attribute(KeyValue::new("error.type", kind));
        self.span.set_status(Status::error(""));
    }
}

/// Methods by their names; others are one, so that a client cannot make up names of spans.
fn known(method: &Method) -> Option<&'static str> {
    [
        "GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "TRACE", "CONNECT",
    ]
    .into_iter()
    .find(|known| method == known)
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default()
}

/// The headers a caller's trace comes in. Values too long to be kept are not looked at.
struct Carrier<'a>(&'a HeaderMap);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?.to_str().ok()?;
        (value.len() <= MAX_TEXT).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(header::HeaderName::as_str).collect()
    }
}

/// Sends the exporter's requests. Its thread has no reactor, so they run on the runtime.
#[derive(Debug)]
struct Sender {
    http: reqwest::Client,
    runtime: Handle,
    /// Whether the last one went through: the log says so when that changes, and not for each.
    reachable: AtomicBool,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let exchange = self.runtime.spawn(async move { http.send_bytes(request).await });
        let result = exchange.await.unwrap_or_else(|error| Err(error.into()));
        let trouble = match &result {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the collector answered {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        match (self.reachable.swap(trouble.is_none(), Ordering::AcqRel), trouble) {
            (true, Some(error)) => tracing::warn!(error, "the collector is away: traces are lost"),
            (false, None) => tracing::info!("the collector is back: traces are sent"),
            _ => {}
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, Method};
    use opentelemetry::propagation::Extractor;

    use super::{Carrier, MAX_TEXT, cut, known};

    #[test]
    fn texts_are_cut_at_a_character() {
        let long = "ж".repeat(MAX_TEXT);
        assert_eq!(cut(&long).len(), MAX_TEXT);
        let odd = format!("a{long}");
        assert_eq!(cut(&odd).len(), MAX_TEXT - 1);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn long_trace_states_are_left_out() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static("00-1-2-01"));
        headers.insert("tracestate", HeaderValue::from_str(&"x".repeat(MAX_TEXT + 1)).unwrap());
        let carrier = Carrier(&headers);
        assert_eq!(
            (carrier.get("traceparent"), carrier.get("tracestate")),
            (Some("00-1-2-01"), None)
        );
    }

    #[test]
    fn made_up_methods_have_no_name() {
        assert_eq!(known(&Method::PATCH), Some("PATCH"));
        assert_eq!(known(&"BREW".parse().unwrap()), None);
        assert_eq!(known(&"get".parse().unwrap()), None);
    }
}
