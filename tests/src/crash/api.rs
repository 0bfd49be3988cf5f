//! Talking to an element that may die at any moment: a connection that breaks is an answer too.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use element_api::{FileMetadata, Info, Mode, ModeState, Page, Task, TaskKind, TaskResult, TaskStatus};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

/// Far more than any answer takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Between two questions about a task.
const PAUSE: Duration = Duration::from_millis(5);

/// Rows in a page.
const PAGE: usize = 1000;

/// One element's API.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where it listens, once that is known.
    pub address: Option<SocketAddr>,
    token: String,
    http: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub enum Reply {
    /// A whole answer.
    Answer {
        /// Its status.
        status: u16,
        /// Its body.
        body: Vec<u8>,
    },
    /// The connection broke, or never came to be.
    Broken,
}

impl Reply {
    /// The status, if there was an answer.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            Self::Broken => None,
        }
    }

    /// Whether it says that what was asked for is done.
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Answer { status: 200..300, .. })
    }

    /// The body of a success as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        match self {
            Self::Answer { body, status } if self.is_success() => serde_json::from_slice(body).with_context(|| {
                format!(
                    "failed to read an answer of status {status}: {}",
                    String::from_utf8_lossy(body)
                )
            }),
            Self::Answer { body, status } => {
                bail!("the answer was {status}: {}", String::from_utf8_lossy(body))
            }
            Self::Broken => bail!("there was no answer"),
        }
    }
}

impl Api {
    /// An element that is yet to tell where it listens.
    pub fn new(token: &str) -> Result<Self> {
        Ok(Self {
            address: None,
            token: token.to_owned(),
            http: reqwest::Client::builder().no_proxy().timeout(LIMIT).build()?,
        })
    }

    /// Sends a request for a path below /api/v1, or for one of `/health`.
    pub async fn call(&self, method: Method, path: &str, with: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Reply {
        let Some(address) = self.address else {
            return Reply::Broken;
        };
        let base = if path.starts_with("/health") { "" } else { "/api/v1" };
        let request = self.http.request(method, format!("http://{address}{base}{path}"));
        let Ok(response) = with(request.bearer_auth(&self.token)).send().await else {
            return Reply::Broken;
        };
        let status = response.status().as_u16();
        match response.bytes().await {
            Ok(body) => Reply::Answer {
                status,
                body: body.to_vec(),
            },
            Err(_) => Reply::Broken,
        }
    }

    /// Sends a GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, |request| request).await
    }

    /// Uploads a file, with other fields of the form before it.
    pub async fn create(&self, name: &str, content: Vec<u8>, fields: &[(&'static str, &str)]) -> Reply {
        let form = fields.iter().fold(Form::new(), |form, (field, value)| {
            form.text(*field, (*value).to_owned())
        });
        let form = form.part("file", Part::bytes(content).file_name(name.to_owned()));
        self.call(Method::POST, "/files/upload", |request| request.multipart(form))
            .await
    }

    /// Runs a task to its end, and answers what it did; nothing when the element ended first.
    pub async fn maintain(&self, kind: TaskKind) -> Result<Option<TaskResult>> {
        let mut reply = self
            .call(Method::POST, &format!("/maintenance/{}", kind.as_str()), |request| {
                request
            })
            .await;
        while reply.status().is_some() {
            let task: Task = reply.json()?;
            match task.status {
                TaskStatus::Running => {}
                TaskStatus::Succeeded => return Ok(task.result),
                TaskStatus::Failed | TaskStatus::Stopped => bail!("{kind:?} failed: {:?}", task.error),
            }
            tokio::time::sleep(PAUSE).await;
            reply = self.get(&format!("/maintenance/tasks/{}", task.id)).await;
        }
        Ok(None)
    }

    /// Begins an upload and goes away before its end.
    pub async fn abort(&self, name: &str, content: &[u8]) -> Result<()> {
        let address = self.address.context("the element listens nowhere")?;
        let boundary = "b7e1c2";
        let head = format!(
            "POST /api/v1/files/upload HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {}\r\n\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n",
            self.token,
            content.len() * 2
        );
        // The element may be killed meanwhile: how far this comes does not matter.
        if let Ok(mut stream) = TcpStream::connect(address).await
            && stream.write_all(head.as_bytes()).await.is_ok()
        {
            let _gone = stream.write_all(content).await;
        }
        Ok(())
    }

    /// Changes a file's description, at this revision alone when one is given.
    pub async fn patch(&self, id: Uuid, description: &str, revision: Option<i64>) -> Reply {
        let body = serde_json::json!({ "description": description });
        self.call(Method::PATCH, &format!("/files/{id}/metadata"), |request| {
            let request = request.json(&body);
            match revision {
                Some(revision) => request.header("If-Match", format!("\"{revision}\"")),
                None => request,
            }
        })
        .await
    }

    /// Deletes a file.
    pub async fn delete(&self, id: Uuid) -> Reply {
        self.call(Method::DELETE, &format!("/files/{id}"), |request| request)
            .await
    }

    /// Asks for another mode.
    pub async fn change_mode(&self, target: Mode) -> Reply {
        let body = serde_json::json!({ "target_mode": target, "confirm": true });
        self.call(Method::POST, "/mode/transition", |request| request.json(&body))
            .await
    }

    /// All files, as the database has them, page by page.
    pub async fn list(&self) -> Result<Vec<FileMetadata>> {
        let (mut files, mut cursor) = (Vec::new(), String::new());
        loop {
            let page: Page = self.get(&format!("/files?limit={PAGE}{cursor}")).await.json()?;
            files.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => {
                    let (found, total) = (files.len(), page.total);
                    ensure!(
                        u64::try_from(found)? == total,
                        "the list counts {total} files and has {found}"
                    );
                    return Ok(files);
                }
            }
        }
    }

    /// What the element says of itself.
    pub async fn info(&self) -> Result<Info> {
        self.get("/info").await.json()
    }

    /// Its mode.
    pub async fn mode(&self) -> Result<ModeState> {
        let answer: Value = self.get("/mode").await.json()?;
        serde_json::from_value(answer).context("failed to read a mode")
    }
}
