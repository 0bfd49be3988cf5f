//! The bodies of requests, as the connection cares for them. One that goes silent is given up, however long the whole may take. One
//! outlives its handler: a request refused before its body was read would end in a reset connection, and the client would see the
//! reset instead of the answer. So the rest of such a body is read and thrown away for a while.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// How much of an unwanted body is read, and for how long. A client that has more to say is cut off.
const MAX_BYTES: usize = 16 << 20;
const MAX_TIME: Duration = Duration::from_secs(5);

/// The body went silent.
#[derive(Debug, Error)]
#[error("nothing arrived for {} seconds", .0.as_secs_f64())]
pub(super) struct Silence(Duration);

/// Why a body ended too early, in words for its sender.
pub(super) fn cut_off(error: &axum::Error) -> String {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(silence) = error.downcast_ref::<Silence>() {
            return silence.to_string();
        }
        cause = error.source();
    }
    "the body was cut off".to_owned()
}

/// Makes the request's body linger, and bounds how long it may be silent.
pub(super) fn over(request: Request, silence: Duration) -> Request {
    // A client that waits for 100 Continue sends nothing until it is asked to.
    let waits = request.headers().contains_key(header::EXPECT);
    request.map(|body| {
        if body.is_end_stream() {
            body
        } else {
            Body::new(Lingering {
                body: Some(body),
                asked: !waits,
                patience: Patience {
                    silence,
                    timer: None,
                    waits: false,
                },
            })
        }
    })
}

struct Lingering {
    body: Option<Body>,
    /// Whether the client is sending.
    asked: bool,
    patience: Patience,
}

/// Counts the time in which nothing comes. While bytes keep coming it costs nothing.
struct Patience {
    silence: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer runs.
    waits: bool,
}

impl Patience {
    /// Nothing came. Whether that has been so for too long.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.silence)));
        if !self.waits {
            self.waits = true;
            timer.as_mut().reset(Instant::now() + self.silence);
        }
        timer.as_mut().poll(context).is_ready()
    }
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
        if polled.is_ready() {
            self.patience.waits = false;
        } else if self.patience.is_over(context) {
            self.body = None;
            return Poll::Ready(Some(Err(axum::Error::new(Silence(self.patience.silence)))));
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, Bytes};
    use axum::extract::Request;
    use futures::{StreamExt, stream};
    use http_body_util::BodyExt;

    use super::{cut_off, over};

    /// A body that may be silent for so many milliseconds.
    fn body(silence: u64, pieces: impl futures::Stream<Item = Bytes> + Send + 'static) -> Body {
        let body = Body::from_stream(pieces.map(Ok::<_, std::io::Error>));
        over(Request::new(body), Duration::from_millis(silence)).into_body()
    }

    #[tokio::test]
    async fn silent_body_is_given_up() {
        let pieces = stream::iter([Bytes::from_static(b"a")]).chain(stream::pending());
        let mut body = body(10, pieces);
        assert!(body.frame().await.unwrap().is_ok());
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(cut_off(&error), "nothing arrived for 0.01 seconds");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn slow_body_may_take_as_long_as_it_keeps_coming() {
        // Both wait by the same clock, so a machine that stalls delays both.
        let pieces = stream::unfold(0, async |count| {
            tokio::time::sleep(Duration::from_millis(10)).await;
            (count < 20).then(|| (Bytes::from_static(b"a"), count + 1))
        });
        let body = body(40, pieces.boxed());
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 20);
    }
}
