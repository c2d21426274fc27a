//! The workflow: reserve, charge, ship; and giving back what was taken when a step fails.

use crate::demo::catalog::{Func, Hop};
use crate::demo::dialect::dynamodb;
use crate::demo::run::{End, Run};
use crate::demo::words::{Nanos, Outcome, SECOND, Severity, attrs};
use crate::demo::world::{Call, Event, Message, Saga, World};

use super::{Scenario, events, order};

/// Runs one step of a workflow and decides on the next.
pub(crate) fn step(world: &mut World, at: Nanos, saga: Saga) {
    let message = Message {
        hop: Hop::StepFunctions,
        id: saga.execution.clone(),
        order: saga.order,
        visible_at: at,
        received: saga.attempt,
        sender: Some(saga.sender.clone()),
        noted: world.options.hooks,
    };
    let request_id = world.random.uuid();
    let call = Call {
        func: saga.step,
        at,
        hop: Hop::StepFunctions,
        request_id,
        attempt: saga.attempt,
        messages: vec![message],
    };
    let done = world.execute(&call);
    let failed = done.outcome != Outcome::Ok;
    // Compensations are tried like the rest, but nothing comes after one that fails.
    let (step, attempt) = match (saga.step, failed) {
        (Func::ReserveStock, true) if saga.attempt < 3 => (Func::ReserveStock, saga.attempt + 1),
        (Func::ReserveStock, false) => (Func::ChargeCard, 1),
        (Func::ChargeCard, false) => (Func::ShipOrder, 1),
        (Func::ShipOrder, true) => (Func::RefundCard, 1),
        (Func::ChargeCard, true) | (Func::RefundCard, false) => (Func::ReleaseStock, 1),
        _ => return,
    };
    let wait = if attempt > 1 { SECOND } else { world.random.around(25.0) };
    // A retry follows what came before the step that failed.
    let sender = if attempt > 1 { saga.sender } else { done.sender };
    let next = Saga { step, attempt, sender, ..saga };
    world.schedule(done.end + wait, Event::Step(Box::new(next)));
}

/// Does what a step does.
pub(super) fn handle(run: &mut Run<'_>) -> End {
    let number = order(run);
    let scenario = Scenario(number);
    run.work(3.0);
    match run.call.func {
        Func::ReserveStock => {
            run.aws("DynamoDB", "UpdateItem", 7.0, dynamodb(run.language, "stock", "UpdateItem"));
            if scenario.stock_is_slow() && run.call.attempt == 1 {
                return End::Failed("ConditionalCheckFailedException", "the stock changed meanwhile".to_owned());
            }
        }
        Func::ChargeCard => {
            let status = if scenario.card_refused() { 402 } else { 200 };
            events::http(run, "POST", "pay.example.com", "/charges", status, 140.0);
            if scenario.card_refused() {
                return End::Failed("CardRefused", format!("order {number}: the bank says no"));
            }
            run.service_bus(number);
        }
        Func::ShipOrder => {
            if scenario.not_shipped() {
                return End::Failed("NoCarrier", format!("order {number}: nobody ships there"));
            }
            run.kafka(number);
        }
        Func::RefundCard => events::http(run, "POST", "pay.example.com", "/refunds", 200, 120.0),
        _ => {
            run.aws("DynamoDB", "UpdateItem", 7.0, dynamodb(run.language, "stock", "UpdateItem"));
        }
    }
    run.log(Severity::Info, "step done", attrs!["order.id" => number as i64, "step" => run.spec.name]);
    End::Ok
}
