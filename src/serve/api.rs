//! The HTTP server beside OTLP: the query API, `/metrics`, `/healthz`, `/readyz`, and a page
//! that says what runs here.
//!
//! It answers from the first moment: until the log is replayed, `/readyz` says so, and the API
//! asks to come back later.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hopline_query::ErrorKind;
use hopline_ui::StartPage;
use http::{HeaderValue, StatusCode, header};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use prometheus::{HistogramOpts, HistogramVec, Registry, TextEncoder};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::health::{Health, Phase};
use crate::server_file::INSTANCE;

/// What the handlers share.
pub(super) struct Shared {
    pub(super) health: Health,
    pub(super) registry: Registry,
    /// The API, once there is something to ask.
    pub(super) query: OnceLock<Router>,
    /// Why exports are refused although the server is ready, if they are.
    pub(super) degraded: OnceLock<Box<dyn Fn() -> Option<String> + Send + Sync>>,
    /// Where OTLP is taken, for the page.
    pub(super) otlp: OnceLock<(SocketAddr, SocketAddr)>,
    /// Tells this start of this server from all others.
    pub(super) instance: String,
    durations: HistogramVec,
}

impl Shared {
    pub(super) fn new(health: Health, registry: Registry) -> anyhow::Result<Shared> {
        let options = HistogramOpts::new("hopline_api_request_duration_seconds", "Time to the head of an API answer.")
            .buckets(vec![0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]);
        let durations = HistogramVec::new(options, &["route", "status"]).context("make the metrics of the API")?;
        registry.register(Box::new(durations.clone())).context("register the metrics of the API")?;
        let (query, degraded, otlp) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let instance = format!("{:032x}", rand::random::<u128>());
        Ok(Shared { health, registry, query, degraded, otlp, instance, durations })
    }

    /// What `/readyz` says: the word, and the reason unless all is well.
    fn readiness(&self) -> (&'static str, Option<String>) {
        match self.health.phase() {
            Phase::Replaying => ("replaying", Some("the log is being replayed".to_owned())),
            Phase::Draining => ("draining", Some("the server is stopping".to_owned())),
            Phase::Ready => match self.degraded.get().and_then(|why| why()) {
                Some(reason) => ("degraded", Some(reason)),
                None => ("ready", None),
            },
        }
    }
}

/// The running server.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    closing: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Binds and serves.
    pub(super) async fn start(
        addr: SocketAddr,
        shared: Arc<Shared>,
        ended: &CancellationToken,
    ) -> anyhow::Result<Server> {
        let listener = TcpListener::bind(addr).await.with_context(|| format!("listen on {addr} (api.addr)"))?;
        let addr = listener.local_addr().context("read the API's address")?;
        let closing = CancellationToken::new();
        let stop = closing.clone().cancelled_owned();
        // Made here, not in the task: a task may die before it runs.
        let ended = ended.clone().drop_guard();
        let app = router(shared);
        let task = tokio::spawn(async move {
            let _fires_on_return_panic_and_abort = ended;
            axum::serve(listener, app).with_graceful_shutdown(stop).await
        });
        Ok(Server { addr, closing, task })
    }

    /// Takes no more connections, and waits for the answers that are being given for `grace`.
    pub(super) async fn stop(mut self, grace: Duration) -> anyhow::Result<()> {
        self.closing.cancel();
        match tokio::time::timeout(grace, &mut self.task).await {
            Ok(Ok(result)) => result.context("serve the API"),
            Ok(Err(error)) => Err(error).context("serve the API"),
            Err(_) => {
                tracing::info!("answers that were still being given were cut off");
                self.task.abort();
                Ok(())
            }
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(forward)
        .method_not_allowed_fallback(only_read)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), observe))
        .with_state(shared)
}

/// Measures each request, and makes a span of those to the API.
async fn observe(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = route(request.uri().path());
    let method = request.method().clone();
    let span = if route.starts_with("/api") {
        tracing::info_span!(
            "request",
            "otel.kind" = "server",
            "otel.name" = %format_args!("{method} {route}"),
            "http.request.method" = %method,
            "http.route" = route,
            "url.path" = request.uri().path(),
            "http.response.status_code" = tracing::field::Empty,
            error = tracing::field::Empty,
        )
    } else {
        tracing::Span::none()
    };
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("error", true);
    }
    shared.durations.with_label_values(&[route, status.as_str()]).observe(started.elapsed().as_secs_f64());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Hexadecimal digits are always a value.
    if let Ok(instance) = HeaderValue::from_str(&shared.instance) {
        headers.insert(INSTANCE, instance);
    }
    response
}

