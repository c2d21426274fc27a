//! Semantic-convention keys that have a column of their own.
//!
//! A promoted key is a column of its table, named after the key with dots written as
//! underscores (`http.route` is `http_route`), null where a row has no such attribute.
//! Only a value of the promoted type goes there; one of another type stays in the map
//! of its type. Old and foreign names of the same thing are aliases: their value is
//! written to the promoted column too, unless the canonical key is there, while the
//! attribute itself stays in its map as it was sent.
//!
//! Keys: OpenTelemetry semantic conventions 1.37 registry; aliases: what the stock
//! instrumentations were seen sending (`docs/attributes.md`).

use crate::signal::Table;

/// The type of a promoted column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PromotedType {
    /// UTF-8 text.
    String,
    /// A 64-bit integer.
    Int,
    /// True or false.
    Bool,
}

/// How many different values a column is expected to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// Few: dictionary-encoded.
    Low,
    /// About as many as rows: plain, no dictionary.
    High,
}

/// One promoted key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promoted {
    /// The attribute's key.
    pub key: &'static str,
    /// The column's name: the key with underscores for dots.
    pub column: &'static str,
    /// The column's type.
    pub kind: PromotedType,
    /// Whether the column is dictionary-encoded.
    pub cardinality: Cardinality,
    /// Other keys with the same meaning, the most trusted first.
    pub aliases: &'static [&'static str],
    /// Whether `logs` and `metrics` have the column too, not only `spans`.
    pub every_table: bool,
}

const fn low(key: &'static str, column: &'static str, aliases: &'static [&'static str]) -> Promoted {
    Promoted { key, column, kind: PromotedType::String, cardinality: Cardinality::Low, aliases, every_table: false }
}

const fn high(key: &'static str, column: &'static str, aliases: &'static [&'static str]) -> Promoted {
    Promoted { cardinality: Cardinality::High, ..low(key, column, aliases) }
}

const fn int(key: &'static str, column: &'static str, aliases: &'static [&'static str]) -> Promoted {
    Promoted { kind: PromotedType::Int, ..low(key, column, aliases) }
}

const fn boolean(key: &'static str, column: &'static str, aliases: &'static [&'static str]) -> Promoted {
    Promoted { kind: PromotedType::Bool, ..low(key, column, aliases) }
}

const fn everywhere(promoted: Promoted) -> Promoted {
    Promoted { every_table: true, ..promoted }
}

/// All promoted keys, in the order of their columns.
pub const PROMOTED: &[Promoted] = &[
    everywhere(low("http.request.method", "http_request_method", &["http.method"])),
    everywhere(low("http.route", "http_route", &[])),
    everywhere(int("http.response.status_code", "http_response_status_code", &["http.status_code"])),
    high("url.path", "url_path", &["http.target"]),
    high("url.full", "url_full", &["http.url"]),
    low("url.scheme", "url_scheme", &["http.scheme"]),
    low("server.address", "server_address", &["net.peer.name", "http.host"]),
    int("server.port", "server_port", &["net.peer.port"]),
    low("network.peer.address", "network_peer_address", &["net.sock.peer.addr", "net.peer.ip"]),
    everywhere(low("rpc.system", "rpc_system", &["rpc.system.name"])),
    everywhere(low("rpc.service", "rpc_service", &[])),
    everywhere(low("rpc.method", "rpc_method", &[])),
    int("rpc.grpc.status_code", "rpc_grpc_status_code", &[]),
    low("db.system.name", "db_system_name", &["db.system"]),
    low("db.namespace", "db_namespace", &["db.name"]),
    low("db.operation.name", "db_operation_name", &["db.operation"]),
    low("db.collection.name", "db_collection_name", &["db.sql.table"]),
    low("db.query.text", "db_query_text", &["db.statement"]),
    everywhere(low("messaging.system", "messaging_system", &[])),
    everywhere(low("messaging.destination.name", "messaging_destination_name", &["messaging.destination"])),
    low("messaging.operation.type", "messaging_operation_type", &["messaging.operation"]),
    low("messaging.operation.name", "messaging_operation_name", &[]),
    high("messaging.message.id", "messaging_message_id", &["messaging.message_id"]),
    int("messaging.batch.message_count", "messaging_batch_message_count", &[]),
    low(
        "messaging.destination.partition.id",
        "messaging_destination_partition_id",
        &["messaging.kafka.destination.partition", "messaging.kafka.partition"],
    ),
    int("messaging.kafka.offset", "messaging_kafka_offset", &["messaging.kafka.message.offset"]),
    low("faas.trigger", "faas_trigger", &[]),
    everywhere(high("faas.invocation_id", "faas_invocation_id", &["faas.execution"])),
    everywhere(boolean("faas.coldstart", "faas_coldstart", &[])),
    low("faas.invoked_name", "faas_invoked_name", &[]),
    low("cloud.resource_id", "cloud_resource_id", &["cloud.resource.id", "faas.id"]),
    low("cloud.region", "cloud_region", &["aws.region"]),
    low("cloud.account.id", "cloud_account_id", &[]),
    high("aws.request_id", "aws_request_id", &["aws.request.id", "aws.requestId"]),
    low("aws.lambda.invoked_arn", "aws_lambda_invoked_arn", &[]),
    low("aws.s3.bucket", "aws_s3_bucket", &[]),
    low("aws.kinesis.stream_name", "aws_kinesis_stream_name", &["aws.kinesis.stream.name"]),
    high("cloudevents.event_id", "cloudevents_event_id", &[]),
    low("cloudevents.event_source", "cloudevents_event_source", &[]),
    everywhere(low("error.type", "error_type", &[])),
    everywhere(low("exception.type", "exception_type", &[])),
    high("user.id", "user_id", &["enduser.id"]),
];

/// The promoted keys of `table`, in the order of their columns.
pub fn of(table: Table) -> impl Iterator<Item = &'static Promoted> {
    PROMOTED.iter().filter(move |p| p.every_table || table == Table::Spans)
}

/// The promoted key that is called `key`, by its own name or (second value true) by an alias.
pub fn find(key: &str) -> Option<(&'static Promoted, bool)> {
    let by_name = PROMOTED.iter().find(|p| p.key == key).map(|p| (p, false));
    by_name.or_else(|| PROMOTED.iter().find(|p| p.aliases.contains(&key)).map(|p| (p, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_after_their_keys() {
        for p in PROMOTED {
            assert_eq!(p.column, p.key.replace('.', "_"), "{}", p.key);
        }
    }

    #[test]
    fn the_documentation_names_every_key() {
        let text = include_str!("../../docs/attributes.md");
        for p in PROMOTED {
            for word in [p.key, p.column].iter().chain(p.aliases) {
                assert!(text.contains(&format!("`{word}`")), "{word} is not in docs/attributes.md");
            }
        }
    }

    #[test]
    fn no_key_means_two_things() {
        let mut keys: Vec<_> =
            PROMOTED.iter().flat_map(|p| std::iter::once(p.key).chain(p.aliases.iter().copied())).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
