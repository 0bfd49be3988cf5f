//! The element's mode: kept durably in `STORAGE/.artstore/mode.json`, changed along `Mode::transition_to` and nowhere else.
//!
//! What a start takes: what was last kept, else the configured mode; with a mode file, a higher generation in the file comes first.
//! Knows nothing of HTTP: callers say who asks, and get a typed refusal.

pub(crate) mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use element_api::{Mode, ModeChange, ModeState, Transition};
use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::watch;

use self::file::{ModeFile, ModeFileError};
use crate::durable;

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
    #[error("failed to keep the mode")]
    Keep(#[source] KeepModeError),
}

/// Why a mode could not be kept.
#[derive(Debug, Error)]
pub(crate) enum KeepModeError {
    #[error("failed to write {path:?}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to encode the mode")]
    Encode(#[source] serde_json::Error),
}

/// Why a mode did not change. Display is safe for users, except for `Keep`.
#[derive(Debug, Error)]
pub(crate) enum TransitionError {
    #[error("{from} can never become {to}")]
    Forbidden { from: Mode, to: Mode },
    #[error("{from} becomes {to} only with confirm: true")]
    NeedsConfirmation { from: Mode, to: Mode },
    #[error("the mode file rules the mode; change it there")]
    Managed,
    #[error("generation {given} is not newer than {applied}, which asked for another mode")]
    Stale { given: i64, applied: i64 },
    #[error("failed to keep the mode")]
    Keep(#[source] KeepModeError),
}

/// A wish for another mode.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) target: Mode,
    /// Whether the caller confirms a change that wants it.
    pub(crate) confirmed: bool,
    /// The generation of the mode file the wish goes with: the operator's way past a file that rules.
    pub(crate) generation: Option<i64>,
    pub(crate) by: String,
    pub(crate) reason: Option<String>,
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

/// The mode and its history, shared by all of the server.
pub(crate) struct Modes {
    path: PathBuf,
    file: Option<PathBuf>,
    state: watch::Sender<ModeState>,
    refused: RwLock<Option<Refused>>,
    /// Held while a change is made, so that changes happen one after the other.
    changing: Mutex<()>,
}

impl Modes {
    /// Takes the mode that was last kept, or a first one. What the mode file asks for beyond that is taken by
    /// [`Modes::look_at_file`], once the storage folder is this server's. Blocks on the disk.
    pub(crate) fn open(folder: &Path, configured: Mode, file: Option<PathBuf>) -> Result<Self, OpenModeError> {
        let path = folder.join("mode.json");
        let state = match read_kept(&path)? {
            Some(kept) => kept,
            None => {
                let first = match &file {
                    Some(file) => ModeFile::read(file).map_err(OpenModeError::File)?,
                    None => ModeFile {
                        mode: configured,
                        generation: 0,
                    },
                };
                let state = first_state(first);
                write(&path, &state).map_err(OpenModeError::Keep)?;
                state
            }
        };
        Ok(Self {
            path,
            file,
            state: watch::Sender::new(state),
            refused: RwLock::new(None),
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
        self.refused.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the mode and answers once the change is durable. Blocks on the disk.
    pub(crate) fn change(&self, wish: Wish) -> Result<ModeState, TransitionError> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state();
        if let Some(given) = wish.generation {
            if given <= state.generation {
                let stale = TransitionError::Stale {
                    given,
                    applied: state.generation,
                };
                return if wish.target == state.mode {
                    Ok(state)
                } else {
                    Err(stale)
                };
            }
        } else if self.is_managed() {
            return Err(TransitionError::Managed);
        }
        let (from, to) = (state.mode, wish.target);
        let next = match from.transition_to(to) {
            // The operator only asks for what its own admission confirmed.
            Transition::NeedsConfirmation if !wish.confirmed && wish.generation.is_none() => {
                return Err(TransitionError::NeedsConfirmation { from, to });
            }
            Transition::Forbidden => return Err(TransitionError::Forbidden { from, to }),
            Transition::Same if wish.generation.is_none() => return Ok(state),
            Transition::Same => ModeState {
                generation: wish.generation.unwrap_or(state.generation),
                ..state
            },
            Transition::Allowed | Transition::NeedsConfirmation => changed(state, wish),
        };
        if from != to {
            let by = next.history.last().map(|change| change.by.clone());
            tracing::info!(audit = true, %from, %to, by, generation = next.generation, "the mode changes");
        }
        self.keep(next.clone()).map_err(TransitionError::Keep)?;
        Ok(next)
    }

    /// Removes what a change left that a crash cut short. Blocks on the disk.
    pub(crate) fn clear_residue(&self) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = durable::clear_replacement(&self.path) {
            tracing::warn!(%error, path = ?self.path, "failed to remove what an unfinished mode change left");
        }
    }

    /// Takes over what the mode file asks for, if it asks for something new. Blocks on the disk.
    pub(crate) fn look_at_file(&self) {
        let Some(path) = &self.file else { return };
        let refused = match ModeFile::read(path) {
            Err(error) => Some(Refused {
                mode: None,
                generation: None,
                reason: error.to_string(),
            }),
            Ok(asked) if asked.generation <= self.state.borrow().generation => None,
            Ok(asked) => self.take(asked),
        };
        let mut known = self.refused.write().unwrap_or_else(PoisonError::into_inner);
        if *known != refused {
            if let Some(refused) = &refused {
                let mode = self.current();
                tracing::error!(?path, reason = refused.reason, staying = %mode, "the mode file was refused");
            }
            *known = refused;
        }
    }

    fn take(&self, asked: ModeFile) -> Option<Refused> {
        let wish = Wish {
            target: asked.mode,
            confirmed: true,
            generation: Some(asked.generation),
            by: "operator".to_owned(),
            reason: Some("mode file".to_owned()),
        };
        let error = self.change(wish).err()?;
        let reason = match &error {
            TransitionError::Keep(source) => format!("{error}: {source}"),
            _ => error.to_string(),
        };
        Some(Refused {
            mode: Some(asked.mode),
            generation: Some(asked.generation),
            reason,
        })
    }

    /// Writes the state, then shows it: what a request sees is what a restart will find.
    fn keep(&self, state: ModeState) -> Result<(), KeepModeError> {
        write(&self.path, &state)?;
        self.state.send_replace(state);
        Ok(())
    }
}

fn write(path: &Path, state: &ModeState) -> Result<(), KeepModeError> {
    let bytes = serde_json::to_vec_pretty(state).map_err(KeepModeError::Encode)?;
    durable::replace(path, &bytes).map_err(|source| KeepModeError::Write {
        path: path.to_owned(),
        source,
    })
}

fn read_kept(path: &Path) -> Result<Option<ModeState>, OpenModeError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| OpenModeError::Parse {
                path: path.to_owned(),
                source,
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenModeError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn first_state(first: ModeFile) -> ModeState {
    let at = Timestamp::now();
    let change = ModeChange {
        from: None,
        to: first.mode,
        at,
        by: "start".to_owned(),
        reason: None,
    };
    ModeState {
        mode: first.mode,
        since: at,
        generation: first.generation,
        history: vec![change],
    }
}

fn changed(state: ModeState, wish: Wish) -> ModeState {
    let at = Timestamp::now();
    let mut history = state.history;
    history.push(ModeChange {
        from: Some(state.mode),
        to: wish.target,
        at,
        by: wish.by,
        reason: wish.reason,
    });
    ModeState {
        mode: wish.target,
        since: at,
        generation: wish.generation.unwrap_or(state.generation),
        history,
    }
}

#[cfg(test)]
mod tests;
