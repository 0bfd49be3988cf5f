//! The mode file: reading it, and following it while the server runs. A mounted ConfigMap changes by swapping a link, so the
//! content is compared, not the file's times.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use element_api::Mode;
use serde::Deserialize;
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::Modes;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

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

/// Follows the mode file until the server stops.
pub(crate) async fn follow(modes: Arc<Modes>, stopping: CancellationToken) {
    if !modes.is_managed() {
        return;
    }
    while stopping
        .run_until_cancelled(tokio::time::sleep(INTERVAL))
        .await
        .is_some()
    {
        look(&modes).await;
    }
}

/// Takes over the modes of a folder that is this server's alone from here on.
pub(crate) async fn take_over(modes: &Arc<Modes>) {
    aside(modes, |modes| {
        modes.clear_residue();
        modes.look_at_file();
    })
    .await;
}

async fn look(modes: &Arc<Modes>) {
    aside(modes, Modes::look_at_file).await;
}

/// Off the threads that serve requests.
async fn aside(modes: &Arc<Modes>, job: impl FnOnce(&Modes) + Send + 'static) {
    let modes = Arc::clone(modes);
    if let Err(error) = spawn_blocking(move || job(&modes)).await {
        tracing::error!(%error, "looking at the mode file failed");
    }
}
