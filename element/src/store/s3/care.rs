//! What the care for files asks of a bucket: a look at one file, reading it whole, quarantine, and small notes of our own.

use std::io;
use std::sync::Arc;

use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Inner, S3Content};
use crate::attr;
use crate::store::{ByteStream, Look, MAX_ATTRIBUTES, Readable as _, Scan, Spooled, hex};

const OWN: &str = ".artstore";
const QUARANTINE: &str = ".artstore/quarantine";

impl Inner {
    pub(super) async fn look(&self, storage_path: &str) -> io::Result<Look> {
        let (content, attributes) = (self.key(storage_path)?, self.attributes_key(storage_path)?);
        let (content, attributes) = futures::try_join!(
            self.bucket.size(&content),
            self.bucket.read_small(&attributes, MAX_ATTRIBUTES)
        )?;
        Ok(Look { content, attributes })
    }

    /// Whether the attributes beside `storage_path` are about this id: the only way to know for a name that is not ours.
    pub(super) async fn says(&self, storage_path: &str, id: &str) -> io::Result<bool> {
        let bytes = self
            .bucket
            .read_small(&self.attributes_key(storage_path)?, MAX_ATTRIBUTES)
            .await?;
        let metadata = bytes.and_then(|bytes| attr::decode(&bytes, storage_path).ok());
        Ok(metadata.is_some_and(|metadata| metadata.file_id.to_string() == id))
    }

    pub(super) async fn scan(self: &Arc<Self>, storage_path: &str) -> io::Result<Box<dyn Scan>> {
        let key = self.key(storage_path)?;
        let Some(size) = self.bucket.size(&key).await? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let content = S3Content {
            inner: Arc::clone(self),
            key,
        };
        Ok(Box::new(S3Scan {
            stream: content.read(0..size, None).await?,
            hasher: Sha256::new(),
            position: 0,
            size,
        }))
    }

    /// Copies both parts before anything goes: until then the file stands as it was.
    pub(super) async fn quarantine(&self, transaction: Uuid, storage_path: &str) -> io::Result<()> {
        let name = storage_path.rsplit('/').next().unwrap_or(storage_path);
        let target = format!("{QUARANTINE}/{transaction}/{name}");
        for suffix in ["", attr::SUFFIX] {
            let (from, to) = (
                self.key(&format!("{storage_path}{suffix}"))?,
                self.key(&format!("{target}{suffix}"))?,
            );
            match self.bucket.copy(&from, &to).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => copied?,
            }
        }
        self.fence.check()?;
        self.bucket.delete(&self.attributes_key(storage_path)?).await?;
        self.bucket.delete(&self.key(storage_path)?).await
    }

    pub(super) async fn quarantined(&self) -> io::Result<u64> {
        self.bucket.size_below(&self.key(QUARANTINE)?).await
    }

    pub(super) async fn note(&self, name: &'static str) -> io::Result<Option<Vec<u8>>> {
        self.bucket
            .read_small(&self.key(&format!("{OWN}/{name}"))?, MAX_ATTRIBUTES)
            .await
    }

    pub(super) async fn keep_note(&self, name: &'static str, bytes: Vec<u8>) -> io::Result<()> {
        let key = self.key(&format!("{OWN}/{name}"))?;
        self.fence.check()?;
        self.bucket.put_soon(&key, bytes).await
    }
}

/// An object that is being read.
struct S3Scan {
    stream: ByteStream,
    hasher: Sha256,
    position: u64,
    size: u64,
}

impl Scan for S3Scan {
    fn step(&mut self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move {
            // An empty piece is not the end.
            while let Some(piece) = self.stream.try_next().await? {
                if !piece.is_empty() {
                    self.hasher.update(&piece);
                    self.position += piece.len() as u64;
                    return Ok(piece.len() as u64);
                }
            }
            Ok(0)
        })
    }

    fn finish(self: Box<Self>) -> io::Result<Spooled> {
        if self.position != self.size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the content was not read whole",
            ));
        }
        Ok(Spooled {
            size: self.position,
            checksum: hex(&self.hasher.finalize()),
        })
    }
}
