//! The identity that a message, an event, an object or a call has on both sides of a hop.
//!
//! A key is written `kind:identity`, as in the attributes `hopline.link.out` and
//! `hopline.link.in` (`docs/stitching.md`). Two spans with equal keys and opposite
//! directions are the two sides of one hop, if the guards of the kind hold.

use std::fmt;
use std::str::FromStr;

use twox_hash::XxHash3_128;

/// Most bytes of a key's identity: an S3 key has up to 1,024, with a bucket and an ETag around it.
pub const ID_BYTES_MAX: usize = 2_048;

/// 128 bits that stand for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 16]);

/// Which side of a hop a span is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// It sent, called or wrote.
    Out,
    /// It received, was called or read.
    In,
}

impl Direction {
    /// `out` or `in`.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::In => "in",
        }
    }

    /// The direction that is called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Direction::Out, Direction::In].into_iter().find(|d| d.name() == name)
    }

    /// The other side.
    pub fn opposite(self) -> Self {
        match self {
            Direction::Out => Direction::In,
            Direction::In => Direction::Out,
        }
    }
}

const HOUR: i64 = 3_600_000_000_000;
const DAY: i64 = 24 * HOUR;

/// How far an identity reaches: in which case equal ones are the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Unique in the world (a UUID, or its name holds account and region).
    World,
    /// Unique in an account and a region: where both sides name them, they must agree.
    Account,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $window:expr, $scope:ident;)*) => {
        /// What kind of identity a key is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];

            /// What stands before the colon.
            pub fn prefix(self) -> &'static str {
                match self { $(Kind::$name => $prefix,)* }
            }

            /// How long after it was sent it may be received, in nanoseconds: the longest
            /// retention that the service offers.
            pub fn window(self) -> i64 {
                match self { $(Kind::$name => $window,)* }
            }

            /// How far the identity reaches.
            pub fn scope(self) -> Scope {
                match self { $(Kind::$name => Scope::$scope,)* }
            }
        }
    };
}

kinds! {
    /// `lambda:<request id>`: an invocation of a function on AWS.
    Lambda = "lambda", 14 * DAY, World;
    /// `lambda.outcome:<request id>`: what became of an invocation, told to a destination or a
    /// dead-letter queue. Apart from [`Kind::Lambda`], because the invocation with this id is here the cause
    /// and there the effect.
    LambdaOutcome = "lambda.outcome", 14 * DAY, World;
    /// `sqs:<message id>`
    Sqs = "sqs", 14 * DAY, World;
    /// `sns:<message id>`
    Sns = "sns", 14 * DAY, World;
    /// `eb:<event id>`: an event on EventBridge.
    EventBridge = "eb", 14 * DAY, World;
    /// `kinesis:<region>:<stream>:<shard>:<sequence number>`
    Kinesis = "kinesis", 365 * DAY, Account;
    /// `kinesis.range:<region>:<stream>:<shard>:<first>..<last>`: the records of a large batch.
    KinesisRange = "kinesis.range", 365 * DAY, Account;
    /// `firehose:<delivery stream>:<record id>`, or `…:sha256:<hash of the record>`: both sides see other ids.
    Firehose = "firehose", DAY, Account;
    /// `s3.req:<x-amz-request-id>`: the request that wrote an object, or its `x-amz-id-2`.
    S3Request = "s3.req", 14 * DAY, World;
    /// `s3.obj:<bucket>|<key>|<etag>`
    S3Object = "s3.obj", 14 * DAY, World;
    /// `s3.ver:<bucket>|<key>|<version id>`
    S3Version = "s3.ver", 14 * DAY, World;
    /// `s3.ptr:<hash>`: Datadog's span pointer of an object.
    S3Pointer = "s3.ptr", 14 * DAY, World;
    /// `ddb.item:<hash>`: Datadog's span pointer of an item. Each write of an item has the same.
    DynamoItem = "ddb.item", DAY, Account;
    /// `ptr:<kind>|<hash>`: a span pointer of another kind.
    Pointer = "ptr", 14 * DAY, Account;
    /// `sfn:<execution ARN>[#<state>#<entered>[#<retry>]]`
    StepFunctions = "sfn", 366 * DAY, World;
    /// `kafka:<cluster or ->:<topic>:<partition>:<offset>`
    Kafka = "kafka", 365 * DAY, Account;
    /// `kafka.range:<cluster or ->:<topic>:<partition>:<first>..<last>`: the records of a large batch.
    KafkaRange = "kafka.range", 365 * DAY, Account;
    /// `mq:<system>|<destination or ->|<message id>`: RabbitMQ, ActiveMQ and other brokers.
    Broker = "mq", 14 * DAY, Account;
    /// `ce:<source>|<id>`: a CloudEvent.
    CloudEvent = "ce", 14 * DAY, World;
    /// `apigw:<request id>`: a request through API Gateway.
    ApiGateway = "apigw", HOUR, World;
    /// `gps:<project>:<message id>`: Google Pub/Sub. The project is `-` where a side does not know it.
    PubSub = "gps", 31 * DAY, World;
    /// `gcs:<bucket>|<name>|<generation>`: Google Cloud Storage.
    CloudStorage = "gcs", 14 * DAY, World;
    /// `task:[<queue>/]<task name>`: Google Cloud Tasks.
    CloudTask = "task", 31 * DAY, World;
    /// `asb:<namespace or ->/<entity>:<message id>`: Azure Service Bus.
    ServiceBus = "asb", 14 * DAY, World;
    /// `aeh:<namespace>/<hub>:<partition>:<sequence number>`: Azure Event Hubs.
    EventHub = "aeh", 90 * DAY, World;
    /// `asq:<message id>`: Azure Storage Queue.
    StorageQueue = "asq", 14 * DAY, World;
    /// `blob:<container>|<name>|<etag>`: Azure Blob Storage.
    Blob = "blob", 14 * DAY, World;
    /// `blob.req:<x-ms-request-id>`: the request that wrote a blob.
    BlobRequest = "blob.req", 14 * DAY, World;
    /// `durable:<instance id>`: an orchestration of Azure Durable Functions. `durable:<instance id>#<task id>`: one of
    /// its activities; `durable:<instance id>#*`: any of them, for sides that do not know which.
    Durable = "durable", 366 * DAY, Account;
    /// `xray:<root>[:<parent>]`: a trace of X-Ray, the root written as 32 hexadecimal digits.
    Xray = "xray", DAY, World;
    /// `link:<trace id>`: a span link to that trace.
    Link = "link", 366 * DAY, World;
    /// `range:<kind>:<shard>:<level>:<node>`: a part of the numbers of a shard in which a range lies ([`crate::ranges`]). Only
    /// for finding it.
    RangePart = "range", 366 * DAY, Account;
    /// `dest:<system>|<destination>|<minute since 1970>`: something was sent to, or received from, this destination in
    /// this minute by a side that knows no identity. Only for inferring.
    Destination = "dest", HOUR, Account;
}

