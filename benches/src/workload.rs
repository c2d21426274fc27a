//! Spans as a middling shop sends them, from a seed: ten services of ten operations,
//! eleven attributes a span out of about a hundred keys, one span in fifty with an
//! exception, about 514 bytes a span in protobuf.
//!
//! [`Workload::request`] gives requests of one service each; [`Request::protobuf`] and
//! [`Request::json`] are the same request in both encodings. No clock, no I/O: times
//! count from a fixed moment, and ids come from the seed.

use std::fmt::Write as _;

use hopline_proto::value::quote;
use hopline_proto::wire::{begin, end, put_bytes, put_fixed32, put_fixed64, put_varint_field};

const SERVICES: [&str; 10] = [
    "api-gateway",
    "cart",
    "catalogue",
    "checkout",
    "inventory",
    "mailer",
    "orders",
    "payments",
    "recommendations",
    "shipping",
];

const VERBS: [&str; 10] =
    ["get", "list", "create", "update", "delete", "search", "reserve", "confirm", "cancel", "render"];

/// The first moment, in nanoseconds since 1970.
const START_NS: u64 = 1_760_000_000_000_000_000;
/// Keys that are no convention's: `app.…`.
const OWN_KEYS: usize = 88;
/// Different values that each of them has.
const OWN_VALUES: u64 = 1000;

/// A stream of requests.
#[derive(Debug, Clone)]
pub struct Workload {
    random: u64,
    now_ns: u64,
}

/// One export request: spans of one service.
#[derive(Debug, Clone)]
pub struct Request {
    service: usize,
    instance: u64,
    spans: Vec<Span>,
}

#[derive(Debug, Clone)]
struct Span {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent_span_id: Option<[u8; 8]>,
    name: String,
    kind: u64,
    start_ns: u64,
    end_ns: u64,
    attributes: Vec<(String, Value)>,
    failed: bool,
}

#[derive(Debug, Clone)]
enum Value {
    Text(String),
    Int(u64),
}

impl Workload {
    /// The stream that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Workload { random: seed, now_ns: START_NS }
    }

    /// The next number: SplitMix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.random ^ self.random >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn span_id(&mut self) -> [u8; 8] {
        (self.next() | 1).to_le_bytes()
    }

    /// The next request, of `spans` spans.
    pub fn request(&mut self, spans: usize) -> Request {
        let service = self.below(10);
        let (mut trace_id, mut root) = ([0; 16], None);
        let spans = (0..spans).map(|i| {
            // Traces of eight spans within a service.
            if i % 8 == 0 {
                trace_id = (u128::from(self.next()) << 64 | u128::from(self.next() | 1)).to_be_bytes();
                root = None;
            }
            let span = self.span(service, trace_id, root);
            root = root.or(Some(span.span_id));
            span
        });
        let spans = spans.collect();
        Request { service: service as usize, instance: self.below(20), spans }
    }

    fn span(&mut self, service: u64, trace_id: [u8; 16], parent_span_id: Option<[u8; 8]>) -> Span {
        let operation = self.below(10);
        self.now_ns += 20_000 + self.below(60_000);
        let verb = VERBS.get(operation as usize).copied().unwrap_or_default();
        let failed = self.below(50) == 0;
        let duration = 200_000 + (self.below(1 << 24) * self.below(1 << 24)) / (1 << 20);
        Span {
            trace_id,
            span_id: self.span_id(),
            parent_span_id,
            name: format!("{verb} item {}", operation % 3),
            kind: if parent_span_id.is_none() { 2 } else { 3 },
            start_ns: self.now_ns,
            end_ns: self.now_ns + duration,
            attributes: self.attributes(service * 10 + operation, verb, failed),
            failed,
        }
    }

    /// Five attributes of the conventions and six of the operation's own.
    fn attributes(&mut self, operation: u64, verb: &str, failed: bool) -> Vec<(String, Value)> {
        let text = |key: &str, value: String| (key.to_owned(), Value::Text(value));
        let mut all = vec![
            text("http.request.method", if operation.is_multiple_of(2) { "GET" } else { "POST" }.to_owned()),
            text("http.route", format!("/v1/{verb}/{{item}}")),
            text("url.path", format!("/v1/{verb}/{}", self.below(1_000_000))),
            text("server.address", format!("shop-{}.svc.internal", self.below(20))),
            ("http.response.status_code".to_owned(), Value::Int(if failed { 500 } else { 200 })),
        ];
        for i in 0..6 {
            let key = (operation * 7 + i * 13) as usize % OWN_KEYS;
            let value = self.below(OWN_VALUES);
            let key = format!("app.{}.attribute_{key}", if key.is_multiple_of(2) { "shop" } else { "basket" });
            all.push(match i {
                5 => (key, Value::Int(value)),
                _ => (key, Value::Text(format!("some-value-{value:04}"))),
            });
        }
        all
    }
}

