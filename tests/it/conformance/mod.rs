//! The OTLP receiver's contract, row by row: `docs/otlp.md` lists the rows, and a test carries its row's id.

mod encoding;
mod responses;
mod transport;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use crate::client::{self, Answer};
use crate::server::Server;

pub const PROTOBUF: &str = "application/x-protobuf";
pub const JSON: &str = "application/json";

/// Posts to a signal's path with this content type.
async fn export(server: &Server, signal: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
    export_with(server, signal, &[("content-type", content_type)], body).await
}

async fn export_with(server: &Server, signal: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
    client::post(&format!("http://{}/v1/{signal}", server.http), headers, body.into()).await
}

async fn count(server: &Server, table: &str) -> i64 {
    server.number(&format!("SELECT count(*) FROM {table}")).await
}

/// `google.rpc.Status`, as far as tests look at it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Status {
    fn has(&self, name: &str) -> bool {
        self.details.iter().any(|d| d.type_url.ends_with(&format!("google.rpc.{name}")))
    }
}

/// The refusals that a successful protobuf answer reports: number and message.
fn rejected(body: &[u8]) -> Option<(i64, String)> {
    let answer = ExportTraceServiceResponse::decode(body).unwrap();
    answer.partial_success.map(|p| (p.rejected_spans, p.error_message))
}

/// Sends one span as JSON and gives back the row of `columns`.
async fn span_row(server: &Server, members: &str, columns: &str) -> Vec<serde_json::Value> {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NEXT: AtomicU64 = AtomicU64::new(1_000_000);
    let trace = NEXT.fetch_add(1, Relaxed);
    let answer = export(server, "traces", JSON, crate::otlp::span_json(trace, members)).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"), "{members}");
    let id = crate::otlp::hex(&crate::otlp::trace_id(trace));
    server.sql(&format!("SELECT {columns} FROM spans WHERE trace_id = '{id}'")).await.remove(0)
}
