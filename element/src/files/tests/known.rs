//! Files that are remembered: what was changed or removed, by this server or behind its back, is never answered from memory.

use std::time::{Duration, Instant};

use super::*;
use crate::attr;

impl Element {
    /// Stores a file and reads it until it is remembered, which takes until any later change would show.
    async fn remembered(&self, content: &[u8]) -> FileMetadata {
        let stored = self.store(content).await;
        let started = Instant::now();
        while self.files.inner.known(stored.file_id).is_none() {
            assert!(started.elapsed() < Duration::from_secs(60), "it is never remembered");
            assert_eq!(self.read(stored.file_id).await.unwrap(), content);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stored
    }
}

#[tokio::test]
async fn remembered_file_is_what_was_stored() {
    for element in Element::both().await {
        let stored = element.remembered(b"content").await;
        assert_eq!(element.files.metadata(stored.file_id).await.unwrap(), stored);
        assert_eq!(element.read(stored.file_id).await.unwrap(), b"content");
        element.end().await;
    }
}

#[tokio::test]
async fn change_is_seen_at_once_in_spite_of_memory() {
    for element in Element::both().await {
        let stored = element.remembered(b"content").await;
        let patch = Patch {
            description: Some(Some("new".into())),
            ..Patch::default()
        };
        let id = stored.file_id;
        let updated = element.files.update(id, patch, None).await.unwrap();
        assert_eq!(element.files.metadata(id).await.unwrap(), updated);
        assert_eq!(element.files.content(id).await.unwrap().metadata.as_ref(), &updated);
        element.end().await;
    }
}

#[tokio::test]
async fn deleted_file_is_gone_in_spite_of_memory() {
    for element in Element::both().await {
        let stored = element.remembered(b"content").await;
        element.files.delete(stored.file_id, None).await.unwrap();
        let error = element.read(stored.file_id).await.unwrap_err();
        assert!(matches!(error, FileError::NotFound { .. }), "{error}");
        element.end().await;
    }
}

#[tokio::test]
async fn attributes_replaced_by_somebody_else_end_the_memory() {
    for element in Element::both().await {
        let stored = element.remembered(b"content").await;
        let name = format!("{}{}", stored.storage_path, attr::SUFFIX);
        let place = element.root().join(name);
        fs::write(&place, fs::read(&place).unwrap()).unwrap();
        assert!(element.files.inner.known(stored.file_id).is_none());
        element.end().await;
    }
}
