//! Who of several servers over one database lives, what each holds, and which log entries the dead left behind. Time is the
//! database's own, so that servers' clocks need not agree.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::dialect::Dialect;
use super::sql::{Parameter, Sql, Statement, WAL_COLUMNS};
use super::{Index, IndexError};
use crate::wal::WalRecord;

/// How long a server counts as alive after it last said so.
pub const INSTANCE_TTL: Duration = Duration::from_secs(15);

/// How long the dead are remembered, for whoever looks into what happened.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// Entries taken over at once.
const BATCH: usize = 100;

/// How servers share a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// This server has it alone, so whatever is left over is its own.
    Alone,
    /// Others may have it too.
    WithOthers,
}

/// A name and the server that holds it.
type Holding = (String, String);

/// What this process knows of the names it holds. The database has them too, for other servers to see; only here it is known which
/// of them somebody still needs.
#[derive(Default)]
pub(super) struct Leases {
    /// Names in use, or being taken or freed.
    claimed: Mutex<HashSet<Holding>>,
    /// Names nobody needs any more, which the database could not be told.
    unreleased: Mutex<HashSet<Holding>>,
}

/// A name that one server holds. It is free again when this is released or dropped, or when the server dies.
pub struct Lease {
    index: Index,
    /// None once it is not held any more.
    holding: Option<Holding>,
}

impl Lease {
    /// Frees the name, and returns when it is free.
    pub async fn release(mut self) {
        if let Some(holding) = self.holding.take() {
            self.index.free(holding).await;
        }
    }

    /// It was not to be had after all.
    fn give_up(mut self) {
        if let Some(holding) = self.holding.take() {
            self.index.leases.unclaim(&holding);
        }
    }

    /// Changes nothing, and spoils the transaction it is in when another server has the name by now.
    pub(super) fn fence(&self) -> Option<Statement> {
        let (name, instance_id) = self.holding.as_ref()?;
        Some(self.index.sql.lease_hold(name, instance_id))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(holding), Ok(runtime)) = (self.holding.take(), tokio::runtime::Handle::try_current()) {
            let index = self.index.clone();
            runtime.spawn(async move { index.free(holding).await });
        }
    }
}

impl Leases {
    fn claim(&self, holding: &Holding) -> bool {
        set(&self.claimed).insert(holding.clone())
    }

    fn unclaim(&self, holding: &Holding) {
        set(&self.claimed).remove(holding);
    }

    /// For tests: whether no name is in use, nor being taken or freed.
    #[cfg(test)]
    pub(super) fn are_at_rest(&self) -> bool {
        set(&self.claimed).is_empty()
    }
}

