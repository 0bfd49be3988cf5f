//! The multipart uploads of a bucket that are neither completed nor aborted, and whether the bucket can be used at all. The library
//! has no words for either, so these requests are signed with its help and sent by us.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};
use reqwest::StatusCode;
use serde::Deserialize;
use tokio::time::timeout;

use super::{Bucket, SILENCE};
use crate::store::StoreAway;

/// How long a signed address is good.
const SIGNED_FOR: Duration = Duration::from_secs(60);

/// The most a server may list at once.
const PAGE: &str = "1000";

/// A bound for one page of a listing, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// A multipart upload that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::store::s3) struct UnfinishedUpload {
    /// Where its content would stand.
    pub(in crate::store::s3) key: String,
    /// The server's name for it.
    pub(in crate::store::s3) upload_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    #[serde(default, rename = "Upload")]
    uploads: Vec<UnfinishedUpload>,
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    code: String,
}

/// What the bucket answered.
enum Answer {
    Text(String),
    /// The server knows no such request.
    Unknown,
}

impl Bucket {
    /// Whether the bucket is there and takes our signature.
    pub(in crate::store::s3) async fn probe(&self) -> io::Result<()> {
        self.ask(vec![("list-type", "2".to_owned()), ("max-keys", "1".to_owned())])
            .await?;
        Ok(())
    }

    /// The uploads whose keys begin with `prefix`.
    pub(in crate::store::s3) async fn uploads(&self, prefix: &str) -> io::Result<Vec<UnfinishedUpload>> {
        static WARNED: AtomicBool = AtomicBool::new(false);
        let (mut found, mut after) = (Vec::new(), None::<(String, String)>);
        loop {
            let mut query = vec![
                ("uploads", String::new()),
                ("prefix", prefix.to_owned()),
                ("max-uploads", PAGE.to_owned()),
            ];
            if let Some((key, upload_id)) = after {
                query.extend([("key-marker", key), ("upload-id-marker", upload_id)]);
            }
            let Answer::Text(text) = self.ask(query).await? else {
                if !WARNED.swap(true, Ordering::Relaxed) {
                    tracing::warn!("the object store cannot list multipart uploads: those of a killed server stay");
                }
                return Ok(found);
            };
            let listing: Listing = quick_xml::de::from_str(&text)
                .map_err(|error| StoreAway::over("the object store lists uploads in no known form", error))?;
            found.extend(listing.uploads);
            match (listing.is_truncated, listing.next_key_marker) {
                (true, Some(key)) => after = Some((key, listing.next_upload_id_marker.unwrap_or_default())),
                _ => return Ok(found),
            }
        }
    }

    /// Asks the bucket itself.
    async fn ask(&self, query: Vec<(&'static str, String)>) -> io::Result<Answer> {
        let options = SignedUrlOptions::new().with_query(query);
        let url = self
            .quick
            .signed_url_opts(Method::GET, &Path::ROOT, SIGNED_FOR, &options)
            .await
            .map_err(|error| StoreAway::over("failed to sign a request to the object store", error))?;
        let away = |error: reqwest::Error| StoreAway::over("the object store does not answer", error.without_url());
        let request = async {
            let mut response = self.http.get(url).send().await.map_err(away)?;
            let (status, mut bytes) = (response.status(), Vec::new());
            while let Some(chunk) = response.chunk().await.map_err(away)? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > MAX_ANSWER {
                    return Err(StoreAway::because("the object store's answer has no end"));
                }
            }
            Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
        };
        let (status, text) = timeout(SILENCE, request)
            .await
            .map_err(|_| StoreAway::because("the object store does not answer in time"))??;
        self.judge(status, text)
    }

    fn judge(&self, status: StatusCode, text: String) -> io::Result<Answer> {
        if status.is_success() {
            return Ok(Answer::Text(text));
        }
        let code = quick_xml::de::from_str::<Refusal>(&text).map_or_else(|_| String::new(), |refusal| refusal.code);
        let name = &self.name;
        let why = match (status, code.as_str()) {
            (StatusCode::NOT_IMPLEMENTED, _) | (_, "NotImplemented") => return Ok(Answer::Unknown),
            (_, "NoSuchBucket") | (StatusCode::NOT_FOUND, "") => format!("there is no bucket {name:?}"),
            (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, code) => {
                format!("the credentials are refused for bucket {name:?} ({code})")
            }
            (status, code) if status.is_redirection() || code == "AuthorizationHeaderMalformed" => {
                format!("bucket {name:?} is not in this region ({status} {code})")
            }
            (status, code) => format!("the object store answers {status} {code}"),
        };
        Err(StoreAway::because(&why))
    }
}

#[cfg(test)]
mod tests {
    use super::{Listing, Refusal, UnfinishedUpload};

    #[test]
    fn listing_is_read_with_and_without_uploads() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
            <ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>b</Bucket>\
            <KeyMarker></KeyMarker><NextKeyMarker>k&amp;1</NextKeyMarker><NextUploadIdMarker>u1</NextUploadIdMarker>\
            <MaxUploads>1</MaxUploads><IsTruncated>true</IsTruncated>\
            <Upload><Key>k&amp;1</Key><UploadId>u1</UploadId><Initiator><ID>i</ID></Initiator></Upload>\
            </ListMultipartUploadsResult>";
        let listing: Listing = quick_xml::de::from_str(text).unwrap();
        let upload = UnfinishedUpload {
            key: "k&1".into(),
            upload_id: "u1".into(),
        };
        assert_eq!(listing.uploads, [upload]);
        assert!(listing.is_truncated);
        assert_eq!(listing.next_key_marker.as_deref(), Some("k&1"));
        let empty = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>";
        let listing: Listing = quick_xml::de::from_str(empty).unwrap();
        assert!(listing.uploads.is_empty() && !listing.is_truncated);
    }

    #[test]
    fn refusal_tells_its_code() {
        let text = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>m</Message></Error>";
        assert_eq!(quick_xml::de::from_str::<Refusal>(text).unwrap().code, "NoSuchBucket");
    }
}
