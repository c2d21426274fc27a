//! The rules by which a span tells on which hops it stands: one module a family of
//! hops, one row a rule.
//!
//! A rule looks at one span and gives the keys that it proves. It never guesses: what is
//! inferred from time and destination alone is given as a key of [`Kind::Destination`].
//! The rules follow what stock instrumentation was recorded sending (`docs/stitching.md`).
//!
//! Of Kinesis, Firehose and DynamoDB streams stock instrumentation says nothing that both
//! sides know: their keys come from hooks (`explicit`) and span pointers ([`pointers`]).

mod aws_call;
mod aws_messaging;
mod azure;
mod brokers;
mod cloudevents;
mod destinations;
mod explicit;
mod gcp;
mod http;
mod lambda;
mod messaging;
mod objects;
pub mod pointers;
pub mod workflows;
pub mod xray;

use crate::key::{Direction, ID_BYTES_MAX, Key, Kind};
use crate::span::Span;

/// Most keys that one span has on each side: those of 128 messages, some in two forms, and its own. What is more is counted
/// (`HopKeys::dropped`).
pub const KEYS_MAX: usize = 264;

/// Most bytes of a destination's name that are kept. Names of queues, topics and buckets are far shorter.
const DESTINATION_BYTES_MAX: usize = 1_024;

/// A kind of hop, as people name it: `sqs`, `lambda.invoke`, `eventbridge`, …
pub type Hop = &'static str;

/// An identity that a span has on one side of a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopKey {
    /// The identity.
    pub key: Key,
    /// The side.
    pub direction: Direction,
    /// The kind of hop.
    pub hop: Hop,
    /// The queue, topic, bus, stream, bucket, table, function or state machine, if it is known.
    pub destination: Option<String>,
    /// The name of the rule that found it.
    pub rule: &'static str,
}

/// The keys of one span.
#[derive(Debug, Default)]
pub struct HopKeys {
    /// Each once.
    pub keys: Vec<HopKey>,
    /// How many more than [`KEYS_MAX`] there were.
    pub dropped: usize,
    /// How many texts were given as keys or pointers that are none.
    pub refused: usize,
}

impl HopKeys {
    /// Adds a key, unless it is there.
    pub fn push(&mut self, rule: &Rule, key: Key, destination: Option<&str>) {
        self.push_hop(rule, rule.hop, key, destination);
    }

    /// Adds a key of another hop than the rule's own.
    pub fn push_hop(&mut self, rule: &Rule, hop: Hop, key: Key, destination: Option<&str>) {
        let direction = rule.direction;
        if key.id.len() > ID_BYTES_MAX {
            self.refused += 1;
            return;
        }
        if key.id.is_empty() || self.keys.iter().any(|k| k.direction == direction && k.key == key) {
            return;
        }
        if self.keys.iter().filter(|k| k.direction == direction).count() >= KEYS_MAX {
            self.dropped += 1;
            return;
        }
        let is_name = |name: &&str| !name.is_empty() && name.len() <= DESTINATION_BYTES_MAX;
        let destination = destination.filter(is_name).map(str::to_owned);
        self.keys.push(HopKey { key, direction, hop, destination, rule: rule.name });
    }
}

/// One row of the table of hops.
#[derive(Debug)]
pub struct Rule {
    /// What it is called in answers and documents, such as `sqs.send`.
    pub name: &'static str,
    /// The kind of hop.
    pub hop: Hop,
    /// The side on which it finds spans.
    pub direction: Direction,
    /// Span attributes (canonical keys and aliases) of which the span must have at least one. Empty with `on_links`.
    pub reads: &'static [&'static str],
    /// Whether it looks at links: then it is asked for every span that has any.
    pub on_links: bool,
    /// Adds the keys that the span proves.
    pub find: fn(&Rule, &Span<'_>, &mut HopKeys),
}

/// The whole table. Of two rules that find the same key, the first names it.
///
/// An invocation's own id comes first: it must be kept however many messages the span received. The rules of destinations
/// come last, because they ask whether the others found an identity.
pub const FAMILIES: &[&[Rule]] = &[
    lambda::RULES,
    explicit::RULES,
    pointers::RULES,
    http::RULES,
    aws_messaging::RULES,
    objects::RULES,
    workflows::RULES,
    azure::RULES,
    gcp::RULES,
    brokers::RULES,
    cloudevents::RULES,
    xray::RULES,
    destinations::RULES,
];

/// All rules.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// Attributes with a column of their own that rules look at once they are asked; what turns them on is in [`Rule::reads`].
const ALSO_READ: &[&str] = &[
    "aws.kinesis.stream_name",
    "aws.lambda.invoked_arn",
    "aws.s3.bucket",
    "cloud.account.id",
    "cloud.resource_id",
    "cloudevents.event_source",
    "db.collection.name",
    "faas.trigger",
    "http.request.method",
    "http.route",
    "messaging.batch.message_count",
    "messaging.destination.partition.id",
    "messaging.kafka.offset",
    "messaging.operation.name",
    "messaging.operation.type",
    "rpc.method",
    "rpc.service",
    "rpc.system",
    "server.address",
    "url.full",
];

/// Whether any rule looks at this attribute. Whoever derives keys of stored spans must give the columns of all of these.
pub fn is_read(key: &str) -> bool {
    ALSO_READ.contains(&key) || rules().any(|rule| rule.reads.contains(&key))
}

/// The keys of `span` by all rules.
pub fn keys_of(span: &Span<'_>) -> HopKeys {
    let mut found = HopKeys::default();
    for rule in rules() {
        let reads = rule.reads.iter().any(|key| span.attributes.get(key).is_some());
        if reads || (rule.on_links && !span.links.is_empty()) {
            (rule.find)(rule, span, &mut found);
        }
    }
    found
}

/// The key under which sides that know no identity meet: the destination, in the minute of `ns`.
pub fn destination_key(system: &str, destination: &str, ns: i64) -> Key {
    Key::new(Kind::Destination, format!("{system}|{destination}|{}", ns.div_euclid(60_000_000_000)))
}

/// The last part of an ARN, a URL or a path: the name that people use.
///
/// A Lambda ARN may end in a qualifier (`:function:NAME:ALIAS`), which is no part of the name.
pub fn short_name(text: &str) -> &str {
    if let Some((_, rest)) = text.split_once(":function:") {
        return rest.split(':').next().unwrap_or(rest);
    }
    let tail = if text.starts_with("arn:") { text.rsplit(':').next().unwrap_or(text) } else { text };
    // Of streams and tables the last part of an ARN is `stream/<name>` or `table/<name>`.
    tail.rsplit('/').next().unwrap_or(tail)
}

/// The function of a name, an ARN or a part of one, without the version or alias that may stand behind it.
pub fn function_name(text: &str) -> &str {
    let name = short_name(text);
    name.split(':').next().unwrap_or(name)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
