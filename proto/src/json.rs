//! OTLP/JSON to the protobuf bytes of the same request.
//!
//! One pass over the bytes, driven by a table of OTLP's messages: no tree, no
//! recursion, no allocation per item. What goes in is proto3 JSON as OTLP narrows
//! it: ids in hexadecimal, enumerations as integers, keys in lowerCamelCase. What
//! comes out is read by the same decoder as a protobuf body.
//!
//! - Taken: 64-bit integers as strings or numbers (`1e3` too), doubles as numbers or
//!   strings with `NaN`, `Infinity` and `-Infinity`, any base64, ids in any case and of
//!   any length (the decoder judges them), `null` for any field (as if it were left out)
//!   and for an element (as the empty one), a byte order mark.
//! - Changed: a number in `AnyValue.intValue` that is no 64-bit integer becomes the double that
//!   it is, with a warning.
//! - Ignored: unknown fields at any depth, and so also snake_case ones.
//! - Of duplicate keys the last one counts; lists are joined.
//! - Strings that are not UTF-8 are passed on as they are, for the decoder to repair.
//! - A value that its field cannot hold, an enumeration by name among them, refuses
//!   the span, log record or metric it stands in: [`Refused`]. Outside of these, and
//!   where the body is not JSON at all, it refuses the request: [`JsonError`].

mod scalar;
mod schema;
pub(crate) mod tokens;

use crate::value::DEPTH_MAX;
use crate::wire;
use schema::{Descriptor, Field, Kind, Role};
use tokens::{Kind as Token, Syntax, Tokens};

/// A path is shown in full up to this length.
const PATH_MAX: usize = 320;

/// The requests that [`transcode`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    /// `ExportTraceServiceRequest`.
    Traces,
    /// `ExportLogsServiceRequest`.
    Logs,
    /// `ExportMetricsServiceRequest`.
    Metrics,
}

impl Message {
    const ALL: [Message; 3] = [Message::Traces, Message::Logs, Message::Metrics];

    /// The field that holds everything.
    fn list(self) -> &'static str {
        match self {
            Message::Traces => "resourceSpans",
            Message::Logs => "resourceLogs",
            Message::Metrics => "resourceMetrics",
        }
    }

    /// Where it is sent to over HTTP.
    fn path(self) -> &'static str {
        match self {
            Message::Traces => "/v1/traces",
            Message::Logs => "/v1/logs",
            Message::Metrics => "/v1/metrics",
        }
    }
}

/// Items that were left out because they could not be read, and what else the sender should know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refused {
    /// How many: spans, log records or data points (at least one a metric).
    pub items: u64,
    /// What was wrong with the first of them, and where.
    pub message: Option<String>,
    /// Numbers in what was taken that were stored as doubles, because they are no
    /// 64-bit integers as their field wants.
    pub changed: u64,
    /// What should be said of them, or of a body that is all of another signal.
    pub warning: Option<String>,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{message} (at byte {offset})", .path, if .path.is_empty() { "" } else { ": " })]
