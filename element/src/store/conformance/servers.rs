//! The stores of the conformance suite: a folder, and buckets of two S3 servers.

use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use reqwest::Url;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::store::{Fence, S3Config, Store, StoreConfig};

const MAX_FILE_SIZE: u64 = 1 << 30;

pub(super) async fn folder(root: &Path, shared: bool) -> Arc<dyn Store> {
    let root = root.to_path_buf();
    open(StoreConfig::Local { root, shared }).await
}

/// A folder of its own in the bucket of `ARTSTORE_TEST_S3`.
pub(crate) fn versitygw_config() -> S3Config {
    let url = std::env::var("ARTSTORE_TEST_S3")
        .expect("ARTSTORE_TEST_S3 must be the URL of a bucket, with a key pair in it; `make test` sets it");
    let url: Url = url.parse().unwrap();
    config(
        format!("http://{}:{}", url.host_str().unwrap(), url.port().unwrap()),
        url.path().trim_matches('/'),
        [url.username(), url.password().unwrap()],
    )
}

pub(super) async fn versitygw() -> Arc<dyn Store> {
    open(StoreConfig::S3(versitygw_config())).await
}

/// A bucket of a server in this process, over a folder.
pub(super) async fn s3s(root: &Path) -> Arc<dyn Store> {
    std::fs::create_dir(root.join("artstore")).unwrap();
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
    service.set_auth(SimpleAuth::from_single("key", "secret"));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                // A connection that breaks off is the client's to notice.
                let _ = Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    let config = config(format!("http://{address}"), "artstore", ["key", "secret"]);
    open(StoreConfig::S3(config)).await
}

fn config(endpoint: String, bucket: &str, [key, secret]: [&str; 2]) -> S3Config {
    S3Config {
        endpoint: Some(endpoint),
        bucket: bucket.to_owned(),
        region: "us-east-1".to_owned(),
        folder: format!("conformance/{}", Uuid::new_v4().simple()),
        access_key_id: key.to_owned().into(),
        secret_access_key: secret.to_owned().into(),
    }
}

async fn open(config: StoreConfig) -> Arc<dyn Store> {
    config.open(MAX_FILE_SIZE, Fence::none()).await.unwrap()
}
