//! What the fuzz target `stitch` does with an input. `tests/it` does the same with the corpus.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use hopline_collector::decode::Decoder;
use hopline_model::{DEFAULT_TENANT, Signal, Table, TraceId};
use hopline_proto::json::{Message, transcode};
use hopline_stitch::cost::PriceTable;
use hopline_stitch::derive::{Deriver, flow_spans};
use hopline_stitch::flow::{Assembly, Flow, FlowSpan, KeyRow, Limits, Seed};
use hopline_stitch::hops::{HopKey, KEYS_MAX};
use hopline_stitch::invocation::{Rules, merge};
use hopline_stitch::key::{Direction, Key, KeyHash, Kind};

/// Flows of one input that are looked at.
const FLOWS_MAX: usize = 8;

/// Takes OTLP/JSON or protobuf, of spans or of logs.
pub fn check(input: &[u8]) {
    for (message, signal) in [(Message::Traces, Signal::Traces), (Message::Logs, Signal::Logs)] {
        let mut json = Vec::new();
        let body = if transcode(message, input, &mut json).is_ok() { &json[..] } else { input };
        let mut decoder = Decoder::new();
        if decoder.push(signal, DEFAULT_TENANT, body).is_ok() {
            decoder.finish().iter().for_each(|(table, batch)| derived(*table, batch));
        }
    }
    let text = String::from_utf8_lossy(input);
    if let Ok(key) = text.parse::<Key>() {
        assert_eq!(key.to_string().parse::<Key>().expect("what is written can be read"), key);
    }
}

fn derived(table: Table, batch: &RecordBatch) {
    let derive = |deriver: &mut Deriver| deriver.of(table, batch).expect("rows of the decoder");
    // What a deriver remembers of earlier rows changes nothing.
    let mut deriver = Deriver::default();
    let first = derive(&mut deriver);
    let again = derive(&mut deriver);
    assert_eq!((&first.hop_keys, &first.invocations), (&again.hop_keys, &again.invocations));
    if let Some(facts) = &first.invocations {
        let facts = hopline_stitch::facts::facts(facts).expect("what is written can be read");
        let prices = PriceTable::builtin();
        let rules = Rules { prices: Some(&prices), ..Rules::default() };
        let (merged, back) = (merge(&facts, &rules), merge(facts.iter().rev(), &rules));
        assert_eq!(merged.invocations, back.invocations, "whoever tells first");
    }
    if table == Table::Spans {
        flows(&flow_spans(&mut deriver, batch).expect("rows of the decoder"));
    }
}

fn flows(spans: &[FlowSpan]) {
    for span in spans {
        assert!(span.keys.len() <= 2 * KEYS_MAX);
        for key in &span.keys {
            let is_explicit = !matches!(key.key.kind, Kind::Link | Kind::Destination);
            let text = key.key.to_string();
            assert!(!is_explicit || text.parse::<Key>().is_ok_and(|again| again == key.key), "{text}");
        }
    }
    let traces: BTreeSet<TraceId> = spans.iter().map(|span| span.trace_id).collect();
    for trace in traces.into_iter().take(FLOWS_MAX) {
        let forward = flow(spans.iter(), trace);
        assert_eq!(forward, flow(spans.iter().rev(), trace), "whatever comes first");
    }
}

/// The flow of a trace, out of these spans.
fn flow<'a>(spans: impl Iterator<Item = &'a FlowSpan> + Clone, trace: TraceId) -> Flow {
    let limits = Limits { traces_max: 50, keys_max: 500, spans_max: 5_000, ..Limits::default() };
    let mut assembly = Assembly::new(Seed::Trace(trace), limits);
    while let Some(wants) = assembly.wants() {
        let wanted = spans.clone().filter(|span| wants.traces.contains(&span.trace_id)).cloned();
        let rows = spans.clone().flat_map(|span| rows(span, &wants.keys));
        assembly.give(wanted.collect(), rows.collect());
    }
    assembly.finish()
}

/// The rows of `hop_keys` of a span.
fn rows(span: &FlowSpan, wanted: &[(KeyHash, Direction)]) -> Vec<KeyRow> {
    let row = |key: &HopKey| KeyRow {
        hash: key.key.hash(),
        kind: key.key.kind,
        direction: key.direction,
        start_ns: span.start_ns,
        end_ns: span.end_ns,
        trace_id: Some(span.trace_id),
        span_id: Some(span.span_id),
        invocation_id: span.invocation_id.clone(),
        account: span.account.clone(),
        region: span.region.clone(),
    };
    span.keys.iter().map(row).filter(|row| wanted.contains(&(row.hash, row.direction))).collect()
}
