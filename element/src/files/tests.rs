//! The use cases over a real folder and real databases, and recovery from every state the protocol can leave.

mod care;
mod known;
mod recovery;
mod servers;
mod trouble;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use element_api::{ErrorCode, FileMetadata, MetadataValue, RetentionPolicy};
use futures::TryStreamExt as _;
use uuid::Uuid;

use super::{Author, Details, FileError, Files, Patch, Settings, Stored};
use crate::capacity::footprint;
use crate::index::tests::TestDatabase;
use crate::store::StoreConfig;

/// An element's files in a folder of the test's own.
struct Element {
    folder: tempfile::TempDir,
    database: TestDatabase,
    files: Files,
}

impl Element {
    async fn both() -> [Self; 2] {
        let [sqlite, postgres] = TestDatabase::both().await;
        [Self::over(sqlite).await, Self::over(postgres).await]
    }

    async fn over(database: TestDatabase) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let index = database.migrated().await;
        let files = Files::open(settings(folder.path()), index).await.unwrap();
        Self {
            folder,
            database,
            files,
        }
    }

    /// Stops and starts again over the same folder and database.
    async fn restarted(self) -> Self {
        self.files.shutdown().await;
        let Self {
            folder,
            database,
            files,
        } = self;
        drop(files);
        let index = database.migrated().await;
        let files = Files::open(settings(folder.path()), index).await.unwrap();
        Self {
            folder,
            database,
            files,
        }
    }

    async fn end(self) {
        self.files.shutdown().await;
        self.database.drop().await;
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    async fn try_store(&self, details: Details, content: &[u8]) -> Result<Stored, FileError> {
        let mut upload = self.files.begin(author(), &details, None).await?;
        for chunk in content.chunks(100_000) {
            upload.write(Bytes::copy_from_slice(chunk)).await?;
        }
        upload.finish(details).await
    }

    async fn store(&self, content: &[u8]) -> FileMetadata {
        match self.try_store(details("a.txt"), content).await.unwrap() {
            Stored::Created(metadata) => metadata,
            Stored::Existing(_) => panic!("a file without a given id cannot exist before"),
        }
    }

    async fn read(&self, id: Uuid) -> Result<Vec<u8>, FileError> {
        let content = self.files.content(id).await?;
        let size = content.metadata.file_size;
        let chunks: Vec<Bytes> = content.read(0..size, None).await?.try_collect().await.unwrap();
        Ok(chunks.concat())
    }
}

fn settings(root: &Path) -> Settings {
    Settings {
        store: StoreConfig::Local {
            root: root.to_path_buf(),
            shared: false,
        },
        max_size: None,
        max_file_size: 2_000_000,
        instance_id: format!("test/{}", Uuid::now_v7()),
    }
}

fn author() -> Author {
    Author {
        id: "u-1".into(),
        username: "alice".into(),
        fullname: None,
    }
}

fn details(filename: &str) -> Details {
    Details {
        filename: filename.into(),
        ..Details::default()
    }
}

/// Waits for a state, for as long as no test that works takes.
async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), waiting).await.is_err() {
        panic!("still not so: {what}");
    }
}

