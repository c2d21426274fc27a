//! An order's way: taken, queued, priced, announced; and what becomes of the bad ones.

use crate::demo::catalog::{Func, Hop, Language, carried};
use crate::demo::dialect::{dynamodb, handler_scope, http_request, sqs_process};
use crate::demo::run::{End, Run};
use crate::demo::words::{Carried, Kind, Link, Outcome, Severity, attrs};
use crate::demo::world::Channel;

use super::{Scenario, order};

/// Takes an order: stores it, and leaves the rest to the queue.
pub(super) fn api(run: &mut Run<'_>) -> End {
    let number = order(run);
    let scenario = Scenario(number);
    run.work(3.0);
    let refused = scenario.refused();
    run.attributes = http_request(run.language, "/orders", if refused { 400 } else { 202 });
    if refused {
        run.log(Severity::Warn, "order refused: the basket is empty", attrs!["order.id" => number as i64]);
        return End::Ok;
    }
    run.log(
        Severity::Info,
        "order taken",
        attrs!["order.id" => number as i64, "order.tags" => vec!["web".to_owned(), "eu".to_owned()]],
    );
    run.dynamodb_put(number);
    run.kinesis(number);
    run.sqs(Channel::Orders, number, if scenario.two_parcels() { 2 } else { 1 });
    run.work(1.0);
    End::Ok
}

/// Handles a batch of orders from the queue.
pub(super) fn worker(run: &mut Run<'_>) -> End {
    in_batch(run, "orders", |run, number| {
        let scenario = Scenario(number);
        run.work(4.0);
        if scenario.poison() {
            return End::Failed("ValueError", format!("order {number}: quantity is not a number"));
        }
        let priced = run.invoke(Func::Pricing, number);
        if priced.outcome != Outcome::Ok {
            return End::Failed("PricingError", format!("no price for order {number}"));
        }
        run.sns("order-priced", number, Func::Notify, Channel::Search);
        if scenario.workflow() {
            run.start_execution(number);
        }
        run.invoke_async(Func::Receipts, number);
        run.log(Severity::Info, "order handled", attrs!["order.id" => number as i64]);
        End::Ok
    })
}

/// Looks at the dead letters.
pub(super) fn dead_letters(run: &mut Run<'_>) -> End {
    in_batch(run, "orders-dlq", |run, number| {
        run.log(Severity::Error, "an order needs a person", attrs!["order.id" => number as i64]);
        run.aws("DynamoDB", "PutItem", 6.0, dynamodb(run.language, "bad-orders", "PutItem"));
        End::Ok
    })
}

/// Says what an order costs.
pub(super) fn pricing(run: &mut Run<'_>) -> End {
    run.work(7.0);
    run.aws("DynamoDB", "Query", 5.0, dynamodb(run.language, "prices", "Query"));
    run.work(2.0);
    End::Ok
}

/// Writes a receipt into the bucket.
pub(super) fn receipts(run: &mut Run<'_>) -> End {
    let number = order(run);
    let scenario = Scenario(number);
    run.work(18.0);
    if scenario.no_receipt() || (scenario.late_receipt() && run.call.attempt == 1) {
        return End::Failed("TemplateError", format!("order {number}: field `total` is missing"));
    }
    let more = if run.language == Language::Node { attrs!["aws.s3.bucket" => "receipts"] } else { attrs![] };
    run.aws("S3", "PutObject", 24.0, more);
    End::Ok
}

/// Hears of calls that the platform has given up.
pub(super) fn failures(run: &mut Run<'_>) -> End {
    let failed = run.call.messages.first().map_or(String::new(), |m| m.id.clone());
    run.log(Severity::Error, "a receipt was given up", attrs!["failed.request_id" => failed]);
    run.work(5.0);
    End::Ok
}

/// Handles the messages of a batch one by one, under the span that queues' consumers have.
pub(super) fn in_batch(run: &mut Run<'_>, queue: &str, mut one: impl FnMut(&mut Run<'_>, u64) -> End) -> End {
    let messages = run.call.messages.clone();
    let start = run.now;
    let (context, before) = run.enter();
    let mut end = End::Ok;
    for message in &messages {
        end = one(run, message.order);
        if end != End::Ok {
            break;
        }
    }
    run.leave(before);
    let links = messages.iter().filter_map(|m| {
        let sender = m.sender.as_ref()?;
        let named = match carried(m.hop, sender.language, run.language) {
            Carried::Link => sender.context,
            Carried::Dangling => sender.xray,
            _ => return None,
        };
        Some(Link { context: named, attributes: attrs!["messaging.message.id" => queue_message_id(m.hop, &m.id)] })
    });
    let links = links.collect();
    let scope = handler_scope(run.language, run.spec.cloud);
    run.finished(
        context,
        &format!("process {queue}"),
        Kind::Consumer,
        scope,
        start,
        sqs_process(queue, messages.len()),
    );
    let error = match &end {
        End::Failed(kind, text) => Some(format!("{kind}: {text}")),
        _ => None,
    };
    run.amend(links, error);
    end
}

/// A topic's message gets an id of its own in the queue behind it.
fn queue_message_id(hop: Hop, id: &str) -> String {
    if hop == Hop::SnsSqs { id.chars().rev().collect::<String>().replace('-', "") } else { id.to_owned() }
}
