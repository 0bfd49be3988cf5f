//! Connections: accepting them, bounding them, and letting them end in peace. `axum::serve` has no time limit on headers, so the loop
//! is our own over hyper.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Connections served at once. More wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;

/// How long a client may take to send a request's head, and to begin the next one.
const HEADER_TIME: Duration = Duration::from_secs(60);

/// What a connection buffers of a request, and of an answer's content beyond the piece being sent. Many uploads run at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long a client may leave sent bytes unread before its connection is given up.
const UNREAD_MILLISECONDS: u32 = 120_000;

/// How long accepting rests after it failed, as it does when no file handles are left.
const REST: Duration = Duration::from_millis(100);

/// Serves until `stopping`, then lets what runs finish.
pub(crate) async fn serve(listener: TcpListener, router: Router, metrics: Arc<Metrics>, stopping: CancellationToken) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    while let Some((stream, permit)) = stopping
        .run_until_cancelled(accept(&listener, &permits))
        .await
        .flatten()
    {
        let service = TowerToHyperService::new(router.clone());
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_buf_size(BUFFER_BYTES);
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        let metrics = Arc::clone(&metrics);
        metrics.connections.inc();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
            metrics.connections.dec();
            drop(permit);
        });
    }
    drop(listener);
    tracing::info!(connections = graceful.count(), "stopped accepting; finishing what runs");
    graceful.shutdown().await;
}

/// The next connection; none only if the semaphore were closed, which nobody does.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let tuned = stream.set_nodelay(true).and_then(|()| {
                    Ok(rustix::net::sockopt::set_tcp_user_timeout(
                        &stream,
                        UNREAD_MILLISECONDS,
                    )?)
                });
                if let Err(error) = tuned {
                    tracing::debug!(%error, "failed to tune a connection");
                }
                return Some((stream, permit));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(REST).await;
            }
        }
    }
}
