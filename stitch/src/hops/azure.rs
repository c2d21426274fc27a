//! Azure: Service Bus, Event Hubs, Storage Queue, Durable Functions.

use super::messaging::{MESSAGING, Operation, System, destination, is_unique, message_ids};
use super::{HopKeys, Rule};
use crate::key::{Direction, Key, Kind};
use crate::span::Span;

const SEQUENCES: &[&str] = &[
    "messaging.eventhubs.message.sequence_number",
    "messaging.eventhubs.sequence_number",
    "messaging.azure_eventhubs.sequence_number",
];
const INSTANCE: &[&str] = &["durabletask.task.instance_id"];

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "servicebus.send",
        hop: "servicebus",
        direction: Direction::Out,
        reads: MESSAGING,
        on_links: false,
        find: service_bus,
    },
    Rule {
        name: "servicebus.receive",
        hop: "servicebus",
        direction: Direction::In,
        reads: MESSAGING,
        on_links: false,
        find: service_bus,
    },
    Rule {
        name: "storagequeue.send",
        hop: "storagequeue",
        direction: Direction::Out,
        reads: MESSAGING,
        on_links: false,
        find: storage_queue,
    },
    Rule {
        name: "storagequeue.receive",
        hop: "storagequeue",
        direction: Direction::In,
        reads: MESSAGING,
        on_links: false,
        find: storage_queue,
    },
    Rule {
        name: "eventhubs.send",
        hop: "eventhubs",
        direction: Direction::Out,
        reads: SEQUENCES,
        on_links: false,
        find: event_hubs,
    },
    Rule {
        name: "eventhubs.receive",
        hop: "eventhubs",
        direction: Direction::In,
        reads: SEQUENCES,
        on_links: false,
        find: event_hubs,
    },
    Rule {
        name: "durable.start",
        hop: "durable",
        direction: Direction::Out,
        reads: INSTANCE,
        on_links: false,
        find: durable,
    },
    Rule {
        name: "durable.run",
        hop: "durable",
        direction: Direction::In,
        reads: INSTANCE,
        on_links: false,
        find: durable,
    },
];

/// Whether the span is on the rule's side of a hop of this system.
fn is_on(rule: &Rule, span: &Span<'_>, system: System<'_>) -> bool {
    System::of(span) == Some(system) && Operation::of(span).direction() == Some(rule.direction)
}

fn service_bus(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if !is_on(rule, span, System::ServiceBus) {
        return;
    }
    let Some(entity) = destination(span, System::ServiceBus) else { return };
    let namespace = namespace_of(span);
    for id in message_ids(span) {
        for key in service_bus_keys(namespace.as_deref(), entity, &id) {
            found.push(rule, key, Some(entity));
        }
    }
}

/// The namespace of which the span speaks: the first part of its host.
fn namespace_of(span: &Span<'_>) -> Option<String> {
    let hosts = ["server.address", "net.peer.name", "peer.address", "messaging.url"];
    span.attributes.first_text(&hosts).and_then(namespace)
}

/// `shop` of `sb://Shop.servicebus.windows.net/`, of its host, or of the name alone.
fn namespace(host: &str) -> Option<String> {
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or(host);
    let is_address = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let name = host.split('.').next().unwrap_or(host);
    (!is_address && !name.is_empty() && name != "-").then(|| name.to_ascii_lowercase())
}

/// The entity to which was sent: a subscription's topic, the queue of dead letters. Names of entities have no case.
pub(super) fn entity(destination: &str) -> String {
    let name = destination.to_ascii_lowercase();
    let end = ["/subscriptions/", "/$deadletterqueue", "/$transfer"].iter().filter_map(|mark| name.find(mark)).min();
    end.and_then(|end| name.get(..end)).unwrap_or(&name).to_owned()
}

/// The keys of a message. An id that the client did not choose by counting is found also where a side does not know
/// the namespace.
fn service_bus_keys(namespace: Option<&str>, destination: &str, id: &str) -> Vec<Key> {
    let entity = entity(destination);
    let key = |namespace: &str| Key::new(Kind::ServiceBus, format!("{namespace}/{entity}:{id}"));
    let mut keys: Vec<Key> = namespace.map(key).into_iter().collect();
    if namespace.is_none() || is_unique(id) {
        keys.push(key("-"));
    }
    keys
}

