//! A folder of one test's own in the bucket that `ARTSTORE_TEST_S3` names: `http://KEY:SECRET@HOST:PORT/BUCKET`.

use std::time::Duration;

use futures::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer};
use object_store::{ObjectStore, ObjectStoreExt};
use reqwest::Url;

#[derive(Clone)]
pub(crate) struct Bucket {
    url: Url,
    pub(crate) folder: String,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        let url = std::env::var("ARTSTORE_TEST_S3")
            .expect("ARTSTORE_TEST_S3 must be the URL of a bucket, with a key pair in it; `make test` sets it");
        Self {
            url: url.parse().unwrap(),
            folder: format!("it/{}", uuid::Uuid::new_v4().simple()),
        }
    }

    pub(crate) fn host(&self) -> String {
        format!("{}:{}", self.url.host_str().unwrap(), self.url.port().unwrap())
    }

    /// What an element needs to use it.
    pub(crate) fn variables(&self) -> [(&'static str, String); 6] {
        [
            ("STORAGE_TYPE", "s3".to_owned()),
            ("STORAGE_S3_ENDPOINT_URL", format!("http://{}", self.host())),
            ("STORAGE_S3_BUCKET_NAME", self.url.path().trim_matches('/').to_owned()),
            ("STORAGE_S3_APP_FOLDER", self.folder.clone()),
            ("STORAGE_S3_ACCESS_KEY_ID", self.url.username().to_owned()),
            (
                "STORAGE_S3_SECRET_ACCESS_KEY",
                self.url.password().unwrap_or_default().to_owned(),
            ),
        ]
    }

    fn client(&self) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(format!("http://{}", self.host()))
            .with_allow_http(true)
            .with_bucket_name(self.url.path().trim_matches('/'))
            .with_region("us-east-1")
            .with_access_key_id(self.url.username())
            .with_secret_access_key(self.url.password().unwrap_or_default())
            .build()
            .unwrap()
    }

    /// The keys below the folder, without it.
    pub(crate) fn objects(&self) -> Vec<String> {
        self.run(async |bucket| {
            let prefix = Path::parse(&bucket.folder).unwrap();
            let found: Vec<_> = bucket.client().list(Some(&prefix)).try_collect().await.unwrap();
            let below = format!("{}/", bucket.folder);
            found
                .into_iter()
                .map(|object| object.location.as_ref().strip_prefix(&below).unwrap().to_owned())
                .collect()
        })
    }

    pub(crate) fn object(&self, key: &str) -> Vec<u8> {
        self.run(async |bucket| {
            let path = Path::parse(format!("{}/{key}", bucket.folder)).unwrap();
            let found = bucket.client().get(&path).await.unwrap();
            found.bytes().await.unwrap().to_vec()
        })
    }

    /// The keys of multipart uploads that are neither completed nor aborted.
    pub(crate) fn uploads(&self) -> Vec<String> {
        self.run(async |bucket| {
            let options = SignedUrlOptions::new().with_query([("uploads", String::new())]);
            let url = bucket
                .client()
                .signed_url_opts(Method::GET, &Path::ROOT, Duration::from_secs(60), &options)
                .await
                .unwrap();
            let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send();
            let text = answer.await.unwrap().error_for_status().unwrap().text().await.unwrap();
            text.split("<Key>")
                .skip(1)
                .map(|rest| rest.split("</Key>").next().unwrap().to_owned())
                .filter(|key| key.starts_with(&bucket.folder))
                .collect()
        })
    }

    /// On a thread of its own, so that it can be asked from anywhere.
    fn run<T: Send>(&self, work: impl AsyncFnOnce(&Self) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(work(self))
            });
            thread.join().unwrap()
        })
    }
}