fn set(names: &Mutex<HashSet<Holding>>) -> MutexGuard<'_, HashSet<Holding>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    /// Says that the server `instance_id` lives, for [`INSTANCE_TTL`] from now; one that is alone, until it leaves.
    pub async fn keep_alive(&self, instance_id: &str, sharing: Sharing) -> Result<(), IndexError> {
        let statement = self.sql.instance_keep(instance_id, sharing);
        Ok(self.backend.transact(&[statement]).await?)
    }

    /// Says that it is gone, and frees what it held.
    pub async fn leave(&self, instance_id: &str) -> Result<(), IndexError> {
        Ok(self.backend.transact(&self.sql.instance_leave(instance_id)).await?)
    }

    /// Whether a server other than `instance_id` lives.
    pub async fn others_live(&self, instance_id: &str) -> Result<bool, IndexError> {
        Ok(!self
            .backend
            .fetch(&self.sql.others_living(instance_id))
            .await?
            .is_empty())
    }

    /// Forgets every server. For one that knows to be alone.
    pub async fn forget_instances(&self) -> Result<(), IndexError> {
        Ok(self.backend.transact(&self.sql.instances_forget()).await?)
    }

    /// Forgets servers that died long ago.
    pub async fn prune_instances(&self) -> Result<(), IndexError> {
        Ok(self.backend.transact(&self.sql.instances_prune()).await?)
    }

    /// Makes pending log entries of the dead, or when alone of anybody, the entries of `instance_id`, and answers them, oldest
    /// first. However many ask at once, each entry goes to one.
    pub async fn take_over(&self, instance_id: &str, sharing: Sharing) -> Result<Vec<WalRecord>, IndexError> {
        let mut taken = self.wal_records(&self.sql.wal_take_over(instance_id, sharing)).await?;
        taken.sort_by_key(|record| (record.started_at, record.transaction_id));
        Ok(taken)
    }

    /// Holds `name` for the server `instance_id`, unless a server that lives has it, this one included.
    pub async fn lease(&self, name: &str, instance_id: &str) -> Result<Option<Lease>, IndexError> {
        let holding = (name.to_owned(), instance_id.to_owned());
        if !self.leases.claim(&holding) {
            return Ok(None);
        }
        let taking = self.sql.lease_take(name, instance_id);
        let lease = Lease {
            index: self.clone(),
            holding: Some(holding),
        };
        // On a task of its own: when nobody waits for it any more, the lease is dropped, and so freed, once it was had.
        let taking = tokio::spawn(async move {
            // When this fails it may have been had all the same; dropping it frees it.
            let taken = lease.index.backend.fetch(&taking).await?;
            if taken.is_empty() {
                lease.give_up();
                return Ok(None);
            }
            Ok(Some(lease))
        });
        taking.await.unwrap_or(Err(IndexError::Stopped))
    }

    /// Frees a name; when the database cannot be told, [`Index::release_left_over`] tells it later.
    async fn free(&self, holding: Holding) {
        let (name, instance_id) = &holding;
        let freed = self
            .backend
            .transact(&[self.sql.lease_release(name, instance_id)])
            .await;
        if let Err(error) = freed {
            tracing::debug!(name, %error, "failed to release a lease; trying again later");
            set(&self.leases.unreleased).insert(holding.clone());
        }
        self.leases.unclaim(&holding);
    }

    /// Frees names that could not be freed when they should have been.
    pub async fn release_left_over(&self) {
        let left: Vec<Holding> = set(&self.leases.unreleased).drain().collect();
        for holding in left {
            // Whoever has it again by now frees it.
            if self.leases.claim(&holding) {
                self.free(holding).await;
            }
        }
    }
}

impl Sql {
    fn instance_keep(&self, instance_id: &str, sharing: Sharing) -> Statement {
        let Self { prefix, dialect, .. } = self;
        let (now, later) = (
            dialect.now(),
            match sharing {
                Sharing::Alone => dialect.end_of_time().to_owned(),
                Sharing::WithOthers => dialect.now_and(seconds(INSTANCE_TTL)),
            },
        );
        Statement::new(
            format!(
                "INSERT INTO {prefix}instance (instance_id, started_at, expires_at) VALUES ($1, {now}, {later}) \
                 ON CONFLICT (instance_id) DO UPDATE SET expires_at = excluded.expires_at"
            ),
            vec![Parameter::Text(instance_id.to_owned())],
        )
    }

    fn instance_leave(&self, instance_id: &str) -> [Statement; 2] {
        ["lease", "instance"].map(|table| {
            Statement::new(
                format!("DELETE FROM {}{table} WHERE instance_id = $1", self.prefix),
                vec![Parameter::Text(instance_id.to_owned())],
            )
        })
    }

    fn instances_forget(&self) -> [Statement; 2] {
        ["lease", "instance"].map(|table| Statement::new(format!("DELETE FROM {}{table}", self.prefix), Vec::new()))
    }

    fn others_living(&self, instance_id: &str) -> Statement {
        let now = self.dialect.now();
        Statement::new(
            format!(
                "SELECT '1' FROM {}instance WHERE instance_id <> $1 AND expires_at > {now} LIMIT 1",
                self.prefix
            ),
            vec![Parameter::Text(instance_id.to_owned())],
        )
    }

