//! Rows of the tables `spans` and `logs`, as the rules look at them.
//!
//! Works on batches as the decoder makes them and as a query gives them back: the same
//! keys are found at ingest and whenever a trace is read.

mod logs;
mod parsed;

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, ListArray,
    MapArray, RecordBatch, StringArray, StructArray, TimestampNanosecondArray, UInt32Array,
};
use arrow::datatypes::{Int32Type, SchemaRef, TimestampNanosecondType};
use hopline_model::{AttributeType, Layout, SpanId, TraceId, promoted};

use crate::span::{Attributes, Link, Span, SpanKind, Value};

pub use logs::LogRows;
pub(crate) use parsed::{Parsed, Resources};

/// A batch that is not of the table `spans`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rows have no column {0} of the type that the table has")]
pub struct ColumnsError(pub &'static str);

/// A column of text: words of a dictionary, or plain.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text<'a> {
    Words(&'a Int32Array, &'a StringArray),
    Plain(&'a StringArray),
}

impl<'a> Text<'a> {
    pub(crate) fn of(batch: &'a RecordBatch, name: &'static str) -> Result<Self, ColumnsError> {
        let column = batch.column_by_name(name).ok_or(ColumnsError(name))?;
        Self::from_array(column).ok_or(ColumnsError(name))
    }

    fn from_array(column: &'a ArrayRef) -> Option<Self> {
        if let Some(words) = column.as_dictionary_opt::<Int32Type>() {
            return Some(Text::Words(words.keys(), words.values().as_string_opt::<i32>()?));
        }
        column.as_string_opt::<i32>().map(Text::Plain)
    }

    /// The text of a row.
    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Text::Words(..) => self.word(self.key(row)?),
            Text::Plain(texts) => (row < texts.len() && texts.is_valid(row)).then(|| texts.value(row)),
        }
    }

    pub(crate) fn or_empty(&self, row: usize) -> &'a str {
        self.get(row).unwrap_or_default()
    }

    /// The number of the row's word in the dictionary; of plain text, the row's own.
    pub(crate) fn key(&self, row: usize) -> Option<usize> {
        match self {
            Text::Words(keys, _) if row < keys.len() && keys.is_valid(row) => usize::try_from(keys.value(row)).ok(),
            Text::Words(..) => None,
            Text::Plain(_) => Some(row),
        }
    }

    pub(crate) fn word(&self, key: usize) -> Option<&'a str> {
        let (Text::Words(_, texts) | Text::Plain(texts)) = self;
        (key < texts.len() && texts.is_valid(key)).then(|| texts.value(key))
    }

    pub(crate) fn words(&self) -> usize {
        let (Text::Words(_, texts) | Text::Plain(texts)) = self;
        texts.len()
    }
}

/// A column of values of one type.
#[derive(Debug, Clone, Copy)]
enum Column<'a> {
    Text(Text<'a>),
    Int(&'a Int64Array),
    Double(&'a Float64Array),
    Bool(&'a BooleanArray),
}

impl<'a> Column<'a> {
    fn of(array: &'a ArrayRef) -> Option<Self> {
        let text = Text::from_array(array).map(Column::Text);
        text.or_else(|| array.as_primitive_opt().map(Column::Int))
            .or_else(|| array.as_primitive_opt().map(Column::Double))
            .or_else(|| array.as_boolean_opt().map(Column::Bool))
    }

    fn get(&self, index: usize, is_json: bool) -> Option<Value<'a>> {
        fn valid(array: &dyn Array, index: usize) -> bool {
            index < array.len() && array.is_valid(index)
        }
        match self {
            Column::Text(text) => text.get(index).map(if is_json { Value::Json } else { Value::Text }),
            Column::Int(array) => valid(array, index).then(|| Value::Int(array.value(index))),
            Column::Double(array) => valid(array, index).then(|| Value::Double(array.value(index))),
            Column::Bool(array) => valid(array, index).then(|| Value::Bool(array.value(index))),
        }
    }
}

/// One of the maps of attributes.
struct Map<'a> {
    offsets: &'a [i32],
    map: &'a MapArray,
    keys: &'a StringArray,
    values: Column<'a>,
    is_json: bool,
}

impl<'a> Map<'a> {
    fn of(batch: &'a RecordBatch, kind: AttributeType) -> Option<Self> {
        let map = batch.column_by_name(kind.column())?.as_map_opt()?;
        Some(Map {
            offsets: map.value_offsets(),
            map,
            keys: map.keys().as_string_opt::<i32>()?,
            values: Column::of(map.values())?,
            is_json: kind == AttributeType::Other,
        })
    }

    fn get(&self, row: usize, key: &str) -> Option<Value<'a>> {
        let (Some(start), Some(end)) = (self.offsets.get(row), self.offsets.get(row + 1)) else { return None };
        if start == end || !self.map.is_valid(row) {
            return None;
        }
        let mut entries = usize::try_from(*start).ok()?..usize::try_from(*end).ok()?;
        let entry = entries.find(|entry| self.keys.value(*entry) == key)?;
        self.values.get(entry, self.is_json)
    }
}

