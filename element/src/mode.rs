//! The element's mode: kept durably with its files, changed along `Mode::transition_to` and nowhere else.
//!
//! What a start takes: what was last kept, else the configured mode; with a mode file, a higher generation in the file comes first.
//! Servers that share a store share the mode: one changes it at a time, and the others follow. What follows from a wish is decided
//! in [`step`]. Knows nothing of HTTP: callers say who asks, and get a typed refusal.

pub(crate) mod file;
pub(crate) mod follow;
mod step;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use element_api::{Mode, ModeState};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::{Mutex, watch};

use self::file::{ModeFile, ModeFileError};
pub(crate) use self::step::{TransitionError, Wish};
use crate::files::{Chain, FileError, Files};

/// Where the mode is found before the files are opened.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// In this file of the storage folder.
    In(PathBuf),
    /// In a store that is yet to be reached.
    Elsewhere,
}

/// Why the modes cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum OpenModeError {
    #[error("failed to read {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to understand {path:?}; restore it, or remove it to start again from APP_MODE")]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("APP_MODE_FILE is not usable, and no mode was kept before")]
    File(#[source] ModeFileError),
}

/// What the mode file last asked for and did not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Refused {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<i64>,
    pub(crate) reason: String,
}

/// What became of the mode file when it was last looked at.
#[derive(Debug, Default, PartialEq)]
enum Looked {
    /// It asks for nothing that is not so.
    #[default]
    Fine,
    Refused(Refused),
    /// It could not be kept now, and is tried again.
    PutOff,
}

/// The mode and its history, shared by all of the server.
pub(crate) struct Modes {
    file: Option<PathBuf>,
    state: watch::Sender<ModeState>,
    looked: RwLock<Looked>,
    /// Held while a change is made, so that changes happen one after the other.
    changing: Mutex<()>,
}

impl Modes {
    /// Takes the mode that was last kept on this machine, or else a first one, which [`Modes::take_over`] keeps. Where it is kept
    /// elsewhere, [`Modes::found`] tells before anything is read or written. Blocks on the disk.
    pub(crate) fn open(kept: &Kept, configured: Mode, file: Option<PathBuf>) -> Result<Self, OpenModeError> {
        let configured = ModeFile {
            mode: configured,
            generation: 0,
        };
        let state = match (read_kept(kept)?, &file) {
            (Some(kept), _) => kept,
            (None, Some(file)) if matches!(kept, Kept::In(_)) => step::first_state(read_first(file)?),
            (None, _) => step::first_state(configured),
        };
        Ok(Self {
            file,
            state: watch::Sender::new(state),
            looked: RwLock::default(),
            changing: Mutex::new(()),
        })
    }

    pub(crate) fn current(&self) -> Mode {
        self.state.borrow().mode
    }

    pub(crate) fn state(&self) -> ModeState {
        self.state.borrow().clone()
    }

