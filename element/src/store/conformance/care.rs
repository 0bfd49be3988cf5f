//! The cases of the care for files: a look, reading whole, quarantine, notes, and a walk that goes on.

use std::io;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{MIB, content, path, put, stands, walked};
use crate::store::{Found, Look, Spooled, Store, hex};

/// Every case, over a store that holds files.
pub(super) async fn conforms(store: &dyn Store) {
    parts_are_seen_each_for_itself(store).await;
    content_is_read_whole_a_piece_at_a_time(store).await;
    file_is_moved_into_quarantine_once(store).await;
    walk_goes_on_behind_any_place(store).await;
    notes_are_kept_and_are_no_files(store).await;
    notes_are_not_cleared_away_while_they_are_written(store).await;
}

async fn parts_are_seen_each_for_itself(store: &dyn Store) {
    let seen = path("seen");
    let nothing = Look {
        content: None,
        attributes: None,
    };
    assert_eq!(store.look(&seen).await.unwrap(), nothing);
    put(store, &seen, b"content", b"{}").await;
    let both = Look {
        content: Some(7),
        attributes: Some(b"{}".to_vec()),
    };
    assert_eq!(store.look(&seen).await.unwrap(), both);
    let error = store.look("../outside").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    store.remove(&seen).await.unwrap();
}

async fn content_is_read_whole_a_piece_at_a_time(store: &dyn Store) {
    for size in [0, 1, MIB, 3 * MIB + 1] {
        let (path, content) = (path("scanned"), content(size));
        put(store, &path, &content, b"{}").await;
        let mut scan = store.scan(&path).await.unwrap();
        let mut read = 0;
        loop {
            match scan.step().await.unwrap() {
                0 => break,
                piece => read += piece,
            }
        }
        let expected = Spooled {
            size: size as u64,
            checksum: hex(&Sha256::digest(&content)),
        };
        assert_eq!((read, scan.finish().unwrap()), (size as u64, expected));
        store.remove(&path).await.unwrap();
    }
    let missing = store.scan(&path("missing")).await.err().unwrap();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

async fn file_is_moved_into_quarantine_once(store: &dyn Store) {
    let (damaged, transaction) = (path("Отчёт (damaged).pdf"), Uuid::now_v7());
    assert_eq!(store.quarantined().await.unwrap(), 0);
    put(store, &damaged, b"damaged", b"{}").await;
    // Again, as recovery does when it does not know that it was done.
    for _ in 0..2 {
        store.quarantine(transaction, &damaged).await.unwrap();
        assert_eq!(stands(store, &damaged).await, (false, false));
        assert_eq!(store.quarantined().await.unwrap(), 9);
    }
    // Another file may stand there again, and go the same way.
    put(store, &damaged, b"damaged", b"{}").await;
    store.quarantine(Uuid::now_v7(), &damaged).await.unwrap();
    assert_eq!(store.quarantined().await.unwrap(), 18);
    let walked = walked(store).await;
    assert!(
        walked.iter().all(|found| !found.path().contains("quarantine")),
        "{walked:?}"
    );
}

async fn walk_goes_on_behind_any_place(store: &dyn Store) {
    let places: Vec<String> = walked(store).await.iter().map(Found::path).collect();
    assert!(places.len() > 5, "{places:?}");
    for (position, place) in places.iter().enumerate() {
        let (mut rest, walk) = store.walk(Some(place.clone()));
        let mut found = Vec::new();
        while let Some(item) = rest.recv().await {
            found.push(item.path());
        }
        walk.await.unwrap().unwrap();
        assert_eq!(found, places[position + 1..], "behind {place}");
    }
}

async fn notes_are_not_cleared_away_while_they_are_written(store: &dyn Store) {
    let writing = async {
        for number in 0..50 {
            store.keep_note("busy.json", number.to_string().into()).await.unwrap();
        }
    };
    let clearing = async {
        loop {
            for left in store.leftovers().await.unwrap() {
                store.clear(&left).await.unwrap();
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = clearing => {}
    }
    assert_eq!(
        store.note("busy.json").await.unwrap().as_deref(),
        Some(b"49".as_slice())
    );
}

async fn notes_are_kept_and_are_no_files(store: &dyn Store) {
    let before = walked(store).await.len();
    assert_eq!(store.note("conformance.json").await.unwrap(), None);
    for text in ["one", "two"] {
        store.keep_note("conformance.json", text.into()).await.unwrap();
        assert_eq!(
            store.note("conformance.json").await.unwrap().as_deref(),
            Some(text.as_bytes())
        );
    }
    assert_eq!(walked(store).await.len(), before);
}
