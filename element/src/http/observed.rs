//! Requests while they are answered, and the bodies of answers, which are sent after their handlers have returned: what is logged
//! meanwhile still belongs to the request, and its trace ends with the last byte.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tracing::Span;

use crate::traces::RequestTrace;

/// A request that is being answered; whoever still sends a part of the answer has a share in it.
pub(super) struct Exchange {
    span: Span,
    trace: Mutex<Option<RequestTrace>>,
}

impl Exchange {
    pub(super) fn new(span: Span, trace: Option<RequestTrace>) -> Arc<Self> {
        Arc::new(Self {
            span,
            trace: Mutex::new(trace),
        })
    }

    fn trace(&self) -> MutexGuard<'_, Option<RequestTrace>> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head of the answer is known.
    pub(super) fn answered(&self, status: u16) {
        if let Some(trace) = &mut *self.trace() {
            trace.answered(status);
        }
    }

    /// Content could not be read. The head is gone: all that is left is to break off, which the client sees by the length.
    pub(super) fn broke_off(&self, error: &dyn Display) {
        self.span
            .in_scope(|| tracing::error!(%error, "failed to read a file's content"));
        if let Some(trace) = &mut *self.trace() {
            trace.broke_off();
        }
    }
}

/// Keeps the request with the answer until it was sent.
pub(super) fn over(response: Response, exchange: Arc<Exchange>) -> Response {
    response.map(|body| {
        if body.is_end_stream() {
            body
        } else {
            Body::new(Observed { body, exchange })
        }
    })
}

struct Observed {
    body: Body,
    exchange: Arc<Exchange>,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { body, exchange } = &mut *self;
        let polled = exchange.span.in_scope(|| Pin::new(body).poll_frame(context));
        if let Poll::Ready(Some(Err(error))) = &polled {
            exchange.broke_off(error);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
