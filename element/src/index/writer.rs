//! The one writer: changes made at the same time share a transaction, and so a flush (group commit, DeWitt et al.,
//! "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use element_api::FileMetadata;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::sql::{Sql, Statement};
use super::totals::Counted;
use super::{Backend, IndexError};
use crate::wal::WalRecord;

/// The most changes one transaction carries.
const BATCH: usize = 256;

/// What happens to a file's row.
#[derive(Clone, Debug)]
pub enum FileChange {
    /// Nothing.
    Keep,
    /// It becomes this.
    Put(Box<FileMetadata>),
    /// It goes, if it is still about the content at this path.
    Remove {
        /// The file.
        id: Uuid,
        /// Where its content was.
        storage_path: String,
    },
}

/// A log entry's new state and what goes with it, in one transaction.
#[derive(Clone, Debug)]
pub struct Change {
    /// The log entry.
    pub record: WalRecord,
    /// The file's row.
    pub file: FileChange,
}

enum Request {
    Change(Box<Change>, oneshot::Sender<Result<(), IndexError>>),
    Stop(oneshot::Sender<()>),
}

#[derive(Clone)]
pub(super) struct Writer {
    sender: mpsc::Sender<Request>,
}

impl Writer {
    pub(super) fn start(backend: Arc<dyn Backend>, sql: Arc<Sql>) -> Self {
        let (sender, receiver) = mpsc::channel(BATCH);
        tokio::spawn(run(backend, sql, receiver));
        Self { sender }
    }

    /// Returns when the change is durable.
    pub(super) async fn submit(&self, change: Change) -> Result<(), IndexError> {
        let (reply, answer) = oneshot::channel();
        self.sender
            .send(Request::Change(Box::new(change), reply))
            .await
            .map_err(|_| IndexError::Stopped)?;
        answer.await.map_err(|_| IndexError::Stopped)?
    }

    /// Returns when every change submitted before is done.
    pub(super) async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.sender.send(Request::Stop(reply)).await.is_ok() {
            // An error says that the writer is gone already, which is what was asked.
            let _ = answer.await;
        }
    }
}

async fn run(backend: Arc<dyn Backend>, sql: Arc<Sql>, mut receiver: mpsc::Receiver<Request>) {
    let mut requests = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut requests, BATCH).await > 0 {
        let (mut changes, mut replies, mut stops) = (Vec::new(), Vec::new(), Vec::new());
        for request in requests.drain(..) {
            match request {
                Request::Change(change, reply) => {
                    changes.push(*change);
                    replies.push(reply);
                }
                Request::Stop(reply) => stops.push(reply),
            }
        }
        for (result, reply) in commit(backend.as_ref(), &sql, &changes).await.into_iter().zip(replies) {
            // The caller may have gone; the change stands all the same.
            let _ = reply.send(result);
        }
        if !stops.is_empty() {
            receiver.close();
            for stop in stops {
                // Whoever asked may have gone.
                let _ = stop.send(());
            }
        }
    }
}

/// Commits all together; when the database refuses the batch for its content, each on its own, so that one bad change fails
/// alone.
async fn commit(backend: &dyn Backend, sql: &Sql, changes: &[Change]) -> Vec<Result<(), IndexError>> {
    let together = transact(backend, sql, changes).await;
    if changes.len() < 2 || !matches!(together, Err(IndexError::Statement(_) | IndexError::Fenced)) {
        return vec![together; changes.len()];
    }
    let mut results = Vec::with_capacity(changes.len());
    for change in changes {
        results.push(transact(backend, sql, std::slice::from_ref(change)).await);
    }
    results
}

async fn transact(backend: &dyn Backend, sql: &Sql, changes: &[Change]) -> Result<(), IndexError> {
    if changes.is_empty() {
        return Ok(());
    }
    backend
        .transact(&statements(sql, changes)?)
        .await
        .map_err(IndexError::of_fenced)
}

/// The last change of an entry or a file wins: a statement must not touch a row twice. Rows that go do so before others come.
pub(super) fn statements(sql: &Sql, changes: &[Change]) -> Result<Vec<Statement>, IndexError> {
    let (mut records, mut put, mut gone) = (BTreeMap::new(), BTreeMap::<Uuid, FileMetadata>::new(), Vec::new());
    for change in changes {
        records.insert(change.record.transaction_id, change.record.clone());
        match &change.file {
            FileChange::Keep => {}
            FileChange::Put(file) => drop(put.insert(file.file_id, file.as_ref().clone())),
            FileChange::Remove { id, storage_path } => {
                if put.get(id).is_some_and(|file| file.storage_path == *storage_path) {
                    put.remove(id);
                }
                gone.push((*id, storage_path.clone()));
            }
        }
    }
    let records: Vec<_> = records.into_values().collect();
    if gone.is_empty() {
        let files: Vec<_> = put.values().cloned().collect();
        if let Some(statement) = sql.together(&records, &files)? {
            return Ok(vec![statement]);
        }
    }
    let ids: BTreeSet<Uuid> = gone.iter().map(|(id, _)| *id).chain(put.keys().copied()).collect();
    let mut rows = Vec::new();
    if !gone.is_empty() {
        rows.push(sql.remove_files(&gone));
    }
    if !put.is_empty() {
        rows.push(sql.put_files(&put.into_values().collect::<Vec<_>>())?);
    }
    let mut statements = vec![sql.put_wal(&records)?];
    statements.extend(sql.counted(Counted::Files, &ids.into_iter().collect::<Vec<_>>(), rows));
    Ok(statements)
}
