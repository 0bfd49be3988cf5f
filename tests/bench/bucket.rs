//! The S3 server of this run, as an element is told of it, and a bare client of it.

use anyhow::{Context, Result};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use reqwest::Url;
use tokio::runtime::{Builder, Runtime};

/// A bucket that is there already.
pub(crate) struct Bucket {
    url: Url,
}

/// A client that keeps its connection, with a thread of its caller's to itself.
pub(crate) struct BareClient {
    runtime: Runtime,
    store: AmazonS3,
}

impl Bucket {
    /// `http://KEY:SECRET@HOST:PORT/BUCKET`
    pub(crate) fn from_environment() -> Result<Self> {
        const VARIABLE: &str = "ARTSTORE_TEST_S3";
        let url = std::env::var(VARIABLE).with_context(|| format!("{VARIABLE} is not set; run `cluster bench`"))?;
        let url = url.parse().with_context(|| format!("{VARIABLE} is no URL"))?;
        Ok(Self { url })
    }

    fn endpoint(&self) -> Result<String> {
        let host = self.url.host_str().context("the S3 URL has no host")?;
        let port = self.url.port().context("the S3 URL has no port")?;
        Ok(format!("http://{host}:{port}"))
    }

    fn name(&self) -> &str {
        self.url.path().trim_matches('/')
    }

    /// What an element is told, to keep its files below `folder`.
    pub(crate) fn environment(&self, folder: &str) -> Result<Vec<(&'static str, String)>> {
        Ok(vec![
            ("STORAGE_TYPE", "s3".to_owned()),
            ("STORAGE_S3_ENDPOINT_URL", self.endpoint()?),
            ("STORAGE_S3_BUCKET_NAME", self.name().to_owned()),
            ("STORAGE_S3_APP_FOLDER", folder.to_owned()),
            ("STORAGE_S3_ACCESS_KEY_ID", self.url.username().to_owned()),
            (
                "STORAGE_S3_SECRET_ACCESS_KEY",
                self.url.password().unwrap_or_default().to_owned(),
            ),
        ])
    }

    pub(crate) fn client(&self) -> Result<BareClient> {
        let store = AmazonS3Builder::new()
            .with_endpoint(self.endpoint()?)
            .with_allow_http(true)
            .with_bucket_name(self.name())
            .with_region("us-east-1")
            .with_access_key_id(self.url.username())
            .with_secret_access_key(self.url.password().unwrap_or_default());
        Ok(BareClient {
            runtime: Builder::new_current_thread().enable_all().build()?,
            store: store.build()?,
        })
    }
}

impl BareClient {
    pub(crate) fn put(&self, key: &str, content: PutPayload) -> Result<()> {
        self.runtime.block_on(self.store.put(&Path::from(key), content))?;
        Ok(())
    }

    /// Reads an object and answers with its size.
    pub(crate) fn get(&self, key: &str) -> Result<usize> {
        let read = async { self.store.get(&Path::from(key)).await?.bytes().await };
        Ok(self.runtime.block_on(read)?.len())
    }

    pub(crate) fn delete(&self, key: &str) -> Result<()> {
        Ok(self.runtime.block_on(self.store.delete(&Path::from(key)))?)
    }
}