/// Other names of a promoted key.
fn aliases(key: &str) -> &'static [&'static str] {
    static ALIASES: LazyLock<HashMap<&str, &[&str], ahash::RandomState>> = LazyLock::new(|| {
        promoted::PROMOTED.iter().filter(|p| !p.aliases.is_empty()).map(|p| (p.key, p.aliases)).collect()
    });
    ALIASES.get(key).copied().unwrap_or_default()
}

/// The canonical name of an alias.
fn canonical(alias: &str) -> Option<&'static str> {
    static NAMES: LazyLock<HashMap<&str, &str, ahash::RandomState>> = LazyLock::new(|| {
        promoted::PROMOTED.iter().flat_map(|p| p.aliases.iter().map(|alias| (*alias, p.key))).collect()
    });
    NAMES.get(alias).copied()
}

/// Texts that are kept, and the longest: the same few come again and again.
const TEXTS_MAX: usize = 4_096;
const TEXT_BYTES_MAX: usize = 4_096;

/// What was read of texts before.
#[derive(Debug)]
struct Read<T>(Mutex<HashMap<String, Arc<T>, ahash::RandomState>>);

impl<T> Default for Read<T> {
    fn default() -> Self {
        Read(Mutex::default())
    }
}

impl<T> Read<T> {
    fn get(&self, text: &str, read: impl FnOnce(&str) -> T) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = known.get(text) {
            return Arc::clone(value);
        }
        let value = Arc::new(read(text));
        if text.len() <= TEXT_BYTES_MAX {
            if known.len() >= TEXTS_MAX {
                known.clear();
            }
            known.insert(text.to_owned(), Arc::clone(&value));
        }
        value
    }
}

/// Of each promoted attribute, the number of its column.
type Places = Arc<[Option<usize>]>;

/// What batches have in common, so that it is found out once.
#[derive(Debug, Default)]
pub(crate) struct Known {
    resources: Read<Parsed>,
    names: Read<Option<Names>>,
    places: Mutex<Vec<(SchemaRef, Places)>>,
}

impl Known {
    /// The attributes of a resource.
    pub(crate) fn resource(&self, text: &str) -> Arc<Parsed> {
        self.resources.get(text, Parsed::resource)
    }

    /// The columns of the promoted attributes, in the order of [`promoted::PROMOTED`].
    fn promoted<'a>(&self, batch: &'a RecordBatch) -> Vec<Option<Column<'a>>> {
        let places = self.places(batch.schema_ref());
        places.iter().map(|place| Column::of(batch.columns().get((*place)?)?)).collect()
    }

    fn places(&self, schema: &SchemaRef) -> Places {
        const SCHEMAS_MAX: usize = 8;
        let mut known = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, places)) = known.iter().find(|(other, _)| Arc::ptr_eq(other, schema)) {
            return Arc::clone(places);
        }
        let places: Places = promoted::PROMOTED.iter().map(|p| schema.index_of(p.column).ok()).collect();
        if known.len() >= SCHEMAS_MAX {
            known.clear();
        }
        known.push((Arc::clone(schema), Arc::clone(&places)));
        places
    }
}

