//! Several servers over one store: recovery from every state the protocol can leave in a bucket, and operations that were taken over.

use bytes::Bytes;
use element_api::{ErrorCode, FileMetadata};
use futures::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::{Details, Settings, author, details};
use crate::files::unsettled::Bytes as Room;
use crate::files::{Files, Stored};
use crate::index::tests::{TestDatabase, file, put};
use crate::store::conformance::servers::versitygw_config;
use crate::store::{S3Config, StoreConfig};
use crate::wal::{OperationType, Wal, WalRecord};

fn settings(store: StoreConfig) -> Settings {
    Settings {
        store,
        max_size: None,
        max_file_size: 100_000_000,
        instance_id: format!("test/{}", Uuid::now_v7()),
    }
}

/// The bucket as it is without us.
struct Raw {
    client: AmazonS3,
    folder: String,
}

impl Raw {
    fn new(config: &S3Config) -> Self {
        let client = AmazonS3Builder::new()
            .with_endpoint(config.endpoint.as_ref().unwrap())
            .with_allow_http(true)
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_access_key_id(config.access_key_id.expose_secret())
            .with_secret_access_key(config.secret_access_key.expose_secret());
        Self {
            client: client.build().unwrap(),
            folder: config.folder.clone(),
        }
    }

    fn key(&self, path: &str) -> Path {
        Path::parse(format!("{}/{path}", self.folder)).unwrap()
    }

    async fn put(&self, path: &str, bytes: &[u8]) {
        self.client.put(&self.key(path), bytes.to_vec().into()).await.unwrap();
    }

    async fn objects(&self) -> usize {
        let prefix = Path::parse(&self.folder).unwrap();
        let found: Vec<_> = self.client.list(Some(&prefix)).try_collect().await.unwrap();
        found.len()
    }
}

/// What a crash left, and whether the file must stand afterwards.
struct State {
    name: &'static str,
    operation: OperationType,
    /// Multipart uploads that were begun and not completed.
    uploads: usize,
    /// The id came behind the content, which stands where it was planned.
    planned: bool,
    content: bool,
    attributes: bool,
    row: bool,
    stands: bool,
}

const fn state(name: &'static str, operation: OperationType) -> State {
    State {
        name,
        operation,
        uploads: 0,
        planned: false,
        content: false,
        attributes: false,
        row: false,
        stands: false,
    }
}

const STATES: [State; 11] = [
    state("create: log entry only", OperationType::FileCreate),
    State {
        uploads: 1,
        ..state("create: parts sent", OperationType::FileCreate)
    },
    State {
        uploads: 2,
        ..state("create: begun twice, one unheard of", OperationType::FileCreate)
    },
    State {
        planned: true,
        ..state("create: completed where it was planned", OperationType::FileCreate)
    },
    State {
        planned: true,
        content: true,
        ..state("create: copied to its place", OperationType::FileCreate)
    },
    State {
        content: true,
        ..state("create: content in its place", OperationType::FileCreate)
    },
    State {
        content: true,
        attributes: true,
        stands: true,
        ..state("create: attributes put", OperationType::FileCreate)
    },
    State {
        content: true,
        attributes: true,
        row: true,
        stands: true,
        ..state("update: any", OperationType::FileUpdate)
    },
    State {
        content: true,
        attributes: true,
        row: true,
        stands: true,
        ..state("delete: log entry only", OperationType::FileDelete)
    },
    State {
        content: true,
        row: true,
        ..state("delete: attributes removed", OperationType::FileDelete)
    },
    State {
        row: true,
        ..state("delete: all removed", OperationType::FileDelete)
    },
];

