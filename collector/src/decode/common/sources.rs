//! Resources and scopes met so far, by their bytes.

use hashbrown::HashTable;
use hopline_proto::value::{key_value, resource_to_text, scope_to_text};
use hopline_proto::wire::{self, Reader, Value, WireError};
use twox_hash::XxHash64;

use super::refusal_of;
use crate::decode::Stop;
use crate::decode::column::hash;
use crate::decode::function::Identity;
use crate::decode::message::Any;
use crate::decode::verify::{Found, Refusal};

/// Bytes kept, of bytes as sent and texts; when there are more, all are forgotten.
const KEPT_MAX_BYTES: usize = 4 << 20;

/// What is written for a resource or a scope.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The column `resource` or `scope`.
    pub(super) text: String,
    /// The column `service` or `scope_name`.
    pub(super) name: String,
    /// The column `function` or `scope_version`.
    pub(super) detail: Option<String>,
    /// A hash of all this that is the same on every machine.
    pub(super) hash: u64,
    /// Why everything that it sends is refused.
    pub(super) refusal: Option<Refusal>,
    /// The batch in which the keys are those of the three texts.
    pub(super) batch: u64,
    pub(super) key: i32,
    pub(super) name_key: i32,
    pub(super) detail_key: Option<i32>,
}

#[derive(Debug)]
struct Kept {
    bytes: Box<[u8]>,
    schema_url: Box<[u8]>,
    source: Source,
}

/// The sources met so far.
#[derive(Debug, Default)]
pub(super) struct Sources {
    kept: Vec<Kept>,
    table: HashTable<(u64, u32)>,
    last: usize,
    bytes: usize,
}

impl Sources {
    /// The source with these bytes, made by `make` if it is new.
    pub(super) fn get(
        &mut self,
        bytes: &[u8],
        schema_url: &[u8],
        make: fn(&[u8], &[u8]) -> Result<Source, WireError>,
    ) -> Result<&mut Source, WireError> {
        let is = |kept: &Kept| *kept.bytes == *bytes && *kept.schema_url == *schema_url;
        if !self.kept.get(self.last).is_some_and(is) {
            let hash = hash(&(bytes, schema_url));
            let same = |(h, i): &(u64, u32)| *h == hash && self.kept.get(*i as usize).is_some_and(is);
            self.last = match self.table.find(hash, same) {
                Some((_, index)) => *index as usize,
                None => {
                    let source = make(bytes, schema_url)?;
                    self.keep(hash, Kept { bytes: bytes.into(), schema_url: schema_url.into(), source })
                }
            };
        }
        #[expect(clippy::indexing_slicing, reason = "the index of one that was found or has just been kept")]
        Ok(&mut self.kept[self.last].source)
    }

    fn keep(&mut self, hash: u64, new: Kept) -> usize {
        let size = new.bytes.len() + new.schema_url.len() + new.source.text.len() + size_of::<Kept>();
        if self.bytes + size > KEPT_MAX_BYTES {
            *self = Sources::default();
        }
        self.bytes += size;
        let index = self.kept.len();
        self.kept.push(new);
        self.table.insert_unique(hash, (hash, index as u32), |(hash, _)| *hash);
        index
    }
}

/// What is written for a `Resource`.
pub(super) fn resource(bytes: &[u8], schema_url: &[u8]) -> Result<Source, WireError> {
    let mut source = Source::default();
    source.refusal = refusal_of(resource_to_text(bytes, schema_url, &mut source.text).map(drop).map_err(Stop::from))?;
    if source.refusal.is_some() {
        // The text ends where the depth was met: look at the rest as well.
        Found::default().resource(bytes, schema_url)?;
        source.text.clear();
        return Ok(source);
    }
    let mut texts = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        if let (1, Value::Bytes(attribute)) = field {
            let (key, value) = key_value(attribute)?;
            if let Any::String(text) = Any::read(value)? {
                texts.push((wire::text(key).0, wire::text(text).0));
            }
        }
    }
    let mut identity = Identity::default();
    for (key, value) in &texts {
        identity.note(key, value);
    }
    source.name = identity.service.to_owned();
    source.detail = identity.function().map(str::to_owned);
    source.hash = XxHash64::oneshot(0, source.text.as_bytes());
    Ok(source)
}

/// What is written for an `InstrumentationScope`.
pub(super) fn scope(bytes: &[u8], schema_url: &[u8]) -> Result<Source, WireError> {
    let mut source = Source::default();
    source.refusal = refusal_of(scope_to_text(bytes, schema_url, &mut source.text).map(drop).map_err(Stop::from))?;
    let (mut name, mut version): (&[u8], &[u8]) = (&[], &[]);
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field {
            (1, Value::Bytes(text)) => name = text,
            (2, Value::Bytes(text)) => version = text,
            _ => {}
        }
    }
    if source.refusal.is_some() {
        Found::default().scope(bytes, schema_url)?;
        source.text.clear();
    }
    source.name = wire::text(name).0.into_owned();
    let version = wire::text(version).0.into_owned();
    let hash = XxHash64::oneshot(0, source.text.as_bytes());
    let hash = XxHash64::oneshot(hash, source.name.as_bytes());
    source.hash = XxHash64::oneshot(hash, version.as_bytes());
    source.detail = Some(version);
    Ok(source)
}
