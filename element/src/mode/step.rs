//! What follows from a wish for another mode. Pure: the state goes in, the next one or a refusal comes out.

use element_api::{Mode, ModeChange, ModeState, Transition};
use jiff::Timestamp;
use thiserror::Error;

use super::file::ModeFile;
use crate::files::FileError;

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
    Keep(#[from] FileError),
}

/// The state after a wish was granted; none when it asks for nothing new.
pub(super) fn next(state: &ModeState, wish: Wish, managed: bool) -> Result<Option<ModeState>, TransitionError> {
    let (from, to) = (state.mode, wish.target);
    match wish.generation {
        Some(given) if given <= state.generation => {
            let applied = state.generation;
            return if from == to {
                Ok(None)
            } else {
                Err(TransitionError::Stale { given, applied })
            };
        }
        None if managed => return Err(TransitionError::Managed),
        _ => {}
    }
    match from.transition_to(to) {
        // The operator only asks for what its own admission confirmed.
        Transition::NeedsConfirmation if !wish.confirmed && wish.generation.is_none() => {
            Err(TransitionError::NeedsConfirmation { from, to })
        }
        Transition::Forbidden => Err(TransitionError::Forbidden { from, to }),
        Transition::Same => Ok(wish.generation.map(|generation| ModeState {
            generation,
            ..state.clone()
        })),
        Transition::Allowed | Transition::NeedsConfirmation => Ok(Some(changed(state.clone(), wish))),
    }
}

/// The state of an element that never had one.
pub(super) fn first_state(first: ModeFile) -> ModeState {
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
