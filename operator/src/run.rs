//! `run`: connects, waits to lead, runs the controllers, and leaves in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cache::Scope;
use crate::cli::RunArgs;
use crate::clock::{Clock, SystemClock};
use crate::cluster::NoFaults;
use crate::context::Settings;
use crate::controller::{self, Edges};
use crate::database::PostgresServer;
use crate::http;
use crate::leader::Candidate;
use crate::metrics::Metrics;

/// How long the API server may take to answer a call.
const ANSWER: Duration = Duration::from_secs(30);

/// Runs until SIGTERM or SIGINT, or until another operator leads.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("failed to choose the cryptography: another one is in use already"))?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let metrics = Arc::new(Metrics::default());
    let address = args.metrics_address;
    let listener = http::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address}"))?;
    let health = tokio::spawn(http::serve(listener, Arc::clone(&metrics), stop.clone()));
    let config = Config::infer().await.context("failed to find the Kubernetes API")?;
    // Watches are silent for long and have limits of their own; everything else is answered soon or tried again.
    let mut calls = config.clone();
    calls.read_timeout = Some(ANSWER);
    calls.reset_reader_on_write = true;
    let calls = Client::try_from(calls).context("failed to set up a client of the Kubernetes API")?;
    let watches = Client::try_from(config).context("failed to set up a client of the Kubernetes API")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let edges = Edges {
        calls: calls.clone(),
        watches,
        faults: Arc::new(NoFaults),
        databases: Arc::new(PostgresServer::default()),
        clock: Arc::clone(&clock),
        metrics: Arc::clone(&metrics),
        instance: args.instance.clone(),
    };
    let result = if args.leader_election {
        let candidate = Candidate::new(calls, &args.lease_namespace, args.instance.clone(), clock);
        lead(candidate, edges, &args, &stop).await
    } else {
        metrics.leads(true);
        control(edges, &args, &stop).await
    };
    stop.cancel();
    health
        .await
        .context("failed to serve health and metrics")?
        .context("failed to serve health and metrics")?;
    result
}

/// Runs the controllers for as long as the Lease is held.
async fn lead(mut candidate: Candidate, edges: Edges, args: &RunArgs, stop: &CancellationToken) -> anyhow::Result<()> {
    let Some(since) = stop.run_until_cancelled(candidate.win()).await else {
        return Ok(());
    };
    edges.metrics.leads(true);
    let metrics = Arc::clone(&edges.metrics);
    let result = tokio::select! {
        result = control(edges, args, stop) => result,
        () = candidate.hold(since) => Err(anyhow::anyhow!("failed to hold the Lease: another operator may lead now")),
    };
    metrics.leads(false);
    if result.is_ok() {
        candidate.release().await.context("failed to give the Lease back")?;
    }
    result
}

async fn control(edges: Edges, args: &RunArgs, stop: &CancellationToken) -> anyhow::Result<()> {
    let settings = Settings {
        default_image: args.element_image.clone(),
        ..Settings::default()
    };
    let mut scopes: Vec<_> = args
        .namespaces
        .iter()
        .filter(|name| !name.is_empty())
        .cloned()
        .map(Scope::Namespace)
        .collect();
    if scopes.is_empty() {
        scopes.push(Scope::Cluster);
    }
    tracing::info!(?scopes, "reconciling");
    let controllers = scopes
        .into_iter()
        .map(|scope| controller::run(edges.clone(), scope, settings.clone(), stop.clone()));
    try_join_all(controllers)
        .await
        .context("failed to prepare the controllers")?;
    tracing::info!("stopped");
    Ok(())
}

fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}
