//! The operator, in this process, and the script it is stopped by.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use artstore_operator::cache::Scope;
use artstore_operator::clock::SystemClock;
use artstore_operator::cluster::{Faults, Write};
use artstore_operator::context::Settings;
use artstore_operator::controller::{self, Edges};
use artstore_operator::database::{
    AdminAccess, Claim, DatabaseError, DatabaseServer, PostgresServer, Provisioned, Released,
};
use artstore_operator::metrics::Metrics;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::World;

/// Counts steps that change something, and holds the operator up for ever after a given one.
#[derive(Default)]
pub(crate) struct Script {
    stop_after: Option<usize>,
    steps: AtomicUsize,
    log: Mutex<Vec<String>>,
    reached: Notify,
}

impl Script {
    /// Holds the operator up after this many steps.
    pub(crate) fn stop_after(steps: usize) -> Arc<Self> {
        Arc::new(Self {
            stop_after: Some(steps),
            ..Self::default()
        })
    }

    /// What was done so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Returns when the operator is held up.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    async fn step(&self, what: String) {
        self.log.lock().unwrap().push(what);
        let number = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
        if self.stop_after.is_some_and(|last| number >= last) {
            self.reached.notify_one();
            pending::<()>().await;
        }
    }
}

impl Faults for Script {
    fn after<'a>(&'a self, write: &'a Write) -> BoxFuture<'a, ()> {
        self.step(format!("{} {} {}", write.verb.as_str(), write.kind, write.name))
            .boxed()
    }
}

/// PostgreSQL, each change of which is a step too.
struct Scripted(Arc<Script>);

impl DatabaseServer for Scripted {
    fn ensure<'a>(
        &'a self,
        access: &'a AdminAccess,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<Provisioned, DatabaseError>> {
        Box::pin(async move {
            let provisioned = PostgresServer::default().ensure(access, claim).await?;
            if provisioned.created {
                self.0.step("database made".to_owned()).await;
            }
            Ok(provisioned)
        })
    }

    fn release<'a>(
        &'a self,
        access: &'a AdminAccess,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<Released, DatabaseError>> {
        Box::pin(async move {
            let released = PostgresServer::default().release(access, claim).await?;
            if released != Released::Nothing {
                self.0.step("database dropped".to_owned()).await;
            }
            Ok(released)
        })
    }
}

/// A running operator.
pub(crate) struct Operator {
    pub(crate) script: Arc<Script>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Operator {
    pub(crate) fn start(world: &World) -> Self {
        Self::scripted(world, Arc::default())
    }

    pub(crate) fn scripted(world: &World, script: Arc<Script>) -> Self {
        let metrics = Arc::new(Metrics::default());
        let edges = Edges {
            calls: world.client.clone(),
            watches: world.client.clone(),
            faults: Arc::clone(&script) as Arc<dyn Faults>,
            databases: Arc::new(Scripted(Arc::clone(&script))),
            clock: Arc::new(SystemClock),
            metrics: Arc::clone(&metrics),
            instance: "test".to_owned(),
        };
        let settings = Settings {
            shortest_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(1),
            ask_every: Duration::from_millis(200),
            ask_eagerly_every: Duration::from_millis(200),
            ..Settings::default()
        };
        let stop = CancellationToken::new();
        let scope = Scope::Namespace(world.namespace.clone());
        let run = controller::run(edges, scope, settings, stop.clone());
        let task = tokio::spawn(async move { run.await.expect("controllers") });
        Self {
            script,
            metrics,
            stop,
            task,
        }
    }

    /// Waits until elements were reconciled this many times more.
    pub(crate) async fn rounds(&self, world: &World, more: u64) {
        let before = self.reconciles();
        world
            .until("reconciles", async || {
                (self.reconciles() >= before + more).then_some(())
            })
            .await;
    }

    fn reconciles(&self) -> u64 {
        let text = self.metrics.text().expect("metrics");
        let lines = text
            .lines()
            .filter(|line| line.starts_with("artstore_operator_reconciles_total"));
        let elements = lines.filter(|line| line.contains("StorageElement"));
        elements
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("an orderly end");
    }

    /// Ends it where it stands.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let ended = self.task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }
}
