//! Watches a connection for clients that are slow, silent or gone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Never look more often than this.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// When what happened on a connection. Times are milliseconds since it was accepted.
#[derive(Debug)]
pub(crate) struct Pulse {
    accepted: Instant,
    header_timeout: Duration,
    idle_timeout: Duration,
    requests: AtomicUsize,
    is_http2: AtomicBool,
    /// When the last request ended.
    idle_since: AtomicU64,
    /// When the first byte of the next request came, plus 1; 0 if none did.
    head_since: AtomicU64,
}

/// What should happen to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Keep it, and ask again after this.
    Keep(Duration),
    /// It is idle: end it in good order.
    End,
    /// It does not get to a request: close it.
    Close,
}

impl Pulse {
    pub(crate) fn new(header_timeout: Duration, idle_timeout: Duration) -> Self {
        Pulse {
            accepted: Instant::now(),
            header_timeout,
            idle_timeout,
            requests: AtomicUsize::new(0),
            is_http2: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            // A new connection owes us a request.
            head_since: AtomicU64::new(1),
        }
    }

    /// A request has begun; it ends when the answer is dropped.
    pub(crate) fn request(self: &Arc<Self>, version: Version) -> Beat {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        Beat(Arc::clone(self))
    }

    /// What should happen to the connection now.
    pub(crate) fn verdict(&self) -> Verdict {
        let now = self.now_ms();
        if self.requests.load(Ordering::Relaxed) > 0 {
            return Verdict::Keep(self.header_timeout.min(self.idle_timeout).max(PAUSE_MIN));
        }
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        let mut left = self.idle_timeout.saturating_sub(since(self.idle_since.load(Ordering::Relaxed)));
        if left.is_zero() {
            return Verdict::End;
        }
        let head_since = self.head_since.load(Ordering::Relaxed);
        // An HTTP/2 connection has other things to say than requests, and pings to prove it lives.
        if head_since > 0 && !self.is_http2.load(Ordering::Relaxed) {
            let head_left = self.header_timeout.saturating_sub(since(head_since - 1));
            if head_left.is_zero() {
                return Verdict::Close;
            }
            left = left.min(head_left);
        }
        Verdict::Keep(left.max(PAUSE_MIN))
    }

    fn was_read(&self, bytes: &[u8]) {
        if self.requests.load(Ordering::Relaxed) > 0 || self.is_http2.load(Ordering::Relaxed) {
            return;
        }
        if bytes.starts_with(b"PRI * HTTP/2.0") {
            self.is_http2.store(true, Ordering::Relaxed);
        } else if !bytes.is_empty() && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now_ms() + 1, Ordering::Relaxed);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

/// A request on a connection.
pub(crate) struct Beat(Arc<Pulse>);

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now_ms(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that tells its pulse what it reads.
pub(crate) struct Watched {
    pub(crate) stream: TcpStream,
    pub(crate) pulse: Arc<Pulse>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() {
            self.pulse.was_read(buf.filled().get(before..).unwrap_or_default());
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
