//! What Hopline shows in a browser, embedded in the binary.
//!
//! So far one page, which says what runs here and where to ask; the web application takes its place.

use std::net::SocketAddr;

/// `Content-Security-Policy` of every page: the pages load nothing and run nothing.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// What the start page says of the server.
#[derive(Debug, Clone)]
pub struct StartPage<'a> {
    /// The version that runs.
    pub version: &'a str,
    /// Its state, one word: what `/readyz` says.
    pub status: &'a str,
    /// Where OTLP is taken over gRPC and over HTTP, once it is.
    pub otlp: Option<(SocketAddr, SocketAddr)>,
}

impl StartPage<'_> {
    /// The page as HTML.
    pub fn render(&self) -> String {
        let otlp = match self.otlp {
            Some((grpc, http)) => {
                format!("<p>OTLP is taken on <code>{grpc}</code> (gRPC) and <code>{http}</code> (HTTP).</p>")
            }
            None => String::new(),
        };
        include_str!("start.html")
            .replace("{version}", self.version)
            .replace("{status}", self.status)
            .replace("{otlp}", &otlp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_page_says_what_runs_and_where() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let page = StartPage { version: "1.2.3", status: "ready", otlp: Some((at(1), at(2))) }.render();
        for part in ["Hopline 1.2.3", "<b>ready</b>", "127.0.0.1:1", "127.0.0.1:2"] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        let starting = StartPage { version: "1.2.3", status: "replaying", otlp: None }.render();
        assert!(!starting.contains("{otlp}"), "{starting}");
    }
}
