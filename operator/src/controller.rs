//! The controllers of one scope: watches in, reconciles out.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use kube::Client;
use kube::runtime::controller::{Action, Config, ReconcileRequest};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{applier, reflector::Store};
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::cache::{Scope, watch};
use crate::clock::Clock;
use crate::cluster::{Child, Cluster, Faults};
use crate::context::{Context, Memory, Settings};
use crate::database::DatabaseServer;
use crate::element::{self, ReconcileError};
use crate::fleet;
use crate::metrics::Metrics;
use crate::probe::Probe;
use crate::telemetry::Chain;

/// Reconciles at the same time, per kind: many, so that those that wait for a server that does not answer hold up no others.
const CONCURRENCY: u16 = 64;
/// How long changes are gathered before they are looked at.
const GATHER: Duration = Duration::from_millis(50);

/// The edges the controllers work with.
#[derive(Clone)]
pub struct Edges {
    /// The Kubernetes API, for calls, which are answered soon.
    pub calls: Client,
    /// The Kubernetes API, for watches, which stay open.
    pub watches: Client,
    /// Told of every write.
    pub faults: Arc<dyn Faults>,
    /// The database servers.
    pub databases: Arc<dyn DatabaseServer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The operator's pod, for Events.
    pub instance: String,
}

/// Runs the controllers of `scope` until `stop`, and finishes what runs.
pub async fn run(
    edges: Edges,
    scope: Scope,
    settings: Settings,
    stop: CancellationToken,
) -> Result<(), reqwest::Error> {
    let (caches, triggers, watches) = watch(&edges.watches, &scope, &edges.clock);
    let context = Arc::new(Context {
        cluster: Cluster::new(edges.calls, edges.faults, Arc::clone(&edges.metrics), edges.instance),
        probe: Probe::new(Arc::clone(&edges.clock), triggers.ask)?,
        databases: edges.databases,
        clock: edges.clock,
        settings,
        metrics: edges.metrics,
        memory: Memory::default(),
        caches,
    });
    let elements = control(
        context.caches.elements.store(),
        triggers.elements.take_until(stop.clone().cancelled_owned()),
        Arc::clone(&context),
        element::reconcile,
        element::again,
    );
    let fleets = control(
        context.caches.fleets.store(),
        triggers.fleets.take_until(stop.cancelled_owned()),
        Arc::clone(&context),
        fleet::reconcile,
        fleet::again,
    );
    let controllers = futures::future::join(elements, fleets);
    let watches = watches.for_each(|()| std::future::ready(()));
    futures::pin_mut!(controllers, watches);
    futures::future::select(controllers, watches).await;
    Ok(())
}

/// Reconciles what the queue names, until it ends.
async fn control<K, F>(
    store: Store<K>,
    queue: impl Stream<Item = ObjectRef<K>> + Send + 'static,
    context: Arc<Context>,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
    again: fn(Arc<K>, &ReconcileError, Arc<Context>) -> Action,
) where
    K: Child + Debug,
    F: Future<Output = Result<Action, ReconcileError>> + Send + 'static,
{
    let queue = queue.map(|object| Ok::<_, Infallible>(ReconcileRequest::from(object)));
    let config = Config::default().concurrency(CONCURRENCY).debounce(GATHER);
    // Each reconcile is a task of its own: one that computes for long holds up no other.
    let spawned = move |object, context| {
        let task = AbortOnDropHandle::new(tokio::spawn(reconcile(object, context)));
        Box::pin(async move {
            match task.await {
                Ok(result) => result,
                Err(error) => Err(ReconcileError::Task(error)),
            }
        })
    };
    applier(spawned, again, context, store, queue, config)
        .for_each(|result| {
            if let Err(error) = result {
                // Problems of a reconcile are logged where they are met; what is left is a change of what is gone meanwhile.
                tracing::trace!(error = %Chain(&error), "reconcile ended early");
            }
            std::future::ready(())
        })
        .await;
}
