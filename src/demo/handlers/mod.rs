//! What the shop's functions do.
//!
//! Which order fails where is written down, not left to chance, so that a short play
//! has every kind of failure. [`Scenario`] is the list.

pub(crate) mod web;
pub(crate) mod workflow;

mod azure;
mod events;
mod orders;

use super::catalog::{Func, Hop};
use super::hooks;
use super::run::{Done, End, Run};
use super::words::{Fact, MS, Sent};
use super::world::{Call, Event, Message, World};

/// What is special about an order, by its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario(pub(crate) u64);

impl Scenario {
    /// The order is refused: its basket is empty.
    pub(crate) fn refused(self) -> bool {
        matches!(self.0 % 15, 6 | 13)
    }
    /// No worker can handle it: it ends with the dead letters.
    pub(crate) fn poison(self) -> bool {
        self.0 % 40 == 5
    }
    /// It comes as two parcels, sent to the queue as a batch.
    pub(crate) fn two_parcels(self) -> bool {
        self.0 % 4 == 1
    }
    /// It goes through the workflow.
    pub(crate) fn workflow(self) -> bool {
        self.0 % 3 == 2
    }
    /// The workflow's first step fails once.
    pub(crate) fn stock_is_slow(self) -> bool {
        self.0 % 9 == 8
    }
    /// The card is refused: the stock is released again.
    pub(crate) fn card_refused(self) -> bool {
        self.0 % 18 == 14
    }
    /// The parcel cannot be shipped: the money and the stock go back.
    pub(crate) fn not_shipped(self) -> bool {
        self.0 % 9 == 2
    }
    /// The receipt cannot be written, however often it is tried.
    pub(crate) fn no_receipt(self) -> bool {
        self.0 % 25 == 7
    }
    /// The receipt is written at the second try.
    pub(crate) fn late_receipt(self) -> bool {
        self.0 % 10 == 4
    }
    /// Its picture is too large for the function's memory at the first try.
    pub(crate) fn large_picture(self) -> bool {
        self.0 % 30 == 10
    }
    /// The customer's mail server does not answer at the first try.
    pub(crate) fn mail_is_down(self) -> bool {
        self.0 % 30 == 11
    }
}

/// Does what the function of `run` does.
pub(crate) fn handle(run: &mut Run<'_>) -> End {
    match run.call.func {
        Func::OrdersApi => orders::api(run),
        Func::OrdersWorker => orders::worker(run),
        Func::OrdersDlq => orders::dead_letters(run),
        Func::Pricing => orders::pricing(run),
        Func::Receipts => orders::receipts(run),
        Func::Failures => orders::failures(run),
        Func::Notify => events::notify(run),
        Func::SearchIndex => events::search_index(run),
        Func::Audit => events::audit(run),
        Func::Thumbs => events::thumbs(run),
        Func::Stock => events::stock(run),
        Func::Clicks => events::clicks(run),
        Func::Shipments => events::shipments(run),
        Func::NightlyReport => events::nightly_report(run),
        Func::ReserveStock | Func::ChargeCard | Func::ShipOrder | Func::RefundCard | Func::ReleaseStock => {
            workflow::handle(run)
        }
        Func::Ledger => azure::ledger(run),
        Func::Settle => azure::settle(run),
        Func::SettleBook => azure::book(run),
        Func::Loyalty => events::loyalty(run),
    }
}

/// The number of the order that the invocation is about.
fn order(run: &Run<'_>) -> u64 {
    run.call.messages.first().map_or(0, |m| m.order)
}

/// Tells the function for failures of a call that the platform has given up.
pub(crate) fn give_up(world: &mut World, failed: &str, order: u64, done: &Done) {
    let at = done.end + 40 * MS;
    let sender = done.sender.clone();
    world.facts.push(Fact::Send(Sent {
        kind: Hop::Destination,
        from: sender.invocation.clone(),
        destination: Func::Failures.spec().name.to_owned(),
        message_id: failed.to_owned(),
        trace_id: sender.context.trace_hex(),
        span_id: sender.context.span_hex(),
        time_ns: at,
    }));
    let message = Message {
        hop: Hop::Destination,
        id: failed.to_owned(),
        order,
        visible_at: at,
        received: 1,
        sender: Some(sender),
        noted: hooks::sender_notes(Hop::Destination),
    };
    let request_id = world.random.uuid();
    let call =
        Call { func: Func::Failures, at, hop: Hop::Destination, request_id, attempt: 1, messages: vec![message] };
    world.schedule(at, Event::Deliver(Box::new(call)));
}
