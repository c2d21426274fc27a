//! Made-up spans in a shape that others measure with: 11 attributes a span, of 97 keys
//! with 1,000 values each, from 10 services, in traces of 10 spans; about 500 bytes each.
//!
//! Requests are serialised before the run. For each send a copy gets fresh ids and times,
//! written over the old ones at known places, so that making load costs little.
//!
//! One request is from one service, as exporters send them. Request `n` is of service
//! `n % 10` and holds one span of each of its traces; the ten requests `10 k … 10 k + 9`
//! together make whole traces.

use hopline_proto::wire::{begin, end, put_bytes, put_fixed64, put_varint_field};

use super::encode::Format;

/// How many services there are, which is also the spans in a trace.
pub(crate) const SERVICES: u64 = 10;
const KEYS: u64 = 97;
const VALUES: u64 = 1_000;
const ATTRIBUTES: u64 = 11;
const OPERATIONS: u64 = 100;

/// A placeholder for a time: 19 digits, as times have until the year 2286.
const TIME: u64 = 1_700_000_000_000_000_000;

/// Pre-serialised requests.
#[derive(Debug)]
pub(crate) struct Workload {
    templates: Vec<Template>,
    format: Format,
    seed: u64,
    /// Spans in each request.
    pub(crate) spans: u64,
}

/// One serialised request and where what changes stands in it.
#[derive(Debug)]
struct Template {
    body: Vec<u8>,
    spots: Vec<Spot>,
}

/// Offsets in the body.
#[derive(Debug, Clone, Copy)]
struct Spot {
    trace: usize,
    span: usize,
    parent: Option<usize>,
    start: usize,
    end: usize,
    duration: u64,
}

impl Workload {
    /// Requests of `spans` spans in `format`. The ids, not the rest, depend on `seed`.
    pub(crate) fn new(spans: u64, format: Format, seed: u64) -> Workload {
        let variants = (1_024 / spans.max(1)).clamp(2, 256);
        let templates = (0..variants).flat_map(|variant| (0..SERVICES).map(move |service| (variant, service)));
        let templates = templates.map(|(variant, service)| match format {
            Format::Protobuf => protobuf(spans, variant, service),
            Format::Json => json(spans, variant, service),
        });
        Workload { templates: templates.collect(), format, seed, spans }
    }

    /// Writes request number `n` to `out`, as if its spans had ended at `now`.
    pub(crate) fn write(&self, n: u64, now: u64, out: &mut Vec<u8>) {
        out.clear();
        let Some(template) = self.templates.get((n % self.templates.len().max(1) as u64) as usize) else { return };
        out.extend_from_slice(&template.body);
        let (batch, service) = (n / SERVICES, n % SERVICES);
        for (k, spot) in template.spots.iter().enumerate() {
            let trace = batch * self.spans + k as u64;
            let ends = now - (self.spans - k as u64) * 1_000;
            let trace_id = [self.mix(trace, 1_000).to_be_bytes(), self.mix(trace, 2_000).to_be_bytes()].concat();
            self.put_id(out, spot.trace, &trace_id);
            self.put_id(out, spot.span, &self.mix(trace, service).to_be_bytes());
            if let Some(parent) = spot.parent {
                self.put_id(out, parent, &self.mix(trace, (service.saturating_sub(1)) / 2).to_be_bytes());
            }
            self.put_time(out, spot.start, ends.saturating_sub(spot.duration));
            self.put_time(out, spot.end, ends);
        }
    }

    fn mix(&self, trace: u64, what: u64) -> u64 {
        mix(self.seed ^ mix(trace.wrapping_mul(4_001).wrapping_add(what))).max(1)
    }

    fn put_id(&self, out: &mut [u8], at: usize, id: &[u8]) {
        match self.format {
            Format::Protobuf => put(out, at, id),
            Format::Json => {
                for (i, byte) in id.iter().enumerate() {
                    put(out, at + 2 * i, &[hex(byte >> 4), hex(byte & 15)]);
                }
            }
        }
    }

