//! Discovery: tells clients through Redis where the element is and how it stands. Redis away costs nothing but that: reports are
//! tried again at the next turn, and the log says so once when it goes and once when it comes back.

mod connection;
mod report;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub(crate) use self::connection::Redis;
use self::report::{Report, TTL_SECONDS, leave};
use crate::files::Files;
use crate::state::App;

/// Reports until the server stops, then takes the element out.
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
    if let Err(error) = redis.send(&leave(&app.about().element_id)).await {
        tracing::warn!(%error, "failed to leave discovery; the element is forgotten in {TTL_SECONDS} seconds");
    }
}
