//! Google Cloud: Pub/Sub and Cloud Tasks.
//!
//! Cloud Storage has its identity only in answers and events: those are keys of a hook (`gcs:`) or CloudEvents.

use super::messaging::{MESSAGING, Operation, System, destination, header, is_unique, message_ids};
use super::{HopKeys, Rule};
use crate::key::{Direction, Key, Kind};
use crate::span::Span;

const TASKS: &[&str] = &[
    "http.request.header.x-cloudtasks-taskname",
    "http.request.header.x_cloudtasks_taskname",
    "gcp.cloud_tasks.task_name",
];

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "pubsub.publish",
        hop: "pubsub",
        direction: Direction::Out,
        reads: MESSAGING,
        on_links: false,
        find: pub_sub,
    },
    Rule {
        name: "pubsub.receive",
        hop: "pubsub",
        direction: Direction::In,
        reads: MESSAGING,
        on_links: false,
        find: pub_sub,
    },
    Rule {
        name: "pubsub.event",
        hop: "pubsub",
        direction: Direction::In,
        reads: super::cloudevents::IDS,
        on_links: false,
        find: event,
    },
    Rule {
        name: "cloudtasks.create",
        hop: "cloudtasks",
        direction: Direction::Out,
        reads: TASKS,
        on_links: false,
        find: |rule, span, found| {
            if span.kind.is_out() {
                task(rule, span, found)
            }
        },
    },
    Rule {
        name: "cloudtasks.run",
        hop: "cloudtasks",
        direction: Direction::In,
        reads: TASKS,
        on_links: false,
        find: |rule, span, found| {
            if span.kind.is_in() {
                task(rule, span, found)
            }
        },
    },
];

fn pub_sub(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if System::of(span) != Some(System::PubSub) || Operation::of(span).direction() != Some(rule.direction) {
        return;
    }
    let (project, name) = (project(span), destination(span, System::PubSub));
    for id in message_ids(span) {
        pub_sub_keys(project, &id).into_iter().for_each(|key| found.push(rule, key, name));
    }
}

fn project<'a>(span: &Span<'a>) -> Option<&'a str> {
    let path = span.attributes.text("messaging.destination.name").and_then(|path| path.strip_prefix("projects/"));
    let of_path = path.and_then(|path| path.split('/').next());
    let own = span.attributes.first_text(&["gcp.project_id", "gcp.project.id"]).or(of_path);
    own.or_else(|| {
        span.resource.text("cloud.account.id").filter(|_| span.resource.text("cloud.provider") == Some("gcp"))
    })
}

/// The keys of a message: with its project, and without for a side that does not know it. Ids are long numbers that all
/// topics draw from one space.
fn pub_sub_keys(project: Option<&str>, id: &str) -> Vec<Key> {
    let key = |project: &str| Key::new(Kind::PubSub, format!("{project}:{id}"));
    project.filter(|p| !matches!(*p, "" | "-")).map(key).into_iter().chain([key("-")]).collect()
}

/// The keys of an identity `<project>:<message id>`.
pub(super) fn pub_sub_forms(id: &str) -> Vec<Key> {
    match id.split_once(':') {
        Some((project, id)) => pub_sub_keys(Some(project), id),
        None => pub_sub_keys(None, id),
    }
}

/// A message that Eventarc pushed: its event's id is the message's.
fn event(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if !span.kind.is_in() {
        return;
    }
    if let Some((source, id)) = super::cloudevents::event(span) {
        let (keys, topic) = (event_keys(&source, &id), topic_of(&source));
        keys.into_iter().for_each(|key| found.push(rule, key, topic));
    }
}

/// The keys of the message in a CloudEvent of Pub/Sub.
pub(super) fn event_keys(source: &str, id: &str) -> Vec<Key> {
    let project = source.strip_prefix("//pubsub.googleapis.com/projects/").and_then(|rest| rest.split('/').next());
    project.map(|project| pub_sub_keys(Some(project), id)).unwrap_or_default()
}

fn topic_of(source: &str) -> Option<&str> {
    source.rsplit_once("/topics/").map(|(_, topic)| topic)
}

fn task(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let Some(name) = header(span, TASKS) else { return };
    let queues = ["http.request.header.x-cloudtasks-queuename", "http.request.header.x_cloudtasks_queuename"];
    let queue = header(span, &queues);
    let queue = queue.as_deref().or_else(|| queue_of(&name));
    task_keys(queue, &name).into_iter().for_each(|key| found.push(rule, key, queue));
}

