//! The shop as a play of events: from a seed to what every function sends.
//!
//! [`World`] is an iterator. Each step is one thing that happens (an order, a batch from
//! a queue, a step of a workflow), with what the functions it started send and with the
//! truth about it. Steps come in the order of their times.
//!
//! The same [`Options`] give the same steps: no clock, no I/O, and only [`Random`].

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use super::catalog::{Func, Hop, Language, Style};
use super::environments::Pools;
use super::handlers;
use super::random::Random;
use super::run::{self, Done};
use super::words::{Context, Fact, Flush, MS, Nanos, Outcome};

/// How often a message or an event is tried.
pub(crate) const TRIES: u32 = 3;

/// What is played.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The same seed, the same play.
    pub(crate) seed: u64,
    /// Whose instrumentation.
    pub(crate) style: Style,
    /// Whether functions have Hopline's hooks.
    pub(crate) hooks: bool,
    /// Whether the functions on AWS have no extension, so that nothing is sent of what the platform says.
    pub(crate) bare: bool,
    /// When the first order may come.
    pub(crate) start: Nanos,
    /// When no more orders come.
    pub(crate) end: Nanos,
    /// How many orders.
    pub(crate) orders: u64,
    /// How long a queue or the platform waits before a retry.
    pub(crate) patience: Nanos,
    /// How far apart the clock starts the report.
    pub(crate) schedule: Nanos,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// When it began.
    pub(crate) at: Nanos,
    /// What was sent because of it.
    pub(crate) flushes: Vec<Flush>,
    /// What is true of it.
    pub(crate) facts: Vec<Fact>,
}

/// Who sent a message.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    /// The invocation's id.
    pub(crate) invocation: String,
    /// The span that did it.
    pub(crate) context: Context,
    /// The X-Ray segment of the invocation, which is never exported.
    pub(crate) xray: Context,
    /// What it is instrumented in.
    pub(crate) language: Language,
}

/// A message on its way, or a call.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The kind of hop.
    pub(crate) hop: Hop,
    /// Its identity.
    pub(crate) id: String,
    /// The order it is about.
    pub(crate) order: u64,
    /// When it can be received.
    pub(crate) visible_at: Nanos,
    /// How often it has been received.
    pub(crate) received: u32,
    /// Who sent it; none for the clock.
    pub(crate) sender: Option<Sender>,
    /// Whether the sender's span has its identity.
    pub(crate) noted: bool,
}

/// A function is to be started.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Which one.
    pub(crate) func: Func,
    /// When.
    pub(crate) at: Nanos,
    /// How it comes about.
    pub(crate) hop: Hop,
    /// The platform's request id.
    pub(crate) request_id: String,
    /// Which try it is, from 1.
    pub(crate) attempt: u32,
    /// What it is about.
    pub(crate) messages: Vec<Message>,
}

/// A queue or stream whose messages are handed over in batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Channel {
    /// SQS `orders`.
    Orders,
    /// SQS `orders-dlq`.
    OrdersDlq,
    /// SQS `search`, behind the topic.
    Search,
    /// DynamoDB stream of the table `orders`.
    OrdersTable,
    /// Kinesis `clicks`.
    Clicks,
    /// Kafka `shipments`.
    Shipments,
}

impl Channel {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Channel::Orders | Channel::OrdersTable => "orders",
            Channel::OrdersDlq => "orders-dlq",
            Channel::Search => "search",
            Channel::Clicks => "clicks",
            Channel::Shipments => "shipments",
        }
    }

    fn func(self) -> Func {
        match self {
            Channel::Orders => Func::OrdersWorker,
            Channel::OrdersDlq => Func::OrdersDlq,
            Channel::Search => Func::SearchIndex,
            Channel::OrdersTable => Func::Stock,
            Channel::Clicks => Func::Clicks,
            Channel::Shipments => Func::Shipments,
        }
    }

    /// Most messages in a batch, and how long a batch is waited for.
    fn batch(self) -> (usize, Nanos) {
        match self {
            Channel::Orders => (10, 200 * MS),
            Channel::OrdersDlq | Channel::Search => (5, 100 * MS),
            Channel::OrdersTable => (25, 500 * MS),
            Channel::Clicks => (100, 1_000 * MS),
            Channel::Shipments => (50, 300 * MS),
        }
    }
}

