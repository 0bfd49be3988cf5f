//! What every store must do, run over each: a folder, a shared folder, and a bucket of two different S3 servers.

mod care;
pub(crate) mod servers;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use element_api::FileMetadata;
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Found, Leftover, Parts, Spool, Spooled, Store, hex};
use crate::attr;

const MIB: usize = 1 << 20;

/// Bytes in which a shift or a swap shows.
fn content(size: usize) -> Vec<u8> {
    (0..size)
        .map(|number| (number % 251) as u8 ^ (number >> 16) as u8)
        .collect()
}

fn path(name: &str) -> String {
    format!("2026/11/22/09/{name}")
}

async fn fill(spool: &mut dyn Spool, content: &[u8]) {
    for chunk in content.chunks(100_000) {
        spool.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    assert_eq!(spool.size(), content.len() as u64);
    assert!(spool.written() <= spool.size());
}

/// Stores content with attributes of any bytes.
async fn put(store: &dyn Store, path: &str, content: &[u8], attributes: &[u8]) {
    let mut spool = store.spool(Uuid::now_v7(), path);
    fill(spool.as_mut(), content).await;
    let spooled = spool.seal().await.unwrap();
    let expected = Spooled {
        size: content.len() as u64,
        checksum: hex(&Sha256::digest(content)),
    };
    assert_eq!(spooled, expected);
    spool.publish(path, attributes.to_vec()).await.unwrap();
}

async fn read(store: &dyn Store, path: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
    let chunks: Vec<Bytes> = store
        .open_content(path)
        .await?
        .read(range, None)
        .await?
        .try_collect()
        .await?;
    Ok(chunks.concat())
}

async fn stands(store: &dyn Store, path: &str) -> (bool, bool) {
    let Parts { content, attributes } = store.parts(path).await.unwrap();
    (content, attributes)
}

async fn walked(store: &dyn Store) -> Vec<Found> {
    let (mut receiver, walk) = store.walk(None);
    let mut found = Vec::new();
    while let Some(item) = receiver.recv().await {
        found.push(item);
    }
    walk.await.unwrap().unwrap();
    found
}

/// Every case, over one empty store after the other.
async fn conforms(store: Arc<dyn Store>) {
    let store = store.as_ref();
    starts_empty(store).await;
    is_empty_again_when_its_last_file_is_gone(store).await;
    content_of_every_size_is_read_back(store).await;
    names_of_every_kind_are_kept(store).await;
    attributes_are_replaced_and_files_removed(store).await;
    content_is_no_file_before_it_is_published(store).await;
    upload_published_elsewhere_leaves_nothing_where_it_was_planned(store).await;
    what_is_missing_is_said_to_be(store).await;
    path_that_leads_out_is_refused(store).await;
    files_are_found_by_id_and_by_walking(store).await;
    care::conforms(store).await;
}

async fn starts_empty(store: &dyn Store) {
    assert!(store.is_empty().await.unwrap());
    assert!(walked(store).await.is_empty());
    assert_eq!(store.leftovers().await.unwrap(), []);
    let space = store.space().unwrap();
    assert!(space.total > 0 && space.available > 0);
}

async fn is_empty_again_when_its_last_file_is_gone(store: &dyn Store) {
    let path = path("passing");
    put(store, &path, b"content", b"{}").await;
    assert!(!store.is_empty().await.unwrap());
    store.remove(&path).await.unwrap();
    assert!(store.is_empty().await.unwrap());
}

async fn content_of_every_size_is_read_back(store: &dyn Store) {
    let blocks = [0, 1, 262_143, 262_144, 262_145];
    let parts = [5 * MIB + 1, 20 * MIB, 20 * MIB + 1, 25 * MIB, 25 * MIB + 1];
    for size in blocks.into_iter().chain(parts) {
        let (path, content) = (path(&format!("size-{size}")), content(size));
        put(store, &path, &content, b"{}").await;
        assert_eq!(read(store, &path, 0..size as u64).await.unwrap(), content, "{size}");
        assert_eq!(
            store.attributes(&path).await.unwrap().as_deref(),
            Some(b"{}".as_slice())
        );
        store.confirm(&path).await.unwrap();
        for range in [0..1, 1..size / 2, size / 3..size, size.saturating_sub(1)..size] {
            if range.end <= size && range.start < range.end {
                let part = read(store, &path, range.start as u64..range.end as u64).await.unwrap();
                assert_eq!(part, content[range.clone()], "{size} {range:?}");
            }
        }
    }
    assert_eq!(store.leftovers().await.unwrap(), []);
}

async fn names_of_every_kind_are_kept(store: &dyn Store) {
    for name in [
        "Отчёт за 2026 год.pdf",
        "a b+c%2F&=#;@!$'(),~.txt",
        "レポート 🗂️",
        "no-extension",
    ] {
        let path = path(name);
        put(store, &path, name.as_bytes(), b"{\"a\":1}").await;
        let size = name.len() as u64;
        assert_eq!(read(store, &path, 0..size).await.unwrap(), name.as_bytes(), "{name}");
        assert_eq!(stands(store, &path).await, (true, true), "{name}");
        store.remove(&path).await.unwrap();
        assert_eq!(stands(store, &path).await, (false, false), "{name}");
    }
}

async fn attributes_are_replaced_and_files_removed(store: &dyn Store) {
    let path = path("changing");
    put(store, &path, b"content", b"one").await;
    store
        .replace_attributes(Uuid::now_v7(), &path, b"two".to_vec())
        .await
        .unwrap();
    assert_eq!(
        store.attributes(&path).await.unwrap().as_deref(),
        Some(b"two".as_slice())
    );
    assert_eq!(read(store, &path, 0..7).await.unwrap(), b"content");
    for _ in 0..2 {
        store.remove(&path).await.unwrap();
        assert_eq!(stands(store, &path).await, (false, false));
        assert_eq!(store.attributes(&path).await.unwrap(), None);
    }
}

async fn content_is_no_file_before_it_is_published(store: &dyn Store) {
    for (size, how) in [
        (300_000, "abandoned"),
        (24 * MIB, "abandoned"),
        (300_000, "lost"),
        (24 * MIB, "lost"),
    ] {
        let (path, transaction) = (path(&format!("{how}-{size}")), Uuid::now_v7());
        let mut spool = store.spool(transaction, &path);
        fill(spool.as_mut(), &content(size)).await;
        spool.seal().await.unwrap();
        assert_eq!(store.attributes(&path).await.unwrap(), None);
        assert_eq!(stands(store, &path).await, (false, false));
        for leftover in store.leftovers().await.unwrap() {
            assert!(leftover.belongs_to(transaction, [&path, &path]), "{leftover:?}");
            assert!(!leftover.belongs_to(Uuid::now_v7(), ["2026/11/22/09/another"; 2]));
        }
        if how == "abandoned" {
            spool.abandon().await.unwrap();
        } else {
            // As recovery does for a server that was killed.
            drop(spool);
            store.discard(transaction, &path, &path).await.unwrap();
        }
        assert_eq!(store.leftovers().await.unwrap(), [], "{how} {size}");
        assert_eq!(stands(store, &path).await, (false, false));
    }
    let mut spool = store.spool(Uuid::now_v7(), &path("swept"));
    fill(spool.as_mut(), &content(22 * MIB)).await;
    spool.seal().await.unwrap();
    drop(spool);
    for leftover in store.leftovers().await.unwrap() {
        store.clear(&leftover).await.unwrap();
    }
    assert_eq!(store.leftovers().await.unwrap(), []);
}

async fn upload_published_elsewhere_leaves_nothing_where_it_was_planned(store: &dyn Store) {
    for size in [1000, 22 * MIB] {
        let (planned, path) = (path(&format!("planned-{size}")), path(&format!("given-{size}")));
        let mut spool = store.spool(Uuid::now_v7(), &planned);
        fill(spool.as_mut(), &content(size)).await;
        spool.seal().await.unwrap();
        spool.publish(&path, b"{}".to_vec()).await.unwrap();
        assert_eq!(stands(store, &planned).await, (false, false), "{size}");
        assert_eq!(read(store, &path, 0..size as u64).await.unwrap(), content(size));
    }
}

async fn what_is_missing_is_said_to_be(store: &dyn Store) {
    let path = path("missing");
    assert_eq!(store.attributes(&path).await.unwrap(), None);
    assert_eq!(
        read(store, &path, 0..1).await.unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    store.discard(Uuid::now_v7(), &path, &path).await.unwrap();
    store.remove(&path).await.unwrap();
    let mut spool = store.spool(Uuid::now_v7(), &path);
    spool.seal().await.unwrap();
    assert!(spool.write(Bytes::from_static(b"late")).await.is_err());
    spool.abandon().await.unwrap();
}

async fn path_that_leads_out_is_refused(store: &dyn Store) {
    for path in ["../outside", "2026/../../outside", "/etc/passwd"] {
        assert!(store.attributes(path).await.is_err(), "{path}");
        assert!(store.remove(path).await.is_err(), "{path}");
        assert!(read(store, path, 0..1).await.is_err(), "{path}");
        assert!(store.parts(path).await.is_err(), "{path}");
    }
}

async fn files_are_found_by_id_and_by_walking(store: &dyn Store) {
    let mut files: Vec<FileMetadata> = (1..=3).map(crate::index::tests::file).collect();
    for file in &mut files {
        file.storage_filename = format!("a_user_20261122T090807_{}.txt", file.file_id);
        file.storage_path = path(&file.storage_filename);
        put(store, &file.storage_path, b"content", &attr::encode(file).unwrap()).await;
    }
    assert!(!store.is_empty().await.unwrap());
    for file in &files {
        let found = store.locate(file.file_id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&file.storage_path));
    }
    assert_eq!(store.locate(Uuid::new_v4()).await.unwrap(), None);
    assert_eq!(store.locate(Uuid::now_v7()).await.unwrap(), None);
    let mut found: Vec<FileMetadata> = walked(store)
        .await
        .into_iter()
        .filter_map(|found| match found {
            Found::File(file) => Some(*file),
            // What the cases before stored has attributes of any kind.
            Found::Broken { .. } => None,
            Found::Orphan { path } => panic!("{path} has no attributes"),
        })
        .collect();
    found.sort_by_key(|file| file.file_id);
    files.sort_by_key(|file| file.file_id);
    assert_eq!(found, files);
}

#[tokio::test]
async fn folder_conforms() {
    for shared in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        conforms(servers::folder(folder.path(), shared).await).await;
    }
}

#[tokio::test]
async fn bucket_of_versitygw_conforms() {
    let store = servers::versitygw().await;
    conforms(Arc::clone(&store)).await;
    // That it lists what was not completed is what the cases rest on.
    let mut spool = store.spool(Uuid::now_v7(), "2026/11/22/09/listed");
    fill(spool.as_mut(), &content(22 * MIB)).await;
    spool.seal().await.unwrap();
    let left = store.leftovers().await.unwrap();
    assert!(matches!(left.as_slice(), [Leftover::Multipart { .. }]), "{left:?}");
    spool.abandon().await.unwrap();
}

#[tokio::test]
async fn bucket_of_s3s_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms(servers::s3s(folder.path()).await).await;
}
