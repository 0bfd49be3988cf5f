//! Content whose sha256 is known before it is put. The library would hash it a second time to sign it; here it is told not to, and
//! the request is signed once more, over the hash that is known.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService};
use object_store::path::Path;
use object_store::{ObjectStore as _, PutOptions, PutPayload};
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::super::S3Config;
use super::{Bucket, SILENCE, refused};
use crate::store::StoreAway;

/// Bytes a second below which a bucket counts as one that does not answer.
const LEAST_RATE: u64 = 512 * 1024;

/// Goes with a request to where it is signed.
#[derive(Clone, Copy)]
struct Sha256([u8; 32]);

impl Bucket {
    /// Puts content of this sha256. Nothing tells how far a request is on its way, so it has time by its size.
    pub(in crate::store::s3) async fn put_hashed(
        &self,
        key: &Path,
        content: PutPayload,
        sha256: [u8; 32],
    ) -> io::Result<()> {
        let mut options = PutOptions::default();
        options.extensions.insert(Sha256(sha256));
        let time = SILENCE + Duration::from_secs(content.content_length() as u64 / LEAST_RATE);
        match timeout(time, self.hashed.put_opts(key, content, options)).await {
            Ok(put) => put.map(drop).map_err(refused),
            Err(_) => Err(StoreAway::because("the object store did not take content in time")),
        }
    }
}

/// Sends requests, signed over the hash that goes with them.
#[derive(Debug)]
pub(super) struct Signing {
    http: reqwest::Client,
    region: String,
    credential: AwsCredential,
}

impl Signing {
    pub(super) fn new(config: &S3Config, http: reqwest::Client) -> Self {
        Self {
            http,
            region: config.region.clone(),
            credential: AwsCredential {
                key_id: config.access_key_id.expose_secret().to_owned(),
                secret_key: config.secret_access_key.expose_secret().to_owned(),
                token: None,
            },
        }
    }
}

#[async_trait]
impl HttpService for Signing {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Some(Sha256(sha256)) = request.extensions().get().copied() else {
            let lost = io::Error::other("the content's hash is lost on the way to its signature");
            return Err(HttpError::new(HttpErrorKind::Unknown, lost));
        };
        AwsAuthorizer::new(&self.credential, "s3", &self.region)
            .try_authorize(&mut request, Some(&sha256))
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        self.http.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;
    use sha2::{Digest as _, Sha256};

    use super::Bucket;
    use crate::store::conformance::servers::versitygw_config;

    #[tokio::test]
    async fn content_that_is_not_what_was_hashed_is_refused() {
        let bucket = Bucket::new(&versitygw_config()).unwrap();
        let key = Path::parse(format!("hashed/{}", uuid::Uuid::now_v7())).unwrap();
        let content = vec![7; 100_000];
        let other = Sha256::digest(b"other").into();
        let refused = bucket.put_hashed(&key, content.clone().into(), other).await;
        assert!(refused.is_err());
        assert!(!bucket.exists(&key).await.unwrap());
        let own = Sha256::digest(&content).into();
        bucket.put_hashed(&key, content.into(), own).await.unwrap();
        assert_eq!(bucket.size(&key).await.unwrap(), Some(100_000));
        bucket.delete(&key).await.unwrap();
    }
}
