//! The store in an S3 bucket, shared by however many servers.
//!
//! ```text
//! FOLDER/YYYY/MM/DD/HH/NAME             content
//! FOLDER/YYYY/MM/DD/HH/NAME.attr.json   the truth about it; putting this object is the commit point
//! FOLDER/.artstore/quarantine/ID/NAME   damaged content with its attributes, kept until a person removes it
//! FOLDER/.artstore/mode.json            the mode and its history
//! FOLDER/.artstore/scrub.json           how far the scrub came
//! ```
//! Content beyond the smallest goes to its own key as a multipart upload, which is no object until it is completed, and no file
//! until its attributes stand. So nothing is copied and nothing temporary has a key. Recovery finds the multipart uploads of a
//! dead server by listing them: an id kept in the log would miss an upload whose id the server died too early to hear.

mod bucket;
mod care;
mod spool;
mod walk;

use std::collections::BTreeSet;
use std::future::ready;
use std::io;
use std::ops::Range;
use std::path::{Component, Path as FilePath};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use object_store::path::Path;
use secrecy::SecretString;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use self::bucket::Bucket;
use self::spool::{Memory, S3Spool};
use super::name::{id_in_name, is_named_by, storage_folder};
use super::{
    ByteStream, Fence, FileSender, Found, Leftover, Look, MAX_ATTRIBUTES, MAX_WALKS, OpenStoreError, Parts, Readable,
    Scan, Space, Spool, Store, StoreAway, turn_to_walk,
};
use crate::attr;
use crate::files::Chain;

/// Where the bucket is, and as whom to use it.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// The server; Amazon's own when unset.
    pub endpoint: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// The region the server counts itself to.
    pub region: String,
    /// What all keys begin with.
    pub folder: String,
    /// The name of the key pair.
    pub access_key_id: SecretString,
    /// Its secret.
    pub secret_access_key: SecretString,
}

/// A bucket has no size. This is the largest number every reader of JSON keeps.
const UNLIMITED: u64 = 1 << 53;

/// How long an answer of the bucket is good for, and how long to wait for one, when somebody only asks whether it is there.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const CHECK_TIME: Duration = Duration::from_secs(2);

/// Files in flight between the walk and whoever takes them.
const WALK_AHEAD: usize = 1024;

/// Files below one folder of a bucket.
pub struct S3Store {
    inner: Arc<Inner>,
}

struct Inner {
    bucket: Bucket,
    folder: String,
    fence: Fence,
    memory: Memory,
    /// When the bucket was last asked whether it is there, and what came of it.
    asked: Mutex<Option<(Instant, Result<(), String>)>>,
    /// Walks over all names are long; only a few run at once.
    walks: Semaphore,
}

impl S3Store {
    /// Reaches the bucket. `max_file_size` sets how large the parts of uploads are.
    ///
    /// # Errors
    /// When the server is away, the bucket is missing or the credentials are refused.
    pub async fn open(config: &S3Config, max_file_size: u64, fence: Fence) -> Result<Self, OpenStoreError> {
        let failed = |error| OpenStoreError::Bucket(config.bucket.clone(), error);
        let bucket = Bucket::new(config).map_err(failed)?;
        bucket.probe().await.map_err(failed)?;
        let inner = Inner {
            bucket,
            folder: config.folder.clone(),
            fence,
            memory: Memory::for_files_of(max_file_size),
            asked: Mutex::new(None),
            walks: Semaphore::new(MAX_WALKS),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Store for S3Store {
    fn kind(&self) -> &'static str {
        "s3"
    }

    fn spool(&self, _transaction: Uuid, storage_path: &str) -> Box<dyn Spool> {
        Box::new(S3Spool::new(Arc::clone(&self.inner), storage_path))
    }

    fn replace_attributes<'a>(
        &'a self,
        _transaction: Uuid,
        storage_path: &'a str,
        attributes: Vec<u8>,
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.inner.commit(storage_path, attributes))
    }