/// A workflow: what is next, and what has been done.
#[derive(Debug, Clone)]
pub(crate) struct Saga {
    /// The execution's ARN.
    pub(crate) execution: String,
    /// The order it is about.
    pub(crate) order: u64,
    /// The step to run.
    pub(crate) step: Func,
    /// Which try of the step.
    pub(crate) attempt: u32,
    /// Who ran before.
    pub(crate) sender: Sender,
}

/// Something that is going to happen.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Somebody orders.
    Order(u64),
    /// The clock starts the report for the n-th time.
    Schedule(u64),
    /// A function is started and nobody waits.
    Deliver(Box<Call>),
    /// A channel is looked into.
    Poll(Channel),
    /// A workflow goes on.
    Step(Box<Saga>),
}

/// The shop.
#[derive(Debug)]
pub(crate) struct World {
    /// What is played.
    pub(crate) options: Options,
    /// All chance.
    pub(crate) random: Random,
    /// The execution environments.
    pub(crate) pools: Pools,
    /// What this step sends.
    pub(crate) flushes: Vec<Flush>,
    /// What is true of this step.
    pub(crate) facts: Vec<Fact>,
    queue: BinaryHeap<Reverse<Due>>,
    scheduled: u64,
    channels: BTreeMap<Channel, Vec<Message>>,
}

impl World {
    /// The shop before its first order.
    pub(crate) fn new(options: Options) -> World {
        let mut world = World {
            random: Random::new(options.seed),
            pools: Pools::default(),
            flushes: Vec::new(),
            facts: Vec::new(),
            queue: BinaryHeap::new(),
            scheduled: 0,
            channels: BTreeMap::new(),
            options,
        };
        if world.options.orders > 0 {
            world.schedule(world.options.start, Event::Order(0));
            let first = world.options.start + (world.options.end - world.options.start) / 20;
            world.schedule(first, Event::Schedule(0));
        }
        world.provision();
        world
    }