/// The queue in a task's full name, `projects/<project>/locations/<location>/queues/<queue>/tasks/<task>`.
pub(super) fn queue_of(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once("/queues/")?;
    rest.split('/').next()
}

/// The keys of a task: with its queue; and without, if it has none or a name that Cloud Tasks chose, which is long.
fn task_keys(queue: Option<&str>, name: &str) -> Vec<Key> {
    let short = name.rsplit('/').next().unwrap_or(name);
    let with = queue.map(|queue| Key::new(Kind::CloudTask, format!("{queue}/{short}")));
    let without = (queue.is_none() || is_unique(short) || is_chosen(short)).then(|| Key::new(Kind::CloudTask, short));
    with.into_iter().chain(without).collect()
}

/// Whether a task's name is a number of the length that Cloud Tasks gives (17 digits and more).
fn is_chosen(name: &str) -> bool {
    name.len() >= 17 && name.bytes().all(|b| b.is_ascii_digit())
}

/// The keys of an identity that is a task's name, full, short, or behind its queue.
pub(super) fn task_forms(id: &str) -> Vec<Key> {
    let queue = queue_of(id).or_else(|| id.split_once('/').map(|(queue, _)| queue).filter(|q| *q != "projects"));
    task_keys(queue, id)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Probe;
    use super::*;
    use crate::span::Value::{Json, Text};

    #[test]
    fn published_and_received() {
        let sent = [
            ("messaging.system", Text("gcp_pubsub")),
            ("messaging.destination.name", Text("loyalty-events")),
            ("messaging.operation", Text("create")),
            ("messaging.message.id", Text("11000000000000042")),
            ("gcp.project_id", Text("shop-demo")),
        ];
        Probe::producer(&sent).keys(&[
            "pubsub.publish out gps:shop-demo:11000000000000042 @loyalty-events",
            "pubsub.publish out gps:-:11000000000000042 @loyalty-events",
        ]);
        let received = [
            ("messaging.system", Text("google_pubsub")),
            ("messaging.destination.name", Text("projects/shop-demo/subscriptions/loyalty")),
            ("messaging.message.id", Text("11000000000000042")),
        ];
        Probe::consumer(&received).keys(&[
            "pubsub.receive in gps:shop-demo:11000000000000042 @loyalty",
            "pubsub.receive in gps:-:11000000000000042 @loyalty",
        ]);
        let (nowhere, link) = ([received[0]], [received[2]]);
        Probe::consumer(&nowhere).links(&[(0, &link)]).keys(&["pubsub.receive in gps:-:11000000000000042"]);
    }

    #[test]
    fn pushed_as_an_event() {
        let span = [
            ("cloudevents.event_id", Text("11000000000000042")),
            ("cloudevents.event_source", Text("//pubsub.googleapis.com/projects/shop-demo/topics/loyalty-events")),
        ];
        Probe::server(&span).keys(&[
            "pubsub.event in gps:shop-demo:11000000000000042 @loyalty-events",
            "pubsub.event in gps:-:11000000000000042 @loyalty-events",
            "cloudevent.received in ce://pubsub.googleapis.com/projects/shop-demo/topics/loyalty-events|11000000000000042",
        ]);
    }

    #[test]
    fn tasks() {
        let span = [
            ("http.request.header.x-cloudtasks-taskname", Json("[\"78932423984723984723\"]")),
            ("http.request.header.x-cloudtasks-queuename", Json("[\"mails\"]")),
        ];
        Probe::server(&span).keys(&[
            "cloudtasks.run in task:mails/78932423984723984723 @mails",
            "cloudtasks.run in task:78932423984723984723 @mails",
        ]);
        let name = "projects/shop/locations/europe-west3/queues/mails/tasks/order-42";
        Probe::client(&[("gcp.cloud_tasks.task_name", Text(name))])
            .keys(&["cloudtasks.create out task:mails/order-42 @mails"]);
        let keys = |id| -> Vec<String> { task_forms(id).iter().map(Key::to_string).collect() };
        assert_eq!(keys(name), ["task:mails/order-42"]);
        assert_eq!(keys("mails/order-42"), ["task:mails/order-42"]);
        assert_eq!(keys("order-42"), ["task:order-42"]);
    }

    #[test]
    fn identities_of_messages() {
        assert_eq!(pub_sub_forms("shop:1").len(), 2);
        assert_eq!(pub_sub_forms("-:1"), [Key::new(Kind::PubSub, "-:1")]);
        assert_eq!(pub_sub_forms("1"), [Key::new(Kind::PubSub, "-:1")]);
    }
}
