//! Why a use case failed, and the one table from there to the API's error codes.

use std::io;

use element_api::ErrorCode;
use uuid::Uuid;

use crate::attr::{self, AttrError};
use crate::capacity::Full;
use crate::index::IndexError;
use crate::store::{OpenStoreError, StoreAway};
use crate::wal::recover::RecoverError;

/// Why an operation on files failed. The text is for users unless the code is `INTERNAL_ERROR` or `UNAVAILABLE`.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no such file.
    #[error("there is no file {id}")]
    NotFound {
        /// The id asked for.
        id: Uuid,
    },
    /// The content passes the limit.
    #[error("the file is larger than the {limit} bytes allowed")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The attributes pass the limit.
    #[error("the file's attributes take {size} bytes, more than the {limit} allowed")]
    AttributesTooLarge {
        /// What they take, in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A value is not allowed.
    #[error("{what}")]
    Invalid {
        /// Which value, and why.
        what: String,
    },
    /// Another file has the id.
    #[error("file {id} exists with other content")]
    Duplicate {
        /// The id given.
        id: Uuid,
    },
    /// The content is not what the client says it is.
    #[error("the content has sha256 {actual}, not {expected}")]
    ChecksumMismatch {
        /// What the client gave.
        expected: String,
        /// What arrived.
        actual: String,
    },
    /// The file changed since the client looked.
    #[error("the file's metadata is at revision {revision}")]
    PreconditionFailed {
        /// Where it stands.
        revision: i64,
    },
    /// There is no room.
    #[error(transparent)]
    Full(#[from] Full),
    /// The disk itself says that it is full.
    #[error("the volume is full")]
    VolumeFull(#[source] io::Error),
    /// The database cannot take part.
    #[error("failed to reach the element's database")]
    Index(#[from] IndexError),
    /// Too many uploads run already.
    #[error("too many uploads are running; try again")]
    Busy,
    /// Another server changes the same, and has for long.
    #[error("another server is changing {what}; try again")]
    Contended {
        /// A file, or the mode.
        what: String,
    },
    /// A flush failed earlier; nothing is written until a restart.
    #[error("writing has stopped after the disk failed to flush")]
    Unwritable,
    /// The disk failed.
    #[error("failed to {doing}")]
    Storage {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The store cannot be reached, or refuses for now.
    #[error("failed to {doing}")]
    StoreAway {
        /// What was tried.
        doing: &'static str,
        /// What came of it.
        #[source]
        source: io::Error,
    },
    /// The attr file cannot be read.
    #[error("failed to read the attributes of file {id}")]
    Attributes {
        /// The file.
        id: Uuid,
        /// What is wrong with them.
        #[source]
        source: AttrError,
    },
}

impl FileError {
    /// What clients are told.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::TooLarge { .. } => ErrorCode::FileTooLarge,
            Self::AttributesTooLarge { .. } | Self::Invalid { .. } => ErrorCode::ValidationError,
            Self::Duplicate { .. } => ErrorCode::FileIdDuplicate,
            Self::ChecksumMismatch { .. } => ErrorCode::ChecksumMismatch,
            Self::PreconditionFailed { .. } => ErrorCode::PreconditionFailed,
            Self::Full(_) | Self::VolumeFull(_) | Self::Index(IndexError::Full(_)) => ErrorCode::StorageFull,
            Self::Index(IndexError::Unavailable(_) | IndexError::Stopped | IndexError::Fenced)
            | Self::Unwritable
            | Self::StoreAway { .. }
            | Self::Contended { .. }
            | Self::Busy => ErrorCode::Unavailable,
            Self::Index(IndexError::Statement(_) | IndexError::Row(_) | IndexError::Migration(_))
            | Self::Storage { .. }
            | Self::Attributes { .. } => ErrorCode::InternalError,
        }
    }

    /// A fault of the disk, told apart from a full one.
    pub(super) fn storage(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::VolumeFull(source),
            _ if StoreAway::is_in(&source) => Self::StoreAway { doing, source },
            _ => Self::Storage { doing, source },
        }
    }

    /// Attributes that cannot be written.
    pub(super) fn encoding(id: Uuid) -> impl FnOnce(AttrError) -> Self {
        move |error| match error {
            AttrError::TooLarge { size } => Self::AttributesTooLarge {
                size,
                limit: attr::MAX_BYTES,
            },
            source => Self::Attributes { id, source },
        }
    }
}

/// Why the files cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    /// A server of this element runs, and only one that does not may be checked.
    #[error("a server of this element is running; stop it first")]
    Served,
    /// The database.
    #[error("failed to read the database")]
    Index(#[from] IndexError),
    /// What a crash left could not be dealt with.
    #[error("failed to recover the write-ahead log")]
    Recover(#[from] RecoverError),
    /// What uploads left could not be removed, or the store not be read.
    #[error("failed to clean the store")]
    Sweep(#[source] io::Error),
    /// An empty database could not be filled.
    #[error("failed to rebuild the database")]
    Rebuild(#[from] RebuildError),
}

/// Why a rebuild failed. The database is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The database.
    #[error("failed to write the database")]
    Index(#[from] IndexError),
    /// The store.
    #[error("failed to read the store")]
    Storage(#[from] io::Error),
    /// Another one is under way.
    #[error("a rebuild is running already")]
    Running,
}

/// An error and its sources on one line.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'a));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(formatter, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
