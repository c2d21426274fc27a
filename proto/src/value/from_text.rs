//! Value text to OTLP/JSON and to protobuf bytes: one walk, two sinks.

use super::read::{Number, bytes, decoded, elements, end_escape, members, number, special_double, unquote};
use super::{DEPTH_MAX, TextError, double_to_otlp_json, quote};
use crate::json::tokens::{Kind, Str, Tokens};
use crate::wire::{self, Open};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appends a value text as the OTLP/JSON of an `AnyValue`.
pub fn text_to_otlp_json(text: &str, out: &mut String) -> Result<(), TextError> {
    walk_text(text, &mut Json(out))
}

/// Appends an attributes' text as an OTLP/JSON list of `KeyValue`.
pub fn attributes_text_to_otlp_json(text: &str, out: &mut String) -> Result<(), TextError> {
    out.push('[');
    walk_attributes(text, 0, &mut Json(out))?;
    out.push(']');
    Ok(())
}

/// Appends a value text as the content of an `AnyValue` message.
pub fn text_to_wire(text: &str, out: &mut Vec<u8>) -> Result<(), TextError> {
    walk_text(text, &mut Wire(out))
}

/// Appends an attributes' text as `KeyValue` messages in field number `field`.
pub fn attributes_text_to_wire(text: &str, field: u32, out: &mut Vec<u8>) -> Result<(), TextError> {
    walk_attributes(text, field, &mut Wire(out))
}

/// Appends a resource's text as the OTLP/JSON of a `Resource`. The schema URL stands
/// beside a resource, not in it: see [`schema_url`](super::schema_url).
pub fn resource_text_to_otlp_json(text: &str, out: &mut String) -> Result<(), TextError> {
    source_to_json(&Source::parse(text)?, "{", out)
}

/// Appends a resource's text as the content of a `Resource` message.
pub fn resource_text_to_wire(text: &str, out: &mut Vec<u8>) -> Result<(), TextError> {
    let source = Source::parse(text)?;
    attributes_text_to_wire(source.attributes, 1, out)?;
    if source.dropped != 0 {
        wire::put_varint_field(out, 2, source.dropped.into());
    }
    for entity_ref in elements(source.entity_refs) {
        let open = wire::begin(out, 3, 1);
        for member in members(entity_ref?) {
            let (name, value) = member?;
            match &*name {
                "schema_url" => put_string(out, 1, value),
                "type" => put_string(out, 2, value),
                "id_keys" => put_strings(out, 3, value)?,
                "description_keys" => put_strings(out, 4, value)?,
                _ => {}
            }
        }
        wire::end(out, open);
    }
    Ok(())
}

/// Appends a scope's text, with its name and version, as the OTLP/JSON of an
/// `InstrumentationScope`. Its schema URL stands beside it.
pub fn scope_text_to_otlp_json(text: &str, name: &str, version: &str, out: &mut String) -> Result<(), TextError> {
    let mut start = String::from("{");
    for (key, value) in [("\"name\":", name), ("\"version\":", version)] {
        if !value.is_empty() {
            comma(&mut start);
            start.push_str(key);
            quote(value, &mut start);
        }
    }
    source_to_json(&Source::parse(text)?, &start, out)
}

/// Appends a scope's text, with its name and version, as the content of an
/// `InstrumentationScope` message.
pub fn scope_text_to_wire(text: &str, name: &str, version: &str, out: &mut Vec<u8>) -> Result<(), TextError> {
    let source = Source::parse(text)?;
    for (field, value) in [(1, name), (2, version)] {
        if !value.is_empty() {
            wire::put_bytes(out, field, value.as_bytes());
        }
    }
    attributes_text_to_wire(source.attributes, 3, out)?;
    if source.dropped != 0 {
        wire::put_varint_field(out, 4, source.dropped.into());
    }
    Ok(())
}

/// A resource's or scope's text in its parts.
struct Source<'a> {
    attributes: &'a str,
    dropped: u32,
    entity_refs: &'a str,
}

impl<'a> Source<'a> {
    fn parse(text: &'a str) -> Result<Self, TextError> {
        let mut source = Source { attributes: "{}", dropped: 0, entity_refs: "[]" };
        for member in members(text) {
            let (name, value) = member?;
            match &*name {
                "attributes" => source.attributes = value,
                "entity_refs" => source.entity_refs = value,
                "dropped_attributes_count" => {
                    let error = TextError { offset: 0, message: "dropped_attributes_count is no count" };
                    source.dropped = value.parse().map_err(|_| error)?;
                }
                _ => {}
            }
        }
        Ok(source)
    }
}