pub struct JsonError {
    /// Offset in the body.
    pub offset: usize,
    /// Path of what was being read, such as `resourceSpans[0].schemaUrl`; empty at
    /// the top level.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// Appends the protobuf form of an OTLP/JSON request to `out`. On an error `out` is
/// left as it was.
///
/// The protobuf form is nearly always smaller than the JSON, and at most four times as
/// large (a list of nothing but `0,` for eight bytes each).
pub fn transcode(message: Message, json: &[u8], out: &mut Vec<u8>) -> Result<Refused, JsonError> {
    let root = match message {
        Message::Traces => &schema::TRACES,
        Message::Logs => &schema::LOGS,
        Message::Metrics => &schema::METRICS,
    };
    let start = if json.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let before = out.len();
    out.reserve(json.len() / 2);
    let mut transcoder = Transcoder {
        tokens: Tokens::new(json, start),
        out,
        stack: Vec::with_capacity(32),
        refused: Refused::default(),
        changed_before: 0,
        foreign: None,
    };
    match transcoder.run(root) {
        Ok(()) => {
            let (mut refused, foreign) = (transcoder.refused, transcoder.foreign);
            let changed = refused.changed;
            refused.warning = refused.warning.map(|first| {
                format!("{changed} numbers in intValue are no 64-bit integers and were stored as doubles; the first is {first}")
            });
            if let Some(name) = foreign.filter(|_| out.len() == before && refused.items == 0) {
                refused.warning = Some(foreign_warning(message, name));
            }
            Ok(refused)
        }
        Err(error) => {
            out.truncate(before);
            Err(error)
        }
    }
}

/// Why the current value cannot be taken.
enum Stop {
    /// The body is not JSON.
    Syntax(Syntax),
    /// The value does not fit its field.
    Value { offset: usize, message: String },
}

impl From<Syntax> for Stop {
    fn from(syntax: Syntax) -> Self {
        Stop::Syntax(syntax)
    }
}

/// A JSON object or array that is being read.
struct Frame {
    what: What,
    /// Nothing of it was read yet.
    first: bool,
    /// Length of the output before it, and position of its value in the body: to
    /// leave it out again.
    out_start: usize,
    json_start: usize,
    /// The message or packed list in the output that it fills.
    open: Option<wire::Open>,
    /// How many attribute values enclose it, itself included.
    values: usize,
}

enum What {
    Object { message: &'static Descriptor, field: Option<&'static Field>, hint: usize },
    List { field: &'static Field, count: usize },
}

struct Transcoder<'a, 'o> {
    tokens: Tokens<'a>,
    out: &'o mut Vec<u8>,
    // Invariant: at most DEPTH_MAX attribute values, so a bounded number of frames.
    stack: Vec<Frame>,
    refused: Refused,
    /// How many values had been changed before the current item.
    changed_before: u64,
    /// The list of another signal at the top level.
    foreign: Option<Message>,
}

impl Transcoder<'_, '_> {
    fn run(&mut self, root: &'static Descriptor) -> Result<(), JsonError> {
        if let Err(stop) = self.root(root) {
            return Err(self.error(stop));
        }
        while !self.stack.is_empty() {
            match self.step() {
                Ok(()) => {}
                Err(Stop::Value { offset, message }) => self.refuse(offset, message)?,
                Err(stop) => return Err(self.error(stop)),
            }
        }
        self.tokens.finish().map_err(|syntax| self.error(Stop::Syntax(syntax)))
    }

    fn root(&mut self, message: &'static Descriptor) -> Result<(), Stop> {
        let found = self.tokens.peek()?;
        if found != Token::Object {
            let message = format!("the body is {}, not an object", found.name());
            return Err(Stop::Value { offset: self.tokens.pos(), message });
        }
        self.tokens.enter();
        self.push(What::Object { message, field: None, hint: 0 }, None, 0);
        Ok(())
    }

    /// Reads the next member or element of the innermost frame, or its end.
    fn step(&mut self) -> Result<(), Stop> {
        let Some(frame) = self.stack.last_mut() else { return Ok(()) };
        let first = std::mem::replace(&mut frame.first, false);
        match &mut frame.what {
            What::Object { message, field, hint } => {
                *field = None;
                let Some(key) = self.tokens.key(first)? else { return self.close() };
                let key = key.bytes();
                let Some(at) = find(message, *hint, &key) else { return self.unknown(&key) };
                let Some(found) = message.fields.get(at) else { return Ok(()) };
                *hint = at + 1;
                *field = Some(found);
                self.member(found)
            }
            What::List { field, count } => {
                let field = *field;
                if !self.tokens.element(first)? {
                    return self.close();
                }
                *count += 1;
                self.element(field)
            }
        }
    }

    /// Passes over the value of an unknown field.
    #[cold]
    fn unknown(&mut self, key: &[u8]) -> Result<(), Stop> {
        if self.stack.len() == 1 && self.foreign.is_none() {
            self.foreign = Message::ALL.into_iter().find(|message| message.list().as_bytes() == key);
        }
        Ok(self.tokens.skip()?)
    }

    fn close(&mut self) -> Result<(), Stop> {
        if let Some(open) = self.stack.pop().and_then(|frame| frame.open) {
            wire::end(self.out, open);
        }
        Ok(())
    }