/// The keys of an identity `<namespace>/<entity>:<message id>`.
pub(super) fn service_bus_forms(id: &str) -> Vec<Key> {
    let parts = id.split_once('/').and_then(|(space, rest)| Some((space, rest.split_once(':')?)));
    match parts {
        Some((space, (entity, message))) => service_bus_keys(namespace(space).as_deref(), entity, message),
        None => vec![Key::new(Kind::ServiceBus, id)],
    }
}

/// The entity in such an identity.
pub(super) fn entity_of(id: &str) -> Option<&str> {
    id.split_once('/').and_then(|(_, rest)| Some(rest.split_once(':')?.0))
}

fn storage_queue(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if !is_on(rule, span, System::StorageQueue) {
        return;
    }
    let queue = destination(span, System::StorageQueue);
    message_ids(span).into_iter().for_each(|id| found.push(rule, Key::new(Kind::StorageQueue, id), queue));
}

fn event_hubs(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if !is_on(rule, span, System::EventHubs) {
        return;
    }
    let sequence = SEQUENCES.iter().find_map(|key| span.attributes.display(key));
    let partitions = ["messaging.destination.partition.id", "messaging.eventhubs.partition.id"];
    let partition = partitions.iter().find_map(|key| span.attributes.display(key));
    let hub = destination(span, System::EventHubs);
    if let (Some(hub), Some(partition), Some(sequence), Some(space)) = (hub, partition, sequence, namespace_of(span)) {
        let id = format!("{space}/{}:{partition}:{sequence}", hub.to_ascii_lowercase());
        found.push(rule, Key::new(Kind::EventHub, id), Some(hub));
    }
}

/// The key of an identity `<namespace>/<hub>:<partition>:<sequence number>`.
pub(super) fn event_hub_forms(id: &str) -> Vec<Key> {
    let parts = id.split_once('/').and_then(|(space, rest)| Some((namespace(space)?, rest.split_once(':')?)));
    let id = parts.map(|(space, (hub, event))| format!("{space}/{}:{event}", hub.to_ascii_lowercase()));
    id.map(|id| Key::new(Kind::EventHub, id)).into_iter().collect()
}