/// The place of a key among the promoted ones.
fn promoted_place(key: &str) -> Option<usize> {
    static PLACES: LazyLock<HashMap<&str, usize, ahash::RandomState>> =
        LazyLock::new(|| promoted::PROMOTED.iter().enumerate().map(|(place, p)| (p.key, place)).collect());
    PLACES.get(key).copied()
}

/// What rows of every table of signals have: their own attributes and those of their resource.
struct Attached<'a> {
    promoted: Vec<Option<Column<'a>>>,
    maps: Vec<Map<'a>>,
    layouts: Text<'a>,
    resources: Resources<'a>,
    known: &'a Known,
    /// The names of the attributes of each layout, canonical ones too: most that are asked for are not there.
    names: Vec<OnceCell<Arc<Option<Names>>>>,
}

type Names = HashSet<String, ahash::RandomState>;

impl<'a> Attached<'a> {
    fn of(batch: &'a RecordBatch, known: &'a Known) -> Result<Self, ColumnsError> {
        let layouts = Text::of(batch, "attribute_layout")?;
        Ok(Attached {
            promoted: known.promoted(batch),
            maps: AttributeType::ALL.into_iter().filter_map(|kind| Map::of(batch, kind)).collect(),
            names: (0..layouts.words()).map(|_| OnceCell::new()).collect(),
            layouts,
            known,
            resources: Resources::of(batch, known)?,
        })
    }

    /// Whether a row may have an attribute, by its layout.
    fn may_have(&self, row: usize, key: &str) -> bool {
        let Some(number) = self.layouts.key(row) else { return true };
        let read = || self.known.names.get(self.layouts.word(number).unwrap_or_default(), names_of);
        let names = self.names.get(number).and_then(|cell| cell.get_or_init(read).as_ref().as_ref());
        names.is_none_or(|names| names.contains(key))
    }
}

/// The names of the attributes of a layout, and what those are aliases of; nothing if it is none.
fn names_of(layout: &str) -> Option<Names> {
    let layout = Layout::parse(layout)?;
    let canonical: Vec<&str> = layout.0.iter().filter_map(|entry| canonical(&entry.key)).collect();
    let names = canonical.into_iter().map(str::to_owned).collect::<Names>();
    Some(layout.0.into_iter().map(|entry| entry.key).chain(names).collect())
}

/// The attributes of one row.
struct RowAttributes<'r, 'a> {
    attached: &'r Attached<'a>,
    row: usize,
}

impl Attributes for RowAttributes<'_, '_> {
    fn get(&self, key: &str) -> Option<Value<'_>> {
        if !self.attached.may_have(self.row, key) {
            return None;
        }
        let column = promoted_place(key).and_then(|place| self.attached.promoted.get(place)?.as_ref());
        let promoted = column.and_then(|column| column.get(self.row, false));
        // A value of another type than the promoted one stands in the map of its type.
        let in_maps = |key: &str| self.attached.maps.iter().find_map(|map| map.get(self.row, key));
        promoted.or_else(|| in_maps(key)).or_else(|| aliases(key).iter().find_map(|alias| in_maps(alias)))
    }
}

/// The rows of a batch of `spans`.
pub struct SpanRows<'a> {
    rows: usize,
    trace_ids: &'a FixedSizeBinaryArray,
    span_ids: &'a FixedSizeBinaryArray,
    parents: &'a FixedSizeBinaryArray,
    names: Text<'a>,
    kinds: Text<'a>,
    statuses: Text<'a>,
    services: Text<'a>,
    functions: Text<'a>,
    starts: &'a TimestampNanosecondArray,
    durations: &'a Int64Array,
    messages: Option<Text<'a>>,
    links: Option<Links<'a>>,
    dropped_links: Option<&'a UInt32Array>,
    events: Option<Events<'a>>,
    attached: Attached<'a>,
}

