//! Where a file's parts stand, and how an upload's come there.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, PoisonError};

use uuid::Uuid;

use super::spool::Content;
use super::{Inner, TEMPORARY};
use crate::{attr, durable};

/// Folders remembered as durable. There is a new one every hour; a client cannot make this grow.
const MAX_KNOWN_FOLDERS: usize = 1024;

/// Where the parts of a file stand.
pub(super) struct Places {
    /// Below the root.
    pub(super) folder: PathBuf,
    pub(super) content: PathBuf,
    pub(super) attributes: PathBuf,
}

impl Inner {
    /// Flushes spooled content and its attributes and gives both their places, content first, attributes last.
    pub(super) async fn publish(
        self: &Arc<Self>,
        transaction: Uuid,
        content: Content,
        storage_path: &str,
        attributes: Vec<u8>,
    ) -> io::Result<()> {
        let (inner, places) = (Arc::clone(self), self.places(storage_path)?);
        self.threads
            .run(move || {
                let content = match content {
                    Content::Written(file) => file,
                    Content::Held(bytes) => durable::create(&inner.temporary(transaction), &bytes)?,
                };
                let temporary = inner.temporary_attributes(transaction);
                durable::write_new_beside(&temporary, &attributes, &content)?;
                let _stays = inner.folders.read().unwrap_or_else(PoisonError::into_inner);
                inner.make_durable(&places.folder)?;
                inner.fence.check()?;
                durable::rename(&inner.temporary(transaction), &places.content)?;
                inner.fence.check()?;
                durable::rename(&temporary, &places.attributes)?;
                inner.flushes.sync(&inner.root.join(&places.folder))
            })
            .await
    }

    /// Removes the temporary files of a transaction, if any.
    pub(super) async fn discard(self: &Arc<Self>, transaction: Uuid) -> io::Result<()> {
        let inner = Arc::clone(self);
        self.threads
            .run(move || {
                durable::remove(&inner.temporary(transaction))?;
                durable::remove(&inner.temporary_attributes(transaction))?;
                Ok(())
            })
            .await
    }

    pub(super) fn temporary(&self, transaction: Uuid) -> PathBuf {
        self.root.join(TEMPORARY).join(transaction.to_string())
    }

    pub(super) fn temporary_attributes(&self, transaction: Uuid) -> PathBuf {
        self.root.join(TEMPORARY).join(format!("{transaction}{}", attr::SUFFIX))
    }

    /// Where a file's parts stand.
    pub(super) fn places(&self, storage_path: &str) -> io::Result<Places> {
        let folder = Path::new(storage_path).parent().map(Path::to_path_buf);
        Ok(Places {
            folder: folder.unwrap_or_default(),
            content: self.content_path(storage_path)?,
            attributes: self.attributes_path(storage_path)?,
        })
    }

    /// A path that leads out of the root, which only a tampered database could hold, is refused.
    pub(super) fn content_path(&self, storage_path: &str) -> io::Result<PathBuf> {
        let relative = Path::new(storage_path);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the storage path leads out of the storage folder",
            ));
        }
        Ok(self.root.join(relative))
    }

    /// As [`Inner::content_path`].
    pub(super) fn attributes_path(&self, storage_path: &str) -> io::Result<PathBuf> {
        let mut path = self.content_path(storage_path)?.into_os_string();
        path.push(attr::SUFFIX);
        Ok(path.into())
    }

    /// Makes a folder durable, the first time this process uses it and whenever somebody removed it.
    fn make_durable(&self, folder: &Path) -> io::Result<()> {
        let known = self
            .known_folders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(folder);
        if known && self.root.join(folder).is_dir() {
            return Ok(());
        }
        durable::create_folders(&self.root, folder)?;
        let mut known = self.known_folders.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN_FOLDERS {
            known.clear();
        }
        known.insert(folder.to_path_buf());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;
    use uuid::Uuid;

    use super::super::LocalStore;
    use crate::store::{Fence, Store as _, StoreAway};

    const PATH: &str = "2026/11/28/18/a_alice.txt";

    #[tokio::test]
    async fn nothing_is_changed_behind_a_fence_that_is_shut() {
        let folder = tempfile::tempdir().unwrap();
        let open = async |fence| LocalStore::open(folder.path().to_owned(), true, fence).await.unwrap();
        let (ours, theirs) = (open(Fence::shut()).await, open(Fence::none()).await);
        let spooled = async |store: &LocalStore| {
            let mut spool = store.spool(Uuid::now_v7(), PATH);
            spool.write(Bytes::from_static(b"abc")).await.unwrap();
            spool.seal().await.unwrap();
            spool
        };
        let mut late = spooled(&ours).await;
        let refused = late.publish(PATH, b"{}".to_vec()).await.unwrap_err();
        assert!(StoreAway::is_in(&refused), "{refused:?}");
        assert!(!fs::exists(folder.path().join(PATH)).unwrap());

        spooled(&theirs).await.publish(PATH, b"{}".to_vec()).await.unwrap();
        for (doing, refused) in [
            (
                "replace",
                ours.replace_attributes(Uuid::now_v7(), PATH, b"[]".to_vec()).await,
            ),
            ("remove", ours.remove(PATH).await),
            ("quarantine", ours.quarantine(Uuid::now_v7(), PATH).await),
            ("note", ours.keep_note("mode.json", b"{}".to_vec()).await),
        ] {
            assert!(StoreAway::is_in(&refused.unwrap_err()), "{doing}");
        }
        assert_eq!(fs::read(folder.path().join(PATH)).unwrap(), b"abc");
        assert_eq!(theirs.attributes(PATH).await.unwrap().unwrap(), b"{}");
        assert!(theirs.note("mode.json").await.unwrap().is_none());
    }
}
