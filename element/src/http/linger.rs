//! Bodies that outlive their handler. A request refused before its body was read would end in a reset connection, and the client
//! would see the reset instead of the answer. So the rest of such a body is read and thrown away for a while.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How much of an unwanted body is read, and for how long. A client that has more to say is cut off.
const MAX_BYTES: usize = 16 << 20;
const MAX_TIME: Duration = Duration::from_secs(5);

/// Makes the request's body linger.
pub(super) fn over(request: Request) -> Request {
    // A client that waits for 100 Continue sends nothing until it is asked to.
    let waits = request.headers().contains_key(header::EXPECT);
    request.map(|body| {
        if body.is_end_stream() {
            body
        } else {
            Body::new(Lingering {
                body: Some(body),
                asked: !waits,
            })
        }
    })
}

struct Lingering {
    body: Option<Body>,
    /// Whether the client is sending.
    asked: bool,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.asked = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| self.asked && !body.is_end_stream()) else {
            return;
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(MAX_TIME, discard(body)));
        }
    }
}

async fn discard(mut body: Body) {
    let mut left = MAX_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
