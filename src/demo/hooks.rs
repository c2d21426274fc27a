//! What Hopline's hooks (`hooks/`) add to spans when functions have them: the identity of
//! what was sent, read from the answer, and of what was received, read from the event.

use hopline_stitch::hops::pointers::{KeyValue, dynamodb_item_hashes};

use super::catalog::Hop;
use super::dialect::REGION;
use super::words::{Carried, Nanos};
use super::world::{Call, Message};

/// The attribute with the keys of what a span sent.
pub(crate) const LINK_OUT: &str = "hopline.link.out";
/// The attribute with the keys of what an invocation received.
pub(crate) const LINK_IN: &str = "hopline.link.in";

/// The key of a message, as its sender and its receiver know it. Nothing where stock instrumentation says it.
pub(crate) fn key(hop: Hop, id: &str, order: u64) -> Option<String> {
    Some(match hop {
        Hop::Sqs | Hop::SqsDlq => format!("sqs:{id}"),
        Hop::Sns | Hop::SnsSqs => format!("sns:{id}"),
        Hop::EventBridge => format!("eb:{id}"),
        Hop::S3 => format!("s3.req:{id}"),
        Hop::DynamoDbStream => {
            let order = order.to_string();
            let hashes = dynamodb_item_hashes("orders", &[("id", KeyValue::Text(&order))]);
            format!("ddb.item:{}", hashes.first()?)
        }
        Hop::Kinesis => format!("kinesis:{REGION}:clicks:{id}"),
        Hop::Kafka => {
            let (partition, offset) = id.rsplit_once('-').and_then(|(_, place)| place.split_once(':'))?;
            format!("kafka:-:shipments:{partition}:{offset}")
        }
        Hop::StepFunctions => format!("sfn:{id}"),
        // The record names the invocation that was given up.
        Hop::Destination => format!("lambda:{id}"),
        Hop::Http | Hop::Invoke | Hop::InvokeAsync | Hop::ServiceBus | Hop::Durable | Hop::PubSub | Hop::Schedule => {
            return None;
        }
    })
}

/// The keys of what started an invocation.
pub(crate) fn keys_in(call: &Call, at: Nanos) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for message in &call.messages {
        let Some(key) = key(message.hop, &message.id, message.order) else { continue };
        keys.push(match message.hop {
            // The context object of the workflow says which step it is, and which try of it.
            Hop::StepFunctions => format!("{key}#{}#{at}#{}", call.func.spec().name, call.attempt - 1),
            _ => key,
        });
    }
    keys
}

/// Whether stock instrumentation notes the identity of what was sent, on the sender's span.
pub(crate) fn sender_notes(hop: Hop) -> bool {
    matches!(
        hop,
        Hop::Invoke | Hop::InvokeAsync | Hop::S3 | Hop::Destination | Hop::ServiceBus | Hop::Durable | Hop::PubSub
    )
}

/// Whether trace context or the message's identity is on spans of both sides.
pub(crate) fn is_provable(message: &Message, carried: Carried, hooks: bool) -> bool {
    let receiver_notes = match message.hop {
        Hop::Invoke | Hop::InvokeAsync | Hop::ServiceBus | Hop::Durable | Hop::PubSub => true,
        // Of a queue's message, the id is on the link, if there is one.
        Hop::Sqs | Hop::SqsDlq => hooks || matches!(carried, Carried::Link | Carried::Dangling),
        _ => hooks,
    };
    matches!(carried, Carried::Parent | Carried::Link) || (message.noted && receiver_notes)
}
