//! This running server among others over the same database: its lease, kept alive for as long as it runs, and what it may hold.

use std::time::{Duration, Instant};

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::index::{INSTANCE_TTL, Index, IndexError, Lease, Sharing};
use crate::store::Fence;

/// How often the lease is renewed.
const RENEWAL: Duration = Duration::from_secs(3);

/// How long before its lease ends a server stops changing the store: the longest a commit point takes once it is begun, and as
/// much again for a machine that is slow to notice.
const MARGIN: Duration = Duration::from_secs(6);

/// One running server.
pub struct Instance {
    index: Index,
    id: String,
    sharing: Sharing,
    _beating: DropGuard,
}

impl Instance {
    /// Registers the server `id`. While it has the store with others, `fence` is open as long as its lease is sure to run.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn register(index: Index, id: String, sharing: Sharing, fence: Fence) -> Result<Self, IndexError> {
        let begun = Instant::now();
        if sharing == Sharing::Alone {
            index.forget_instances().await?;
        }
        index.keep_alive(&id, sharing).await?;
        fence.open_until(begun + INSTANCE_TTL - MARGIN);
        let ending = CancellationToken::new();
        if sharing == Sharing::WithOthers {
            tokio::spawn(
                ending
                    .clone()
                    .run_until_cancelled_owned(beat(index.clone(), id.clone(), fence)),
            );
        }
        Ok(Self {
            index,
            id,
            sharing,
            _beating: ending.drop_guard(),
        })
    }

    /// Whether others may use the same store.
    pub fn is_alone(&self) -> bool {
        self.sharing == Sharing::Alone
    }

    /// Pending entries that were left by the dead, this server's from now on.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn take_over(&self) -> Result<Vec<super::WalRecord>, IndexError> {
        self.index.take_over(&self.id, self.sharing).await
    }

    /// Holds a name among all servers of this database, so that a job runs once.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn lease(&self, name: &str) -> Result<Option<Lease>, IndexError> {
        self.index.lease(name, &self.id).await
    }

    /// Frees what this server holds, so that others need not wait for its lease to run out.
    pub async fn leave(&self) {
        if let Err(error) = self.index.leave(&self.id).await {
            tracing::warn!(%error, "failed to sign off; others wait for this server's lease to run out");
        }
    }
}

async fn beat(index: Index, id: String, fence: Fence) {
    let mut renewal = tokio::time::interval(RENEWAL);
    renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        renewal.tick().await;
        let begun = Instant::now();
        match index.keep_alive(&id, Sharing::WithOthers).await {
            // Counted from before the renewal was sent: the database's clock may have started anywhere behind that.
            Ok(()) => fence.open_until(begun + INSTANCE_TTL - MARGIN),
            Err(error) => tracing::warn!(%error, "failed to renew this server's lease"),
        }
    }
}
