//! Requests to one bucket, and what their failures mean. Every request ends: attempts, pauses and waits are bounded.

mod signed;
mod uploads;

use std::error::Error as _;
use std::io;
use std::ops::Range;
use std::time::Duration;

use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _, PutPayload,
    RetryConfig,
};
use secrecy::ExposeSecret;
use tokio::time::timeout;

use self::signed::Signing;
use super::S3Config;
use crate::store::{ByteStream, StoreAway};
use crate::trust::trusting;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the server may be silent over an ordinary request, and over one that makes it copy.
const SILENCE: Duration = Duration::from_secs(10);
const LONG_SILENCE: Duration = Duration::from_secs(300);

/// A request that failed is tried again while it is younger than this.
const RETRY_TIME: Duration = Duration::from_secs(4);
pub(super) const RETRIES: usize = 4;

/// How long putting the attributes may take in all: less than is left of a lease for which the fence is open.
pub(in crate::store) const COMMIT_TIME: Duration = Duration::from_secs(5);

/// Kept connections the server would soon close are not used.
const IDLE_CONNECTION: Duration = Duration::from_secs(15);

/// The largest object a server copies in one request: 5 GiB, as the description of CopyObject says.
const MAX_COPY: u64 = 5 << 30;

/// The most parts an upload may have.
pub(super) const MAX_PARTS: u64 = 10_000;

/// What is held in memory of an object that is copied part by part, unless it has so many parts that they must be larger.
const COPIED_PART: u64 = 16 << 20;

/// One bucket.
pub(super) struct Bucket {
    name: String,
    quick: AmazonS3,
    patient: AmazonS3,
    /// For content whose hash is known.
    hashed: AmazonS3,
    max_copy: u64,
    /// For what the library has no words for.
    http: reqwest::Client,
}

impl Bucket {
    pub(super) fn new(config: &S3Config) -> io::Result<Self> {
        let (http, patient) = (client(config, SILENCE)?, client(config, LONG_SILENCE)?);
        Ok(Self {
            name: config.bucket.clone(),
            quick: library(config, http.clone()).build().map_err(io::Error::other)?,
            patient: library(config, patient.clone()).build().map_err(io::Error::other)?,
            hashed: hashing_nothing(config, patient).build().map_err(io::Error::other)?,
            max_copy: MAX_COPY,
            http,
        })
    }

