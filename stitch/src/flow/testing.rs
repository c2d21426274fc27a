//! Stories as text, and a world that answers what an assembly wants.
//!
//! ```text
//! # trace span parent kind service[/function] start end [name=…] [inv=…] [acct=…] [dropped=…] [error] [link=trace.span,…] [out=key[@destination],…] [in=…]
//! api  a  -  server   shop     0 2
//! api  b  a  producer shop     1 1.5  out=sqs:m1@orders
//! work s  -  server   worker   5 9    inv=r2
//! work p  s  consumer worker   6 7    in=sqs:m1@orders
//! # what X-Ray's platform records say: root, segment, invocation, time
//! xray R1 P1 r2 5
//! ```
//!
//! Times are seconds. A key `dest:sqs|orders` gets its minute by itself; `xray:R1[:P1]` names ids as they are named in the script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;

use hopline_model::{SpanId, TraceId};

use super::{Assembly, Edge, Flow, FlowSpan, KeyRow, Limits, Seed, Wants};
use crate::hops::{HopKey, destination_key};
use crate::key::{Direction, Key, Kind};
use crate::ranges::Range;
use crate::span::SpanKind;

/// A full minute, in nanoseconds since 1970.
const EPOCH: i64 = 1_699_999_980_000_000_000;

/// Everything that is stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) spans: Vec<FlowSpan>,
    pub(crate) rows: Vec<KeyRow>,
}

pub(crate) fn trace(name: &str) -> TraceId {
    let mut id = TraceId::default();
    id.0[..name.len()].copy_from_slice(name.as_bytes());
    id
}

pub(crate) fn span(name: &str) -> SpanId {
    let mut id = SpanId::default();
    id.0[..name.len()].copy_from_slice(name.as_bytes());
    id
}

fn name(id: &[u8]) -> String {
    String::from_utf8_lossy(id).trim_end_matches('\0').to_owned()
}

pub(crate) fn time(text: &str) -> i64 {
    EPOCH + (text.parse::<f64>().unwrap() * 1e3).round() as i64 * 1_000_000
}

fn key(text: &str, (start_ns, end_ns): (i64, i64), direction: Direction) -> HopKey {
    let (id, destination) = text.split_once('@').map_or((text, None), |(id, d)| (id, Some(d.to_owned())));
    let mut key: Key = id.parse().unwrap();
    let mut destination = destination;
    match key.kind {
        Kind::Xray => {
            let (root, segment) = key.id.split_once(':').map_or((key.id.as_str(), None), |(r, s)| (r, Some(s)));
            let segment = segment.map(|s| format!(":{}", span(s))).unwrap_or_default();
            key.id = format!("{}{segment}", trace(root));
        }
        Kind::Destination => {
            let (system, place) = key.id.split_once('|').unwrap();
            destination = Some(place.to_owned());
            key = destination_key(system, place, if direction == Direction::In { start_ns } else { end_ns });
        }
        _ => {}
    }
    let prefix = key.kind.prefix();
    HopKey { hop: prefix, rule: prefix, key, direction, destination }
}

/// A key that was received; of a range, its parts as well.
fn received(text: &str, times: (i64, i64)) -> Vec<HopKey> {
    let whole = key(text, times, Direction::In);
    let parts = Range::of(&whole.key).map(|range| range.parts()).unwrap_or_default();
    let parts: Vec<HopKey> = parts.into_iter().map(|part| HopKey { key: part, ..whole.clone() }).collect();
    std::iter::once(whole).chain(parts).collect()
}

