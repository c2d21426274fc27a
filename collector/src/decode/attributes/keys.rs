//! The attribute keys met so far, each with a number and with what it means.

use hashbrown::HashTable;
use hopline_model::{Table, promoted};
use hopline_proto::wire;

use crate::decode::column::hash;

/// More keys than this are forgotten when a batch is finished.
const KEYS_MAX: usize = 1 << 16;

/// How a value is rewritten for its promoted column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum Fixup {
    /// Not at all.
    None,
    /// `messaging.system`: one word for each of the systems with several.
    MessagingSystem,
    /// `messaging.operation`: what was `publish` is `send` now.
    MessagingOperation,
    /// An alias whose values may be integers, while the promoted column is text.
    Decimal,
}

impl Fixup {
    /// What to write instead of `text`, if anything.
    #[inline]
    pub(super) fn fix(self, text: &[u8]) -> Option<&'static [u8]> {
        match (self, text) {
            (Fixup::MessagingSystem, b"aws.sqs" | b"AmazonSQS") => Some(b"aws_sqs"),
            (Fixup::MessagingSystem, b"aws.sns" | b"AmazonSNS") => Some(b"aws_sns"),
            (Fixup::MessagingOperation, b"publish") => Some(b"send"),
            _ => None,
        }
    }
}

/// What a key is to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum Role {
    /// One of many.
    Plain,
    /// The key of a promoted column.
    Canonical { column: usize, fixup: Fixup },
    /// Another name of the key of a promoted column; 0 is the most trusted rank.
    Alias { column: usize, rank: u8, fixup: Fixup },
}

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    name: Box<str>,
    // The bytes that were sent, where they are not UTF-8.
    raw: Option<Box<[u8]>>,
    pub(super) role: Role,
    /// In `logs`: whether the value names the invocation, 0 being the most trusted.
    pub(super) request_id: Option<u8>,
    // The key that followed last time: most rows have the keys of a row before.
    next: u32,
}

impl Key {
    /// The key as text.
    #[inline]
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    fn is(&self, key: &[u8]) -> bool {
        match &self.raw {
            None => self.name.as_bytes() == key,
            Some(raw) => **raw == *key,
        }
    }
}

/// All keys of one table.
#[derive(Debug)]
pub(super) struct Keys {
    table: Table,
    // Invariant: never empty; the first is the empty key.
    keys: Vec<Key>,
    ids: HashTable<(u64, u32)>,
    previous: u32,
}

impl Keys {
    pub(super) fn new(table: Table) -> Self {
        let mut keys = Keys { table, keys: Vec::new(), ids: HashTable::new(), previous: 0 };
        keys.clear();
        keys
    }

    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.ids.clear();
        self.previous = 0;
        self.add(hash::<[u8]>(b""), b"");
    }

    /// Whether so many keys are known that they should be forgotten.
    pub(super) fn is_large(&self) -> bool {
        self.keys.len() > KEYS_MAX
    }

    /// The number of `key`.
    #[inline]
    pub(super) fn id(&mut self, key: &[u8]) -> u32 {
        let guess = self.get(self.previous).next;
        let id = if self.get(guess).is(key) { guess } else { self.find(key) };
        self.previous = id;
        id
    }

    /// The key with number `id`.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "only numbers given out by `id` come in, and there is a key 0")]
    pub(super) fn get(&self, id: u32) -> &Key {
        &self.keys[id as usize]
    }

    fn find(&mut self, key: &[u8]) -> u32 {
        let hash = hash(key);
        let found = self.ids.find(hash, |(h, id)| *h == hash && self.get(*id).is(key)).map(|(_, id)| *id);
        let id = found.unwrap_or_else(|| self.add(hash, key));
        if let Some(previous) = self.keys.get_mut(self.previous as usize) {
            previous.next = id;
        }
        id
    }

    #[cold]
    fn add(&mut self, hash: u64, key: &[u8]) -> u32 {
        let (name, repaired) = wire::text(key);
        let role = role(self.table, &name);
        let request_id = request_id(self.table, &name);
        let raw = if repaired { Some(key.into()) } else { None };
        let id = self.keys.len() as u32;
        self.keys.push(Key { name: name.into(), raw, role, request_id, next: 0 });
        self.ids.insert_unique(hash, (hash, id), |(hash, _)| *hash);
        id
    }
}

fn role(table: Table, name: &str) -> Role {
    for (column, p) in promoted::of(table).enumerate() {
        if p.key == name {
            let system = p.key == "messaging.system";
            return Role::Canonical { column, fixup: if system { Fixup::MessagingSystem } else { Fixup::None } };
        }
        if let Some(rank) = p.aliases.iter().position(|a| *a == name) {
            let fixup = match p.key {
                "messaging.operation.type" => Fixup::MessagingOperation,
                "messaging.destination.partition.id" => Fixup::Decimal,
                _ => Fixup::None,
            };
            return Role::Alias { column, rank: rank as u8, fixup };
        }
    }
    Role::Plain
}

/// Names under which log records carry the id of their invocation, beside
/// `faas.invocation_id` and its aliases.
fn request_id(table: Table, name: &str) -> Option<u8> {
    const NAMES: [&str; 4] = ["aws.request_id", "aws.requestId", "requestId", "aws.request.id"];
    if table != Table::Logs {
        return None;
    }
    NAMES.iter().position(|n| *n == name).map(|rank| rank as u8)
}