struct Links<'a> {
    list: &'a ListArray,
    trace_ids: &'a FixedSizeBinaryArray,
    span_ids: &'a FixedSizeBinaryArray,
    attributes: &'a StringArray,
}

impl<'a> Links<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let list = batch.column_by_name("links")?.as_list_opt::<i32>()?;
        let fields: &StructArray = list.values().as_struct_opt()?;
        Some(Links {
            list,
            trace_ids: fields.column_by_name("trace_id")?.as_fixed_size_binary_opt()?,
            span_ids: fields.column_by_name("span_id")?.as_fixed_size_binary_opt()?,
            attributes: fields.column_by_name("attributes")?.as_string_opt::<i32>()?,
        })
    }
}

struct Events<'a> {
    list: &'a ListArray,
    names: &'a StringArray,
    attributes: &'a StringArray,
}

impl<'a> Events<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let list = batch.column_by_name("events")?.as_list_opt::<i32>()?;
        let fields: &StructArray = list.values().as_struct_opt()?;
        Some(Events {
            list,
            names: fields.column_by_name("name")?.as_string_opt::<i32>()?,
            attributes: fields.column_by_name("attributes")?.as_string_opt::<i32>()?,
        })
    }
}

/// Where the items of a row's list stand.
fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    match (row < list.len() && list.is_valid(row), offsets.get(row), offsets.get(row + 1)) {
        (true, Some(start), Some(end)) => *start as usize..*end as usize,
        _ => 0..0,
    }
}

fn id<const N: usize>(ids: &FixedSizeBinaryArray, row: usize) -> Option<[u8; N]> {
    let valid = row < ids.len() && ids.is_valid(row);
    valid.then(|| ids.value(row)).and_then(|bytes| bytes.try_into().ok())
}

impl<'a> SpanRows<'a> {
    /// The columns that a batch must have, beside the promoted ones.
    pub const COLUMNS: [&'static str; 14] = [
        "trace_id",
        "span_id",
        "parent_span_id",
        "name",
        "kind",
        "start_time",
        "duration",
        "status_code",
        "links",
        "dropped_links_count",
        "service",
        "function",
        "resource",
        "attribute_layout",
    ];

