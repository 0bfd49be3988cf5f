//! Turns: whoever changes a file, or the mode, has it alone, among the tasks of this server and, where the store is shared, among servers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

use super::{FileError, Inner};
use crate::index::Lease;

/// Files that share a turn wait for each other without need; with this many that is rare.
const TURNS: usize = 256;

/// How long to wait for another server, and how often to ask.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// The turns of one server.
pub(super) struct Turns {
    turns: Vec<Arc<Mutex<()>>>,
    mode: Arc<Mutex<()>>,
}

/// A file that is nobody else's until this is dropped.
pub(crate) struct Turn {
    here: Option<OwnedMutexGuard<()>>,
    everywhere: Option<Lease>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let (Some(lease), Ok(runtime)) = (self.everywhere.take(), tokio::runtime::Handle::try_current()) {
            let here = self.here.take();
            // The next task here comes only when the lease is free, instead of asking for it over and over.
            runtime.spawn(async move {
                lease.release().await;
                drop(here);
            });
        }
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            turns: std::iter::repeat_with(Arc::default).take(TURNS).collect(),
            mode: Arc::default(),
        }
    }
}

impl Turns {
    async fn wait(&self, id: Uuid) -> Option<OwnedMutexGuard<()>> {
        let turn = usize::try_from(id.as_u128() % (TURNS as u128)).unwrap_or_default();
        match self.turns.get(turn) {
            Some(turn) => Some(Arc::clone(turn).lock_owned().await),
            None => None,
        }
    }
}

impl Inner {
    /// Waits until nobody else changes the file.
    ///
    /// # Errors
    /// When another server keeps it for long, or the database that knows is away.
    pub(super) async fn turn(&self, id: Uuid) -> Result<Turn, FileError> {
        let here = self.turns.wait(id).await;
        self.turn_everywhere(here, &format!("file/{id}")).await
    }

    /// Waits until nobody else changes the mode.
    ///
    /// # Errors
    /// As for a file.
    pub(super) async fn mode_turn(&self) -> Result<Turn, FileError> {
        let here = Arc::clone(&self.turns.mode).lock_owned().await;
        self.turn_everywhere(Some(here), "mode").await
    }

    async fn turn_everywhere(&self, here: Option<OwnedMutexGuard<()>>, name: &str) -> Result<Turn, FileError> {
        if self.instance.is_alone() {
            return Ok(Turn { here, everywhere: None });
        }
        let asking = async {
            loop {
                if let Some(lease) = self.instance.lease(name).await? {
                    return Ok::<Lease, FileError>(lease);
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(lease) => Ok(Turn {
                here,
                everywhere: Some(lease?),
            }),
            Err(_) => Err(FileError::Contended {
                what: name.replace('/', " "),
            }),
        }
    }

    /// Waits until no task of this server changes the file. Enough for a file whose id no other server can know.
    pub(super) async fn turn_here(&self, id: Uuid) -> Turn {
        Turn {
            here: self.turns.wait(id).await,
            everywhere: None,
        }
    }
}
