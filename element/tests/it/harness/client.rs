//! A client of one element: short words for requests, and answers that are easy to assert on.

use std::net::SocketAddr;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method, RequestBuilder};
use serde_json::Value;
use tokio::sync::mpsc;

use super::keys::KEYS;

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    http: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(super::GENEROUS)
            .build()
            .unwrap();
        Self { address, http }
    }

    /// A request for a path from the root, or below /api/v1 when it is none of `/health` and `/metrics`.
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let outside = ["/health", "/metrics", "/api", "/openapi.json", "/docs"]
            .iter()
            .any(|start| path.starts_with(start));
        let base = if outside { "" } else { "/api/v1" };
        let method: Method = method.parse().unwrap();
        self.http
            .request(method, format!("http://{}{base}{path}", self.address))
    }

    /// A request by a role.
    pub(crate) fn by(&self, role: &str, method: &str, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(KEYS.token(role))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.by("admin", "GET", path)).await
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        self.get(path).await.expect(200).json()
    }

    /// Uploads as an admin and answers the file's metadata.
    pub(crate) async fn store(&self, name: &str, content: &[u8]) -> Value {
        self.upload(name, content, &[]).await.expect(201).json()
    }

    pub(crate) async fn upload(&self, name: &str, content: &[u8], fields: &[(&str, &str)]) -> Answer {
        send(
            self.by("admin", "POST", "/files/upload")
                .multipart(form(name, content, fields)),
        )
        .await
    }
}

/// A form with the fields before the file.
pub(crate) fn form(name: &str, content: &[u8], fields: &[(&str, &str)]) -> Form {
    let fields = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let form = fields.fold(Form::new(), |form, (name, value)| form.text(name, value));
    form.part("file", Part::bytes(content.to_vec()).file_name(name.to_owned()))
}

/// A body whose pieces come when the test sends them.
pub(crate) fn slow_body() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver
            .recv()
            .await
            .map(|piece| (Ok::<_, std::io::Error>(piece), receiver))
    });
    (sender, Body::wrap_stream(stream))
}

/// A form that has begun: its file's first bytes are here, the rest comes when the test sends it.
pub(crate) fn begun(first: Vec<u8>) -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (pieces, body) = slow_body();
    let head = "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.bin\"\r\n\r\n";
    pieces.send(head.into()).unwrap();
    pieces.send(first.into()).unwrap();
    (pieces, body)
}

/// An upload of a form that has begun.
pub(crate) fn upload(client: &Client, body: Body) -> RequestBuilder {
    client
        .by("user", "POST", "/files/upload")
        .header("content-type", "multipart/form-data; boundary=XX")
        .body(body)
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer {
        status,
        headers,
        body: response.bytes().await.unwrap().to_vec(),
    }
}

pub(crate) fn header(name: &'static str, value: &str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
}

impl Answer {
    /// The answer, when it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{:?}\n{}",
            self.headers,
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    /// Asserts a problem document that is whole and right.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, code: &str) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{text}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{text}");
        assert_eq!(problem["status"], status, "{text}");
        for member in ["type", "title", "detail"] {
            assert!(
                problem[member].as_str().is_some_and(|text| !text.is_empty()),
                "{member} in {text}"
            );
        }
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{text}");
        assert_eq!(self.header("www-authenticate").is_some(), status == 401, "{text}");
        assert_eq!(self.header("retry-after").is_some(), status == 503, "{text}");
        problem
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}