/// Every file below the root but the element's own database and lock.
fn on_disk(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.parent() != Some(&root.join(".artstore")) {
                found.push(path.strip_prefix(root).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn stored_file_is_read_back_and_its_attributes_stand_beside_it() {
    for element in Element::both().await {
        for size in [0, 1, 262_143, 262_144, 262_145, 1_500_000] {
            let content: Vec<u8> = (0..size).map(|number: usize| number.to_le_bytes()[0]).collect();
            let stored = element.store(&content).await;
            assert_eq!(stored.file_size, size as u64);
            assert_eq!(element.read(stored.file_id).await.unwrap(), content);
            assert_eq!(element.files.metadata(stored.file_id).await.unwrap(), stored);
            let attributes = fs::read(element.root().join(format!("{}.attr.json", stored.storage_path))).unwrap();
            assert_eq!(crate::attr::decode(&attributes, &stored.storage_path).unwrap(), stored);
        }
        let empty = element.store(b"").await;
        assert_eq!(
            empty.checksum,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        element.end().await;
    }
}

#[tokio::test]
async fn upload_that_is_dropped_leaves_nothing() {
    for element in Element::both().await {
        let mut upload = element.files.begin(author(), &details("a.txt"), None).await.unwrap();
        upload.write(Bytes::from(vec![7; 600_000])).await.unwrap();
        drop(upload);
        let element = element.restarted().await;
        assert_eq!(on_disk(element.root()), Vec::<PathBuf>::new());
        assert_eq!(element.files.index().pending().await.unwrap(), []);
        assert_eq!(element.files.capacity().used_bytes, 0);
        element.end().await;
    }
}

#[tokio::test]
async fn refused_upload_leaves_nothing_and_says_why() {
    for element in Element::both().await {
        let long_name = details(&"n".repeat(1025));
        let long = Details {
            description: Some("x".repeat(5000)),
            ..details("a")
        };
        let temporary = |ttl_days| Details {
            retention_policy: RetentionPolicy::Temporary,
            ttl_days,
            ..details("a")
        };
        let table = [
            (details(""), vec![1], ErrorCode::ValidationError),
            (long_name, vec![1], ErrorCode::ValidationError),
            (long, vec![1], ErrorCode::ValidationError),
            (
                Details {
                    ttl_days: Some(3),
                    ..details("a")
                },
                vec![1],
                ErrorCode::ValidationError,
            ),
            (temporary(Some(0)), vec![1], ErrorCode::ValidationError),
            (temporary(Some(366)), vec![1], ErrorCode::ValidationError),
            (
                Details {
                    tags: vec!["a\0".into()],
                    ..details("a")
                },
                vec![1],
                ErrorCode::ValidationError,
            ),
            (
                Details {
                    checksum: Some("0".repeat(64)),
                    ..details("a")
                },
                vec![1],
                ErrorCode::ChecksumMismatch,
            ),
            (details("a"), vec![1; 2_000_001], ErrorCode::FileTooLarge),
        ];
        for (details, content, code) in table {
            let error = element.try_store(details, &content).await.unwrap_err();
            assert_eq!(error.code(), code, "{error}");
        }
        let declared = element
            .files
            .begin(author(), &details("a"), Some(2_000_001))
            .await
            .err()
            .unwrap();
        assert_eq!(declared.code(), ErrorCode::FileTooLarge);
        let element = element.restarted().await;
        assert_eq!(on_disk(element.root()), Vec::<PathBuf>::new());
        assert_eq!(element.files.index().pending().await.unwrap(), []);
        element.end().await;
    }
}

#[tokio::test]
async fn given_id_makes_an_upload_idempotent() {
    for element in Element::both().await {
        let id = Uuid::new_v4();
        let given = Details {
            file_id: Some(id),
            ..details("a.txt")
        };
        let Stored::Created(created) = element.try_store(given.clone(), b"one").await.unwrap() else {
            panic!("existing")
        };
        assert_eq!(created.file_id, id);
        assert_eq!(
            element.try_store(given.clone(), b"one").await.unwrap(),
            Stored::Existing(created.clone())
        );
        let error = element.try_store(given.clone(), b"two").await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::FileIdDuplicate);
        // The id may also come behind the content.
        let mut upload = element.files.begin(author(), &details("a.txt"), None).await.unwrap();
        upload.write(Bytes::from_static(b"two")).await.unwrap();
        assert_eq!(
            upload.finish(given).await.unwrap_err().code(),
            ErrorCode::FileIdDuplicate
        );
        let element = element.restarted().await;
        assert_eq!(element.read(id).await.unwrap(), b"one");
        assert_eq!(on_disk(element.root()).len(), 2);
        element.end().await;
    }
}

#[tokio::test]
async fn same_given_id_at_once_is_stored_once() {
    for element in Element::both().await {
        let given = Details {
            file_id: Some(Uuid::new_v4()),
            ..details("a.txt")
        };
        let uploads = (0..8).map(|_| element.try_store(given.clone(), b"same"));
        let results = futures::future::try_join_all(uploads).await.unwrap();
        assert_eq!(
            results
                .iter()
                .filter(|stored| matches!(stored, Stored::Created(_)))
                .count(),
            1
        );
        assert_eq!(on_disk(element.root()).len(), 2);
        element.end().await;
    }
}

#[tokio::test]
async fn update_changes_the_attr_file_and_the_row_alike() {
    for element in Element::both().await {
        let stored = element.store(b"content").await;
        let patch = Patch {
            description: Some(Some("new".into())),
            tags: Some(vec!["x".into()]),
            metadata: Some(BTreeMap::from([("k".into(), Some(MetadataValue::Bool(true)))])),
            ..Patch::default()
        };
        let updated = element.files.update(stored.file_id, patch, Some(1)).await.unwrap();
        assert_eq!((updated.revision, updated.description.as_deref()), (2, Some("new")));
        let stale = element.files.update(stored.file_id, Patch::default(), Some(1)).await;
        assert_eq!(stale.unwrap_err().code(), ErrorCode::PreconditionFailed);
        let large = Patch {
            version: Some(Some("x".repeat(5000))),
            ..Patch::default()
        };
        let refused = element.files.update(stored.file_id, large, None).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::ValidationError);
        let removed = Patch {
            description: Some(None),
            metadata: Some(BTreeMap::from([("k".into(), None)])),
            ..Patch::default()
        };
        let last = element.files.update(stored.file_id, removed, Some(2)).await.unwrap();
        assert_eq!(
            (last.revision, last.description.as_deref(), last.metadata.len()),
            (3, None, 0)
        );
        let element = element.restarted().await;
        assert_eq!(element.files.metadata(stored.file_id).await.unwrap(), last);
        let attributes = fs::read(element.root().join(format!("{}.attr.json", stored.storage_path))).unwrap();
        assert_eq!(crate::attr::decode(&attributes, &stored.storage_path).unwrap(), last);
        element.end().await;
    }
}

#[tokio::test]
async fn updates_at_once_each_take_a_revision() {
    for element in Element::both().await {
        let id = element.store(b"content").await.file_id;
        let updates = (0..20).map(|_| element.files.update(id, Patch::default(), None));
        let mut revisions: Vec<_> = futures::future::try_join_all(updates)
            .await
            .unwrap()
            .iter()
            .map(|file| file.revision)
            .collect();
        revisions.sort_unstable();
        assert_eq!(revisions, (2..=21).collect::<Vec<_>>());
        element.end().await;
    }
}

#[tokio::test]
async fn deleted_file_is_gone_and_gives_its_room_back() {
    for element in Element::both().await {
        let stored = element.store(b"content").await;
        assert_eq!(element.files.capacity().used_bytes, footprint(7));
        let stale = element.files.delete(stored.file_id, Some(5)).await;
        assert_eq!(stale.unwrap_err().code(), ErrorCode::PreconditionFailed);
        let open = element.files.content(stored.file_id).await.unwrap();
        element.files.delete(stored.file_id, None).await.unwrap();
        let chunks: Vec<Bytes> = open.read(0..7, None).await.unwrap().try_collect().await.unwrap();
        assert_eq!(chunks.concat(), b"content", "a download that runs goes on");
        for result in [
            element.files.delete(stored.file_id, None).await.err(),
            element.files.metadata(stored.file_id).await.err(),
            element.read(stored.file_id).await.err(),
        ] {
            assert_eq!(result.unwrap().code(), ErrorCode::NotFound);
        }
        assert_eq!(
            (element.files.capacity().used_bytes, on_disk(element.root()).len()),
            (0, 0)
        );
        element.end().await;
    }
}

#[tokio::test]
async fn temporary_files_expire_after_their_days_or_thirty() {
    let element = Element::over(TestDatabase::sqlite()).await;
    for (asked, days) in [(None, 30), (Some(1), 1), (Some(365), 365)] {
        let details = Details {
            retention_policy: RetentionPolicy::Temporary,
            ttl_days: asked,
            ..details("a.txt")
        };
        let Stored::Created(file) = element.try_store(details, b"abc").await.unwrap() else {
            panic!("it is new");
        };
        assert_eq!(file.ttl_days, Some(days));
        let after = file.expires_at.unwrap().duration_since(file.created_at);
        assert_eq!(after, jiff::SignedDuration::from_hours(24 * i64::from(days)));
    }
    element.end().await;
}