#[tokio::test]
async fn every_state_a_bucket_can_be_left_in_is_finished_or_undone() {
    for state in &STATES {
        let (database, config) = (TestDatabase::postgres().await, versitygw_config());
        let (index, raw, file) = (database.migrated().await, Raw::new(&config), file(1));
        if state.row {
            put(&index, &file).await;
        }
        let wal = Wal::new(index.clone(), "crashed".into());
        let mut record = wal.record(state.operation, file.file_id, &file.storage_path);
        if state.planned {
            record.operation_data.storage_path = "2023/11/14/22/planned".into();
            raw.put("2023/11/14/22/planned", b"content").await;
            record.operation_data.move_to(&file.storage_path);
        }
        wal.put(&record).await.unwrap();
        for _ in 0..state.uploads {
            let key = raw.key(&file.storage_path);
            let id = raw.client.create_multipart(&key).await.unwrap();
            raw.client.put_part(&key, &id, 0, vec![7; 100].into()).await.unwrap();
        }
        if state.content {
            raw.put(&file.storage_path, b"content").await;
        }
        if state.attributes {
            let attributes = crate::attr::encode(&file).unwrap();
            raw.put(&format!("{}.attr.json", file.storage_path), &attributes).await;
        }
        for round in 0..2 {
            let files = Files::open(
                settings(StoreConfig::S3(config.clone())),
                database.open("storage_elem_01_"),
            )
            .await
            .unwrap();
            let found = files.metadata(file.file_id).await;
            assert_eq!(found.is_ok(), state.stands, "{} round {round}: {found:?}", state.name);
            assert_eq!(raw.objects().await, if state.stands { 2 } else { 0 }, "{}", state.name);
            assert_eq!(files.inner.store.leftovers().await.unwrap(), [], "{}", state.name);
            assert_eq!(files.index().pending().await.unwrap(), [], "{}", state.name);
            let rows = files.index().stats().await.unwrap().files;
            assert_eq!(rows, u64::from(state.stands), "{}", state.name);
            files.shutdown().await;
        }
        index.close().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn upload_without_an_entry_is_swept_and_one_that_runs_is_not() {
    let (database, config) = (TestDatabase::postgres().await, versitygw_config());
    let raw = Raw::new(&config);
    let open = async || {
        Files::open(settings(StoreConfig::S3(config.clone())), database.migrated().await)
            .await
            .unwrap()
    };
    let one = open().await;
    let mut upload = one.begin(author(), &details("a.bin"), None).await.unwrap();
    for _ in 0..24 {
        upload.write(Bytes::from(vec![7; 1 << 20])).await.unwrap();
    }
    let nobodys = raw.key("2020/01/01/00/nobodys");
    raw.client.create_multipart(&nobodys).await.unwrap();
    let other = open().await;
    let left = other.inner.store.leftovers().await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    let Stored::Created(stored) = upload.finish(details("a.bin")).await.unwrap() else {
        panic!("existing")
    };
    assert_eq!(stored.file_size, 24 << 20);
    assert_eq!(other.metadata(stored.file_id).await.unwrap(), stored);
    one.shutdown().await;
    other.shutdown().await;
    database.drop().await;
}

#[tokio::test]
async fn upload_another_server_took_over_is_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let volume = StoreConfig::Local {
        root: folder.path().to_path_buf(),
        shared: true,
    };
    for store in [volume, StoreConfig::S3(versitygw_config())] {
        let database = TestDatabase::postgres().await;
        let mut slow = settings(store.clone());
        slow.instance_id = "slow".into();
        let slow = Files::open(slow, database.migrated().await).await.unwrap();
        let other = Files::open(settings(store), database.migrated().await).await.unwrap();
        let mut upload = slow.begin(author(), &details("a.txt"), None).await.unwrap();
        upload.write(Bytes::from_static(b"content")).await.unwrap();
        // As if it had been stopped for longer than its lease.
        let is_slow = |record: &WalRecord| record.instance_id == "slow";
        while other.index().pending().await.unwrap().iter().any(is_slow) {
            other.index().let_expire("slow").await;
            other.inner.recover_left_over().await.unwrap();
        }
        let error = upload.finish(details("a.txt")).await.unwrap_err();
        // When the other removes its temporary files under it, or only when it is told that the entry is not its own.
        let told = [ErrorCode::Unavailable, ErrorCode::InternalError];
        assert!(told.contains(&error.code()), "{error:?}");
        slow.inner.retry_unsettled().await;
        assert_eq!(slow.inner.unsettled.all(), []);
        // Nobody was told of it; what there is, if anything, is whole, once the other has ended what it took over.
        super::eventually("row and content are both there, or neither", async || {
            let rows = slow.index().stats().await.unwrap().files;
            let pending = slow.index().pending().await.unwrap();
            pending.is_empty() && (rows == 0) == slow.inner.store.is_empty().await.unwrap()
        })
        .await;
        assert_eq!(slow.inner.store.leftovers().await.unwrap(), []);
        slow.shutdown().await;
        other.shutdown().await;
        database.drop().await;
    }
}

#[tokio::test]
async fn file_whose_row_is_still_to_come_is_found_by_every_server() {
    let (database, config) = (TestDatabase::postgres().await, versitygw_config());
    let open = async || {
        Files::open(settings(StoreConfig::S3(config.clone())), database.migrated().await)
            .await
            .unwrap()
    };
    let (one, other) = (open().await, open().await);
    // What is left when the database takes an entry and then not its end: the file stands and was acknowledged.
    let file = FileMetadata {
        checksum: "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73".to_owned(),
        ..file(1)
    };
    let record = one
        .inner
        .begin(OperationType::FileCreate, file.file_id, &file.storage_path);
    let record = record.await.unwrap();
    let raw = Raw::new(&config);
    raw.put(&file.storage_path, b"content").await;
    let attributes = crate::attr::encode(&file).unwrap();
    raw.put(&format!("{}.attr.json", file.storage_path), &attributes).await;
    one.inner.unsettled.keep(record, Room::AsCounted);
    assert_eq!(other.metadata(file.file_id).await.unwrap(), file);
    let again = Details {
        file_id: Some(file.file_id),
        ..details("a.txt")
    };
    let mut upload = other.begin(author(), &again, None).await.unwrap();
    upload.write(Bytes::from_static(b"other content")).await.unwrap();
    let refused = upload.finish(again).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::FileIdDuplicate);
    one.inner.retry_unsettled().await;
    assert_eq!(other.index().get(file.file_id).await.unwrap(), Some(file));
    one.shutdown().await;
    other.shutdown().await;
    database.drop().await;
}
