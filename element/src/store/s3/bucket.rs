//! Requests to one bucket, and what their failures mean. Every request ends: attempts, pauses and waits are bounded.

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

use super::S3Config;
use crate::store::{ByteStream, StoreAway};

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

/// One bucket.
pub(super) struct Bucket {
    name: String,
    quick: AmazonS3,
    patient: AmazonS3,
    /// For what the library has no words for.
    http: reqwest::Client,
}

impl Bucket {
    pub(super) fn new(config: &S3Config) -> io::Result<Self> {
        let http = client(config, SILENCE)?;
        Ok(Self {
            name: config.bucket.clone(),
            quick: connect(config, http.clone())?,
            patient: connect(config, client(config, LONG_SILENCE)?)?,
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

    /// Removes an object; one that is gone is no error.
    pub(super) async fn delete(&self, key: &Path) -> io::Result<()> {
        match self.quick.delete(key).await.map_err(failed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) async fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.patient.copy(from, to).await.map_err(refused)
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

/// A client that falls silent for `silence` is given up; how long a whole request takes depends on its size.
fn client(config: &S3Config, silence: Duration) -> io::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(silence)
        .pool_idle_timeout(IDLE_CONNECTION)
        .http1_only();
    if config.endpoint.as_ref().is_some_and(|url| url.starts_with("http://")) {
        // Without TLS there is nothing to verify, and an image from scratch has no certificates to load.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(io::Error::other)
}

/// Hands our client to the library.
#[derive(Debug)]
struct Prepared(reqwest::Client);

impl HttpConnector for Prepared {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

fn connect(config: &S3Config, http: reqwest::Client) -> io::Result<AmazonS3> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_access_key_id(config.access_key_id.expose_secret())
        .with_secret_access_key(config.secret_access_key.expose_secret())
        .with_allow_http(true)
        // One request an object: not every server deletes in bulk, and we never delete many.
        .with_disable_bulk_delete(true)
        .with_http_connector(Prepared(http))
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
        // TLS proves that content arrives as it was sent; without it the signature has to.
        Some(url) => {
            builder = builder
                .with_unsigned_payload(url.starts_with("https://"))
                .with_endpoint(url);
        }
        None => builder = builder.with_unsigned_payload(true),
    }
    builder.build().map_err(io::Error::other)
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
    if ["507 ", "QuotaExceeded", "StorageFull"]
        .iter()
        .any(|word| said(&error, word))
    {
        return io::Error::new(io::ErrorKind::StorageFull, error);
    }
    StoreAway::over("the object store does not do what it is asked", error)
}

/// Whether the server's answer holds a word.
fn said(error: &Error, word: &str) -> bool {
    error.source().is_some_and(|source| source.to_string().contains(word))
}
