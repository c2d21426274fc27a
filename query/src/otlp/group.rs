//! Groups rows by resource and scope, and writes what encloses them.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use hopline_proto::value;

use super::columns::{Error, Text};

/// Where JSON goes: to one string, or piece by piece to a reader.
pub(crate) struct Sink<'a> {
    buffer: String,
    piece_bytes: usize,
    send: Box<dyn FnMut(String) -> bool + 'a>,
}

impl<'a> Sink<'a> {
    /// Calls `send` with pieces of about `piece_bytes`. When it returns false the writing ends.
    pub(crate) fn pieces(piece_bytes: usize, send: impl FnMut(String) -> bool + 'a) -> Self {
        Self { buffer: String::with_capacity(piece_bytes + piece_bytes / 4), piece_bytes, send: Box::new(send) }
    }

    /// Keeps everything until [`Sink::finish`], and puts it in `out`.
    pub(crate) fn whole(out: &'a mut String) -> Self {
        Self {
            buffer: String::new(),
            piece_bytes: usize::MAX,
            send: Box::new(move |text| {
                *out = text;
                true
            }),
        }
    }

    pub(crate) fn out(&mut self) -> &mut String {
        &mut self.buffer
    }

    /// Sends what was written, if it is enough for a piece.
    pub(crate) fn item_written(&mut self) -> Result<(), Error> {
        if self.buffer.len() < self.piece_bytes { Ok(()) } else { self.finish() }
    }

    /// Sends the rest.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let piece = std::mem::take(&mut self.buffer);
        if (self.send)(piece) { Ok(()) } else { Err(Error::Closed) }
    }
}

/// A row: number of its batch, number in the batch.
pub(crate) type Row = (usize, usize);

struct Resource {
    text: String,
    scopes: Vec<Scope>,
}

struct Scope {
    text: String,
    name: String,
    version: String,
    rows: Vec<Row>,
}

/// Rows by resource and scope, each in the order of first appearance.
#[derive(Default)]
pub(crate) struct Groups {
    resources: Vec<Resource>,
    resource_numbers: HashMap<String, usize>,
    scope_numbers: HashMap<(usize, String, String, String), usize>,
}

/// The members' names of one signal.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    /// `resourceSpans`
    pub(crate) resources: &'static str,
    /// `scopeSpans`
    pub(crate) scopes: &'static str,
    /// `spans`
    pub(crate) items: &'static str,
}

impl Groups {
    /// Adds the rows of batch number `number` that `keep` wants.
    pub(crate) fn add(
        &mut self,
        number: usize,
        batch: &RecordBatch,
        mut keep: impl FnMut(usize) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let columns = [
            Text::of(batch, "resource")?,
            Text::of(batch, "scope")?,
            Text::of(batch, "scope_name")?,
            Text::of(batch, "scope_version")?,
        ];
        // Rows with the same dictionary keys are of one group: it is looked up once a batch.
        let mut known: HashMap<[i32; 4], (usize, usize)> = HashMap::new();
        for row in 0..batch.num_rows() {
            if !keep(row)? {
                continue;
            }
            let [resource, scope, name, version] = &columns;
            let mut keys = [0; 4];
            let all = keys.iter_mut().zip(&columns).all(|(key, c)| c.key(row).map(|k| *key = k).is_some());
            let place = match known.get(&keys) {
                Some(place) if all => *place,
                _ => {
                    let object = |c: &'_ Text| c.get(row).filter(|t| !t.is_empty()).unwrap_or("{}").to_owned();
                    let texts = [&object(resource), &object(scope), name.or_empty(row), version.or_empty(row)];
                    let place = self.place(texts);
                    if all {
                        known.insert(keys, place);
                    }
                    place
                }
            };
            let scope = self.resources.get_mut(place.0).and_then(|r| r.scopes.get_mut(place.1));
            if let Some(scope) = scope {
                scope.rows.push((number, row));
            }
        }
        Ok(())
    }

