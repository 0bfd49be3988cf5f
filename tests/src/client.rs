//! A client of one element's HTTP API, as the demo and the tests need it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use element_api::{ErrorCode, FileMetadata, Page};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::json;
use tokio::net::TcpStream;
use uuid::Uuid;

/// How long a token is good for, in seconds.
const TOKEN_LIFE: u64 = 12 * 3600;
/// Where elements listen.
const PORT: u16 = 8010;
/// Generous: how long a Service may take to pass connections on.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// Between two attempts of anything.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one attempt of [`Client::read_until_served`] may take; its pod may go away meanwhile.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(20);

/// One element, reached through its Service.
#[derive(Debug)]
pub struct Client {
    /// The element's name, for messages.
    pub name: String,
    base: String,
    token: String,
    http: reqwest::Client,
}

/// What an element answered instead of doing what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the element answered {status}: {body}")]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable word, when the answer was a problem document.
    pub code: Option<ErrorCode>,
    /// The answer as it came.
    pub body: String,
}

/// Signs a token that opens all elements with the key's public half.
pub fn token(private_key: &str) -> Result<String> {
    token_of(private_key, "operator")
}

/// The same, for a role.
pub fn token_of(private_key: &str, role: &str) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({
        "sub": "local",
        "preferred_username": "local",
        "name": "Local User",
        "role": role,
        "iat": now,
        "exp": now + TOKEN_LIFE,
    });
    let key = EncodingKey::from_rsa_pem(private_key.as_bytes()).context("failed to read the signing key")?;
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).context("failed to sign a token")
}

impl Client {
    /// A client of the element at `address`, with a token of its own. Waits until connections are taken: kube-proxy learns
    /// of a pod a moment after the operator does.
    pub async fn connect(name: &str, address: &str, private_key: &str) -> Result<Self> {
        let started = Instant::now();
        while let Err(error) = TcpStream::connect((address, PORT)).await {
            if started.elapsed() > CONNECT_LIMIT {
                return Err(error).with_context(|| format!("{name}: failed to connect to {address}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        // The Service is on this machine; a proxy of the person's environment has no business here. Connections are not
        // kept: callers may block for longer than the element leaves an idle one open.
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .pool_max_idle_per_host(0);
        Ok(Self {
            name: name.to_owned(),
            base: format!("http://{address}:{PORT}/api/v1"),
            token: token(private_key)?,
            http: http.build()?,
        })
    }

    /// The element's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A request to `path` below the API's root, with another token than the client's own.
    pub fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/{path}", self.base));
        request.bearer_auth(token)
    }

    /// Stores a file under an id the element chooses.
    pub async fn store(&self, name: &str, content: &[u8]) -> Result<FileMetadata> {
        let part = Part::bytes(content.to_vec()).file_name(name.to_owned());
        let (_, file) = self.upload(Form::new().part("file", part)).await?;
        Ok(file)
    }

    /// Sends an upload; also tells whether the file is new, or was there already.
    pub async fn upload(&self, form: Form) -> Result<(bool, FileMetadata)> {
        let request = self.http.post(format!("{}/files/upload", self.base)).multipart(form);
        let response = self.send(request, "upload").await?;
        let new = response.status() == StatusCode::CREATED;
        let file = response.json().await;
        Ok((new, file.context("failed to read the answer to an upload")?))
    }

    /// The content of one file.
    pub async fn read(&self, id: Uuid) -> Result<Vec<u8>> {
        let request = self.http.get(format!("{}/files/{id}", self.base));
        let content = self.send(request, "download").await?.bytes().await;
        Ok(content.with_context(|| format!("failed to download {id}"))?.to_vec())
    }

    /// The content of one file of an element that is starting: until `limit`, only an answer other than 503 counts.
    pub async fn read_until_served(&self, id: Uuid, limit: Duration) -> Result<Vec<u8>> {
        let started = Instant::now();
        loop {
            let attempt = tokio::time::timeout(ATTEMPT_LIMIT, self.read(id)).await;
            let error = match attempt.with_context(|| format!("{}: no answer", self.name)).flatten() {
                Ok(content) => return Ok(content),
                Err(error) => error,
            };
            let is_final = error
                .downcast_ref()
                .is_some_and(|problem: &Problem| problem.status != 503);
            if is_final || started.elapsed() > limit {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The ids of all files.
    pub async fn list(&self) -> Result<BTreeSet<Uuid>> {
        self.pages("files", "limit=100".into()).await
    }

    /// The ids of all files that a word finds.
    pub async fn search(&self, word: &str) -> Result<BTreeSet<Uuid>> {
        self.pages("files/search", format!("limit=100&q={word}")).await
    }

    async fn pages(&self, path: &str, query: String) -> Result<BTreeSet<Uuid>> {
        let mut found = BTreeSet::new();
        let mut cursor = String::new();
        loop {
            let request = self.http.get(format!("{}/{path}?{query}{cursor}", self.base));
            let page = self.send(request, "list files").await?.json().await;
            let page: Page = page.context("failed to read a page")?;
            found.extend(page.items.iter().map(|file| file.file_id));
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(found),
            }
        }
    }

    async fn send(&self, request: RequestBuilder, what: &str) -> Result<Response> {
        let failed = || format!("{}: failed to {what}", self.name);
        let response = request.bearer_auth(&self.token).send().await.with_context(failed)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.with_context(failed)?;
        let document: Option<element_api::Problem> = serde_json::from_str(&body).ok();
        let problem = Problem {
            status: status.as_u16(),
            code: document.map(|document| document.code),
            body,
        };
        Err(problem).with_context(failed)
    }
}
