//! The shop's bookkeeping on Azure: a Service Bus queue and a Durable orchestration.

use crate::demo::catalog::{Func, Hop};
use crate::demo::run::{End, Run};
use crate::demo::words::{Kind, Severity, attrs};

use super::order;

const DURABLE: (&str, &str) = ("DurableTask.Core", "3.7.0");

/// Reads a payment and starts its settlement.
pub(super) fn ledger(run: &mut Run<'_>) -> End {
    let number = order(run);
    let id = run.call.messages.first().map_or(String::new(), |m| m.id.clone());
    let attributes = attrs![
        "messaging.system" => "servicebus", "messaging.destination.name" => "payments", "messaging.operation" => "process",
        "messaging.message.id" => id, "net.peer.name" => "shop.servicebus.windows.net", "az.namespace" => "Microsoft.ServiceBus",
    ];
    let scope = ("Azure.Messaging.ServiceBus", "7.20.1");
    run.span("ServiceBusProcessor.ProcessMessage", Kind::Consumer, scope, 12.0, attributes);
    run.log(Severity::Info, "payment booked", attrs!["order.id" => number as i64]);
    let instance = run.world.random.hex32();
    let attributes = attrs![
        "durabletask.type" => "orchestration", "durabletask.task.name" => "settle",
        "durabletask.task.instance_id" => &instance, "durabletask.task.execution_id" => run.world.random.hex32(),
    ];
    let context = run.span("create_orchestration:settle", Kind::Producer, DURABLE, 8.0, attributes);
    let message = run.message(Hop::Durable, "settle", instance, number, context);
    let invocation = run.world.random.uuid();
    run.start(Func::Settle, message, invocation, 60.0);
    End::Ok
}

/// The orchestration: two activities, one after the other.
pub(super) fn settle(run: &mut Run<'_>) -> End {
    let number = order(run);
    let instance = run.call.messages.first().map_or(String::new(), |m| m.id.clone());
    run.work(4.0);
    for task in 0..2_i64 {
        let start = run.now;
        let (context, before) = run.enter();
        run.leave(before);
        let message = run.message(Hop::Durable, "settle-book", instance.clone(), number, context);
        let invocation = run.world.random.uuid();
        run.wait_for(Func::SettleBook, message, invocation);
        let attributes = attrs![
            "durabletask.type" => "activity", "durabletask.task.name" => "settle-book",
            "durabletask.task.instance_id" => &instance, "durabletask.task.task_id" => task,
        ];
        run.finished(context, "activity:settle-book", Kind::Client, DURABLE, start, attributes);
    }
    End::Ok
}

/// An activity: one line in the books.
pub(super) fn book(run: &mut Run<'_>) -> End {
    let attributes = attrs![
        "db.system" => "mssql", "db.name" => "books", "db.statement" => "insert into lines values (@order, @amount)",
        "server.address" => "shop-books.database.windows.net",
    ];
    run.span("books", Kind::Client, ("OpenTelemetry.Instrumentation.SqlClient", "1.15.0"), 9.0, attributes);
    End::Ok
}