impl Kind {
    /// The kind with this prefix.
    pub fn from_prefix(prefix: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|k| k.prefix() == prefix)
    }

    /// Whether a key of this kind names something that was sent, received, written or called: by itself it proves
    /// a hop. The others only help to find one.
    pub fn is_identity(self) -> bool {
        !matches!(self, Kind::Xray | Kind::Link | Kind::RangePart | Kind::Destination)
    }

    /// Whether it is worth telling that the other side of such a key was never seen.
    ///
    /// Not where most keys have none by nature: most objects and items that are written set off nothing, most invocations
    /// tell nobody what became of them, and few are calls of a function by a function.
    pub fn expects_other_side(self, direction: Direction) -> bool {
        let rare_out = matches!(
            self,
            Kind::LambdaOutcome
                | Kind::S3Request
                | Kind::S3Object
                | Kind::S3Version
                | Kind::S3Pointer
                | Kind::DynamoItem
                | Kind::Pointer
                | Kind::Blob
                | Kind::BlobRequest
                | Kind::CloudStorage
        );
        match direction {
            _ if !self.is_identity() => false,
            Direction::Out => !rare_out && self != Kind::ApiGateway,
            // Who sent the records of a range is not looked for.
            Direction::In => !matches!(self, Kind::Lambda | Kind::ApiGateway | Kind::KinesisRange | Kind::KafkaRange),
        }
    }

    /// Whether each key of this kind on a span is another message. Of other kinds, several keys are names of one thing.
    pub fn is_of_message(self) -> bool {
        matches!(self, Kind::Sqs | Kind::Sns | Kind::EventBridge | Kind::Kinesis | Kind::StorageQueue)
    }

    /// Whether it names many messages of a stream by the first and the last of them.
    pub fn is_range(self) -> bool {
        matches!(self, Kind::KinesisRange | Kind::KafkaRange)
    }

    /// Whether it names what was written, not the writing: whoever writes the same once more has the same key.
    pub fn is_of_content(self) -> bool {
        matches!(self, Kind::S3Object | Kind::S3Pointer | Kind::Blob | Kind::Firehose | Kind::Pointer)
    }

    /// Whether it names its store, so that it is written from any region.
    pub fn is_of_any_region(self) -> bool {
        self.is_of_content() && self.scope() == Scope::World
    }

    /// Whether it names the writing of what keys of the kind `content` name.
    pub fn is_writing_of(self, content: Kind) -> bool {
        match content {
            Kind::S3Object | Kind::S3Pointer => matches!(self, Kind::S3Request | Kind::S3Version),
            Kind::Blob => self == Kind::BlobRequest,
            _ => false,
        }
    }

    /// Whether its messages come in a stream, where time and destination tell nothing.
    pub fn is_stream(self) -> bool {
        matches!(
            self,
            Kind::Kinesis
                | Kind::KinesisRange
                | Kind::Firehose
                | Kind::Kafka
                | Kind::KafkaRange
                | Kind::EventHub
                | Kind::DynamoItem
        )
    }
}

