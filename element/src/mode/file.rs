//! The mode file: what it may say.

use std::io;
use std::path::Path;

use element_api::Mode;
use serde::Deserialize;
use thiserror::Error;

/// What a mode file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ModeFile {
    pub(crate) mode: Mode,
    pub(crate) generation: i64,
}

/// Why a mode file says nothing.
#[derive(Debug, Error)]
pub(crate) enum ModeFileError {
    #[error("failed to read the mode file: {0}")]
    Read(io::Error),
    #[error("the mode file is not {{\"mode\":\"…\",\"generation\":N}}: {0}")]
    Parse(serde_json::Error),
    #[error("the mode file's generation {0} is below 1")]
    Generation(i64),
}

impl ModeFile {
    pub(crate) fn read(path: &Path) -> Result<Self, ModeFileError> {
        let bytes = std::fs::read(path).map_err(ModeFileError::Read)?;
        let file: Self = serde_json::from_slice(&bytes).map_err(ModeFileError::Parse)?;
        if file.generation < 1 {
            return Err(ModeFileError::Generation(file.generation));
        }
        Ok(file)
    }
}
