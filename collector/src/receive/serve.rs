//! Accepts connections and serves HTTP/1.1 and HTTP/2 on them, gRPC and OTLP/HTTP alike.
//!
//! TLS and Unix sockets will stand in [`accept`], between the listener and the connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::Answer;
use super::door::Door;
use super::pulse::{Pulse, Verdict, Watched};
use super::{grpc, http as otlp_http};

/// What a client may send ahead of our reading on one HTTP/2 stream, and on all of a connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// Larger frames than HTTP/2's 16 KiB save work on large requests.
const FRAME_BYTES: u32 = 64 << 10;
/// How long an idle connection may take to end in good order.
const END_WAIT: Duration = Duration::from_secs(5);
/// Pause after an error of `accept`, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the listeners and connections of a collector share.
#[derive(Clone)]
pub(crate) struct Server {
    door: Arc<Door>,
    builder: auto::Builder<TokioExecutor>,
    slots: Arc<Semaphore>,
    tracker: TaskTracker,
    /// Fires when connections end at once.
    aborting: CancellationToken,
}

impl Server {
    pub(crate) fn new(door: Arc<Door>) -> Self {
        let config = &door.config;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // Timeouts of HTTP/1 are the pulse's: hyper's would count the pause between requests.
        builder.http1().header_read_timeout(None);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_millis(config.keepalive_interval_ms))
            .keep_alive_timeout(Duration::from_millis(config.keepalive_timeout_ms))
            .max_concurrent_streams(config.max_concurrent_streams)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES);
        Server {
            slots: Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS))),
            builder,
            tracker: TaskTracker::new(),
            aborting: CancellationToken::new(),
            door,
        }
    }

    /// Serves what comes to `listener`, in a task of its own.
    pub(crate) fn listen(&self, listener: TcpListener) {
        self.tracker.spawn(accept(self.clone(), listener));
    }

    /// Closes the listeners, lets connections end in good order for `grace`, then ends them.
    pub(crate) async fn close(&self, grace: Duration) {
        self.door.closing.cancel();
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_err() {
            tracing::warn!(connections = self.tracker.len(), "closing connections that did not end in time");
            self.abort();
            self.tracker.wait().await;
        }
    }

    /// Ends everything at once.
    pub(crate) fn abort(&self) {
        self.door.closing.cancel();
        self.aborting.cancel();
    }
}

async fn accept(server: Server, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.door.closing.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => connect(&server, stream, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connect(server: &Server, stream: TcpStream, peer: SocketAddr) {
    let metrics = &server.door.metrics;
    let Ok(slot) = Arc::clone(&server.slots).try_acquire_owned() else {
        metrics.connections_refused.inc();
        tracing::debug!(%peer, "closed a connection: there are too many");
        return;
    };
    // Answers are small and should not wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "set TCP_NODELAY");
    }
    metrics.connections.inc();
    let server = server.clone();
    server.tracker.clone().spawn(async move {
        serve(&server, stream).await;
        server.door.metrics.connections.dec();
        drop(slot);
    });
}

async fn serve(server: &Server, stream: TcpStream) {
    let config = &server.door.config;
    let header_timeout = Duration::from_millis(config.header_timeout_ms);
    let pulse = Arc::new(Pulse::new(header_timeout, Duration::from_millis(config.idle_timeout_ms)));
    let service = service_fn(|request: Request<Incoming>| {
        let (door, beat) = (Arc::clone(&server.door), pulse.request(request.version()));
        async move {
            let response = route(&door, request).await;
            drop(beat);
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(Watched { stream, pulse: Arc::clone(&pulse) });
    let connection = server.builder.serve_connection(io, service);
    let look = tokio::time::sleep(header_timeout);
    tokio::pin!(connection, look);
    let mut is_ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            () = server.door.closing.cancelled(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = server.aborting.cancelled() => return,
            () = look.as_mut() => {
                let pause = match pulse.verdict() {
                    Verdict::Keep(pause) => pause,
                    Verdict::End if !is_ending => {
                        is_ending = true;
                        connection.as_mut().graceful_shutdown();
                        END_WAIT
                    }
                    Verdict::End | Verdict::Close => return,
                };
                look.as_mut().reset(tokio::time::Instant::now() + pause);
            }
        }
    }
}

/// Both ports speak both protocols, told apart by the content type.
async fn route(door: &Arc<Door>, request: Request<Incoming>) -> Response<Answer> {
    let content_type = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if grpc::is_grpc(content_type) && !request.uri().path().starts_with(otlp_http::PATHS) {
        grpc::serve(door, request).await
    } else {
        otlp_http::serve(door, request).await
    }
}