/// An identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// What stands behind the prefix and its colon.
    pub id: String,
}

impl Key {
    /// A key of `kind`.
    pub fn new(kind: Kind, id: impl Into<String>) -> Key {
        Key { kind, id: id.into() }
    }

    /// What the keys of one message have in common, for kinds of which a span may have the keys of several messages: one
    /// side may know less of where a message is than the other, so that it has several keys.
    pub fn message(&self) -> Option<&str> {
        let id = self.id.as_str();
        match self.kind {
            Kind::EventHub | Kind::KinesisRange => Some(id),
            kind if kind.is_of_message() => Some(id),
            Kind::Kafka | Kind::KafkaRange => {
                let cluster = id.rsplitn(4, ':').nth(3)?;
                id.get(cluster.len()..)
            }
            Kind::PubSub => id.split_once(':').map(|(_, message)| message),
            Kind::ServiceBus => id.split_once('/').map(|(_, message)| message),
            Kind::Broker => id.splitn(3, '|').nth(2),
            Kind::CloudTask => id.rsplit('/').next(),
            _ => None,
        }
    }

    /// 128 bits that stand for it: XXH3 of its text. They are kept on disk, so this never changes.
    pub fn hash(&self) -> KeyHash {
        hash_parts(self.kind, &self.id)
    }
}

/// The hash of the key `kind:id`.
pub fn hash_parts(kind: Kind, id: &str) -> KeyHash {
    let mut hasher = XxHash3_128::new();
    hasher.write(kind.prefix().as_bytes());
    hasher.write(b":");
    hasher.write(id.as_bytes());
    KeyHash(hasher.finish_128().to_be_bytes())
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.prefix(), self.id)
    }
}

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such kind.
    #[error("{0:?} is not a key: the part before the first colon is none of the kinds of keys")]
    Kind(String),
    /// Nothing, or too much, behind the prefix.
    #[error("the identity of a key has {0} bytes: 1 to {ID_BYTES_MAX} are allowed")]
    Length(usize),
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Key, KeyError> {
        let unknown = || KeyError::Kind(text.chars().take(80).collect());
        let (prefix, id) = text.split_once(':').ok_or_else(unknown)?;
        let kind = Kind::from_prefix(prefix).ok_or_else(unknown)?;
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(KeyError::Length(id.len()));
        }
        Ok(Key::new(kind, id))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn there_and_back() {
        for kind in Kind::ALL {
            let text = format!("{}:a:b|c", kind.prefix());
            let key: Key = text.parse().unwrap();
            assert_eq!((key.kind, key.id.as_str()), (*kind, "a:b|c"));
            assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn the_keys_of_one_message() {
        for (a, b) in [
            ("kafka:b-1.msk:9092:t:0:5", "kafka:-:t:0:5"),
            ("gps:shop:42", "gps:-:42"),
            ("asb:shop/payments:42", "asb:-/payments:42"),
            ("mq:rabbitmq|mails|a|b", "mq:rabbitmq|-|a|b"),
            ("task:mails/42", "task:42"),
        ] {
            let (a, b): (Key, Key) = (a.parse().unwrap(), b.parse().unwrap());
            assert!(a.message().is_some() && a.message() == b.message(), "{a} {b}");
        }
        let other = |text: &str| text.parse::<Key>().unwrap().message().map(str::to_owned);
        assert_eq!(other("sqs:m1").as_deref(), Some("m1"));
        assert_eq!(other("s3.req:r1"), None);
    }

    #[test]
    fn prefixes_differ() {
        for (i, a) in Kind::ALL.iter().enumerate() {
            assert!(Kind::ALL.iter().skip(i + 1).all(|b| a.prefix() != b.prefix()), "{a:?}");
        }
    }

    #[test]
    fn what_is_no_key() {
        for text in ["", "sqs", "sqs:", "nothing:x", ":x", "SQS:x"] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
        assert_eq!(format!("sqs:{}", "x".repeat(3_000)).parse::<Key>(), Err(KeyError::Length(3_000)));
    }

    #[test]
    fn the_hash_on_disk_never_changes() {
        let hash = Key::new(Kind::Sqs, "dd3f25a2-55c8-4586-ba3d-e8286f0633f7").hash();
        let whole = XxHash3_128::oneshot(b"sqs:dd3f25a2-55c8-4586-ba3d-e8286f0633f7");
        assert_eq!(hash, KeyHash(whole.to_be_bytes()));
    }
}