fn source_to_json(source: &Source<'_>, start: &str, out: &mut String) -> Result<(), TextError> {
    out.push_str(start);
    if source.attributes != "{}" {
        comma(out);
        out.push_str("\"attributes\":");
        attributes_text_to_otlp_json(source.attributes, out)?;
    }
    if source.dropped != 0 {
        comma(out);
        out.push_str("\"droppedAttributesCount\":");
        out.push_str(itoa::Buffer::new().format(source.dropped));
    }
    for (i, entity_ref) in elements(source.entity_refs).enumerate() {
        if i == 0 {
            comma(out);
        }
        out.push_str(if i == 0 { "\"entityRefs\":[{" } else { ",{" });
        for member in members(entity_ref?) {
            let (name, value) = member?;
            comma(out);
            out.push_str(match &*name {
                "schema_url" => "\"schemaUrl\":",
                "type" => "\"type\":",
                "id_keys" => "\"idKeys\":",
                _ => "\"descriptionKeys\":",
            });
            out.push_str(value);
        }
        out.push('}');
    }
    out.push_str(if source.entity_refs == "[]" { "}" } else { "]}" });
    Ok(())
}

/// A comma, unless the object has just been opened.
fn comma(out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
}

fn put_string(out: &mut Vec<u8>, field: u32, text: &str) {
    wire::put_bytes(out, field, unquote(text).unwrap_or_default().as_bytes());
}

fn put_strings(out: &mut Vec<u8>, field: u32, array: &str) -> Result<(), TextError> {
    for element in elements(array) {
        put_string(out, field, element?);
    }
    Ok(())
}

/// Bytes of standard base64.
pub(super) fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Where a walk over value text writes to. Each value is one call, or a `begin` with
/// its `end` around what it encloses. `depth` is 1 for the outermost value.
trait Sink {
    type Mark;
    fn empty(&mut self);
    fn bool(&mut self, value: bool);
    fn int(&mut self, value: i64);
    fn double(&mut self, value: f64);
    fn string(&mut self, value: Str<'_>);
    fn bytes(&mut self, value: &[u8]);
    fn begin_array(&mut self, depth: usize) -> Self::Mark;
    fn begin_element(&mut self, first: bool, depth: usize) -> Self::Mark;
    fn begin_map(&mut self, depth: usize) -> Self::Mark;
    fn begin_member(&mut self, field: u32, key: Str<'_>, first: bool, depth: usize) -> [Self::Mark; 2];
    fn end_list(&mut self, mark: Self::Mark);
    fn end_element(&mut self, mark: Self::Mark);
    fn end_member(&mut self, marks: [Self::Mark; 2]);
}

fn walk_text<S: Sink>(text: &str, sink: &mut S) -> Result<(), TextError> {
    let mut tokens = Tokens::new(text.as_bytes(), 0);
    walk(&mut tokens, sink, 1)?;
    Ok(tokens.finish()?)
}

fn walk_attributes<S: Sink>(text: &str, field: u32, sink: &mut S) -> Result<(), TextError> {
    let mut tokens = Tokens::new(text.as_bytes(), 0);
    if tokens.peek()? != Kind::Object {
        return Err(TextError { offset: tokens.pos(), message: "expected an object" });
    }
    tokens.enter();
    walk_members(&mut tokens, field, sink, 0)?;
    Ok(tokens.finish()?)
}

/// Takes the next value. `depth` counts it and the values around it.
fn walk<S: Sink>(tokens: &mut Tokens<'_>, sink: &mut S, depth: usize) -> Result<(), TextError> {
    match tokens.peek()? {
        Kind::Null => {
            tokens.literal(Kind::Null)?;
            sink.empty();
        }
        found @ (Kind::True | Kind::False) => {
            tokens.literal(found)?;
            sink.bool(found == Kind::True);
        }
        Kind::Number => match number(tokens)? {
            Number::Int(value) => sink.int(value),
            Number::Double(value) => sink.double(value),
        },
        Kind::String => sink.string(tokens.string()?),
        _ if depth > DEPTH_MAX => {
            return Err(TextError { offset: tokens.pos(), message: "nested too deep" });
        }
        Kind::Array => walk_array(tokens, sink, depth)?,
        Kind::Object => walk_object(tokens, sink, depth)?,
    }
    Ok(())
}

fn walk_array<S: Sink>(tokens: &mut Tokens<'_>, sink: &mut S, depth: usize) -> Result<(), TextError> {
    let array = sink.begin_array(depth);
    tokens.enter();
    let mut first = true;
    while tokens.element(first)? {
        let element = sink.begin_element(first, depth);
        walk(tokens, sink, depth + 1)?;
        sink.end_element(element);
        first = false;
    }
    sink.end_list(array);
    Ok(())
}

/// A map, or an escape: an object whose first key starts with `$`.
fn walk_object<S: Sink>(tokens: &mut Tokens<'_>, sink: &mut S, depth: usize) -> Result<(), TextError> {
    let start = tokens.pos();
    tokens.enter();
    let inside = tokens.pos();
    let key = tokens.key(true)?.map(decoded);
    if let Some(escape) = key.as_deref().filter(|key| key.starts_with('$')) {
        match (escape, tokens.peek()?) {
            ("$map", Kind::Object) => {
                tokens.enter();
                walk_map(tokens, sink, depth)?;
            }
            ("$bytes", Kind::String) => sink.bytes(&bytes(tokens)?),
            ("$double", Kind::String) => sink.double(special_double(tokens)?),
            _ => return Err(TextError { offset: start, message: "unknown escape" }),
        }
        return end_escape(tokens);
    }
    tokens.seek(inside);
    walk_map(tokens, sink, depth)
}

/// A map whose brace was taken.
fn walk_map<S: Sink>(tokens: &mut Tokens<'_>, sink: &mut S, depth: usize) -> Result<(), TextError> {
    let map = sink.begin_map(depth);
    walk_members(tokens, 1, sink, depth)?;
    sink.end_list(map);
    Ok(())
}

fn walk_members<S: Sink>(tokens: &mut Tokens<'_>, field: u32, sink: &mut S, depth: usize) -> Result<(), TextError> {
    let mut first = true;
    while let Some(key) = tokens.key(first)? {
        let member = sink.begin_member(field, key, first, depth);
        walk(tokens, sink, depth + 1)?;
        sink.end_member(member);
        first = false;
    }
    Ok(())
}

/// OTLP/JSON.
struct Json<'o>(&'o mut String);

impl Json<'_> {
    fn string(&mut self, string: Str<'_>) {
        self.0.push('"');
        self.0.push_str(&wire::text(string.raw).0);
        self.0.push('"');
    }
}

