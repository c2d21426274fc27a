//! Breaks an answer off only after what was made of it has been sent.
//!
//! A format without a place for "this is not all" is broken off. But a server that gets an
//! error from a body closes the connection at once and throws away what it has not
//! written yet: of a short answer everything, head included. So the error waits here,
//! outside of the compression, until the server has let go of every part.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::Notify;

/// How long the client may take for one part before its connection is given up.
const STALL: Duration = Duration::from_secs(10);
/// How much later than the last part the end comes. Over HTTP/2, clients (curl among them) throw away what they read
/// together with the reset of its stream.
const PAUSE: Duration = Duration::from_millis(50);
/// The size of a part.
const PART_BYTES: usize = 64 << 10;

/// Marks a response whose body may end in an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MayBreakOff;

/// Lets the compression and the server pass on what they hold: they do when nothing more is ready.
pub(crate) async fn pass_on() {
    tokio::task::yield_now().await;
}

/// `response`, whose body, if it is marked, gives its error after the parts before were sent.
pub(crate) async fn after_sending(response: Response) -> Response {
    if response.extensions().get::<MayBreakOff>().is_none() {
        return response;
    }
    response.map(|body| {
        let sending = Sending { body: body.into_data_stream(), rest: Bytes::new(), unsent: Arc::default() };
        let parts = futures::stream::unfold(sending, |mut sending| async { Some((sending.next().await?, sending)) });
        Body::from_stream(parts.fuse())
    })
}

struct Sending {
    body: BodyDataStream,
    rest: Bytes,
    unsent: Arc<Unsent>,
}

impl Sending {
    async fn next(&mut self) -> Option<Result<Bytes, axum::Error>> {
        if self.rest.is_empty() {
            match self.body.next().await? {
                Ok(bytes) => self.rest = bytes,
                Err(error) => {
                    self.unsent.wait().await;
                    tokio::time::sleep(PAUSE).await;
                    return Some(Err(error));
                }
            }
        }
        let part = self.rest.split_to(self.rest.len().min(PART_BYTES));
        Some(Ok(self.unsent.watch(part)))
    }
}

/// Counts the parts that the server holds.
#[derive(Debug, Default)]
struct Unsent {
    parts: AtomicUsize,
    sent: Notify,
}

impl Unsent {
    fn watch(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        self.parts.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Part { bytes, unsent: Arc::clone(self) })
    }

    /// Waits until the server holds no part, or does not get rid of any.
    async fn wait(&self) {
        pass_on().await;
        while self.parts.load(Ordering::Acquire) > 0 {
            if tokio::time::timeout(STALL, self.sent.notified()).await.is_err() {
                return;
            }
        }
    }
}

/// A part that tells when it is dropped.
struct Part {
    bytes: Bytes,
    unsent: Arc<Unsent>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.unsent.parts.fetch_sub(1, Ordering::Release);
        self.unsent.sent.notify_one();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test]
    async fn the_error_comes_when_the_parts_are_gone() {
        let chunks = [Ok(Bytes::from(vec![7; PART_BYTES + 1])), Err(std::io::Error::other("cut"))];
        let mut response = Body::from_stream(futures::stream::iter(chunks)).into_response();
        response.extensions_mut().insert(MayBreakOff);
        let mut body = after_sending(response).await.into_body().into_data_stream();
        let (first, second) = (body.next().await.unwrap().unwrap(), body.next().await.unwrap().unwrap());
        assert_eq!((first.len(), second.len()), (PART_BYTES, 1));
        let error = body.next();
        tokio::pin!(error);
        let mut waits = async |n: usize| {
            for _ in 0..n {
                assert!(futures::poll!(&mut error).is_pending());
                tokio::task::yield_now().await;
            }
        };
        waits(5).await;
        drop(first);
        waits(5).await;
        drop(second);
        assert!(error.await.unwrap().is_err());
        assert!(body.next().await.is_none());
    }
}
