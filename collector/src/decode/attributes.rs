//! The attributes of rows: promoted columns, a map a type, and the layout that tells
//! in which order they were sent.

mod keys;
mod layouts;

use arrow::array::ArrayRef;
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::error::ArrowError;
use hopline_model::{AttributeType, Cardinality, PromotedType, Table, promoted};
use hopline_proto::value::{any_value_to_text, key_value};

use self::keys::{Fixup, Keys, Role};
use self::layouts::Layouts;
use super::column::{Blanks, Bools, Dict, Map, Numbers, Optional, Text, Values};
use super::message::Any;
use super::{Scratch, Stop};

/// A promoted column.
#[derive(Debug)]
enum Column {
    Low(Optional<Dict>),
    High(Optional<Text>),
    Int(Optional<Numbers<Int64Type>>),
    Bool(Optional<Bools>),
}

/// A value that goes to a promoted column if nothing better comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending<'a> {
    column: usize,
    rank: u8,
    value: Candidate<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Candidate<'a> {
    Text(&'a [u8]),
    Int(i64),
    /// A number that is to be written as text.
    Decimal(i64),
    Bool(bool),
}

/// The attribute columns of one table.
#[derive(Debug)]
pub(super) struct Attributes {
    keys: Keys,
    layouts: Layouts,
    promoted: Vec<Column>,
    strings: Map<Text>,
    ints: Map<Numbers<Int64Type>>,
    doubles: Map<Numbers<Float64Type>>,
    bools: Map<Bools>,
    others: Map<Text>,
    layout: Dict,
}

impl Attributes {
    /// The empty columns of `table`.
    pub(super) fn new(table: Table) -> Self {
        let column = |p: &promoted::Promoted| match (p.kind, p.cardinality) {
            (PromotedType::String, Cardinality::Low) => Column::Low(Optional::default()),
            (PromotedType::String, Cardinality::High) => Column::High(Optional::default()),
            (PromotedType::Int, _) => Column::Int(Optional::default()),
            (PromotedType::Bool, _) => Column::Bool(Optional::default()),
        };
        Attributes {
            keys: Keys::new(table),
            layouts: Layouts::default(),
            promoted: promoted::of(table).map(column).collect(),
            strings: Map::default(),
            ints: Map::default(),
            doubles: Map::default(),
            bools: Map::default(),
            others: Map::default(),
            layout: Dict::default(),
        }
    }

    /// The place among the promoted columns of the one for `key`.
    pub(super) fn place(table: Table, key: &str) -> usize {
        promoted::of(table).position(|p| p.key == key).unwrap_or(usize::MAX)
    }

    /// Appends the attributes of `row`, `KeyValue`s as they were sent.
    #[inline]
    pub(super) fn push<'a>(
        &mut self,
        row: usize,
        attributes: &[&'a [u8]],
        scratch: &mut Scratch<'a>,
    ) -> Result<(), Stop> {
        scratch.codes.clear();
        scratch.pending.clear();
        for attribute in attributes {
            let (key, any_value) = key_value(attribute)?;
            let code = self.push_one(row, key, any_value, scratch)?;
            scratch.codes.push(code);
        }
        if !scratch.pending.is_empty() {
            self.settle(row, &mut scratch.pending);
        }
        let key = self.layouts.key(&scratch.codes, &self.keys, &mut self.layout);
        self.layout.push_key(key);
        Ok(())
    }

