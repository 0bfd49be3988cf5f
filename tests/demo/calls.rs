//! What else a client may call: a part of a file, a change of its metadata on a condition, a deletion, a maintenance task.
//! Every answer but the one expected is an error.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::client::{Client, token, token_of};
use e2e::step::say;
use element_api::{ErrorCode, FileMetadata, MetadataValue, Problem, Task, TaskKind, TaskResult, TaskStatus};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, RANGE};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::samples::Sample;

/// Generous: a task of the element's own may have to end first.
const TASK_LIMIT: Duration = Duration::from_secs(300);
/// Between two looks at a task.
const PAUSE: Duration = Duration::from_millis(200);

/// The calls for which [`Client`] has no method, to one element.
pub(crate) struct Calls<'a> {
    element: &'a Client,
    operator: String,
    /// Maintenance is for admins.
    admin: String,
}

impl<'a> Calls<'a> {
    /// Calls to an element, with tokens of its own.
    pub(crate) fn new(element: &'a Client, private_key: &str) -> Result<Self> {
        Ok(Self {
            element,
            operator: token(private_key)?,
            admin: token_of(private_key, "admin")?,
        })
    }

    /// Reads a part of a sample that is stored, and compares it.
    pub(crate) async fn read_part(&self, sample: &Sample) -> Result<()> {
        let size = sample.content.len();
        let (first, last) = (size / 4, size / 2);
        let Some(expected) = sample.content.get(first..=last) else {
            say(&format!(
                "{}: {} is empty, there is no part of it to read",
                self.element.name(),
                sample.name
            ));
            return Ok(());
        };
        let request = self.request(Method::GET, &format!("files/{}", sample.id), &self.operator);
        let request = request.header(RANGE, format!("bytes={first}-{last}"));
        let what = format!("read a part of {}", sample.name);
        let response = self.call(request, StatusCode::PARTIAL_CONTENT, &what).await?;
        let range = self.header(&response, &CONTENT_RANGE)?;
        if range != format!("bytes {first}-{last}/{size}") {
            bail!(
                "{}: bytes {first}-{last} of {size} came as {range:?}",
                self.element.name()
            );
        }
        let part = response.bytes().await.with_context(|| self.failed(&what))?;
        if *part != *expected {
            bail!(
                "{}: bytes {first}-{last} of {} came back different",
                self.element.name(),
                sample.name
            );
        }
        say(&format!(
            "{}: bytes {first} to {last} of {} read by Range, equal to the file's",
            self.element.name(),
            sample.name
        ));
        Ok(())
    }

    /// Changes the metadata of a sample that is stored; the same change is refused once the revision it is meant for has passed.
    pub(crate) async fn change_metadata(&self, sample: &Sample) -> Result<()> {
        let path = format!("files/{}/metadata", sample.id);
        let request = || self.request(Method::GET, &path, &self.operator);
        let response = self.call(request(), StatusCode::OK, "read metadata").await?;
        let tag = self.header(&response, &ETAG)?;
        let before: FileMetadata = response.json().await?;

        // The revision makes it another text in every run.
        let description = format!("Changed by the demo at revision {}", before.revision);
        let patch = json!({"description": description, "metadata": {"demo": true}});
        let response = self.patch(&path, &tag, &patch, StatusCode::OK).await?;
        let changed: FileMetadata = response.json().await?;
        let mut expected = FileMetadata {
            description: Some(description),
            revision: before.revision + 1,
            updated_at: changed.updated_at,
            ..before
        };
        expected.metadata.insert("demo".to_owned(), MetadataValue::Bool(true));
        if changed != expected {
            bail!(
                "{}: {patch} made {changed:?} instead of {expected:?}",
                self.element.name()
            );
        }

        let refused = self.patch(&path, &tag, &patch, StatusCode::PRECONDITION_FAILED).await?;
        let problem: Problem = refused.json().await?;
        if problem.code != ErrorCode::PreconditionFailed {
            bail!(
                "{}: the second change was refused with {problem:?}",
                self.element.name()
            );
        }
        let response = self.call(request(), StatusCode::OK, "read metadata again").await?;
        let after: FileMetadata = response.json().await?;
        if after != changed {
            bail!(
                "{}: a refused change made {after:?} of {changed:?}",
                self.element.name()
            );
        }
        say(&format!(
            "{}: metadata of {} changed from revision {} to {}, a change of the former refused with 412",
            self.element.name(),
            sample.name,
            changed.revision - 1,
            changed.revision
        ));
        Ok(())
    }