    /// Reads the value of a field.
    #[inline]
    fn member(&mut self, field: &'static Field) -> Result<(), Stop> {
        let found = self.tokens.peek()?;
        if found == Token::Null {
            return Ok(self.tokens.literal(found)?);
        }
        if field.list {
            if found != Token::Array {
                return self.mismatch("a list");
            }
            self.tokens.enter();
            // Numbers are packed; strings and messages have a tag each.
            let packed = !matches!(field.kind, Kind::Message(_) | Kind::String | Kind::Bytes | Kind::Id);
            let open = packed.then(|| wire::begin(self.out, field.number, 2));
            let values = self.values();
            self.push(What::List { field, count: 0 }, open, values);
            return Ok(());
        }
        match field.kind {
            Kind::Message(message) => self.message(field, message),
            kind => self.scalar(kind, Some(field.number)),
        }
    }

    /// Reads an element of a list.
    fn element(&mut self, field: &'static Field) -> Result<(), Stop> {
        let null = self.tokens.peek()? == Token::Null;
        if null {
            self.tokens.literal(Token::Null)?;
        }
        match field.kind {
            Kind::Message(_) | Kind::String | Kind::Bytes | Kind::Id if null => {
                wire::put_bytes(self.out, field.number, &[]);
                Ok(())
            }
            Kind::Message(message) => self.message(field, message),
            kind @ (Kind::String | Kind::Bytes | Kind::Id) => self.scalar(kind, Some(field.number)),
            kind if null => {
                self.put_zero(kind);
                Ok(())
            }
            kind => self.scalar(kind, None),
        }
    }

    /// Begins a message.
    fn message(&mut self, field: &'static Field, message: &'static Descriptor) -> Result<(), Stop> {
        let values = self.values() + usize::from(message.role == Role::AnyValue);
        if values > DEPTH_MAX {
            let message = format!("attribute value is nested more than {DEPTH_MAX} levels deep");
            return Err(Stop::Value { offset: self.tokens.pos(), message });
        }
        if matches!(message.role, Role::Item | Role::Metric) {
            self.changed_before = self.refused.changed;
        }
        let what = What::Object { message, field: None, hint: 0 };
        if self.tokens.peek()? != Token::Object {
            // Of an item that is no object nothing is left but its place.
            if message.role != Role::Plain {
                self.push(what, None, values);
            }
            return self.mismatch("an object");
        }
        self.push(what, None, values);
        self.tokens.enter();
        let open = match values {
            0 | 1 => wire::begin(self.out, field.number, message.room),
            deep => wire::begin_nested(self.out, field.number, deep),
        };
        if let Some(frame) = self.stack.last_mut() {
            frame.open = Some(open);
        }
        Ok(())
    }

    fn push(&mut self, what: What, open: Option<wire::Open>, values: usize) {
        let (out_start, json_start) = (self.out.len(), self.tokens.pos());
        self.stack.push(Frame { what, first: true, out_start, json_start, open, values });
    }

    /// How many attribute values enclose what is read now.
    fn values(&self) -> usize {
        self.stack.last().map_or(0, |frame| frame.values)
    }

    /// The next value is of another kind than its field.
    #[cold]
    fn mismatch<T>(&mut self, expected: &str) -> Result<T, Stop> {
        let offset = self.tokens.pos();
        let found = self.tokens.peek()?;
        let shown = match found {
            Token::Object | Token::Array => found.name().to_owned(),
            _ => scalar::shown(self.tokens.raw()?),
        };
        Err(Stop::Value { offset, message: format!("{shown} is not {expected}") })
    }