    /// Wakes whenever the mode changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<ModeState> {
        self.state.subscribe()
    }

    /// Whether a mode file rules.
    pub(crate) const fn is_managed(&self) -> bool {
        self.file.is_some()
    }

    /// What the mode file asked for and did not get.
    pub(crate) fn refused(&self) -> Option<Refused> {
        match &*self.looked.read().unwrap_or_else(PoisonError::into_inner) {
            Looked::Refused(refused) => Some(refused.clone()),
            Looked::Fine | Looked::PutOff => None,
        }
    }

    /// Takes the mode that was found kept in the store; where none was, the mode file's is the first.
    pub(crate) fn found(&self, kept: Option<ModeState>) -> Result<(), OpenModeError> {
        match (kept, &self.file) {
            (Some(kept), _) => self.show(kept),
            (None, Some(file)) => self.show(step::first_state(read_first(file)?)),
            (None, None) => {}
        }
        Ok(())
    }

    /// Takes the mode that is kept with the files, which are this server's from here on, or keeps the first one there; then looks
    /// at the mode file.
    pub(crate) async fn take_over(self: &Arc<Self>, files: &Files) -> Result<(), FileError> {
        {
            let _here = self.changing.lock().await;
            let _everywhere = files.mode_turn().await?;
            match files.kept_mode().await? {
                Some(kept) => self.show(kept),
                None => files.keep_mode(&self.state()).await?,
            }
        }
        self.look_at_file(files).await;
        Ok(())
    }

    /// Changes the mode and answers once the change is durable. It goes on when the caller does not wait for it.
    pub(crate) async fn change(self: &Arc<Self>, files: &Files, wish: Wish) -> Result<ModeState, TransitionError> {
        let (modes, changing) = (Arc::clone(self), files.clone());
        files
            .to_the_end(
                "change the mode",
                async move { modes.change_now(&changing, wish).await },
            )
            .await
    }

    async fn change_now(&self, files: &Files, wish: Wish) -> Result<ModeState, TransitionError> {
        let _here = self.changing.lock().await;
        let _everywhere = files.mode_turn().await?;
        self.take_kept(files).await?;
        let state = self.state();
        let Some(next) = step::next(&state, wish, self.is_managed())? else {
            return Ok(state);
        };
        let kept = if next.mode == state.mode {
            files.keep_mode(&next).await
        } else {
            files.change_mode(&next).await
        };
        if let Err(error) = kept {
            // It may be kept all the same.
            if let Ok(Some(kept)) = files.kept_mode().await {
                self.show(kept);
            }
            return Err(error.into());
        }
        if let Some(change) = next.history.last().filter(|_| next.mode != state.mode) {
            let (by, reason) = (&change.by, &change.reason);
            tracing::info!(audit = true, from = %state.mode, to = %next.mode, by, reason, generation = next.generation, "the mode changed");
        }
        self.show(next.clone());
        Ok(next)
    }

    /// Takes over what another server of the element made of the mode.
    pub(crate) async fn look_at_others(&self, files: &Files) -> Result<(), FileError> {
        let _here = self.changing.lock().await;
        self.take_kept(files).await
    }

    async fn take_kept(&self, files: &Files) -> Result<(), FileError> {
        if !files.is_alone()
            && let Some(kept) = files.kept_mode().await?
            && kept != *self.state.borrow()
        {
            tracing::info!(mode = %kept.mode, generation = kept.generation, "another server changed the mode");
            self.show(kept);
        }
        Ok(())
    }

    /// Takes over what the mode file asks for, if it asks for something new.
    pub(crate) async fn look_at_file(self: &Arc<Self>, files: &Files) {
        let Some(path) = &self.file else { return };
        let looked = match ModeFile::read(path) {
            Err(error) => Looked::Refused(Refused {
                mode: None,
                generation: None,
                reason: error.to_string(),
            }),
            Ok(asked) if asked.generation <= self.state.borrow().generation => Looked::Fine,
            Ok(asked) => self.take(files, asked).await,
        };
        let mut known = self.looked.write().unwrap_or_else(PoisonError::into_inner);
        if *known != looked {
            if let Looked::Refused(refused) = &looked {
                let mode = self.current();
                tracing::error!(?path, reason = refused.reason, staying = %mode, "the mode file was refused");
            }
            *known = looked;
        }
    }

    async fn take(self: &Arc<Self>, files: &Files, asked: ModeFile) -> Looked {
        let wish = Wish {
            target: asked.mode,
            confirmed: true,
            generation: Some(asked.generation),
            by: "operator".to_owned(),
            reason: Some("mode file".to_owned()),
        };
        match self.change(files, wish).await {
            Ok(_) => Looked::Fine,
            Err(TransitionError::Keep(error)) => {
                if *self.looked.read().unwrap_or_else(PoisonError::into_inner) != Looked::PutOff {
                    tracing::warn!(error = %Chain(&error), "the mode file cannot be followed yet; trying again");
                }
                Looked::PutOff
            }
            Err(refusal) => Looked::Refused(Refused {
                mode: Some(asked.mode),
                generation: Some(asked.generation),
                reason: refusal.to_string(),
            }),
        }
    }

    /// What a request sees is what a restart will find.
    fn show(&self, state: ModeState) {
        self.state.send_replace(state);
    }
}

fn read_first(file: &Path) -> Result<ModeFile, OpenModeError> {
    ModeFile::read(file).map_err(OpenModeError::File)
}

fn read_kept(kept: &Kept) -> Result<Option<ModeState>, OpenModeError> {
    let Kept::In(path) = kept else { return Ok(None) };
    let (path, bytes) = (path.clone(), std::fs::read(path));
    match bytes {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| OpenModeError::Parse { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenModeError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests;