    fn put_time(&self, out: &mut [u8], at: usize, time: u64) {
        match self.format {
            Format::Protobuf => put(out, at, &time.to_le_bytes()),
            Format::Json => {
                let mut digits = [b'0'; 19];
                let mut rest = time;
                for digit in digits.iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
                put(out, at, &digits);
            }
        }
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(room) = out.get_mut(at..at + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}

fn hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// A span without what changes.
#[derive(Debug)]
struct Plan {
    name: String,
    kind: u64,
    error: bool,
    duration: u64,
    attributes: Vec<(String, Value)>,
}

#[derive(Debug)]
enum Value {
    Text(String),
    Int(u64),
    Bool(bool),
}

/// The span at `index` of a template; the same arguments, the same span.
fn plan(variant: u64, service: u64, index: u64) -> Plan {
    let seed = mix(variant << 40 | service << 32 | index);
    let draw = |n: u64| mix(seed.wrapping_add(n.wrapping_mul(0x9e37_79b9)));
    let first = draw(0);
    let attributes = (0..ATTRIBUTES).map(|i| {
        // Consecutive keys from a random one on: no key twice in a span.
        let key = (first + i * 7) % KEYS;
        let value = draw(10 + i) % VALUES;
        let value = match key % 10 {
            0..=2 => Value::Int(value),
            3 => Value::Bool(value.is_multiple_of(2)),
            _ => Value::Text(format!("value-{key:02}-{value:04}-tagged")),
        };
        (format!("bench.tag.key{key:02}"), value)
    });
    Plan {
        name: format!("operation-{service}-{:02}", draw(1) % OPERATIONS),
        kind: [2, 3, 1, 4, 5].get((draw(2) % 5) as usize).copied().unwrap_or(1),
        error: draw(3).is_multiple_of(50),
        // From 10 microseconds to 10 seconds, short ones more often.
        duration: 10_000 << (draw(4) % 20).min(draw(5) % 21),
        attributes: attributes.collect(),
    }
}

fn service_name(service: u64) -> String {
    format!("bench-service-{service}")
}

fn protobuf(spans: u64, variant: u64, service: u64) -> Template {
    let mut spots = Vec::new();
    let mut body = Vec::new();
    let out = &mut body;
    // Room for lengths of three bytes throughout, so that `end` moves nothing after the offsets are taken.
    let of_resource = begin(out, 1, 3);
    let resource = begin(out, 1, 2);
    put_attribute(out, 1, "service.name", &Value::Text(service_name(service)));
    put_attribute(out, 1, "service.version", &Value::Text("1.0.0".to_owned()));
    put_attribute(out, 1, "host.name", &Value::Text(format!("bench-host-{service}")));
    put_attribute(out, 1, "telemetry.sdk.language", &Value::Text("rust".to_owned()));
    end(out, resource);
    let of_scope = begin(out, 2, 3);
    let scope = begin(out, 1, 1);
    put_bytes(out, 1, b"hopline-bench");
    end(out, scope);
    for index in 0..spans {
        let (bytes, mut spot) = protobuf_span(&plan(variant, service, index), service > 0);
        put_bytes(out, 2, &bytes);
        let base = out.len() - bytes.len();
        spot.shift(base);
        spots.push(spot);
    }
    // Ending a message may move what is in it: by as much as the length's size differs.
    for open in [of_scope, of_resource] {
        let before = out.len();
        end(out, open);
        let (grown, shrunk) = (out.len().saturating_sub(before), before.saturating_sub(out.len()));
        for spot in &mut spots {
            spot.shift(grown);
            spot.unshift(shrunk);
        }
    }
    Template { body, spots }
}

fn protobuf_span(plan: &Plan, child: bool) -> (Vec<u8>, Spot) {
    let mut out = Vec::with_capacity(512);
    put_bytes(&mut out, 1, &[0; 16]);
    let trace = out.len() - 16;
    put_bytes(&mut out, 2, &[0; 8]);
    let span = out.len() - 8;
    let parent = child.then(|| {
        put_bytes(&mut out, 4, &[0; 8]);
        out.len() - 8
    });
    put_bytes(&mut out, 5, plan.name.as_bytes());
    put_varint_field(&mut out, 6, plan.kind);
    put_fixed64(&mut out, 7, TIME);
    let start = out.len() - 8;
    put_fixed64(&mut out, 8, TIME);
    let ended = out.len() - 8;
    for (key, value) in &plan.attributes {
        put_attribute(&mut out, 9, key, value);
    }
    if plan.error {
        let status = begin(&mut out, 15, 1);
        put_bytes(&mut out, 2, b"made up");
        put_varint_field(&mut out, 3, 2);
        end(&mut out, status);
    }
    (out, Spot { trace, span, parent, start, end: ended, duration: plan.duration })
}

impl Spot {
    fn places(&mut self) -> impl Iterator<Item = &mut usize> {
        [&mut self.trace, &mut self.span, &mut self.start, &mut self.end].into_iter().chain(self.parent.as_mut())
    }

    fn shift(&mut self, by: usize) {
        self.places().for_each(|at| *at += by);
    }

    fn unshift(&mut self, by: usize) {
        self.places().for_each(|at| *at = at.saturating_sub(by));
    }
}

fn put_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &Value) {
    let attribute = begin(out, field, 1);
    put_bytes(out, 1, key.as_bytes());
    let any = begin(out, 2, 1);
    match value {
        Value::Text(text) => put_bytes(out, 1, text.as_bytes()),
        Value::Bool(truth) => put_varint_field(out, 2, u64::from(*truth)),
        Value::Int(number) => put_varint_field(out, 3, *number),
    }
    end(out, any);
    end(out, attribute);
}

fn json(spans: u64, variant: u64, service: u64) -> Template {
    let mut body = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{}"}}}},{{"key":"service.version","value":{{"stringValue":"1.0.0"}}}},{{"key":"host.name","value":{{"stringValue":"bench-host-{service}"}}}},{{"key":"telemetry.sdk.language","value":{{"stringValue":"rust"}}}}]}},"scopeSpans":[{{"scope":{{"name":"hopline-bench"}},"spans":["#,
        service_name(service)
    );
    let mut spots = Vec::new();
    for index in 0..spans {
        if index > 0 {
            body.push(',');
        }
        spots.push(json_span(&mut body, &plan(variant, service, index), service > 0));
    }
    body.push_str("]}]}]}");
    Template { body: body.into_bytes(), spots }
}