    fn remove<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            for key in [self.inner.attributes_key(storage_path)?, self.inner.key(storage_path)?] {
                self.inner.fence.check()?;
                self.inner.bucket.delete_soon(&key).await?;
            }
            Ok(())
        })
    }

    /// An object that can be read is durable.
    fn confirm<'a>(&'a self, _storage_path: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(ready(Ok(())))
    }

    fn discard<'a>(
        &'a self,
        _transaction: Uuid,
        planned: &'a str,
        storage_path: &'a str,
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let bucket = &self.inner.bucket;
            for path in BTreeSet::from([planned, storage_path]) {
                let key = self.inner.key(path)?;
                for upload in bucket.uploads(key.as_ref()).await? {
                    if upload.key == key.as_ref() {
                        bucket.abort(&key, &upload.upload_id).await?;
                    }
                }
            }
            if planned != storage_path {
                bucket.delete(&self.inner.key(planned)?).await?;
            }
            Ok(())
        })
    }

    fn leftovers(&self) -> BoxFuture<'_, io::Result<Vec<Leftover>>> {
        Box::pin(async move {
            let folder = format!("{}/", self.inner.folder);
            let uploads = self.inner.bucket.uploads(&folder).await?;
            let ours = uploads.into_iter().filter_map(|upload| {
                Some(Leftover::Multipart {
                    storage_path: upload.key.strip_prefix(&folder)?.to_owned(),
                    upload_id: upload.upload_id,
                })
            });
            Ok(ours.collect())
        })
    }

    fn clear<'a>(&'a self, leftover: &'a Leftover) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let Leftover::Multipart {
                storage_path,
                upload_id,
            } = leftover
            else {
                return Ok(());
            };
            self.inner.bucket.abort(&self.inner.key(storage_path)?, upload_id).await
        })
    }

    fn parts<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Parts>> {
        Box::pin(async move {
            let (content, attributes) = (self.inner.key(storage_path)?, self.inner.attributes_key(storage_path)?);
            let bucket = &self.inner.bucket;
            let (content, attributes) =
                futures::try_join!(bucket.exists(&content), bucket.read_small(&attributes, MAX_ATTRIBUTES))?;
            Ok(Parts {
                content,
                attributes: attributes.is_some(),
            })
        })
    }

    fn attributes<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        Box::pin(self.inner.attributes(storage_path))
    }

    fn open_content<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Readable>>> {
        let content = self.inner.key(storage_path).map(|key| {
            Box::new(S3Content {
                inner: Arc::clone(&self.inner),
                key,
            }) as Box<dyn Readable>
        });
        Box::pin(ready(content))
    }

    fn locate(&self, id: Uuid) -> BoxFuture<'_, io::Result<Option<String>>> {
        Box::pin(async move {
            let _permit = turn_to_walk(&self.inner.walks).await?;
            let name = id.to_string();
            if let Some(folder) = folder_of(id)
                && let Some(found) = self.inner.locate_below(&folder, &name).await?
            {
                return Ok(Some(found));
            }
            self.inner.locate_below("", &name).await
        })
    }

    fn walk(&self, after: Option<String>) -> (mpsc::Receiver<Found>, JoinHandle<io::Result<()>>) {
        let (sender, receiver) = mpsc::channel(WALK_AHEAD);
        (
            receiver,
            tokio::spawn(walk::walk(Arc::clone(&self.inner), after, sender)),
        )
    }

    fn look<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Look>> {
        Box::pin(self.inner.look(storage_path))
    }

    fn scan<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Scan>>> {
        Box::pin(self.inner.scan(storage_path))
    }

    fn quarantine<'a>(&'a self, transaction: Uuid, storage_path: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.inner.quarantine(transaction, storage_path))
    }

    fn quarantined(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(self.inner.quarantined())
    }

    /// A bucket has no folders.
    fn prune_folders(&self, _time: Timestamp) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(ready(Ok(0)))
    }

    fn note(&self, name: &'static str) -> BoxFuture<'_, io::Result<Option<Vec<u8>>>> {
        Box::pin(self.inner.note(name))
    }

    fn keep_note(&self, name: &'static str, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.inner.keep_note(name, bytes))
    }

    fn is_empty(&self) -> BoxFuture<'_, io::Result<bool>> {
        Box::pin(async move {
            let mut paths = self.inner.paths("", None);
            Ok(paths.try_next().await?.is_none())
        })
    }

    fn check(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let mut last = self.inner.asked.lock().await;
            let recent = last.as_ref().filter(|(at, _)| at.elapsed() < CHECK_INTERVAL);
            let found = match recent {
                Some((_, found)) => found.clone(),
                None => {
                    let found = match timeout(CHECK_TIME, self.inner.bucket.probe()).await {
                        Ok(probed) => probed.map_err(|error| Chain(&error).to_string()),
                        Err(_) => Err("the object store does not answer in time".to_owned()),
                    };
                    *last = Some((Instant::now(), found.clone()));
                    found
                }
            };
            found.map_err(|why| StoreAway::because(&why))
        })
    }

    fn space(&self) -> io::Result<Space> {
        Ok(Space {
            total: UNLIMITED,
            available: UNLIMITED,
        })
    }
}