    /// Stores a file and deletes it.
    pub(crate) async fn delete(&self) -> Result<()> {
        // Temporary: should the demo stop before the deletion, the file expires after a day.
        let form = Form::new()
            .text("tags", "demo")
            .text("retention_policy", "temporary")
            .text("ttl_days", "1")
            .part("file", Part::text("To be deleted.\n").file_name("throw-away.txt"));
        let (_, file) = self.element.upload(form).await?;
        let path = format!("files/{}", file.file_id);
        let request = |method| self.request(method, &path, &self.operator);
        self.call(request(Method::DELETE), StatusCode::NO_CONTENT, "delete a file")
            .await?;
        self.call(
            request(Method::GET),
            StatusCode::NOT_FOUND,
            "see that a deleted file is gone",
        )
        .await?;
        say(&format!(
            "{}: {} uploaded and deleted, then answered with 404",
            self.element.name(),
            file.original_filename
        ));
        Ok(())
    }

    /// Starts a garbage collection and waits for its end.
    pub(crate) async fn collect_garbage(&self) -> Result<()> {
        let started = Instant::now();
        let mut task = self.start(TaskKind::Gc, started).await?;
        let path = format!("maintenance/tasks/{}", task.id);
        while task.status == TaskStatus::Running {
            if started.elapsed() > TASK_LIMIT {
                bail!("{}: {} is still running: {task:?}", self.element.name(), task.kind);
            }
            tokio::time::sleep(PAUSE).await;
            let request = self.request(Method::GET, &path, &self.admin);
            task = self
                .call(request, StatusCode::OK, "ask for a task")
                .await?
                .json()
                .await?;
        }
        let (TaskStatus::Succeeded, Some(TaskResult::Gc(report))) = (task.status, &task.result) else {
            bail!("{}: {} came to no good end: {task:?}", self.element.name(), task.kind);
        };
        say(&format!(
            "{}: maintenance task {} {}, {} expired files deleted, in {:.1} s",
            self.element.name(),
            task.kind,
            task.status.as_str(),
            report.expired,
            started.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// Starts a task, as soon as none of its kind runs: the element has a schedule of its own.
    async fn start(&self, kind: TaskKind, started: Instant) -> Result<Task> {
        let what = format!("start maintenance task {kind}");
        loop {
            let request = self.request(Method::POST, &format!("maintenance/{kind}"), &self.admin);
            let response = request.send().await.with_context(|| self.failed(&what))?;
            if response.status() != StatusCode::CONFLICT || started.elapsed() > TASK_LIMIT {
                let response = self.expect(response, StatusCode::ACCEPTED, &what).await?;
                return response.json().await.with_context(|| self.failed(&what));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn patch(&self, path: &str, tag: &str, patch: &Value, expected: StatusCode) -> Result<Response> {
        let request = self
            .request(Method::PATCH, path, &self.operator)
            .header(IF_MATCH, tag)
            .header(CONTENT_TYPE, "application/merge-patch+json")
            .json(patch);
        self.call(request, expected, "change metadata").await
    }

    fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.element.request(method, path, token)
    }

    async fn call(&self, request: RequestBuilder, expected: StatusCode, what: &str) -> Result<Response> {
        let response = request.send().await.with_context(|| self.failed(what))?;
        self.expect(response, expected, what).await
    }

    /// The response, if it has the status expected.
    async fn expect(&self, response: Response, expected: StatusCode, what: &str) -> Result<Response> {
        let status = response.status();
        if status == expected {
            return Ok(response);
        }
        let body = response.text().await.unwrap_or_default();
        bail!(
            "{}: the element answered {status} instead of {expected}: {body}",
            self.failed(what)
        )
    }

    fn header(&self, response: &Response, name: &HeaderName) -> Result<String> {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        let missing = || {
            format!(
                "{}: an answer of {} lacks {name}",
                self.element.name(),
                response.status()
            )
        };
        value.map(str::to_owned).with_context(missing)
    }

    fn failed(&self, what: &str) -> String {
        format!("{}: failed to {what}", self.element.name())
    }
}
