//! Reading a whole store, in the order of its paths.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::read_attributes;
use crate::attr;
use crate::store::name::{id_in_name, is_named_by};
use crate::store::{Found, reason_of};

/// Walks the store in the order of its paths and sends what it finds, until the receiver goes away. With `after`, only what comes
/// behind the thing with that [`Found::path`]. Blocks.
pub(super) fn walk(root: &Path, after: Option<&str>, sender: &mpsc::Sender<Found>) -> io::Result<()> {
    let after = after.map(Path::new);
    let mut waiting = sorted(year_folders(root)?.into_iter().map(|path| (path, true)).collect());
    while let Some((path, is_folder)) = waiting.pop() {
        let is_behind =
            |relative: &Path| after.is_none_or(|after| relative > after || (is_folder && after.starts_with(relative)));
        if !path.strip_prefix(root).is_ok_and(is_behind) {
            continue;
        }
        if is_folder {
            waiting.extend(sorted(entries(&path)?));
        } else if let Some(found) = look(root, &path)
            && sender.blocking_send(found).is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}

/// What a folder holds, and which of it are folders; one that was removed meanwhile holds nothing.
fn entries(folder: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.file_type()?.is_dir()))))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The last one first, to be popped in order.
fn sorted(mut paths: Vec<(PathBuf, bool)>) -> Vec<(PathBuf, bool)> {
    paths.sort_unstable_by(|one, other| other.cmp(one));
    paths
}

/// Whether there is anything to walk; folders that files have left do not count. Blocks.
pub(super) fn is_empty(root: &Path) -> io::Result<bool> {
    let mut folders = year_folders(root)?;
    while let Some(folder) = folders.pop() {
        for (path, is_folder) in entries(&folder)? {
            if !is_folder {
                return Ok(false);
            }
            folders.push(path);
        }
    }
    Ok(true)
}

/// The folders of the root named by four digits; `.artstore`, `lost+found` and whatever people put there are not ours to read.
fn year_folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let is_year = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.len() == 4 && name.bytes().all(|byte| byte.is_ascii_digit()));
        if is_year && entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

fn look(root: &Path, path: &Path) -> Option<Found> {
    let relative = path.strip_prefix(root).ok()?;
    let Some(relative) = relative.to_str() else {
        return Some(Found::Broken {
            path: relative.to_string_lossy().into_owned(),
            reason: "the name is not UTF-8".into(),
        });
    };
    let broken = |reason: String| {
        Some(Found::Broken {
            path: relative.to_owned(),
            reason,
        })
    };
    let Some(storage_path) = relative.strip_suffix(attr::SUFFIX) else {
        let mut attributes = path.as_os_str().to_owned();
        attributes.push(attr::SUFFIX);
        let has_attributes = fs::exists(&attributes).unwrap_or(false);
        return (!has_attributes).then(|| Found::Orphan {
            path: relative.to_owned(),
        });
    };
    if !fs::exists(root.join(storage_path)).unwrap_or(false) {
        return broken("its content is missing".into());
    }
    match read_attributes(path).map(|bytes| attr::decode(&bytes, storage_path)) {
        Ok(Ok(metadata)) => Some(Found::File(Box::new(metadata))),
        Ok(Err(error)) => broken(reason_of(&error)),
        Err(error) => broken(error.to_string()),
    }
}

/// Finds the path of a file by its id alone, from names: first in `folder`, then everywhere. Blocks.
pub(super) fn locate(root: &Path, folder: Option<&str>, id: &str) -> io::Result<Option<String>> {
    let mut folders = year_folders(root)?;
    folders.extend(folder.map(|folder| root.join(folder)).filter(|folder| folder.is_dir()));
    while let Some(folder) = folders.pop() {
        for (path, is_folder) in entries(&folder)? {
            if is_folder {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
            let relative = relative.and_then(|path| path.strip_suffix(attr::SUFFIX));
            if let Some(relative) = relative
                && (is_named_by(relative, id) || (id_in_name(relative).is_none() && says(&path, relative, id)))
            {
                return Ok(Some(relative.to_owned()));
            }
        }
    }
    Ok(None)
}

/// Whether the attr file at `path` is about this id: the only way to know for a name that is not ours.
fn says(path: &Path, storage_path: &str, id: &str) -> bool {
    read_attributes(path)
        .ok()
        .and_then(|bytes| attr::decode(&bytes, storage_path).ok())
        .is_some_and(|metadata| metadata.file_id.to_string() == id)
}