impl Request {
    /// How many spans it has.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    fn resource(&self) -> Vec<(String, Value)> {
        let service = SERVICES.get(self.service).copied().unwrap_or_default();
        let text = |key: &str, value: String| (key.to_owned(), Value::Text(value));
        vec![
            text("service.name", service.to_owned()),
            text("service.version", "1.14.2".to_owned()),
            text("service.instance.id", format!("{service}-{:04}", self.instance)),
            text("deployment.environment.name", "production".to_owned()),
            text("cloud.provider", "aws".to_owned()),
            text("cloud.region", "eu-west-1".to_owned()),
            text("host.name", format!("ip-10-0-{}-17.eu-west-1.compute.internal", self.instance)),
            text("telemetry.sdk.language", "rust".to_owned()),
        ]
    }

    /// The request as protobuf.
    pub fn protobuf(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len() * 560 + 512);
        let resource_spans = begin(&mut out, 1, 3);
        let resource = begin(&mut out, 1, 2);
        put_attributes(&mut out, 1, &self.resource());
        end(&mut out, resource);
        let scope_spans = begin(&mut out, 2, 3);
        let scope = begin(&mut out, 1, 1);
        put_bytes(&mut out, 1, b"shop.instrumentation");
        put_bytes(&mut out, 2, b"2.3.0");
        end(&mut out, scope);
        for span in &self.spans {
            let open = begin(&mut out, 2, 2);
            span.put(&mut out);
            end(&mut out, open);
        }
        end(&mut out, scope_spans);
        end(&mut out, resource_spans);
        out
    }

    /// The request as JSON.
    pub fn json(&self) -> String {
        let mut out = String::with_capacity(self.len() * 1250 + 1024);
        out.push_str("{\"resourceSpans\":[{\"resource\":{\"attributes\":");
        attributes_json(&self.resource(), &mut out);
        out.push_str(
            "},\"scopeSpans\":[{\"scope\":{\"name\":\"shop.instrumentation\",\"version\":\"2.3.0\"},\"spans\":[",
        );
        for (i, span) in self.spans.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            span.json(&mut out);
        }
        out.push_str("]}]}]}");
        out
    }
}

impl Span {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, 1, &self.trace_id);
        put_bytes(out, 2, &self.span_id);
        if let Some(parent) = &self.parent_span_id {
            put_bytes(out, 4, parent);
        }
        put_bytes(out, 5, self.name.as_bytes());
        put_varint_field(out, 6, self.kind);
        put_fixed64(out, 7, self.start_ns);
        put_fixed64(out, 8, self.end_ns);
        put_attributes(out, 9, &self.attributes);
        if self.failed {
            let event = begin(out, 11, 2);
            put_fixed64(out, 1, self.end_ns);
            put_bytes(out, 2, b"exception");
            let exception = Value::Text("shop.Unavailable".to_owned());
            put_attributes(out, 3, &[("exception.type".to_owned(), exception)]);
            end(out, event);
            let status = begin(out, 15, 1);
            put_varint_field(out, 3, 2);
            end(out, status);
        }
        put_fixed32(out, 16, 0x101);
    }

    fn json(&self, out: &mut String) {
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, b| text + &format!("{b:02x}"));
        let parent = self.parent_span_id.map_or(String::new(), |id| hex(&id));
        let (trace_id, span_id, name) = (hex(&self.trace_id), hex(&self.span_id), &self.name);
        let (kind, start, end) = (self.kind, self.start_ns, self.end_ns);
        let _ = write!(
            out,
            "{{\"traceId\":\"{trace_id}\",\"spanId\":\"{span_id}\",\"parentSpanId\":\"{parent}\",\"name\":\"{name}\",\
             \"kind\":{kind},\"startTimeUnixNano\":\"{start}\",\"endTimeUnixNano\":\"{end}\",\"attributes\":"
        );
        attributes_json(&self.attributes, out);
        if self.failed {
            let _ = write!(out, ",\"events\":[{{\"timeUnixNano\":\"{end}\",\"name\":\"exception\",\"attributes\":");
            attributes_json(&[("exception.type".to_owned(), Value::Text("shop.Unavailable".to_owned()))], out);
            out.push_str("}],\"status\":{\"code\":2}");
        }
        out.push_str(",\"flags\":257}");
    }
}

fn put_attributes(out: &mut Vec<u8>, field: u32, attributes: &[(String, Value)]) {
    for (key, value) in attributes {
        let attribute = begin(out, field, 1);
        put_bytes(out, 1, key.as_bytes());
        let any = begin(out, 2, 1);
        match value {
            Value::Text(text) => put_bytes(out, 1, text.as_bytes()),
            Value::Int(int) => put_varint_field(out, 3, *int),
        }
        end(out, any);
        end(out, attribute);
    }
}

fn attributes_json(attributes: &[(String, Value)], out: &mut String) {
    out.push('[');
    for (i, (key, value)) in attributes.iter().enumerate() {
        out.push_str(if i > 0 { ",{\"key\":" } else { "{\"key\":" });
        quote(key, out);
        match value {
            Value::Text(text) => {
                out.push_str(",\"value\":{\"stringValue\":");
                quote(text, out);
                out.push_str("}}");
            }
            Value::Int(int) => {
                let _ = write!(out, ",\"value\":{{\"intValue\":\"{int}\"}}}}");
            }
        }
    }
    out.push(']');
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hopline_collector::decode::{Decoder, check};
    use hopline_model::Signal;
    use hopline_proto::json;

    use super::*;

    #[test]
    fn both_encodings_are_the_same_valid_request() {
        let request = Workload::new(1).request(100);
        let protobuf = request.protobuf();
        let checked = check(Signal::Traces, &protobuf).unwrap();
        assert_eq!((checked.items, checked.refused, checked.repaired), (100, 0, 0));
        let mut transcoded = Vec::new();
        json::transcode(json::Message::Traces, request.json().as_bytes(), &mut transcoded).unwrap();
        let batch = |body: &[u8]| {
            let mut decoder = Decoder::new();
            decoder.push(Signal::Traces, "default", body).unwrap();
            decoder.finish()
        };
        assert_eq!(batch(&protobuf), batch(&transcoded));
    }

    #[test]
    fn the_size_is_that_of_real_spans_and_every_run_is_the_same() {
        let bytes = Workload::new(2).request(512).protobuf();
        assert!((505..525).contains(&(bytes.len() / 512)), "{} bytes a span", bytes.len() / 512);
        assert_eq!(bytes, Workload::new(2).request(512).protobuf());
        assert_ne!(bytes, Workload::new(3).request(512).protobuf());
    }
}