    /// First what the dead held, which nobody may want ever again.
    fn instances_prune(&self) -> [Statement; 2] {
        let (long_ago, lease) = (
            self.dialect.now_and(-seconds(REMEMBERED)),
            format!("{}lease", self.prefix),
        );
        [
            format!("DELETE FROM {lease} WHERE {}", self.nobody_lives(&lease)),
            format!("DELETE FROM {}instance WHERE expires_at < {long_ago}", self.prefix),
        ]
        .map(|text| Statement::new(text, Vec::new()))
    }

    /// For tests: its lease ended long ago.
    #[cfg(test)]
    pub(super) fn instance_expire(&self, instance_id: &str) -> Statement {
        Statement::new(
            format!(
                "UPDATE {}instance SET expires_at = {} WHERE instance_id = $1",
                self.prefix,
                self.dialect.now_and(-3600)
            ),
            vec![Parameter::Text(instance_id.to_owned())],
        )
    }

    /// Where nobody who lives is `table`'s `instance_id`.
    pub(super) fn nobody_lives(&self, table: &str) -> String {
        let Self { prefix, dialect, .. } = self;
        format!(
            "NOT EXISTS (SELECT 1 FROM {prefix}instance AS living \
             WHERE living.instance_id = {table}.instance_id AND living.expires_at > {})",
            dialect.now()
        )
    }

    fn wal_take_over(&self, instance_id: &str, sharing: Sharing) -> Statement {
        let Self { wal, dialect, .. } = self;
        let whose = match sharing {
            Sharing::Alone => "true".to_owned(),
            Sharing::WithOthers => self.nobody_lives("left_over"),
        };
        // Rows another server is just taking over, or their owner settling, are passed by.
        let lock = match dialect {
            Dialect::Postgres => "FOR UPDATE SKIP LOCKED",
            Dialect::Sqlite => "",
        };
        Statement::new(
            format!(
                "UPDATE {wal} SET instance_id = $1 WHERE transaction_id IN (\
                 SELECT transaction_id FROM {wal} AS left_over \
                 WHERE status = 'pending' AND instance_id <> $1 AND {whose} ORDER BY started_at LIMIT {BATCH} {lock}) \
                 RETURNING {}",
                dialect.object(&WAL_COLUMNS)
            ),
            vec![Parameter::Text(instance_id.to_owned())],
        )
    }

    fn lease_take(&self, name: &str, instance_id: &str) -> Statement {
        let table = format!("{}lease", self.prefix);
        Statement::new(
            format!(
                "INSERT INTO {table} (name, instance_id) VALUES ($1, $2) \
                 ON CONFLICT (name) DO UPDATE SET instance_id = excluded.instance_id \
                 WHERE {table}.instance_id = excluded.instance_id OR {} \
                 RETURNING CAST('true' AS TEXT)",
                self.nobody_lives(&table)
            ),
            vec![
                Parameter::Text(name.to_owned()),
                Parameter::Text(instance_id.to_owned()),
            ],
        )
    }

    fn lease_hold(&self, name: &str, instance_id: &str) -> Statement {
        let table = format!("{}lease", self.prefix);
        let mut statement = Statement::new(
            format!("UPDATE {table} SET instance_id = $2 WHERE name = $1 AND instance_id = $2"),
            vec![
                Parameter::Text(name.to_owned()),
                Parameter::Text(instance_id.to_owned()),
            ],
        );
        statement.touches = Some(1);
        statement
    }

    fn lease_release(&self, name: &str, instance_id: &str) -> Statement {
        Statement::new(
            format!("DELETE FROM {}lease WHERE name = $1 AND instance_id = $2", self.prefix),
            vec![
                Parameter::Text(name.to_owned()),
                Parameter::Text(instance_id.to_owned()),
            ],
        )
    }
}

/// The durations here are constants of a few digits.
pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
