//! An issuer of tokens: publishes keys over HTTP, by way of a wire that can be cut.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::proxy::Proxy;

pub(crate) struct Issuer {
    server: MockServer,
    pub(crate) wire: Proxy,
}

impl Issuer {
    pub(crate) async fn start(keys: &[Value]) -> Self {
        let server = MockServer::start().await;
        let wire = Proxy::to(server.address().to_string(), true).await;
        let issuer = Self { server, wire };
        issuer.publish(keys).await;
        issuer
    }

    /// Where its keys are.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys", self.wire.address)
    }

    /// Where it listens itself.
    pub(crate) fn address(&self) -> SocketAddr {
        *self.server.address()
    }

    pub(crate) async fn publish(&self, keys: &[Value]) {
        self.answer(ResponseTemplate::new(200).set_body_json(json!({ "keys": keys })))
            .await;
    }

    pub(crate) async fn answer(&self, response: ResponseTemplate) {
        self.server.reset().await;
        Mock::given(path("/keys"))
            .respond_with(response)
            .mount(&self.server)
            .await;
    }

    /// How often it was asked since it last changed what it answers.
    pub(crate) async fn asked(&self) -> usize {
        self.server.received_requests().await.unwrap().len()
    }
}

/// An answer that takes longer than anybody waits for it.
pub(crate) fn never() -> ResponseTemplate {
    ResponseTemplate::new(200).set_delay(Duration::from_secs(600))
}
