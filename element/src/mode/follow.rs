//! Following the mode while the server runs: the mode file, and what other servers of the element make of it. A mounted ConfigMap
//! changes by swapping a link, so the content is compared, not the file's times.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Modes;
use crate::files::{Chain, Files};

/// How often the file is looked at.
const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// How often servers that share a store look whether one of them changed the mode.
const OTHERS_INTERVAL: Duration = Duration::from_secs(2);

/// Follows the mode until the server stops.
pub(crate) async fn follow(modes: Arc<Modes>, files: Files, stopping: CancellationToken) {
    if !modes.is_managed() && files.is_alone() {
        return;
    }
    let (mut file, mut others) = (interval(FILE_INTERVAL), interval(OTHERS_INTERVAL));
    file.set_missed_tick_behavior(MissedTickBehavior::Delay);
    others.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = file.tick(), if modes.is_managed() => modes.look_at_file(&files).await,
            _ = others.tick(), if !files.is_alone() => {
                if let Err(error) = modes.look_at_others(&files).await {
                    tracing::warn!(error = %Chain(&error), "failed to see whether another server changed the mode");
                }
            }
        }
    }
}