fn json_span(out: &mut String, plan: &Plan, child: bool) -> Spot {
    let trace = json_member(out, "{\"traceId\":\"", &"0".repeat(32));
    let span = json_member(out, "\",\"spanId\":\"", &"0".repeat(16));
    let parent = child.then(|| json_member(out, "\",\"parentSpanId\":\"", &"0".repeat(16)));
    json_member(out, "\",\"name\":\"", &plan.name);
    json_member(out, "\",\"kind\":", &plan.kind.to_string());
    let start = json_member(out, ",\"startTimeUnixNano\":\"", &TIME.to_string());
    let end = json_member(out, "\",\"endTimeUnixNano\":\"", &TIME.to_string());
    out.push_str("\",\"attributes\":[");
    for (i, (key, value)) in plan.attributes.iter().enumerate() {
        let value = match value {
            Value::Text(text) => format!("\"stringValue\":\"{text}\""),
            Value::Bool(truth) => format!("\"boolValue\":{truth}"),
            Value::Int(number) => format!("\"intValue\":\"{number}\""),
        };
        let comma = if i > 0 { "," } else { "" };
        out.push_str(&format!("{comma}{{\"key\":\"{key}\",\"value\":{{{value}}}}}"));
    }
    out.push(']');
    if plan.error {
        out.push_str(",\"status\":{\"message\":\"made up\",\"code\":2}");
    }
    out.push('}');
    Spot { trace, span, parent, start, end, duration: plan.duration }
}

/// Appends both and says where the second stands.
fn json_member(out: &mut String, before: &str, value: &str) -> usize {
    out.push_str(before);
    let at = out.len();
    out.push_str(value);
    at
}

/// Spreads the bits of a counter over the whole word (SplitMix64).
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
