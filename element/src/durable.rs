//! Durable changes of the file system: the only module that renames and flushes.
//!
//! All functions block; call them from a writer thread. What each promises against a power cut it says itself.
//! A failed flush is remembered for the life of the process ([`flush_failed`]), and every later one fails too: the kernel may have
//! dropped the pages it could not write, so a flush that succeeds after it proves nothing (Rebello et al., "Can Applications
//! Recover from fsync Failures?", USENIX ATC 2020).

#![allow(clippy::disallowed_methods, reason = "this is the one place they are for")]

mod folders;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, fadvise};

pub use self::folders::FolderFlushes;

static FLUSH_FAILED: AtomicBool = AtomicBool::new(false);

/// Whether any flush of this process ever failed.
pub fn flush_failed() -> bool {
    FLUSH_FAILED.load(Ordering::Acquire)
}

/// A flush failed that was not made here.
pub fn note_failed_flush() {
    FLUSH_FAILED.store(true, Ordering::Release);
}

/// A volume that is full says so at a flush where it allocates late; that is no reason to distrust it once there is room.
fn noted(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) => {
            if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                note_failed_flush();
            }
            Err(error)
        }
        Ok(()) if flush_failed() => Err(io::Error::other("another flush failed, so this one proves nothing")),
        Ok(()) => Ok(()),
    }
}

/// Flushes a file's content and size.
pub fn sync_file(file: &File) -> io::Result<()> {
    noted(file.sync_data())
}

/// Flushes a folder, so that names added to it or removed from it stay so.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let opened = File::open(folder)?;
    noted(opened.sync_all())
}

/// Creates `path` with `bytes` and flushes the content. The name itself is durable only after [`sync_folder`].
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    sync_file(&create(path, bytes)?)
}

/// The same, and flushes the file it goes with first. Both stand written by then, so that the two flushes have much in common.
pub fn write_new_beside(path: &Path, bytes: &[u8], first: &File) -> io::Result<()> {
    let second = create(path, bytes)?;
    begin_writeback(&second, 0, bytes.len() as u64);
    sync_file(first)?;
    sync_file(&second)
}

/// Sets the disk to work on a part of a file, without waiting, so that a flush finds less left to do. It promises nothing, so how
/// it goes does not matter.
pub fn begin_writeback(file: &File, start: u64, length: u64) {
    // On Linux this starts writing the part's dirty pages before it looks for clean ones to forget.
    let _ = fadvise(file, start, NonZeroU64::new(length), Advice::DontNeed);
}

/// Creates `path` with `bytes`, for somebody else to flush.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Gives a flushed file its place. The caller flushes the folder.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Replaces the file at `path` as a whole: readers and power cuts see the old content or the new, never a part.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = replacement(path);
    write_new(&temporary, bytes)?;
    rename(&temporary, path)?;
    sync_parent(path)
}

fn replacement(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Removes a file; answers whether it was there. The removal is durable only after [`sync_folder`].
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Flushes the folder that holds `path`.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Creates `relative` below `root`, part by part, and flushes each parent, whether or not this call made the folder: another
/// thread may have made it and not flushed it yet.
pub fn create_folders(root: &Path, relative: &Path) -> io::Result<()> {
    let mut folder = root.to_path_buf();
    for part in relative.components() {
        let parent = folder.clone();
        folder.push(part);
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        sync_folder(&parent)?;
    }
    Ok(())
}

/// Creates `folder` and whatever leads to it.
pub fn create_all(folder: &Path) -> io::Result<()> {
    let stands = folder.ancestors().find(|part| part.is_dir()).unwrap_or(Path::new(""));
    let missing = folder.strip_prefix(stands).unwrap_or(Path::new(""));
    let stands = if stands.as_os_str().is_empty() {
        Path::new(".")
    } else {
        stands
    };
    create_folders(stands, missing)?;
    // An earlier start may have made the folder, and been cut short before it flushed the one around it.
    match folder
        .parent()
        .filter(|_| missing.as_os_str().is_empty())
        .map(sync_folder)
    {
        Some(Err(error)) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{create_all, create_folders, remove, replace};

    #[test]
    fn replace_leaves_the_new_content_and_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mode.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn create_folders_makes_every_part_and_may_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        create_folders(folder.path(), Path::new("2026/11/22/09")).unwrap();
        create_folders(folder.path(), Path::new("2026/11/22/09")).unwrap();
        assert!(folder.path().join("2026/11/22/09").is_dir());
    }

    #[test]
    fn create_all_makes_what_is_missing_and_may_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        create_all(&path).unwrap();
        create_all(&path).unwrap();
        assert!(path.is_dir());
    }

    #[test]
    fn remove_says_whether_the_file_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"a").unwrap();
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
    }
}