    /// Leaves out the item in which a value was found wanting, and reads on behind it.
    #[cold]
    fn refuse(&mut self, offset: usize, message: String) -> Result<(), JsonError> {
        let item = self.stack.iter().rposition(|frame| role(frame).is_some());
        let Some(item) = item else { return Err(self.error(Stop::Value { offset, message })) };
        if self.refused.message.is_none() {
            self.refused.message = Some(format!("{}: {message}", self.path()));
        }
        // What was changed in it does not matter any more.
        self.refused.changed = self.changed_before;
        if self.changed_before == 0 {
            self.refused.warning = None;
        }
        let Some(frame) = self.stack.drain(item..).next() else { return Ok(()) };
        self.out.truncate(frame.out_start);
        self.tokens.seek(frame.json_start);
        let items = match role(&frame) {
            Some(Role::Metric) => points(&mut self.tokens),
            _ => self.tokens.skip().map(|()| 1),
        };
        self.refused.items += items.map_err(|syntax| self.error(Stop::Syntax(syntax)))?;
        Ok(())
    }

    /// Takes note of a number that was stored as a double instead of as an integer.
    #[cold]
    fn note_change(&mut self, value: &str) {
        self.refused.changed += 1;
        if self.refused.warning.is_none() {
            self.refused.warning = Some(format!("{value}, at {}", self.path()));
        }
    }

    #[cold]
    fn error(&self, stop: Stop) -> JsonError {
        let (offset, message) = match stop {
            Stop::Syntax(Syntax { offset, message }) => (offset, message.to_owned()),
            Stop::Value { offset, message } => (offset, message),
        };
        JsonError { offset, path: self.path(), message }
    }

    /// Where in the body we are.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match frame.what {
                What::Object { field: Some(field), .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(field.name);
                }
                What::List { count: count @ 1.., .. } => {
                    path.push('[');
                    path.push_str(itoa::Buffer::new().format(count - 1));
                    path.push(']');
                }
                _ => {}
            }
        }
        // Names and indexes are ASCII, so any byte is a good place to cut.
        if path.len() > PATH_MAX
            && let (Some(head), Some(tail)) = (path.get(..PATH_MAX / 2), path.get(path.len() - PATH_MAX / 2..))
        {
            path = format!("{head}…{tail}");
        }
        path
    }
}

#[cold]
fn foreign_warning(message: Message, found: Message) -> String {
    let (list, here, there) = (found.list(), message.path(), found.path());
    format!("the body has {list}, but this is {here}: nothing was stored; send it to {there}")
}

/// The role of a frame, if it is an item.
fn role(frame: &Frame) -> Option<Role> {
    match frame.what {
        What::Object { message, .. } if matches!(message.role, Role::Item | Role::Metric) => Some(message.role),
        _ => None,
    }
}

/// Index of the field called `key`. Senders keep the order of the table or their own,
/// so the search starts behind the last field found.
#[inline]
fn find(message: &Descriptor, hint: usize, key: &[u8]) -> Option<usize> {
    let fields = message.fields;
    let is = |field: &Field| field.name.as_bytes() == key;
    let hint = hint.min(fields.len());
    fields.iter().skip(hint).position(is).map(|at| at + hint).or_else(|| fields.iter().take(hint).position(is))
}

/// Passes over a metric and counts its data points, at least one.
fn points(tokens: &mut Tokens<'_>) -> Result<u64, Syntax> {
    let mut count = 0;
    members(tokens, |tokens, key| {
        if !schema::POINT_HOLDERS.iter().any(|name| name.as_bytes() == key) {
            return tokens.skip();
        }
        members(tokens, |tokens, key| {
            if key != schema::POINTS.as_bytes() || tokens.peek()? != Token::Array {
                return tokens.skip();
            }
            tokens.enter();
            let mut first = true;
            while tokens.element(std::mem::take(&mut first))? {
                tokens.skip()?;
                count += 1;
            }
            Ok(())
        })
    })?;
    Ok(count.max(1))
}

/// Calls `each` at each member of the object that is next; passes over anything else.
fn members<'a>(
    tokens: &mut Tokens<'a>,
    mut each: impl FnMut(&mut Tokens<'a>, &[u8]) -> Result<(), Syntax>,
) -> Result<(), Syntax> {
    if tokens.peek()? != Token::Object {
        return tokens.skip();
    }
    tokens.enter();
    let mut first = true;
    while let Some(key) = tokens.key(std::mem::take(&mut first))? {
        each(tokens, &key.bytes())?;
    }
    Ok(())
}
