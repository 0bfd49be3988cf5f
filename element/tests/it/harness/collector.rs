//! A collector of traces: takes OTLP over HTTP and keeps what it was sent, decoded.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::proxy::Proxy;
use super::{Setup, eventually};

pub(crate) struct Collector {
    server: MockServer,
    pub(crate) wire: Proxy,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let server = MockServer::start().await;
        let wire = Proxy::to(server.address().to_string(), true).await;
        let collector = Self { server, wire };
        collector.answer(ResponseTemplate::new(200)).await;
        collector
    }

    pub(crate) async fn answer(&self, response: ResponseTemplate) {
        self.server.reset().await;
        let spans = Mock::given(method("POST"))
            .and(path("/v1/traces"))
            .and(header("content-type", "application/x-protobuf"));
        spans.respond_with(response).mount(&self.server).await;
    }

    /// Sends the element's traces here, ten times a second.
    pub(crate) fn configure(&self, setup: &mut Setup) {
        setup.set("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{}", self.wire.address));
        setup.set("OTEL_BSP_SCHEDULE_DELAY", "100");
    }

    pub(crate) async fn bodies(&self) -> Vec<Vec<u8>> {
        let requests = self.server.received_requests().await.unwrap();
        requests.into_iter().map(|request| request.body).collect()
    }

    pub(crate) async fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let bodies = self.bodies().await;
        bodies
            .iter()
            .map(|body| ExportTraceServiceRequest::decode(body.as_slice()).unwrap())
            .collect()
    }

    pub(crate) async fn spans(&self) -> Vec<Span> {
        let resources = self
            .requests()
            .await
            .into_iter()
            .flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// The span of the request with this id, once it came.
    pub(crate) async fn span_of(&self, request_id: &str) -> Span {
        let mut found = None;
        eventually("the span is there", async || {
            let mut spans = self.spans().await.into_iter();
            found = spans.find(|span| text(&span.attributes, "artstore.request_id") == Some(request_id.to_owned()));
            found.is_some()
        })
        .await;
        found.unwrap()
    }
}

/// An attribute as text.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes
        .iter()
        .find(|attribute| attribute.key == key)?
        .value
        .clone()?
        .value?;
    match value {
        any_value::Value::StringValue(text) => Some(text),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