    /// The bytes of an object as they come. It is asked for the range at once, so that what is missing or away shows here.
    pub(super) async fn read(&self, key: &Path, range: Range<u64>) -> io::Result<ByteStream> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let found = self.quick.get_opts(key, options).await.map_err(failed)?;
        Ok(Box::pin(found.into_stream().map_err(failed)))
    }

    /// A small object as a whole; none when it is missing.
    pub(super) async fn read_small(&self, key: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let found = match self.quick.get(key).await.map_err(failed) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if found.meta.size > limit {
            let why = format!(
                "the object has {} bytes, more than the {limit} allowed",
                found.meta.size
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Some(found.bytes().await.map_err(failed)?.to_vec()))
    }

    pub(super) async fn exists(&self, key: &Path) -> io::Result<bool> {
        Ok(self.size(key).await?.is_some())
    }

    /// An object's size; none when it is missing.
    pub(super) async fn size(&self, key: &Path) -> io::Result<Option<u64>> {
        match self.quick.head(key).await.map_err(failed) {
            Ok(object) => Ok(Some(object.size)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of all objects below a prefix.
    pub(super) async fn size_below(&self, prefix: &Path) -> io::Result<u64> {
        let objects = self.quick.list(Some(prefix)).map_err(failed);
        objects
            .try_fold(0, |bytes, object| std::future::ready(Ok(bytes + object.size)))
            .await
    }

    pub(super) async fn put(&self, key: &Path, payload: PutPayload) -> io::Result<()> {
        self.quick.put(key, payload).await.map_err(refused)?;
        Ok(())
    }

    /// Puts a small object within [`COMMIT_TIME`].
    pub(super) async fn put_soon(&self, key: &Path, bytes: Vec<u8>) -> io::Result<()> {
        match timeout(COMMIT_TIME, self.put(key, bytes.into())).await {
            Ok(done) => done,
            Err(_) => Err(StoreAway::because("the object store did not take an object in time")),
        }
    }

    /// Removes an object within [`COMMIT_TIME`].
    pub(super) async fn delete_soon(&self, key: &Path) -> io::Result<()> {
        match timeout(COMMIT_TIME, self.delete(key)).await {
            Ok(done) => done,
            Err(_) => Err(StoreAway::because("the object store did not remove an object in time")),
        }
    }

    /// Removes an object; one that is gone is no error.
    pub(super) async fn delete(&self, key: &Path) -> io::Result<()> {
        match self.quick.delete(key).await.map_err(failed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Copies an object of any size: by the server, or where it is too large for that part by part through this process.
    pub(super) async fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let size = self.size(from).await?.ok_or(io::ErrorKind::NotFound)?;
        if size <= self.max_copy {
            return self.patient.copy(from, to).await.map_err(refused);
        }
        let id = self.begin_upload(to).await?;
        let copied = self.copy_by_parts(from, to, &id, size).await;
        if copied.is_err() {
            self.abort(to, &id).await?;
        }
        copied
    }

    async fn copy_by_parts(&self, from: &Path, to: &Path, id: &str, size: u64) -> io::Result<()> {
        let part_size = COPIED_PART.max(size.div_ceil(MAX_PARTS));
        let mut parts = Vec::new();
        for start in (0..size).step_by(usize::try_from(part_size).map_err(io::Error::other)?) {
            let range = start..(start + part_size).min(size);
            let bytes: PutPayload = self
                .read(from, range)
                .await?
                .try_collect::<Vec<_>>()
                .await?
                .into_iter()
                .collect();
            parts.push(self.put_part(to, id, parts.len(), bytes).await?);
        }
        self.complete(to, id, parts).await
    }

    pub(super) async fn begin_upload(&self, key: &Path) -> io::Result<String> {
        self.quick.create_multipart(key).await.map_err(refused)
    }

    pub(super) async fn put_part(&self, key: &Path, id: &str, index: usize, part: PutPayload) -> io::Result<PartId> {
        self.quick
            .put_part(key, &id.to_owned(), index, part)
            .await
            .map_err(refused)
    }

    pub(super) async fn complete(&self, key: &Path, id: &str, parts: Vec<PartId>) -> io::Result<()> {
        self.patient
            .complete_multipart(key, &id.to_owned(), parts)
            .await
            .map_err(refused)?;
        Ok(())
    }

    /// Ends an upload for good; one that is gone is no error.
    pub(super) async fn abort(&self, key: &Path, id: &str) -> io::Result<()> {
        match self.quick.abort_multipart(key, &id.to_owned()).await.map_err(failed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Every key below a prefix, in the order of their bytes; with `after`, those behind it.
    pub(super) fn keys(&self, prefix: &str, after: Option<&str>) -> BoxStream<'static, io::Result<String>> {
        match (Path::parse(prefix), after.map(Path::parse).transpose()) {
            (Ok(prefix), Ok(after)) => {
                let objects = match after {
                    Some(after) => self.quick.list_with_offset(Some(&prefix), &after),
                    None => self.quick.list(Some(&prefix)),
                };
                Box::pin(objects.map_ok(|object| object.location.into()).map_err(failed))
            }
            (Err(error), _) | (_, Err(error)) => Box::pin(futures::stream::iter([Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                error,
            ))])),
        }
    }
}

/// A server that does not answer for `silence` is given up; that includes the time it takes to send it a request.
fn client(config: &S3Config, silence: Duration) -> io::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(silence)
        .pool_idle_timeout(IDLE_CONNECTION)
        .http1_only();
    let url = config.endpoint.as_deref().unwrap_or("https://");
    trusting(builder, url, None).build().map_err(io::Error::other)
}

/// Hands our client to the library.
#[derive(Debug)]
struct Prepared(HttpClient);

impl HttpConnector for Prepared {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

/// Whether content must be signed, as nothing else proves that it arrives as it was sent.
fn is_bare(config: &S3Config) -> bool {
    let url = config.endpoint.as_deref();
    url.is_some_and(|url| !url.starts_with("https://"))
}

fn library(config: &S3Config, http: reqwest::Client) -> AmazonS3Builder {
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_access_key_id(config.access_key_id.expose_secret())
        .with_secret_access_key(config.secret_access_key.expose_secret())
        .with_allow_http(true)
        .with_unsigned_payload(!is_bare(config))
        // One request an object: not every server deletes in bulk, and we never delete many.
        .with_disable_bulk_delete(true)
        .with_http_connector(Prepared(HttpClient::new(http)))
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(1),
                base: 2.0,
            },
            max_retries: RETRIES,
            retry_timeout: RETRY_TIME,
        });
    match &config.endpoint {
        Some(url) => builder.with_endpoint(url),
        None => builder,
    }
}

