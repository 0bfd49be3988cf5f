//! Connections: accepting them, bounding them, and letting them end in peace. `axum::serve` has no time limits, so the loop is our
//! own over hyper. No limit is on a whole request: what is slow but moves goes on.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{error::Elapsed, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::sendfile::{Pieces, SendfileStream};
use crate::metrics::Metrics;

/// What a client may take its time with, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// To say the first byte on a new connection; with TLS, once more for the handshake.
    pub(crate) first_byte: Duration,
    /// To send a request's head, and to begin the next one.
    pub(crate) header: Duration,
    /// Between two bytes of a request's body.
    pub(crate) body: Duration,
    /// To read what was sent.
    pub(crate) unread: Duration,
    /// Connections served at once. More wait in the kernel's queue.
    pub(crate) connections: usize,
}

/// Serves one router on one port.
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// Why a connection ended early.
#[derive(Debug, Error)]
enum ConnectionError {
    #[error("the client said nothing for too long")]
    Silent(#[source] Elapsed),
    #[error("failed to read its first byte")]
    Read(#[source] std::io::Error),
    #[error("failed to agree on TLS")]
    Handshake(#[source] std::io::Error),
    #[error("failed to speak HTTP")]
    Http(#[source] hyper::Error),
}

/// What a connection buffers of a request, and of an answer's content beyond the piece being sent. Many uploads run at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long accepting rests after it failed, as it does when no file handles are left.
const REST: Duration = Duration::from_millis(100);

impl Server {
    /// Serves until `stopping`, then lets what runs finish.
    pub(crate) async fn serve(self, listener: TcpListener, stopping: CancellationToken) {
        let server = Arc::new(self);
        let permits = Arc::new(Semaphore::new(server.limits.connections));
        let graceful = GracefulShutdown::new();
        while let Some((stream, permit)) = stopping
            .run_until_cancelled(server.accept(&listener, &permits))
            .await
            .flatten()
        {
            let (server, watcher, stopping) = (Arc::clone(&server), graceful.watcher(), stopping.clone());
            server.metrics.connections.inc();
            tokio::spawn(async move {
                if let Err(error) = server.converse(stream, watcher, &stopping).await {
                    tracing::debug!(error = %crate::files::Chain(&error), "a connection broke off");
                }
                server.metrics.connections.dec();
                drop(permit);
            });
        }
        drop(listener);
        tracing::info!(connections = graceful.count(), "stopped accepting; finishing what runs");
        graceful.shutdown().await;
    }

    /// The next connection; none only if the semaphore were closed, which nobody does.
    async fn accept(
        &self,
        listener: &TcpListener,
        permits: &Arc<Semaphore>,
    ) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = self.tune(&stream) {
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

    /// The kernel watches for clients that read nothing: that costs a download nothing.
    fn tune(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let unread = u32::try_from(self.limits.unread.as_millis()).unwrap_or(u32::MAX);
        Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, unread)?)
    }

    /// One connection, from its first byte to its end. One that has not begun when the server stops is let go.
    async fn converse(
        &self,
        stream: TcpStream,
        watcher: Watcher,
        stopping: &CancellationToken,
    ) -> Result<(), ConnectionError> {
        let Some(begun) = stopping.run_until_cancelled(self.begin(&stream)).await else {
            return Ok(());
        };
        if !begun? {
            return Ok(());
        }
        let Some(acceptor) = &self.tls else {
            let (stream, pieces) = SendfileStream::new(stream);
            return self.speak(stream, Some(pieces), watcher).await;
        };
        let handshake = timeout(self.limits.first_byte, acceptor.accept(stream));
        let Some(agreed) = stopping.run_until_cancelled(handshake).await else {
            return Ok(());
        };
        let stream = agreed
            .map_err(ConnectionError::Silent)?
            .map_err(ConnectionError::Handshake)?;
        self.speak(stream, None, watcher).await
    }

    /// Waits for the first byte; whether there is one.
    async fn begin(&self, stream: &TcpStream) -> Result<bool, ConnectionError> {
        let mut first = [0];
        let peeked = timeout(self.limits.first_byte, stream.peek(&mut first)).await;
        let count = peeked
            .map_err(ConnectionError::Silent)?
            .map_err(ConnectionError::Read)?;
        Ok(count > 0)
    }

    /// Handlers find `pieces` where the stream can send files by itself.
    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        pieces: Option<Pieces>,
        watcher: Watcher,
    ) -> Result<(), ConnectionError> {
        let service = self.router.clone().map_request(move |mut request: Request<Incoming>| {
            if let Some(pieces) = &pieces {
                request.extensions_mut().insert(pieces.clone());
            }
            request
        });
        let service = TowerToHyperService::new(service);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.header)
            .max_buf_size(BUFFER_BYTES);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await.map_err(ConnectionError::Http)
    }
}