impl World {
    pub(crate) fn new(script: &str) -> World {
        let mut world = World::default();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["xray", root, segment, invocation, at] => world.platform(root, segment, invocation, time(at)),
                [trace, span, parent, kind, service, start, end, rest @ ..] => {
                    world.span([trace, span, parent, kind, service], (time(start), time(end)), rest);
                }
                _ => panic!("{line}"),
            }
        }
        world
    }

    fn platform(&mut self, root: &str, segment: &str, invocation: &str, at: i64) {
        let ids = [trace(root).to_string(), format!("{}:{}", trace(root), span(segment))];
        for id in ids {
            self.rows.push(KeyRow {
                hash: Key::new(Kind::Xray, id).hash(),
                kind: Kind::Xray,
                direction: Direction::Out,
                start_ns: at,
                end_ns: at,
                trace_id: None,
                span_id: None,
                invocation_id: Some(invocation.to_owned()),
                account: None,
                region: None,
            });
        }
        self.rows.push(KeyRow {
            hash: Key::new(Kind::Lambda, invocation).hash(),
            kind: Kind::Xray,
            direction: Direction::In,
            start_ns: at,
            end_ns: at,
            trace_id: Some(trace(root)),
            span_id: Some(span(segment)),
            invocation_id: Some(invocation.to_owned()),
            account: None,
            region: None,
        });
    }

    fn span(&mut self, words: [&str; 5], times: (i64, i64), rest: &[&str]) {
        let [trace_name, span_name, parent, kind, service] = words;
        let (service, function) = service.split_once('/').map_or((service, None), |(s, f)| (s, Some(f.to_owned())));
        let mut new = FlowSpan {
            trace_id: trace(trace_name),
            span_id: span(span_name),
            parent: (parent != "-").then(|| span(parent)),
            start_ns: times.0,
            end_ns: times.1,
            kind: SpanKind::from_name(&kind.to_uppercase()),
            is_error: false,
            service: service.to_owned(),
            function,
            name: span_name.to_owned(),
            invocation_id: None,
            account: None,
            region: None,
            links: Vec::new(),
            keys: Vec::new(),
            dropped_links: 0,
            dropped_keys: 0,
        };
        for word in rest {
            let (what, value) = word.split_once('=').unwrap_or((word, ""));
            let values = || value.split(',');
            match what {
                "error" => new.is_error = true,
                "name" => new.name = value.to_owned(),
                "dropped" => new.dropped_links = value.parse().unwrap(),
                "acct" => new.account = Some(value.to_owned()),
                "inv" => {
                    new.invocation_id = Some(value.to_owned());
                    new.keys.push(key(&format!("lambda:{value}"), times, Direction::In));
                }
                "link" => {
                    for (t, s) in values().map(|v| v.split_once('.').unwrap()) {
                        new.links.push((trace(t), span(s)));
                        new.keys.push(key(&format!("link:{}", trace(t)), times, Direction::In));
                    }
                }
                "out" => new.keys.extend(values().map(|v| key(v, times, Direction::Out))),
                "in" => new.keys.extend(values().flat_map(|v| received(v, times))),
                _ => panic!("{word}"),
            }
        }
        self.rows.extend(new.keys.iter().map(|k| KeyRow {
            hash: k.key.hash(),
            kind: k.key.kind,
            direction: k.direction,
            start_ns: new.start_ns,
            end_ns: new.end_ns,
            trace_id: Some(new.trace_id),
            span_id: Some(new.span_id),
            invocation_id: new.invocation_id.clone(),
            account: new.account.clone(),
            region: new.region.clone(),
        }));
        self.spans.push(new);
    }

    pub(crate) fn answer(&self, wants: &Wants) -> (Vec<FlowSpan>, Vec<KeyRow>) {
        let traces: BTreeSet<TraceId> = wants.traces.iter().copied().collect();
        let keys: BTreeSet<_> = wants.keys.iter().copied().collect();
        let spans = self.spans.iter().filter(|s| traces.contains(&s.trace_id)).cloned().collect();
        let rows = self.rows.iter().filter(|r| keys.contains(&(r.hash, r.direction))).cloned().collect();
        (spans, rows)
    }

    /// The flow, and which traces were read for it.
    pub(crate) fn assemble(&self, seed: &str, limits: Limits) -> (Flow, BTreeSet<TraceId>) {
        self.assemble_by(parse_seed(seed), limits)
    }

    pub(crate) fn assemble_by(&self, seed: Seed, limits: Limits) -> (Flow, BTreeSet<TraceId>) {
        let mut assembly = Assembly::new(seed, limits);
        let (mut traces, mut keys) = (BTreeSet::new(), BTreeSet::new());
        while let Some(wants) = assembly.wants() {
            assert!(wants.traces.iter().all(|id| traces.insert(*id)), "a trace is wanted twice: {wants:?}");
            assert!(wants.keys.iter().all(|key| keys.insert(*key)), "a key is wanted twice: {wants:?}");
            let (spans, rows) = self.answer(&wants);
            assembly.give(spans, rows);
        }
        (assembly.finish(), traces)
    }

    pub(crate) fn flow(&self, seed: &str) -> Flow {
        self.assemble(seed, Limits::default()).0
    }
}

