//! Whom the commands that read ask: a running server, or a data folder that no server holds.
//!
//! A folder is opened for reading and its log is replayed into memory; the same API then
//! answers in this process. So a command gets the same answer either way, and is written once.
//!
//! Which it is, the folder's lock decides: `server.json` alone proves nothing, for it stays behind
//! after a crash and goes along into copies. And the server that it names is asked only if, in each
//! answer, it shows that it is the one that wrote the file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::Router;
use axum::body::Body;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use crate::config::{Loaded, Sources};
use crate::exit::Exit;
use crate::flags;
use crate::json;
use crate::offline;
use crate::server_file::{INSTANCE, ServerFile};

const DEFAULT_SERVER: &str = "http://127.0.0.1:4320";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Flags that say whom to ask.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SourceArgs {
    /// Server to ask [default: $HOPLINE_SERVER, or http://127.0.0.1:4320]
    #[arg(long, value_name = "URL", conflicts_with = "data", help_heading = "Source")]
    pub(crate) server: Option<String>,
    /// Data folder: the server that runs on it is asked or, if none does, the files are read
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    pub(crate) data: Option<PathBuf>,
}

/// Whom to ask.
pub(crate) enum Source {
    /// A server.
    Server(Box<Server>),
    /// A data folder.
    Folder(offline::Folder, TowerToHyperService<Router>),
}

/// A server somewhere.
pub(crate) struct Server {
    base: String,
    /// The `instance` that its answers must show, if it is asked because it serves a folder.
    instance: Option<String>,
    client: Client<HttpConnector, Body>,
}

/// An answer: its head, and a body that is still to come.
pub(crate) type Answer = Response<Body>;

impl Source {
    /// Finds out whom to ask.
    pub(crate) async fn open(args: &SourceArgs, config: Option<PathBuf>) -> anyhow::Result<Source> {
        let Some(dir) = &args.data else {
            // Not clap's `env`: a variable must not clash with the flag --data.
            let variable = std::env::var("HOPLINE_SERVER").ok().filter(|url| !url.is_empty());
            let url = args.server.clone().or(variable);
            return Ok(Source::Server(Box::new(Server::new(url.as_deref().unwrap_or(DEFAULT_SERVER))?)));
        };
        let loaded = crate::config::load(&Sources::new(config).flag("data", "--data", Some(dir.display())))?;
        match Source::folder(&loaded).await {
            Err(error) if is_locked(&error) => match serving(dir).await {
                Ok(server) => Ok(Source::Server(Box::new(server))),
                Err(why) => Err(error.context(format!("{why:#}"))),
            },
            outcome => outcome,
        }
    }

    async fn folder(loaded: &Loaded) -> anyhow::Result<Source> {
        let folder = offline::Folder::open(loaded).await?;
        let service = TowerToHyperService::new(folder.router());
        Ok(Source::Folder(folder, service))
    }

    /// What is asked, for people.
    pub(crate) fn name(&self) -> String {
        match self {
            Source::Server(server) => server.base.clone(),
            Source::Folder(folder, _) => folder.dir().display().to_string(),
        }
    }

    /// Asks for `path`, which may have a query part, in the format `accept`.
    pub(crate) async fn get(&self, path: &str, accept: &str) -> anyhow::Result<Answer> {
        self.ask(Method::GET, path, &[(header::ACCEPT, accept)], Body::empty()).await
    }

    /// Asks for JSON, and gives its text.
    pub(crate) async fn get_json(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        text(self.get(path, "application/json").await?).await
    }

    /// Posts JSON, and wants the answer in the format `accept`.
    pub(crate) async fn post(&self, path: &str, body: &Value, accept: &str) -> anyhow::Result<Answer> {
        let headers = [(header::ACCEPT, accept), (header::CONTENT_TYPE, "application/json")];
        self.ask(Method::POST, path, &headers, Body::from(body.to_string())).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        body: Body,
    ) -> anyhow::Result<Answer> {
        let base = match self {
            Source::Server(server) => server.base.as_str(),
            Source::Folder(..) => "",
        };
        let is_get = method == Method::GET;
        let mut request = Request::builder().method(method).uri(format!("{base}{path}"));
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(body).context("put the request together")?;
        let answer = match self {
            Source::Server(server) => server.send(request).await?,
            // A router cannot fail: it answers.
            Source::Folder(_, service) => service.call(request).await.unwrap_or_else(|never| match never {}),
        };
        match answer.status() {
            status if status.is_success() => Ok(answer),
            // A parameter that is wrong comes from a flag that is; SQL that is wrong is an answer.
            StatusCode::BAD_REQUEST if is_get => {
                Err(Exit::usage(flags::refused(&Refused::of(answer).await.to_string())).into())
            }
            StatusCode::NOT_FOUND => Err(Exit::not_found(Refused::of(answer).await.to_string()).into()),
            _ => Err(Refused::of(answer).await.into()),
        }
    }
}