    /// Looks at the columns of `batch`.
    pub(crate) fn of(batch: &'a RecordBatch, known: &'a Known) -> Result<Self, ColumnsError> {
        let ids = |name: &'static str| {
            let column = batch.column_by_name(name).and_then(|c| c.as_fixed_size_binary_opt());
            column.ok_or(ColumnsError(name))
        };
        let starts = batch.column_by_name("start_time").and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>());
        let durations = batch.column_by_name("duration").and_then(|c| c.as_primitive_opt());
        Ok(SpanRows {
            rows: batch.num_rows(),
            trace_ids: ids("trace_id")?,
            span_ids: ids("span_id")?,
            parents: ids("parent_span_id")?,
            names: Text::of(batch, "name")?,
            kinds: Text::of(batch, "kind")?,
            statuses: Text::of(batch, "status_code")?,
            services: Text::of(batch, "service")?,
            functions: Text::of(batch, "function")?,
            starts: starts.ok_or(ColumnsError("start_time"))?,
            durations: durations.ok_or(ColumnsError("duration"))?,
            messages: Text::of(batch, "status_message").ok(),
            links: Links::of(batch),
            dropped_links: batch.column_by_name("dropped_links_count").and_then(|c| c.as_primitive_opt()),
            events: Events::of(batch),
            attached: Attached::of(batch, known)?,
        })
    }

    /// Rows of the batch.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether the batch has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// How many different layouts of attributes there may be.
    pub(crate) fn layouts(&self) -> usize {
        self.attached.layouts.words()
    }

    /// The text of a layout.
    pub(crate) fn layout(&self, number: usize) -> &'a str {
        self.attached.layouts.word(number).unwrap_or_default()
    }

    /// The number of a row's layout.
    pub(crate) fn layout_of(&self, row: usize) -> Option<usize> {
        self.attached.layouts.key(row)
    }

    /// Whether a row has links.
    pub(crate) fn has_links(&self, row: usize) -> bool {
        self.links.as_ref().is_some_and(|links| !range(links.list, row).is_empty())
    }

    /// How many links of a row's span its SDK dropped.
    pub(crate) fn dropped_links(&self, row: usize) -> u32 {
        let counts = self.dropped_links.filter(|counts| row < counts.len() && counts.is_valid(row));
        counts.map_or(0, |counts| counts.value(row))
    }

    /// Whether a row's span ran in a function.
    pub(crate) fn has_function(&self, row: usize) -> bool {
        self.functions.get(row).is_some_and(|function| !function.is_empty())
    }

    /// What the status of a row's span says.
    pub(crate) fn status_message(&self, row: usize) -> Option<&'a str> {
        self.messages.as_ref()?.get(row).filter(|text| !text.is_empty())
    }

    /// The attributes of the first `exception` event of a row's span.
    pub(crate) fn exception(&self, row: usize) -> Option<Parsed> {
        let events = self.events.as_ref()?;
        let at = range(events.list, row).find(|at| events.names.value(*at) == "exception")?;
        Some(Parsed::attributes(events.attributes.value(at)))
    }

    /// Shows the span of a row to `look`.
    pub fn with<T>(&self, row: usize, look: impl FnOnce(&Span<'_>) -> T) -> T {
        let attributes = RowAttributes { attached: &self.attached, row };
        let resource = self.attached.resources.get(row);
        let range = self.links.as_ref().map_or(0..0, |links| range(links.list, row));
        let texts: Vec<Parsed> = match &self.links {
            Some(links) => range.clone().map(|at| Parsed::attributes(links.attributes.value(at))).collect(),
            None => Vec::new(),
        };
        let links: Vec<Link<'_>> = match &self.links {
            Some(links) => range
                .zip(&texts)
                .map(|(at, attributes)| Link {
                    trace_id: id(links.trace_ids, at).map(TraceId),
                    span_id: id(links.span_ids, at).map(SpanId),
                    attributes,
                })
                .collect(),
            None => Vec::new(),
        };
        let start_ns = self.starts.values().get(row).copied().unwrap_or_default();
        look(&Span {
            trace_id: TraceId(id(self.trace_ids, row).unwrap_or_default()),
            span_id: SpanId(id(self.span_ids, row).unwrap_or_default()),
            parent: id(self.parents, row).map(SpanId),
            name: self.names.or_empty(row),
            kind: SpanKind::from_name(self.kinds.or_empty(row)),
            is_error: self.statuses.get(row) == Some("ERROR"),
            start_ns,
            end_ns: start_ns.saturating_add(self.durations.values().get(row).copied().unwrap_or_default()),
            service: self.services.or_empty(row),
            function: self.functions.get(row).filter(|f| !f.is_empty()),
            attributes: &attributes,
            resource,
            links: &links,
        })
    }
}

/// The account and the region in which a span ran: from its attributes, its resource, or its function's ARN.
pub fn place<'s>(span: &Span<'s>) -> (Option<&'s str>, Option<&'s str>) {
    let of = |key: &str| span.attributes.text(key).or_else(|| span.resource.text(key));
    let arn = ["aws.lambda.invoked_arn", "cloud.resource_id"].into_iter().find_map(of);
    // arn:partition:service:region:account:…
    let mut parts = arn.filter(|arn| arn.starts_with("arn:")).unwrap_or_default().split(':').skip(3);
    let (region, account) = (parts.next(), parts.next());
    let known = |text: Option<&'s str>| text.filter(|t| !t.is_empty());
    (known(of("cloud.account.id").or(account)), known(of("cloud.region").or(region)))
}