impl Sink for Json<'_> {
    type Mark = ();

    fn empty(&mut self) {
        self.0.push_str("{}");
    }

    fn bool(&mut self, value: bool) {
        self.0.push_str(if value { "{\"boolValue\":true}" } else { "{\"boolValue\":false}" });
    }

    fn int(&mut self, value: i64) {
        self.0.push_str("{\"intValue\":\"");
        self.0.push_str(itoa::Buffer::new().format(value));
        self.0.push_str("\"}");
    }

    fn double(&mut self, value: f64) {
        self.0.push_str("{\"doubleValue\":");
        double_to_otlp_json(value, self.0);
        self.0.push('}');
    }

    fn string(&mut self, value: Str<'_>) {
        self.0.push_str("{\"stringValue\":");
        Json::string(self, value);
        self.0.push('}');
    }

    fn bytes(&mut self, value: &[u8]) {
        self.0.push_str("{\"bytesValue\":\"");
        STANDARD.encode_string(value, self.0);
        self.0.push_str("\"}");
    }

    fn begin_array(&mut self, _depth: usize) {
        self.0.push_str("{\"arrayValue\":{\"values\":[");
    }

    fn begin_element(&mut self, first: bool, _depth: usize) {
        if !first {
            self.0.push(',');
        }
    }

    fn begin_map(&mut self, _depth: usize) {
        self.0.push_str("{\"kvlistValue\":{\"values\":[");
    }

    fn begin_member(&mut self, _field: u32, key: Str<'_>, first: bool, _depth: usize) -> [(); 2] {
        self.0.push_str(if first { "{\"key\":" } else { ",{\"key\":" });
        Json::string(self, key);
        self.0.push_str(",\"value\":");
        [(), ()]
    }

    fn end_list(&mut self, (): ()) {
        self.0.push_str("]}}");
    }

    fn end_element(&mut self, (): ()) {}

    fn end_member(&mut self, _marks: [(); 2]) {
        self.0.push('}');
    }
}

/// Protobuf: the content of an `AnyValue`.
struct Wire<'o>(&'o mut Vec<u8>);

impl Sink for Wire<'_> {
    type Mark = Open;

    fn empty(&mut self) {}

    fn bool(&mut self, value: bool) {
        wire::put_varint_field(self.0, 2, value.into());
    }

    fn int(&mut self, value: i64) {
        wire::put_varint_field(self.0, 3, value as u64);
    }

    fn double(&mut self, value: f64) {
        wire::put_double(self.0, 4, value);
    }

    fn string(&mut self, value: Str<'_>) {
        wire::put_bytes(self.0, 1, decoded(value).as_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        wire::put_bytes(self.0, 7, value);
    }

    fn begin_array(&mut self, depth: usize) -> Open {
        wire::begin_nested(self.0, 5, depth)
    }

    fn begin_element(&mut self, _first: bool, depth: usize) -> Open {
        wire::begin_nested(self.0, 1, depth)
    }

    fn begin_map(&mut self, depth: usize) -> Open {
        wire::begin_nested(self.0, 6, depth)
    }

    fn begin_member(&mut self, field: u32, key: Str<'_>, _first: bool, depth: usize) -> [Open; 2] {
        let member = wire::begin_nested(self.0, field, depth);
        wire::put_bytes(self.0, 1, decoded(key).as_bytes());
        [member, wire::begin_nested(self.0, 2, depth)]
    }

    fn end_list(&mut self, mark: Open) {
        wire::end(self.0, mark);
    }

    fn end_element(&mut self, mark: Open) {
        wire::end(self.0, mark);
    }

    fn end_member(&mut self, [member, value]: [Open; 2]) {
        wire::end(self.0, value);
        wire::end(self.0, member);
    }
}