/// Durable Functions (`DurableTask.Core`, distributed tracing V2). An orchestration is created by a PRODUCER and called by a
/// CLIENT span (a sub-orchestration), and runs in a SERVER span. It calls its activities in CLIENT spans, and they run in
/// SERVER spans, on which not every version says which task it is: those are of the orchestration as a whole.
fn durable(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let of = |key: &str| span.attributes.text(key);
    let Some(instance) = of("durabletask.task.instance_id") else { return };
    let name = of("durabletask.task.name");
    let mut add = |direction: Direction, task: Option<&str>| {
        if direction == rule.direction {
            let id = task.map_or(instance.to_owned(), |task| format!("{instance}#{task}"));
            found.push(rule, Key::new(Kind::Durable, id), name);
        }
    };
    let is_sent = span.kind.is_out();
    let task = span.attributes.display("durabletask.task.task_id");
    let from_name = span.name.split(':').next().unwrap_or_default();
    match of("durabletask.type").unwrap_or(from_name) {
        "orchestration" | "create_orchestration" if is_sent => add(Direction::Out, None),
        "orchestration" if span.kind.is_in() => {
            add(Direction::In, None);
            add(Direction::Out, Some("*"));
        }
        "activity" if is_sent => {
            if let Some(task) = task {
                add(Direction::Out, Some(&task));
            }
        }
        "activity" if span.kind.is_in() => add(Direction::In, Some(task.as_deref().unwrap_or("*"))),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::super::testing::Probe;
    use super::*;
    use crate::span::Value::{Int, Text};

    const ID: &str = "3f2504e04f8911d39a0c0305e82c3301";

    #[test]
    fn service_bus_messages() {
        let span = |host, entity, id| {
            [
                ("messaging.system", Text("servicebus")),
                ("messaging.destination.name", Text(entity)),
                ("net.peer.name", Text(host)),
                ("messaging.message.id", Text(id)),
            ]
        };
        let sent = span("Shop.servicebus.windows.net", "payments", ID);
        Probe::producer(&sent).keys(&[
            &format!("servicebus.send out asb:shop/payments:{ID} @payments"),
            &format!("servicebus.send out asb:-/payments:{ID} @payments"),
        ]);
        let received = span("shop.servicebus.windows.net", "Payments/Subscriptions/books", "42");
        Probe::consumer(&received).keys(&["servicebus.receive in asb:shop/payments:42 @Payments/Subscriptions/books"]);
        let dead = span("127.0.0.1", "payments/$DeadLetterQueue", "42");
        Probe::consumer(&dead).keys(&["servicebus.receive in asb:-/payments:42 @payments/$DeadLetterQueue"]);
    }

    #[test]
    fn service_bus_as_azures_sdk_says_it() {
        let span = [
            ("az.namespace", Text("Microsoft.ServiceBus")),
            ("message_bus.destination", Text("payments")),
            ("peer.address", Text("sb://shop.servicebus.windows.net/")),
            ("messaging.message_id", Text("42")),
        ];
        Probe::producer(&span).keys(&["servicebus.send out asb:shop/payments:42 @payments"]);
        let link = [("messaging.message.id", Text("43"))];
        Probe::consumer(&span[..3])
            .links(&[(0, &link)])
            .keys(&["servicebus.receive in asb:shop/payments:43 @payments"]);
    }

    #[test]
    fn identities_of_service_bus() {
        let keys = |id| -> Vec<String> { service_bus_forms(id).iter().map(Key::to_string).collect() };
        assert_eq!(keys("SHOP.servicebus.windows.net/Payments:a:b"), ["asb:shop/payments:a:b"]);
        assert_eq!(keys("-/payments:42"), ["asb:-/payments:42"]);
        assert_eq!(keys("x"), ["asb:x"]);
        assert_eq!(entity_of("shop/payments:42"), Some("payments"));
        assert_eq!(event_hub_forms("Shop.servicebus.windows.net/Clicks:0:42")[0].to_string(), "aeh:shop/clicks:0:42");
    }

    #[test]
    fn storage_queues() {
        let span = [
            ("messaging.system", Text("azure_storage_queue")),
            ("messaging.destination.name", Text("pictures")),
            ("messaging.message.id", Text(ID)),
        ];
        Probe::producer(&span).keys(&[&format!("storagequeue.send out asq:{ID} @pictures")]);
        Probe::consumer(&span).keys(&[&format!("storagequeue.receive in asq:{ID} @pictures")]);
    }

    #[test]
    fn event_hubs() {
        let span = [
            ("messaging.system", Text("eventhubs")),
            ("messaging.destination.name", Text("Clicks")),
            ("server.address", Text("shop.servicebus.windows.net")),
            ("messaging.destination.partition.id", Text("3")),
            ("messaging.eventhubs.message.sequence_number", Int(812)),
        ];
        Probe::consumer(&span).keys(&["eventhubs.receive in aeh:shop/clicks:3:812 @Clicks"]);
        Probe::producer(&span).keys(&["eventhubs.send out aeh:shop/clicks:3:812 @Clicks"]);
        Probe::consumer(&span[..4]).keys(&[]);
    }

    #[test]
    fn orchestrations_and_activities() {
        let span = |kind| {
            [
                ("durabletask.type", Text(kind)),
                ("durabletask.task.name", Text("settle")),
                ("durabletask.task.instance_id", Text(ID)),
            ]
        };
        let run = span("orchestration");
        Probe::producer(&run).keys(&[&format!("durable.start out durable:{ID} @settle")]);
        Probe::client(&run).keys(&[&format!("durable.start out durable:{ID} @settle")]);
        Probe::server(&run).keys(&[
            &format!("durable.run in durable:{ID} @settle"),
            &format!("durable.start out durable:{ID}#* @settle"),
        ]);
        let [a, b, c] = span("activity");
        let task = ("durabletask.task.task_id", Int(1));
        Probe::client(&[a, b, c, task]).keys(&[&format!("durable.start out durable:{ID}#1 @settle")]);
        Probe::server(&[a, b, c, task]).keys(&[&format!("durable.run in durable:{ID}#1 @settle")]);
        Probe::server(&[a, b, c]).keys(&[&format!("durable.run in durable:{ID}#* @settle")]);
        Probe::server(&span("timer")).keys(&[]);
    }
}