    /// Lets `event` happen at `at`.
    pub(crate) fn schedule(&mut self, at: Nanos, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse(Due { at, number: self.scheduled, event }));
    }

    /// Puts a message into a channel.
    pub(crate) fn put(&mut self, channel: Channel, message: Message) {
        let (_, window) = channel.batch();
        let at = message.visible_at + self.random.below(window as u64) as Nanos + window / 4;
        self.channels.entry(channel).or_default().push(message);
        self.schedule(at, Event::Poll(channel));
    }

    /// Runs a function to its end, with everything it waits for.
    pub(crate) fn execute(&mut self, call: &Call) -> Done {
        run::execute(self, call)
    }

    fn happen(&mut self, at: Nanos, event: Event) {
        match event {
            Event::Order(number) => self.order(at, number),
            Event::Schedule(number) => self.report(at, number),
            Event::Deliver(call) => self.deliver(*call),
            Event::Poll(channel) => self.poll(at, channel),
            Event::Step(saga) => handlers::workflow::step(self, at, *saga),
        }
    }

    fn order(&mut self, at: Nanos, number: u64) {
        let Options { start, end, orders, .. } = self.options;
        if number + 1 < orders {
            let spacing = (end - start) / orders.max(1) as Nanos;
            let due = start + spacing * (number as Nanos + 1);
            // Some come together: that is what makes new environments.
            let jitter =
                if self.random.chance(0.15) { -spacing } else { self.random.below(spacing.max(1) as u64 / 2) as Nanos };
            self.schedule((due + jitter).max(at + MS), Event::Order(number + 1));
        }
        handlers::web::order(self, at, number);
    }

    fn report(&mut self, at: Nanos, number: u64) {
        let next = at + self.options.schedule;
        if next < self.options.end {
            self.schedule(next, Event::Schedule(number + 1));
        }
        let clock = Message {
            hop: Hop::Schedule,
            id: format!("arn:aws:events:eu-central-1:123456789012:rule/nightly#{number}"),
            order: number,
            visible_at: at,
            received: 1,
            sender: None,
            noted: false,
        };
        let request_id = self.random.uuid();
        let call =
            Call { func: Func::NightlyReport, at, hop: Hop::Schedule, request_id, attempt: 1, messages: vec![clock] };
        self.deliver(call);
    }

    /// Starts a function for which nobody waits; the platform tries again what failed.
    fn deliver(&mut self, call: Call) {
        let done = self.execute(&call);
        if done.outcome == Outcome::Ok || call.hop == Hop::Schedule {
            return;
        }
        if call.attempt < TRIES {
            let at = done.end + self.options.patience * Nanos::from(call.attempt);
            let messages = call.messages.into_iter().map(|m| Message { received: m.received + 1, ..m }).collect();
            let again = Call { at, attempt: call.attempt + 1, messages, ..call };
            self.schedule(at, Event::Deliver(Box::new(again)));
        } else if call.hop == Hop::InvokeAsync {
            let order = call.messages.first().map_or(0, |m| m.order);
            handlers::give_up(self, &call.request_id, order, &done);
        }
    }

    /// Hands over a batch of what can be received.
    fn poll(&mut self, at: Nanos, channel: Channel) {
        let (most, _) = channel.batch();
        let waiting = self.channels.entry(channel).or_default();
        let mut batch: Vec<Message> = Vec::new();
        let mut rest = Vec::with_capacity(waiting.len());
        for message in waiting.drain(..) {
            // What failed before comes alone, so that its neighbours get through.
            let alone = message.received > 0 || batch.iter().any(|m| m.received > 0);
            let fits = batch.len() < if alone { 1 } else { most };
            if message.visible_at <= at && fits { batch.push(message) } else { rest.push(message) }
        }
        let next = rest.iter().map(|m| m.visible_at).min();
        *waiting = rest;
        if let Some(next) = next {
            self.schedule(next.max(at + 20 * MS), Event::Poll(channel));
        }
        if batch.is_empty() {
            return;
        }
        for message in &mut batch {
            message.received += 1;
        }
        let attempt = batch.iter().map(|m| m.received).max().unwrap_or(1);
        let hop = batch.first().map_or(Hop::Sqs, |m| m.hop);
        let request_id = self.random.uuid();
        let call = Call { func: channel.func(), at, hop, request_id, attempt, messages: batch };
        let done = self.execute(&call);
        if done.outcome != Outcome::Ok {
            self.receive_again(channel, call.messages, done.end);
        }
    }

    /// What a failed batch becomes: visible again later, or a dead letter.
    fn receive_again(&mut self, channel: Channel, batch: Vec<Message>, end: Nanos) {
        for message in batch {
            let visible_at = end + self.options.patience;
            if message.received < TRIES {
                self.put(channel, Message { visible_at, ..message });
            } else if channel == Channel::Orders {
                let dead = Message { hop: Hop::SqsDlq, received: 0, visible_at, ..message };
                self.put(Channel::OrdersDlq, dead);
            }
        }
    }
}

impl Iterator for World {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let Reverse(Due { at, event, .. }) = self.queue.pop()?;
        self.happen(at, event);
        Some(Step { at, flushes: std::mem::take(&mut self.flushes), facts: std::mem::take(&mut self.facts) })
    }
}

/// An event and its time. Of two at one time, the one scheduled first comes first.
#[derive(Debug)]
struct Due {
    at: Nanos,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[cfg(test)]
mod tests;