impl Server {
    /// The server at `url`, which is not connected to before it is asked.
    pub(crate) fn new(url: &str) -> anyhow::Result<Server> {
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let base = with_scheme.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|e| Exit::usage(format!("{url:?} is not a URL: {e}")))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(_)) => {}
            (Some("https"), _) => bail!(Exit::usage("https is not supported by this version: use http://")),
            _ => bail!(Exit::usage(format!("{url:?} is not the URL of a server, such as {DEFAULT_SERVER}"))),
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        Ok(Server { base, instance: None, client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    async fn send(&self, request: Request<Body>) -> anyhow::Result<Answer> {
        let answer = self.client.request(request).await;
        let what = || {
            format!("ask {} (is the server running? `hopline serve` starts one, --data DIR reads a folder)", self.base)
        };
        let answer = answer.with_context(what)?;
        if let Some(instance) = &self.instance {
            let shown = answer.headers().get(INSTANCE).is_some_and(|shown| shown == instance);
            ensure!(shown, "at {} another server answers than the one that serves the folder", self.base);
        }
        Ok(answer.map(Body::new))
    }
}

/// The server that serves the folder `dir`, whose lock is held.
async fn serving(dir: &Path) -> anyhow::Result<Server> {
    let file = ServerFile::read(dir).context("no server.json says where its server is")?;
    let mut server = Server::new(&reachable(&file.api))?;
    server.instance = Some(file.instance);
    let request = Request::builder().uri(format!("{}/healthz", server.base)).body(Body::empty())?;
    let answer = tokio::time::timeout(CONNECT_TIMEOUT, server.send(request)).await;
    answer.with_context(|| format!("the server at {} does not answer", server.base))??;
    Ok(server)
}

/// Whether a process has the folder for itself.
fn is_locked(error: &anyhow::Error) -> bool {
    let storage = error.chain().find_map(|e| e.downcast_ref::<hopline_storage::Error>());
    matches!(storage, Some(hopline_storage::Error::Locked { .. }))
}

/// A server that listens on all addresses is asked on the one of this machine.
fn reachable(addr: &str) -> String {
    addr.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
}

/// The whole body.
pub(crate) async fn text(answer: Answer) -> anyhow::Result<Vec<u8>> {
    Ok(answer.into_body().collect().await.context("read the answer")?.to_bytes().into())
}

/// The whole body as JSON.
pub(crate) async fn json(answer: Answer) -> anyhow::Result<Value> {
    json::parse(&text(answer).await?).context("the answer is not JSON")
}

/// The lines of a body, as they come.
pub(crate) fn lines(answer: Answer) -> BoxStream<'static, anyhow::Result<Vec<u8>>> {
    let chunks = answer.into_body().into_data_stream();
    futures::stream::unfold((chunks, Vec::new(), false), async |(mut chunks, mut rest, mut ended)| {
        loop {
            if let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let mut line: Vec<u8> = rest.drain(..=end).collect();
                line.pop();
                return Some((Ok(line), (chunks, rest, ended)));
            }
            if ended {
                let last = std::mem::take(&mut rest);
                return (!last.is_empty()).then_some((Ok(last), (chunks, rest, ended)));
            }
            match chunks.next().await {
                Some(Ok(chunk)) => rest.extend_from_slice(&chunk),
                Some(Err(error)) => {
                    rest.clear();
                    let error = anyhow::Error::new(error).context("read the answer");
                    return Some((Err(error), (chunks, rest, true)));
                }
                None => ended = true,
            }
        }
    })
    .boxed()
}

/// An answer that says why there is none.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What is wrong.
    pub(crate) detail: String,
    /// What may help.
    pub(crate) hint: Option<String>,
    /// Line and column of the SQL text, from 1.
    pub(crate) place: Option<(u64, u64)>,
}

impl Refused {
    /// The error that an `application/problem+json` answer describes.
    async fn of(answer: Answer) -> Refused {
        let status = answer.status();
        let body = answer.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |key: &str| problem.get(key).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
        let number = |key: &str| problem.get(key).and_then(Value::as_u64);
        let detail = text("detail").or_else(|| text("title")).unwrap_or_else(|| {
            let body = String::from_utf8_lossy(&body);
            let body: String = body.trim().chars().take(300).collect();
            if body.is_empty() { format!("the server answered {status}") } else { format!("{status}: {body}") }
        });
        Refused { detail, hint: text("hint"), place: number("line").zip(number("column")) }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.detail)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}

/// `name=value` for the query part of an address.
pub(crate) fn parameter(name: &str, value: &str) -> String {
    let mut text = format!("{name}=");
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => text.push(byte as char),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_parameter_is_escaped() {
        assert_eq!(parameter("service", "a b&c=ü/1"), "service=a%20b%26c%3D%C3%BC%2F1");
    }

    #[test]
    fn a_server_is_a_url_or_an_address() {
        assert_eq!(Server::new("http://host:1/").unwrap().base, "http://host:1");
        assert_eq!(Server::new("localhost:4320").unwrap().base, "http://localhost:4320");
        for bad in ["https://host", "ftp://host", "http://", ""] {
            assert!(Server::new(bad).is_err(), "{bad}");
        }
        assert_eq!(reachable("0.0.0.0:4320"), "127.0.0.1:4320");
        assert_eq!(reachable("[::]:4320"), "[::1]:4320");
    }

    #[tokio::test]
    async fn lines_come_whole_however_the_bytes_are_cut() {
        let parts = ["a", "b\nc", "\n\n", "d"].map(|p| Ok::<_, std::io::Error>(bytes::Bytes::from(p)));
        let answer = Response::new(Body::from_stream(futures::stream::iter(parts)));
        let lines: Vec<_> = lines(answer).map(|l| String::from_utf8(l.unwrap()).unwrap()).collect().await;
        assert_eq!(lines, ["ab", "c", "", "d"]);
    }
}