    /// Appends one attribute and returns its code in the layout.
    #[inline]
    fn push_one<'a>(
        &mut self,
        row: usize,
        key: &[u8],
        any_value: &'a [u8],
        scratch: &mut Scratch<'a>,
    ) -> Result<u32, Stop> {
        let id = self.keys.id(key);
        let known = self.keys.get(id);
        let value = Any::read(any_value)?;
        if let (Some(rank), Any::String(text)) = (known.request_id, value) {
            scratch.offer_request_id(rank, text);
        }
        let taken = match known.role {
            Role::Plain => false,
            Role::Canonical { column, fixup } => promote(self.promoted.get_mut(column), row, fixup, value),
            Role::Alias { column, rank, fixup } => {
                scratch.pending.extend(candidate(fixup, value).map(|value| Pending { column, rank, value }));
                false
            }
        };
        let name = known.name();
        let kind = match value {
            Any::String(_) | Any::Int(_) | Any::Bool(_) if taken => kind_of(value),
            Any::String(text) => {
                self.strings.entry(row, name).push(text);
                AttributeType::String
            }
            Any::Int(int) => {
                self.ints.entry(row, name).push(int);
                AttributeType::Int
            }
            Any::Double(double) => {
                self.doubles.entry(row, name).push(double);
                AttributeType::Double
            }
            Any::Bool(bool) => {
                self.bools.entry(row, name).push(bool);
                AttributeType::Bool
            }
            Any::Empty | Any::Bytes | Any::Array(_) | Any::Map(_) => {
                scratch.text.clear();
                any_value_to_text(any_value, &mut scratch.text, 0)?;
                self.others.entry(row, name).push_str(&scratch.text);
                AttributeType::Other
            }
        };
        Ok(layouts::code(id, kind, taken))
    }

    /// Writes the aliases' values to the promoted columns that the row left empty.
    #[inline(never)]
    fn settle(&mut self, row: usize, pending: &mut [Pending<'_>]) {
        if pending.len() > 1 {
            pending.sort_by_key(|p| p.rank);
        }
        for p in pending {
            match (self.promoted.get_mut(p.column), p.value) {
                (Some(Column::Low(c)), Candidate::Text(text)) if !c.has(row) => c.at(row).push(text),
                (Some(Column::High(c)), Candidate::Text(text)) if !c.has(row) => c.at(row).push(text),
                (Some(Column::Low(c)), Candidate::Decimal(int)) if !c.has(row) => {
                    c.at(row).push(int.to_string().as_bytes());
                }
                (Some(Column::Int(c)), Candidate::Int(int)) if !c.has(row) => c.at(row).push(int),
                (Some(Column::Bool(c)), Candidate::Bool(bool)) if !c.has(row) => c.at(row).push(bool),
                _ => {}
            }
        }
    }

    /// The text that `row`, the newest one, has in the promoted column at `place`.
    #[inline]
    pub(super) fn text(&self, place: usize, row: usize) -> Option<&[u8]> {
        match self.promoted.get(place)? {
            Column::Low(c) if c.has(row) => Some(c.get().newest()),
            Column::High(c) if c.has(row) => Some(c.get().get(row)),
            _ => None,
        }
    }

    /// Writes `text` to the promoted column at `place` unless `row` has something there.
    pub(super) fn fill(&mut self, place: usize, row: usize, text: &[u8]) {
        match self.promoted.get_mut(place) {
            Some(Column::Low(c)) if !c.has(row) => c.at(row).push(text),
            Some(Column::High(c)) if !c.has(row) => c.at(row).push(text),
            _ => {}
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        for column in &mut self.promoted {
            match column {
                Column::Low(c) => c.truncate(rows),
                Column::High(c) => c.truncate(rows),
                Column::Int(c) => c.truncate(rows),
                Column::Bool(c) => c.truncate(rows),
            }
        }
        self.strings.truncate(rows);
        self.ints.truncate(rows);
        self.doubles.truncate(rows);
        self.bools.truncate(rows);
        self.others.truncate(rows);
        self.layout.truncate(rows);
    }

    pub(super) fn bytes(&self) -> usize {
        let promoted = self.promoted.iter().map(|column| match column {
            Column::Low(c) => c.bytes(),
            Column::High(c) => c.bytes(),
            Column::Int(c) => c.bytes(),
            Column::Bool(c) => c.bytes(),
        });
        promoted.sum::<usize>()
            + self.strings.bytes()
            + self.ints.bytes()
            + self.doubles.bytes()
            + self.bools.bytes()
            + self.others.bytes()
            + self.layout.bytes()
    }

    pub(super) fn full(&self) -> bool {
        let promoted = self.promoted.iter().any(|column| match column {
            Column::Low(c) => c.full(),
            Column::High(c) => c.full(),
            Column::Int(_) | Column::Bool(_) => false,
        });
        let numbers = self.ints.full() || self.doubles.full() || self.bools.full();
        promoted || numbers || self.strings.full() || self.others.full() || self.layout.full()
    }

    /// The columns in the order of the schema.
    pub(super) fn finish(
        &mut self,
        rows: usize,
        blanks: &mut Blanks,
        out: &mut Vec<ArrayRef>,
    ) -> Result<(), ArrowError> {
        for column in &mut self.promoted {
            out.push(match column {
                Column::Low(c) => c.finish(rows, blanks)?,
                Column::High(c) => c.finish(rows, blanks)?,
                Column::Int(c) => c.finish(rows, blanks)?,
                Column::Bool(c) => c.finish(rows, blanks)?,
            });
        }
        out.push(self.strings.finish(rows, blanks)?);
        out.push(self.ints.finish(rows, blanks)?);
        out.push(self.doubles.finish(rows, blanks)?);
        out.push(self.bools.finish(rows, blanks)?);
        out.push(self.others.finish(rows, blanks)?);
        out.push(self.layout.finish(None)?);
        if self.keys.is_large() || self.layouts.is_large() {
            // Layouts speak of the keys by their ids, so they go together.
            self.keys.clear();
            self.layouts = Layouts::default();
        } else {
            self.layouts.next_batch();
        }
        Ok(())
    }
}

fn kind_of(value: Any<'_>) -> AttributeType {
    match value {
        Any::String(_) => AttributeType::String,
        Any::Int(_) => AttributeType::Int,
        Any::Double(_) => AttributeType::Double,
        Any::Bool(_) => AttributeType::Bool,
        Any::Empty | Any::Bytes | Any::Array(_) | Any::Map(_) => AttributeType::Other,
    }
}

/// Writes the value of a promoted key to its column. Whether the column now stands for
/// the attribute: not if it has another type, came before, or is kept in another form.
#[inline]
fn promote(column: Option<&mut Column>, row: usize, fixup: Fixup, value: Any<'_>) -> bool {
    match (column, value) {
        (Some(Column::Low(c)), Any::String(text)) if !c.has(row) => {
            let fixed = if fixup == Fixup::MessagingSystem { fixup.fix(text) } else { None };
            c.at(row).push(fixed.unwrap_or(text));
            fixed.is_none()
        }
        (Some(Column::High(c)), Any::String(text)) if !c.has(row) => {
            c.at(row).push(text);
            true
        }
        (Some(Column::Int(c)), Any::Int(int)) if !c.has(row) => {
            c.at(row).push(int);
            true
        }
        (Some(Column::Bool(c)), Any::Bool(bool)) if !c.has(row) => {
            c.at(row).push(bool);
            true
        }
        _ => false,
    }
}

/// What an alias offers to the promoted column.
fn candidate(fixup: Fixup, value: Any<'_>) -> Option<Candidate<'_>> {
    match value {
        Any::String(text) => Some(Candidate::Text(fixup.fix(text).unwrap_or(text))),
        Any::Int(int) if fixup == Fixup::Decimal => Some(Candidate::Decimal(int)),
        Any::Int(int) => Some(Candidate::Int(int)),
        Any::Bool(bool) => Some(Candidate::Bool(bool)),
        _ => None,
    }
}
