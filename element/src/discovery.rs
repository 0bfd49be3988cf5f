//! Discovery: tells clients through Redis where the element is and how it stands. Redis away costs nothing but that: reports are
//! tried again at the next turn, and the log says so once when it goes and once when it comes back.

mod connection;
mod report;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub(crate) use self::connection::Redis;
use self::report::{Report, TTL_SECONDS, leave};
use crate::files::{Chain, FileError, Files};
use crate::state::App;

/// Reports until the server stops, then takes the element out, unless other servers of it go on.
pub(crate) async fn report(mut redis: Redis, app: App, files: Files, endpoint: String, stopping: CancellationToken) {
    let mut changes = app.modes().subscribe();
    let mut reachable = true;
    loop {
        changes.mark_unchanged();
        let about = app.about();
        let report = Report {
            id: &about.element_id,
            mode: app.modes().current(),
            capacity: files.capacity(),
            endpoint: &endpoint,
            priority: about.priority,
            healthy: files.writable().is_ok() && files.index().ping().await.is_ok(),
            at: Timestamp::now(),
        };
        let result = redis.send(&report.pipelines()).await;
        app.metrics().reported(result.is_ok());
        match &result {
            Err(error) if reachable => tracing::warn!(%error, "Redis is away: the element is not announced"),
            Ok(()) if !reachable => tracing::info!("Redis is back: the element is announced"),
            _ => {}
        }
        reachable = result.is_ok();
        tokio::select! {
            () = stopping.cancelled() => break,
            _ = changes.changed() => {}
            () = tokio::time::sleep(redis.interval) => {}
        }
    }
    if is_served_on(others_go_on(&files).await) {
        tracing::info!("other servers go on announcing the element");
        return;
    }
    if let Err(error) = redis.send(&leave(&app.about().element_id)).await {
        tracing::warn!(%error, "failed to leave discovery; the element is forgotten in {TTL_SECONDS} seconds");
    }
}

/// Whether another server of the element lives that is not known to stop too.
async fn others_go_on(files: &Files) -> Result<bool, FileError> {
    if !files.others_live().await? {
        return Ok(false);
    }
    // Servers that stop at once see each other live, and none would take the element out. So one has a name until it is gone, and
    // the next one, which finds it taken, leaves for both.
    let Some(held) = files.lease(FIRST_TO_STOP).await? else {
        return Ok(false);
    };
    std::mem::forget(held);
    // Whoever had it before may be the one that was seen alive, and be gone by now.
    files.others_live().await
}

/// What a server holds, as a lease, that stopped while others lived.
const FIRST_TO_STOP: &str = "discovery/first-to-stop";

/// Whether to leave the element announced. When the database does not answer it is taken out: servers that live put it back with
/// their next report, while nobody would take out an element that nothing serves.
fn is_served_on(others_go_on: Result<bool, FileError>) -> bool {
    others_go_on.unwrap_or_else(|error| {
        tracing::warn!(error = %Chain(&error), "failed to learn whether other servers of the element live");
        false
    })
}

#[cfg(test)]
mod tests {
    use super::is_served_on;
    use crate::files::FileError;

    #[test]
    fn element_is_left_announced_only_while_another_server_is_known_to_live() {
        assert!(is_served_on(Ok(true)));
        assert!(!is_served_on(Ok(false)));
        assert!(!is_served_on(Err(FileError::Unwritable)));
    }
}
