//! Flushes of folders, shared: those that come while one runs wait for the next, and one flush then serves them all.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::sync_folder;

/// The flushes that run and those that wait.
#[derive(Default)]
pub struct FolderFlushes {
    folders: Mutex<HashMap<PathBuf, Folder>>,
}

#[derive(Default)]
struct Folder {
    running: bool,
    /// The flush that begins when the running one has ended.
    next: Arc<Flush>,
}

/// One flush, and how it ended: for all who waited for it, a failed one too.
#[derive(Default)]
struct Flush {
    result: OnceLock<Result<(), Failure>>,
    /// Tells one of those who wait for it that it may begin, and all of them that it ended.
    changed: Condvar,
}

/// An error that can be told to several.
#[derive(Clone, Copy)]
struct Failure {
    code: Option<i32>,
    kind: io::ErrorKind,
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        Self {
            code: error.raw_os_error(),
            kind: error.kind(),
        }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        failure
            .code
            .map_or_else(|| failure.kind.into(), Self::from_raw_os_error)
    }
}

impl FolderFlushes {
    /// Flushes the names that were added to a folder, or removed from it, before this was called. Blocks.
    pub fn sync(&self, folder: &Path) -> io::Result<()> {
        let mut folders = self.folders();
        let mine = Arc::clone(&folders.entry(folder.to_owned()).or_default().next);
        loop {
            if let Some(result) = mine.result.get() {
                return result.map_err(io::Error::from);
            }
            let state = folders.entry(folder.to_owned()).or_default();
            if !state.running {
                state.running = true;
                break;
            }
            folders = mine.changed.wait(folders).unwrap_or_else(PoisonError::into_inner);
        }
        drop(folders);
        // Whoever is about to come may come along.
        std::thread::yield_now();
        if let Some(state) = self.folders().get_mut(folder) {
            state.next = Arc::default();
        }
        let result = sync_folder(folder);
        self.end(folder, &mine, result.as_ref().copied().map_err(Failure::from));
        result
    }

    fn end(&self, folder: &Path, flush: &Flush, result: Result<(), Failure>) {
        let mut folders = self.folders();
        // INVARIANT: only the thread that ran the flush sets its result, and it does so once.
        let _ = flush.result.set(result);
        if let Some(state) = folders.get_mut(folder) {
            state.running = false;
            state.next.changed.notify_one();
            if Arc::strong_count(&state.next) == 1 {
                folders.remove(folder);
            }
        }
        flush.changed.notify_all();
    }

    fn folders(&self) -> MutexGuard<'_, HashMap<PathBuf, Folder>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::{Arc, FolderFlushes};

    #[test]
    fn many_threads_flush_and_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let flushes = FolderFlushes::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..50).for_each(|_| flushes.sync(folder.path()).unwrap()));
            }
        });
        assert!(flushes.folders().is_empty());
    }

    #[test]
    fn flush_that_waited_is_told_of_the_failure() {
        let flushes = FolderFlushes::default();
        let missing = Path::new("/nonexistent/folder");
        let waiting = Arc::clone(&flushes.folders().entry(missing.to_owned()).or_default().next);
        assert_eq!(flushes.sync(missing).unwrap_err().kind(), io::ErrorKind::NotFound);
        let told: io::Error = waiting.result.get().unwrap().unwrap_err().into();
        assert_eq!(told.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn flush_begun_before_is_not_taken_for_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let flushes = FolderFlushes::default();
        let earlier = {
            let mut folders = flushes.folders();
            let state = folders.entry(folder.path().to_owned()).or_default();
            state.running = true;
            std::mem::take(&mut state.next)
        };
        std::thread::scope(|scope| {
            let later = scope.spawn(|| flushes.sync(folder.path()));
            while flushes
                .folders()
                .get(folder.path())
                .is_some_and(|state| Arc::strong_count(&state.next) == 1)
            {
                std::thread::yield_now();
            }
            assert!(!later.is_finished());
            flushes.end(folder.path(), &earlier, Ok(()));
            later.join().unwrap().unwrap();
        });
        assert!(flushes.folders().is_empty());
    }
}