/// Content in the bucket; nothing is asked for before it is read.
struct S3Content {
    inner: Arc<Inner>,
    key: Path,
}

impl Readable for S3Content {
    fn read(
        &self,
        range: Range<u64>,
        _sender: Option<Arc<dyn FileSender>>,
    ) -> BoxFuture<'static, io::Result<ByteStream>> {
        if range.is_empty() {
            let nothing: ByteStream = Box::pin(stream::empty());
            return Box::pin(ready(Ok(nothing)));
        }
        let (inner, key) = (Arc::clone(&self.inner), self.key.clone());
        Box::pin(async move { inner.bucket.read(&key, range).await })
    }
}

impl Inner {
    /// The key of a path. One that leads out of the folder, which only a tampered database could hold, is refused.
    fn key(&self, storage_path: &str) -> io::Result<Path> {
        let is_plain = |part| matches!(part, Component::Normal(_));
        if storage_path.is_empty() || !FilePath::new(storage_path).components().all(is_plain) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the storage path leads out of the storage folder",
            ));
        }
        Path::parse(format!("{}/{storage_path}", self.folder))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    fn attributes_key(&self, storage_path: &str) -> io::Result<Path> {
        self.key(&format!("{storage_path}{}", attr::SUFFIX))
    }

    /// Puts the attributes: the commit point.
    async fn commit(&self, storage_path: &str, attributes: Vec<u8>) -> io::Result<()> {
        let key = self.attributes_key(storage_path)?;
        self.fence.check()?;
        self.bucket.put_soon(&key, attributes).await
    }

    async fn attributes(&self, storage_path: &str) -> io::Result<Option<Vec<u8>>> {
        let (content, attributes) = (self.key(storage_path)?, self.attributes_key(storage_path)?);
        let (bytes, content) = futures::try_join!(
            self.bucket.read_small(&attributes, MAX_ATTRIBUTES),
            self.bucket.exists(&content)
        )?;
        Ok(bytes.filter(|_| content))
    }

    /// The paths of all objects below a folder that lie where files do, in the order of their bytes; with `after`, those behind it.
    fn paths(&self, below: &str, after: Option<&str>) -> stream::BoxStream<'static, io::Result<String>> {
        let prefix = match below {
            "" => self.folder.clone(),
            below => format!("{}/{below}", self.folder),
        };
        let folder = format!("{}/", self.folder);
        let after = after.map(|path| format!("{folder}{path}"));
        let keys = self.bucket.keys(&prefix, after.as_deref());
        keys.try_filter_map(move |key| {
            let path = key.strip_prefix(&folder).filter(|path| lies_in_a_year(path));
            ready(Ok(path.map(str::to_owned)))
        })
        .boxed()
    }

    async fn locate_below(&self, folder: &str, id: &str) -> io::Result<Option<String>> {
        let mut paths = self.paths(folder, None);
        while let Some(path) = paths.try_next().await? {
            let Some(path) = path.strip_suffix(attr::SUFFIX) else {
                continue;
            };
            if is_named_by(path, id) || (id_in_name(path).is_none() && self.says(path, id).await?) {
                return Ok(Some(path.to_owned()));
            }
        }
        Ok(None)
    }
}

/// Whether a path begins with a folder of four digits; `.artstore` and whatever people put beside it are not ours to read.
fn lies_in_a_year(path: &str) -> bool {
    path.split_once('/')
        .is_some_and(|(year, _)| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The folder an id of ours tells.
fn folder_of(id: Uuid) -> Option<String> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    let time = Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()?;
    Some(storage_folder(time))
}

#[cfg(test)]
mod tests;
