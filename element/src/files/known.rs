//! Metadata of files that are read again and again, so that reading them need not ask the database. An entry answers only while the
//! attr file beside the content is the very one it was made of: whoever changes or removes a file replaces or removes that one
//! first. Where others use the store too nothing is remembered.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use element_api::FileMetadata;
use uuid::Uuid;

use super::Inner;
use crate::attr;
use crate::store::Stamp;

/// Entries of one generation. Two are kept, so that what is used often outlives what was used once; together some 5 MB.
const GENERATION: usize = 2048;

#[derive(Clone)]
enum Entry {
    /// It was read once; the second time is reason to remember it.
    Seen,
    Known(Arc<FileMetadata>, Stamp),
}

#[derive(Default)]
struct Generations {
    young: HashMap<Uuid, Entry>,
    old: HashMap<Uuid, Entry>,
}

#[derive(Default)]
pub(super) struct Known {
    generations: Mutex<Generations>,
}

impl Known {
    fn get(&self, id: Uuid) -> Option<Entry> {
        let mut generations = self.generations();
        if let Some(entry) = generations.young.get(&id) {
            return Some(entry.clone());
        }
        let entry = generations.old.remove(&id)?;
        generations.insert(id, entry.clone());
        Some(entry)
    }

    fn insert(&self, id: Uuid, entry: Entry) {
        self.generations().insert(id, entry);
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, id: Uuid, entry: Entry) {
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(id, entry);
    }
}

impl Inner {
    /// What is known of a file without asking anybody, if that is beyond doubt.
    pub(super) fn known(&self, id: Uuid) -> Option<Arc<FileMetadata>> {
        if !self.instance.is_alone() {
            // The kernel need not know yet what another machine did to the attr file.
            return None;
        }
        let Some(Entry::Known(metadata, stamp)) = self.known.get(id) else {
            return None;
        };
        let stands = self.store.stamp(&metadata.storage_path) == Some(stamp);
        stands.then_some(metadata)
    }

    /// Takes note that a file was read, and remembers it from the second time on, unless it has just changed.
    pub(super) fn note_read(self: &Arc<Self>, metadata: &FileMetadata) {
        if !self.instance.is_alone() {
            return;
        }
        let id = metadata.file_id;
        if self.known.get(id).is_none() {
            self.known.insert(id, Entry::Seen);
            return;
        }
        let stamp = self.store.stamp(&metadata.storage_path);
        if stamp.is_none_or(|stamp| stamp.is_settled()) {
            self.tasks.spawn(Arc::clone(self).remember(metadata.clone()));
        }
    }

    /// Remembers what the database says, if the attr file says the same and is no work in progress.
    async fn remember(self: Arc<Self>, metadata: FileMetadata) {
        let path = &metadata.storage_path;
        // What cannot be read now is not remembered; whoever needs it meets the same fault, and reports it.
        let Ok(Some((stamp, bytes))) = self.store.stamped_attributes(path).await else {
            return;
        };
        let same = attr::decode(&bytes, path).is_ok_and(|kept| kept == metadata);
        if same && stamp.is_settled() {
            self.known
                .insert(metadata.file_id, Entry::Known(Arc::new(metadata), stamp));
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Entry, GENERATION, Known};

    #[test]
    fn entry_in_use_outlives_many_that_are_not() {
        let known = Known::default();
        let used = Uuid::now_v7();
        known.insert(used, Entry::Seen);
        for _ in 0..GENERATION * 5 {
            known.insert(Uuid::now_v7(), Entry::Seen);
            assert!(known.get(used).is_some());
        }
        let generations = known.generations();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn entry_no_longer_used_is_forgotten() {
        let known = Known::default();
        let unused = Uuid::now_v7();
        known.insert(unused, Entry::Seen);
        for _ in 0..GENERATION * 2 {
            known.insert(Uuid::now_v7(), Entry::Seen);
        }
        assert!(known.get(unused).is_none());
    }
}
