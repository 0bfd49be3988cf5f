//! The smoke test: one random file through a running element and back. Runs from a scratch image, so it brings all it needs.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::rand;
use element_api::{FileMetadata, Info, Operation, Role};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Response, StatusCode};

use crate::cli::SmokeTestArgs;
use crate::token::{Claims, read_key};

/// Large enough to need several reads and writes, small enough for any element.
const BYTES: usize = 3 * 1024 * 1024 + 17;
const TOKEN_TIME: Duration = Duration::from_secs(300);
const TIMEOUT: Duration = Duration::from_secs(60);

/// The `smoke-test` command.
pub(crate) async fn run(args: SmokeTestArgs) -> Result<()> {
    ensure!(
        args.endpoint.starts_with("http://"),
        "--endpoint {:?} does not begin with http://",
        args.endpoint
    );
    let api = format!("{}/api/v1", args.endpoint.trim_end_matches('/'));
    let key = read_key(&args.key_file)?;
    let token = Claims::new(
        "smoke-test",
        Role::Operator,
        TOKEN_TIME,
        args.jwt_issuer,
        args.jwt_audience,
    )
    .sign(&key)?;
    let client = Client::builder()
        .timeout(TIMEOUT)
        .no_proxy()
        // The image holds no certificates, and http needs none.
        .tls_certs_only([])
        .build()
        .context("failed to set up a client")?;
    let element = Element { client, api, token };

    let info: Info = element
        .get("/info")
        .await?
        .json()
        .await
        .context("failed to read /info")?;
    say(&format!("element {} is in mode {}", info.element_id, info.mode))?;
    ensure!(info.mode.allows(Operation::Create), "mode {} takes no files", info.mode);

    let mut content = vec![0; BYTES];
    rand::fill(&mut content).context("failed to make random content")?;
    let file = element.upload(content.clone()).await?;
    say(&format!("stored {} bytes as {}", file.file_size, file.file_id))?;

    let read = element.get(&format!("/files/{}", file.file_id)).await?;
    let read = read.bytes().await.context("failed to read the file back")?;
    ensure!(read == content, "the file came back with other content");
    say("read it back, equal byte by byte")?;

    if info.mode.allows(Operation::Delete) {
        element.delete(&file).await?;
        say("deleted it")?;
    }
    say("the element works")
}

struct Element {
    client: Client,
    api: String,
    token: String,
}

impl Element {
    async fn get(&self, path: &str) -> Result<Response> {
        let request = self.client.get(format!("{}{path}", self.api)).bearer_auth(&self.token);
        checked(request.send().await, &format!("GET {path}"), StatusCode::OK).await
    }

    async fn upload(&self, content: Vec<u8>) -> Result<FileMetadata> {
        let part = Part::bytes(content).file_name("smoke-test.bin");
        let form = Form::new().text("tags", "smoke-test").part("file", part);
        let request = self
            .client
            .post(format!("{}/files/upload", self.api))
            .bearer_auth(&self.token)
            .multipart(form);
        let response = checked(request.send().await, "POST /files/upload", StatusCode::CREATED).await?;
        response.json().await.context("failed to read the answer to the upload")
    }

    async fn delete(&self, file: &FileMetadata) -> Result<()> {
        let url = format!("{}/files/{}", self.api, file.file_id);
        let response = self.client.delete(url).bearer_auth(&self.token).send().await;
        checked(response, "DELETE", StatusCode::NO_CONTENT).await.map(drop)
    }
}

async fn checked(response: reqwest::Result<Response>, what: &str, expected: StatusCode) -> Result<Response> {
    let response = response.with_context(|| format!("failed to send {what}"))?;
    let status = response.status();
    if status != expected {
        let body = response.text().await.unwrap_or_default();
        bail!("{what} answered {status}, not {expected}: {body}");
    }
    Ok(response)
}

fn say(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("failed to print")
}
