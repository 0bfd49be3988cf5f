//! Modes: what an element allows in each, and which mode may follow which. The one place that knows.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an element allows. An element starts in one mode and moves along [`Mode::transition_to`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Create, read, update and delete. Final: an element never leaves it.
    #[default]
    Edit,
    /// Create, read and update; nothing is deleted.
    Rw,
    /// Read only.
    Ro,
    /// Archive: metadata and search only, content is not served. Final.
    Ar,
}

/// What a caller wants to do with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Store a new file.
    Create,
    /// Read a file's content.
    Read,
    /// Change a file's metadata.
    Update,
    /// Delete a file.
    Delete,
    /// Read metadata and search.
    Search,
}

/// How one mode may become another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Both are the same: nothing to do.
    Same,
    /// Allowed as it is.
    Allowed,
    /// Allowed when the caller confirms.
    NeedsConfirmation,
    /// Never allowed.
    Forbidden,
}

impl Mode {
    /// Every mode, in the order an element goes through them.
    pub const ALL: [Self; 4] = [Self::Edit, Self::Rw, Self::Ro, Self::Ar];

    /// The mode as users write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Rw => "rw",
            Self::Ro => "ro",
            Self::Ar => "ar",
        }
    }

    /// The operations the mode allows.
    pub const fn operations(self) -> &'static [Operation] {
        use Operation::{Create, Delete, Read, Search, Update};
        match self {
            Self::Edit => &[Create, Read, Update, Delete, Search],
            Self::Rw => &[Create, Read, Update, Search],
            Self::Ro => &[Read, Search],
            Self::Ar => &[Search],
        }
    }

    /// Whether the mode allows `operation`.
    pub fn allows(self, operation: Operation) -> bool {
        self.operations().contains(&operation)
    }

    /// How this mode may become `target`.
    pub const fn transition_to(self, target: Self) -> Transition {
        match (self, target) {
            (Self::Edit, Self::Edit) | (Self::Rw, Self::Rw) | (Self::Ro, Self::Ro) | (Self::Ar, Self::Ar) => {
                Transition::Same
            }
            (Self::Rw, Self::Ro) | (Self::Ro, Self::Ar) => Transition::Allowed,
            (Self::Ro, Self::Rw) => Transition::NeedsConfirmation,
            (Self::Edit, _) | (Self::Rw, _) | (Self::Ro, Self::Edit) | (Self::Ar, _) => Transition::Forbidden,
        }
    }
}

impl Operation {
    /// The operation as users read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Search => "search",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The text is no mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMode(pub String);

impl fmt::Display for UnknownMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "unknown mode {:?}: use edit, rw, ro or ar", self.0)
    }
}

impl std::error::Error for UnknownMode {}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| UnknownMode(text.to_owned()))
    }
}

/// One change of mode, as the history keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModeChange {
    /// The mode before; absent for the first one an element takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Mode>,
    /// The mode after.
    pub to: Mode,
    /// When it changed.
    pub at: Timestamp,
    /// Who changed it: a token's subject, or `operator`, or `start`.
    pub by: String,
    /// Why, if somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The mode an element is in and how it came there; the answer of `GET /api/v1/mode`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModeState {
    /// The current mode.
    pub mode: Mode,
    /// When it was taken.
    pub since: Timestamp,
    /// The generation of the mode file last applied; 0 when none ever was.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub generation: i64,
    /// Every change, oldest first.
    pub history: Vec<ModeChange>,
}

#[cfg(test)]
mod tests {
    use super::{Mode, Operation, Transition};

    #[test]
    fn each_mode_allows_exactly_its_operations() {
        use Operation::{Create, Delete, Read, Search, Update};
        let table = [
            (Mode::Edit, [true, true, true, true, true]),
            (Mode::Rw, [true, true, true, false, true]),
            (Mode::Ro, [false, true, false, false, true]),
            (Mode::Ar, [false, false, false, false, true]),
        ];
        for (mode, expected) in table {
            for (operation, allowed) in [Create, Read, Update, Delete, Search].into_iter().zip(expected) {
                assert_eq!(mode.allows(operation), allowed, "{mode} {operation}");
            }
        }
    }

    #[test]
    fn transitions_follow_the_contract() {
        for from in Mode::ALL {
            for to in Mode::ALL {
                let expected = match (from.as_str(), to.as_str()) {
                    (a, b) if a == b => Transition::Same,
                    ("rw", "ro") | ("ro", "ar") => Transition::Allowed,
                    ("ro", "rw") => Transition::NeedsConfirmation,
                    _ => Transition::Forbidden,
                };
                assert_eq!(from.transition_to(to), expected, "{from} to {to}");
            }
        }
    }

    #[test]
    fn mode_text_round_trips_and_unknown_text_is_refused() {
        for mode in Mode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(mode));
        }
        assert!("RW".parse::<Mode>().is_err());
        assert!("".parse::<Mode>().is_err());
    }
}
