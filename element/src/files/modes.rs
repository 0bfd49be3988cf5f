//! Keeping the element's mode with its files. A change goes through the log like any other write, so that one which a crash cut
//! short is known for what it became; servers that share the store change it one at a time.

use element_api::ModeState;

use super::turn::Turn;
use super::unsettled::Bytes;
use super::{FileError, Files, Inner, OwnStore};
use crate::index::FileChange;
use crate::store::{MODE_NOTE, Store};
use crate::wal::Status;

impl Files {
    /// Whether no other server may use the same store.
    pub(crate) fn is_alone(&self) -> bool {
        self.inner.instance.is_alone()
    }

    /// Waits until nobody else changes the mode.
    ///
    /// # Errors
    /// When another server keeps it for long, or the database that knows is away.
    pub(crate) async fn mode_turn(&self) -> Result<Turn, FileError> {
        self.inner.mode_turn().await
    }

    /// The mode that was last kept; none where none ever was.
    ///
    /// # Errors
    /// When the store is away, or what it holds is no mode.
    pub(crate) async fn kept_mode(&self) -> Result<Option<ModeState>, FileError> {
        kept_mode(self.inner.store.as_ref()).await
    }

    /// Keeps the state of a mode that stays as it is.
    ///
    /// # Errors
    /// When the store does not take it.
    pub(crate) async fn keep_mode(&self, state: &ModeState) -> Result<(), FileError> {
        self.writable()?;
        self.inner.keep_mode(state).await
    }

    /// Keeps the state of a mode that is another from now on.
    ///
    /// # Errors
    /// When log or store do not take it. Which mode is kept then is not known, until it is read again.
    pub(crate) async fn change_mode(&self, state: &ModeState) -> Result<(), FileError> {
        self.writable()?;
        let inner = &self.inner;
        // A mode file is looked at every second: an entry each time the database is away would be many.
        inner.index.ping().await?;
        let record = inner.begun(inner.wal.mode_record(state.mode)).await?;
        if let Err(error) = inner.keep_mode(state).await {
            inner.unsettled.keep(record, Bytes::AsCounted);
            return Err(error);
        }
        let settling = inner.wal.settle(&record, Status::Committed, FileChange::Keep, None);
        inner.settle_or_keep(record.clone(), settling).await
    }
}

impl OwnStore {
    /// As [`Files::kept_mode`].
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn kept_mode(&self) -> Result<Option<ModeState>, FileError> {
        kept_mode(self.store.as_ref()).await
    }
}

async fn kept_mode(store: &dyn Store) -> Result<Option<ModeState>, FileError> {
    let reading = "read the mode that was kept";
    let bytes = store.note(MODE_NOTE).await.map_err(FileError::storage(reading))?;
    bytes
        .map(|bytes| serde_json::from_slice(&bytes))
        .transpose()
        .map_err(|error| FileError::storage(reading)(error.into()))
}

impl Inner {
    async fn keep_mode(&self, state: &ModeState) -> Result<(), FileError> {
        let keeping = "keep the mode";
        let bytes = serde_json::to_vec_pretty(state).map_err(|error| FileError::storage(keeping)(error.into()))?;
        let kept = self.store.keep_note(MODE_NOTE, bytes).await;
        kept.map_err(FileError::storage(keeping))
    }
}
