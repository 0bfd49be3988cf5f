//! What the care for files asks of the store: a look at one file, reading it whole, quarantine, empty folders, and small notes of
//! our own beside the files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use uuid::Uuid;

use super::scan::LocalScan;
use super::{Inner, OWN, read, read_attributes};
use crate::durable;
use crate::store::name::storage_folder;
use crate::store::{Look, Scan};

const QUARANTINE: &str = ".artstore/quarantine";

/// How deep the folders of files lie: year, month, day, hour.
const DEPTH: usize = 4;

impl Inner {
    pub(super) async fn look(&self, storage_path: &str) -> io::Result<Look> {
        let places = self.places(storage_path)?;
        read(move || {
            Ok(Look {
                content: there(fs::metadata(&places.content))?.map(|content| content.len()),
                attributes: there(read_attributes(&places.attributes))?,
            })
        })
        .await
    }

    pub(super) async fn scan(&self, storage_path: &str) -> io::Result<Box<dyn Scan>> {
        let places = self.places(storage_path)?;
        read(move || Ok(Box::new(LocalScan::new(File::open(&places.content)?)) as Box<dyn Scan>)).await
    }

    pub(super) async fn quarantine(self: &Arc<Self>, transaction: Uuid, storage_path: &str) -> io::Result<()> {
        let (inner, places) = (Arc::clone(self), self.places(storage_path)?);
        self.threads
            .run(move || {
                let folder = Path::new(QUARANTINE).join(transaction.to_string());
                durable::create_folders(&inner.root, &folder)?;
                let target = inner.root.join(folder);
                inner.fence.check()?;
                for place in [&places.attributes, &places.content] {
                    let Some(name) = place.file_name() else { continue };
                    there(durable::rename(place, &target.join(name)))?;
                }
                durable::sync_folder(&target)?;
                there(durable::sync_parent(&places.content))?;
                Ok(())
            })
            .await
    }

    pub(super) async fn quarantined(&self) -> io::Result<u64> {
        let folder = self.root.join(QUARANTINE);
        read(move || {
            let mut bytes = 0;
            for transaction in there(fs::read_dir(&folder))?.into_iter().flatten() {
                let transaction = transaction?;
                if !transaction.file_type()?.is_dir() {
                    continue;
                }
                for file in fs::read_dir(transaction.path())? {
                    bytes += file?.metadata()?.len();
                }
            }
            Ok(bytes)
        })
        .await
    }

    pub(super) async fn prune_folders(self: &Arc<Self>, time: Timestamp) -> io::Result<u64> {
        let (inner, last) = (Arc::clone(self), PathBuf::from(storage_folder(time)));
        self.threads.run(move || inner.prune(Path::new(""), 0, &last)).await
    }

    pub(super) async fn note(&self, name: &'static str) -> io::Result<Option<Vec<u8>>> {
        let path = self.root.join(OWN).join(name);
        read(move || there(fs::read(path))).await
    }

    pub(super) async fn keep_note(self: &Arc<Self>, name: &'static str, bytes: Vec<u8>) -> io::Result<()> {
        let (inner, path) = (Arc::clone(self), self.root.join(OWN).join(name));
        self.threads
            .run(move || {
                let _writing = inner.notes.lock().unwrap_or_else(PoisonError::into_inner);
                // Among the uploads', where what a crash leaves is removed.
                let temporary = inner.temporary(Uuid::now_v7());
                durable::write_new(&temporary, &bytes)?;
                if let Err(shut) = inner.fence.check() {
                    durable::remove(&temporary)?;
                    return Err(shut);
                }
                durable::rename(&temporary, &path)?;
                durable::sync_parent(&path)
            })
            .await
    }

    /// Goes down to the hours, which lie [`DEPTH`] deep, and removes what is empty on the way back.
    fn prune(&self, folder: &Path, depth: usize, last: &Path) -> io::Result<u64> {
        let mut removed = 0;
        if depth < DEPTH {
            for entry in there(fs::read_dir(self.root.join(folder)))?.into_iter().flatten() {
                let entry = entry?;
                let below = folder.join(entry.file_name());
                if is_time(&entry.file_name().to_string_lossy(), depth)
                    && below.as_path() <= last
                    && entry.file_type()?.is_dir()
                {
                    removed += self.prune(&below, depth + 1, last)?;
                }
            }
        }
        let is_past = depth > 0 && folder < last && !last.starts_with(folder);
        if is_past && self.remove_if_empty(folder)? {
            removed += 1;
        }
        Ok(removed)
    }

    fn remove_if_empty(&self, folder: &Path) -> io::Result<bool> {
        let _alone = self.folders.write().unwrap_or_else(PoisonError::into_inner);
        let path = self.root.join(folder);
        match fs::remove_dir(&path) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        self.known_folders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(folder);
        there(durable::sync_parent(&path))?;
        Ok(true)
    }
}

/// Whether a folder at this depth is named as a year, or as a month, day or hour.
fn is_time(name: &str, depth: usize) -> bool {
    name.len() == if depth == 0 { 4 } else { 2 } && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// None for what is not there.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