/// The library where it hashes no content, as somebody else signs it or nobody must.
fn hashing_nothing(config: &S3Config, http: reqwest::Client) -> AmazonS3Builder {
    let builder = library(config, http.clone()).with_unsigned_payload(true);
    if is_bare(config) {
        let signing = Signing::new(config, http);
        builder.with_http_connector(Prepared(HttpClient::new(signing)))
    } else {
        builder
    }
}

/// What a failed request means where a missing object is an answer.
fn failed(error: Error) -> io::Error {
    match error {
        Error::NotFound { .. } if !said(&error, "NoSuchBucket") => io::Error::new(io::ErrorKind::NotFound, error),
        error => refused(error),
    }
}

/// What a failed request means otherwise: the server is away, slow, or refuses.
fn refused(error: Error) -> io::Error {
    let full = ["QuotaExceeded", "StorageFull"].iter().any(|code| said(&error, code));
    if full || answer(&error).is_some_and(|answer| answer.starts_with(INSUFFICIENT_STORAGE)) {
        return io::Error::new(io::ErrorKind::StorageFull, error);
    }
    StoreAway::over("the object store does not do what it is asked", error)
}

/// How the library words a refusal: status, then body. What stands before it in the chain of errors also names the key, which
/// clients choose.
const ANSWER: &str = "Server returned ";
const INSUFFICIENT_STORAGE: &str = "Server returned non-2xx status code: 507";

/// What the server answered, if it did.
fn answer(error: &Error) -> Option<String> {
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if text.starts_with(ANSWER) {
            return Some(text);
        }
        source = error.source();
    }
    None
}

/// Whether the server's answer holds an error code.
fn said(error: &Error, code: &str) -> bool {
    answer(error).is_some_and(|answer| answer.contains(&format!("<Code>{code}</Code>")))
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures::TryStreamExt as _;
    use object_store::path::Path;

    use super::{Bucket, COPIED_PART};
    use crate::store::conformance::servers::versitygw_config;

    fn key(name: &str) -> Path {
        Path::parse(format!("copies/{}/{name}", uuid::Uuid::now_v7())).unwrap()
    }

    #[tokio::test]
    async fn object_too_large_for_one_request_is_copied_part_by_part() {
        let bucket = Bucket {
            max_copy: 1000,
            ..Bucket::new(&versitygw_config()).unwrap()
        };
        let (from, to) = (key("from"), key("to"));
        for size in [1000, 1001, COPIED_PART, COPIED_PART * 2 + 1] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8 ^ (at >> 16) as u8).collect();
            bucket.put(&from, bytes.clone().into()).await.unwrap();
            bucket.copy(&from, &to).await.unwrap();
            let copied: Vec<_> = bucket.read(&to, 0..size).await.unwrap().try_collect().await.unwrap();
            assert!(copied.concat() == bytes, "{size}");
            assert_eq!(bucket.size(&to).await.unwrap(), Some(size));
        }
        assert_eq!(bucket.uploads(to.as_ref()).await.unwrap(), []);
        let missing = bucket.copy(&key("missing"), &to).await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        bucket.delete(&from).await.unwrap();
        bucket.delete(&to).await.unwrap();
    }
}
