//! Answers' bodies, which are sent after their handlers have returned: what is logged meanwhile still belongs to the request, and
//! its trace ends with the last byte.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tracing::Span;

use crate::traces::RequestTrace;

/// Keeps the request's spans with the answer until it was sent.
pub(super) fn over(response: Response, span: Span, trace: Option<RequestTrace>) -> Response {
    response.map(|body| {
        if body.is_end_stream() {
            body
        } else {
            Body::new(Observed { body, span, trace })
        }
    })
}

struct Observed {
    body: Body,
    span: Span,
    trace: Option<RequestTrace>,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        let polled = this.span.in_scope(|| Pin::new(&mut this.body).poll_frame(context));
        if matches!(polled, Poll::Ready(Some(Err(_))))
            && let Some(trace) = &mut this.trace
        {
            trace.broke_off();
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