/// The path without what differs from request to request.
fn route(path: &str) -> &'static str {
    const ROUTES: [&str; 15] = [
        "/api/v1/sql",
        "/api/v1/traces",
        "/api/v1/search",
        "/api/v1/services",
        "/api/v1/operations",
        "/api/v1/attributes",
        "/api/v1/logs",
        "/api/v1/metrics",
        "/api/v1/tail",
        "/api/v1/status",
        "/api/v1/openapi.json",
        "/api",
        "/metrics",
        "/healthz",
        "/readyz",
    ];
    let is_below = |route: &&str| path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ROUTES.into_iter().find(is_below).unwrap_or(if path == "/" { "/" } else { "other" })
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let (word, reason) = shared.readiness();
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(json!({ "status": word, "reason": reason }))).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match TextEncoder::new().encode_to_string(&shared.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            problem(ErrorKind::Internal, "the metrics could not be written")
        }
    }
}

/// Everything else is the query API's, once there is one.
async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path();
    if !path.starts_with("/api/") {
        return problem(ErrorKind::NotFound, &format!("there is nothing at {path}; the API is under /api/v1"));
    }
    let (word, reason) = shared.readiness();
    match shared.query.get() {
        Some(query) if word != "replaying" => {
            // A router cannot fail: it answers.
            TowerToHyperService::new(query.clone()).call(request).await.unwrap_or_else(|never| match never {})
        }
        _ => {
            let mut response = problem(ErrorKind::Unavailable, &reason.unwrap_or_default());
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

/// What is not the API's is read only. `Allow` is set by the router.
async fn only_read(request: Request) -> Response {
    let detail = format!("{} is not possible on {}: use GET", request.method(), request.uri().path());
    problem(ErrorKind::Method, &detail)
}

/// An error by RFC 9457, with the members that the API's errors have.
fn problem(kind: ErrorKind, detail: &str) -> Response {
    let status = kind.status();
    let title = status.canonical_reason().unwrap_or_default().to_lowercase();
    let body = json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "kind": kind.name(), "detail": detail,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

async fn home(State(shared): State<Arc<Shared>>) -> Response {
    let (status, _) = shared.readiness();
    let page = StartPage { version: env!("CARGO_PKG_VERSION"), status, otlp: shared.otlp.get().copied() };
    ([(header::CONTENT_SECURITY_POLICY, hopline_ui::CONTENT_SECURITY_POLICY)], Html(page.render())).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use axum::body::Body;
    use http_body_util::BodyExt as _;

    use super::*;

    async fn ask(shared: &Arc<Shared>, path: &str) -> (u16, String) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = TowerToHyperService::new(router(Arc::clone(shared))).call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn says_what_it_can_do_at_each_stage() {
        let shared = Arc::new(Shared::new(Health::new(), Registry::new()).unwrap());
        assert_eq!(ask(&shared, "/healthz").await, (200, "ok\n".to_owned()));
        let (status, body) = ask(&shared, "/readyz").await;
        assert!(status == 503 && body.contains("replaying"), "{body}");
        assert_eq!(ask(&shared, "/api/v1/services").await.0, 503);

        assert!(shared.query.set(Router::new().route("/api/v1/services", get(async || "[]"))).is_ok());
        shared.health.set(Phase::Ready);
        assert_eq!(ask(&shared, "/readyz").await.0, 200);
        assert_eq!(ask(&shared, "/api/v1/services").await, (200, "[]".to_owned()));

        assert!(shared.degraded.set(Box::new(|| Some("the disk is full".to_owned()))).is_ok());
        let (status, body) = ask(&shared, "/readyz").await;
        assert!(status == 503 && body.contains("the disk is full"), "{body}");
        assert_eq!(ask(&shared, "/api/v1/services").await.0, 200, "reading still works");

        let post = Request::post("/healthz").body(Body::empty()).unwrap();
        let response = TowerToHyperService::new(router(Arc::clone(&shared))).call(post).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &HeaderValue::from_static("GET,HEAD"))
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["kind"], &body["status"]), (&json!("method_not_allowed"), &json!(405)), "{body}");
        assert!(body["detail"].as_str().unwrap().starts_with("POST is not possible on /healthz: use GET"), "{body}");

        shared.health.set(Phase::Draining);
        assert!(ask(&shared, "/readyz").await.1.contains("draining"));
        assert!(ask(&shared, "/").await.1.contains("no web interface yet"));
        let (status, body) = ask(&shared, "/nothing").await;
        assert!(status == 404 && body.contains(r#""kind":"not_found""#), "{body}");
        let (_, metrics) = ask(&shared, "/metrics").await;
        assert!(
            metrics.contains(r#"hopline_api_request_duration_seconds_count{route="/readyz",status="503"} 3"#),
            "{metrics}"
        );
    }

    #[test]
    fn routes_have_no_ids() {
        assert_eq!(route("/api/v1/traces/0af7651916cd43dd8448eb211c80319c"), "/api/v1/traces");
        assert_eq!(route("/api/v1/sqlx"), "/api");
        assert_eq!(route("/"), "/");
        assert_eq!(route("/etc/passwd"), "other");
    }
}