    fn place(&mut self, [resource, scope, name, version]: [&str; 4]) -> (usize, usize) {
        let number = match self.resource_numbers.get(resource) {
            Some(number) => *number,
            None => {
                let number = self.resources.len();
                self.resources.push(Resource { text: resource.to_owned(), scopes: Vec::new() });
                self.resource_numbers.insert(resource.to_owned(), number);
                number
            }
        };
        let key = (number, scope.to_owned(), name.to_owned(), version.to_owned());
        let scopes = self.resources.get_mut(number).map(|r| &mut r.scopes);
        let scope_number = match (self.scope_numbers.get(&key), scopes) {
            (Some(number), _) => *number,
            (None, None) => 0,
            (None, Some(scopes)) => {
                let number = scopes.len();
                scopes.push(Scope {
                    text: scope.to_owned(),
                    name: name.to_owned(),
                    version: version.to_owned(),
                    rows: Vec::new(),
                });
                self.scope_numbers.insert(key, number);
                number
            }
        };
        (number, scope_number)
    }

    /// Number of rows in all groups.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> usize {
        self.resources.iter().flat_map(|r| &r.scopes).map(|s| s.rows.len()).sum()
    }

    /// Writes `{"resourceSpans":[…]` and `extra`, which is empty or starts with a comma, and
    /// `}`. `write_items` writes what stands between the brackets of a scope's items.
    pub(crate) fn write(
        &self,
        names: Names,
        extra: &str,
        sink: &mut Sink<'_>,
        mut write_items: impl FnMut(&[Row], &mut Sink<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Names { resources, scopes, items } = names;
        open(sink.out(), "{\"", resources);
        for (i, resource) in self.resources.iter().enumerate() {
            sink.out().push_str(if i == 0 { "{\"resource\":" } else { ",{\"resource\":" });
            value::resource_text_to_otlp_json(&resource.text, sink.out()).map_err(Error::Value)?;
            open(sink.out(), ",\"", scopes);
            for (i, scope) in resource.scopes.iter().enumerate() {
                sink.out().push_str(if i == 0 { "{\"scope\":" } else { ",{\"scope\":" });
                let Scope { text, name, version, rows } = scope;
                value::scope_text_to_otlp_json(text, name, version, sink.out()).map_err(Error::Value)?;
                open(sink.out(), ",\"", items);
                write_items(rows, sink)?;
                sink.out().push(']');
                close(sink.out(), &scope.text);
            }
            sink.out().push(']');
            close(sink.out(), &resource.text);
        }
        let out = sink.out();
        out.push(']');
        out.push_str(extra);
        out.push('}');
        sink.finish()
    }
}

fn open(out: &mut String, before: &str, name: &str) {
    out.push_str(before);
    out.push_str(name);
    out.push_str("\":[");
}

/// The schema URL that stands beside a resource or a scope, and the closing brace.
fn close(out: &mut String, text: &str) {
    self::text(out, "schemaUrl", &value::schema_url(text));
    out.push('}');
}

/// Appends `,"name":` (no comma after an opening brace).
pub(crate) fn member(out: &mut String, name: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
}

/// Appends a member with a number as a string, as OTLP/JSON has 64-bit integers.
pub(crate) fn number_text(out: &mut String, name: &str, number: impl std::fmt::Display) {
    member(out, name);
    out.push('"');
    out.push_str(&number.to_string());
    out.push('"');
}

/// Appends a member with a number, unless it is zero.
pub(crate) fn number(out: &mut String, name: &str, number: i64) {
    if number != 0 {
        member(out, name);
        out.push_str(&number.to_string());
    }
}

/// Appends a member with a text, unless it is empty.
pub(crate) fn text(out: &mut String, name: &str, text: &str) {
    if !text.is_empty() {
        member(out, name);
        value::quote(text, out);
    }
}

/// Appends a member with an id, if there is one.
pub(crate) fn id(out: &mut String, name: &str, id: Option<&[u8]>) {
    if let Some(id) = id {
        member(out, name);
        out.push('"');
        hex(id, out);
        out.push('"');
    }
}

/// Appends bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8], out: &mut String) {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    for byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
}

/// Appends a member with OTLP/JSON attributes from the object text of an event, a link or an exemplar.
pub(crate) fn attributes_text(out: &mut String, name: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() || text == "{}" {
        return Ok(());
    }
    member(out, name);
    value::attributes_text_to_otlp_json(text, out).map_err(Error::Value)
}