fn parse_seed(seed: &str) -> Seed {
    if seed.contains(':') {
        return Seed::Keys(seed.split(' ').map(|key| key.parse::<Key>().unwrap().hash()).collect());
    }
    match seed.split_once('.') {
        Some((t, s)) => Seed::Span(trace(t), span(s)),
        None => Seed::Trace(trace(seed)),
    }
}

fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

fn edge_line(edge: &Edge) -> String {
    let place = |e: &super::End| format!("{}.{}", name(&e.trace_id.0), name(&e.span_id.0));
    let certainty = format!("{:?}", edge.certainty).to_lowercase();
    let mut line = format!("{} -> {} {} {} {certainty}", place(&edge.from), place(&edge.to), edge.hop, edge.rule);
    line += &format!(" {}s", seconds(edge.wait_ns));
    let flags = [
        (edge.is_synchronous, "sync".to_owned()),
        (edge.is_retry, format!("retry {}", edge.attempt)),
        (edge.is_fan_out, "fan-out".to_owned()),
        (edge.is_dead_letter, "dead-letter".to_owned()),
        (edge.candidates != 1, format!("of {}", edge.candidates)),
    ];
    for (_, flag) in flags.into_iter().filter(|(holds, _)| *holds) {
        line += &format!(" {flag}");
    }
    line
}

/// A flow as text.
pub(crate) fn text(flow: &Flow) -> String {
    let names = |ids: &[TraceId]| ids.iter().map(|id| name(&id.0)).collect::<Vec<_>>().join(" ");
    let mut lines = vec![names(&flow.traces)];
    lines.extend(flow.edges.iter().map(edge_line));
    for half in &flow.halves {
        let (trace, span) = (name(&half.end.trace_id.0), name(&half.end.span_id.0));
        lines.push(format!("half {} {} {trace}.{span}", half.direction.name(), half.key.as_deref().unwrap_or("-")));
    }
    for cut in &flow.cuts {
        let reason = format!("{:?}", cut.reason).to_lowercase();
        let span = cut.span_id.map(|id| format!(".{}", name(&id.0))).unwrap_or_default();
        lines.push(format!(
            "cut {reason} {}{span} {}: {}",
            name(&cut.trace_id.0),
            cut.traces_count,
            names(&cut.traces)
        ));
    }
    if !flow.shapes.is_empty() {
        let shapes: Vec<String> = flow.shapes.iter().map(|s| format!("{s:?}")).collect();
        lines.push(format!("shape {}", shapes.join(" ")));
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The critical path as text.
pub(crate) fn path(flow: &Flow) -> String {
    path_text(&flow.critical_path)
}

pub(crate) fn path_text(steps: &[super::Step]) -> String {
    let step = |s: &super::Step| {
        let wait = if s.is_wait { "wait for " } else { "" };
        let (from, to) = (seconds(s.start_ns - EPOCH), seconds(s.end_ns - EPOCH));
        format!("{from}..{to} {wait}{}.{}", name(&s.trace_id.0), name(&s.span_id.0))
    };
    steps.iter().map(step).collect::<Vec<_>>().join("\n")
}

#[track_caller]
pub(crate) fn same(got: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let expected = expected.join("\n");
    assert!(got == expected, "got\n{got}\n\nexpected\n{expected}\n");
}

/// The flow of `seed` in the world of `script` is `expected`.
#[track_caller]
pub(crate) fn check(script: &str, seed: &str, expected: &str) {
    same(&text(&World::new(script).flow(seed)), expected);
}

/// As [`check`], from each of the seeds.
#[track_caller]
pub(crate) fn check_all(script: &str, seeds: &[&str], expected: &str) {
    for seed in seeds {
        check(script, seed, expected);
    }
}
