//! One invocation: from the call to what the function and the platform send about it.

use std::sync::Arc;

use super::catalog::{self, Cloud, Func, Hop, Language, Spec};
use super::environments::Ready;
use super::platform::{self, millis};
use super::words::{
    Attributes, Carried, Context, Edge, Event, Fact, Flush, Invocation, Kind, Link, Log, MS, Measure, Nanos, Outcome,
    Sent, Severity, Span, StartType, Value, attrs,
};
use super::world::{Call, Message, Sender, World};
use super::{dialect, handlers, hooks};

/// How a handler ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// It returned.
    Ok,
    /// It raised an error: its type and its text.
    Failed(&'static str, String),
    /// It was still at it when its time was over.
    TimedOut,
    /// It ran out of memory.
    Crashed,
}

/// What the caller learns of an invocation.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// When.
    pub(crate) end: Nanos,
    /// What it sends messages as.
    pub(crate) sender: Sender,
}

/// An invocation that is running.
#[derive(Debug)]
pub(crate) struct Run<'w> {
    /// The shop around it.
    pub(crate) world: &'w mut World,
    /// What runs.
    pub(crate) spec: Spec,
    /// What it is instrumented in.
    pub(crate) language: Language,
    /// How it was started.
    pub(crate) call: &'w Call,
    /// Where it runs.
    pub(crate) ready: Ready,
    /// Its own time.
    pub(crate) now: Nanos,
    /// Its root span.
    pub(crate) root: Context,
    /// The span under which new ones are.
    pub(crate) above: u64,
    /// Attributes of the root span.
    pub(crate) attributes: Attributes,
    /// The status of the root span, besides a raised error.
    pub(crate) error: Option<String>,
    /// Memory it used at most.
    pub(crate) memory_mb: u64,
    id: String,
    xray: Context,
    spans: Vec<Span>,
    logs: Vec<Log>,
    // What spans sent, by the span's id.
    keys_out: Vec<(u64, String)>,
}

/// Runs a call to its end.
pub(crate) fn execute(world: &mut World, call: &Call) -> Done {
    let ready = world.acquire(call.func, call.at);
    let language = call.func.language(world.options.style);
    let spec = call.func.spec();
    let carried = carried(call, language);
    let (root, parent) = root(world, call, carried);
    let xray = Context { trace: world.random.trace_id(), span: world.random.span_id() };
    let used = 0.35 + 0.3 * world.random.unit();
    let run = Run {
        spec,
        language,
        call,
        now: ready.begin,
        root,
        above: root.span,
        attributes: Vec::new(),
        error: None,
        memory_mb: ((spec.memory_mb as f64 * used) as u64).max(48),
        id: if call.attempt == 1 || !same_request(call.hop) {
            call.request_id.clone()
        } else {
            format!("{}#{}", call.request_id, call.attempt)
        },
        xray,
        spans: Vec::new(),
        logs: Vec::new(),
        keys_out: Vec::new(),
        ready,
        world,
    };
    run.play(parent, carried)
}

/// Whether the platform's retries have the first try's request id. A queue's have not.
fn same_request(hop: Hop) -> bool {
    matches!(hop, Hop::InvokeAsync | Hop::Sns | Hop::EventBridge | Hop::S3)
}

fn carried(call: &Call, to: Language) -> Carried {
    let senders = call.messages.iter().filter_map(|m| m.sender.as_ref());
    let of = |s: &Sender| catalog::carried(call.hop, s.language, to);
    senders.map(of).next().unwrap_or(Carried::Broken)
}

/// The root span's ids, and its parent.
fn root(world: &mut World, call: &Call, carried: Carried) -> (Context, Option<u64>) {
    let span = world.random.span_id();
    let sender = call.messages.first().and_then(|m| m.sender.as_ref());
    match (carried, sender) {
        (Carried::Parent, Some(sender)) => (Context { trace: sender.context.trace, span }, Some(sender.context.span)),
        (Carried::Phantom, _) => (Context { trace: world.random.trace_id(), span }, Some(world.random.span_id())),
        _ => (Context { trace: world.random.trace_id(), span }, None),
    }
}

impl Run<'_> {
    fn play(mut self, parent: Option<u64>, carried: Carried) -> Done {
        let end = handlers::handle(&mut self);
        let limit = self.ready.begin + self.spec.timeout_ms as Nanos * MS;
        let outcome = match &end {
            _ if self.now > limit => Outcome::Timeout,
            End::Ok => Outcome::Ok,
            End::Failed(..) => Outcome::Error,
            End::TimedOut => Outcome::Timeout,
            End::Crashed => Outcome::Crash,
        };
        if outcome == Outcome::Timeout {
            self.now = limit;
            self.spans.retain(|s| s.end < limit);
        }
        if outcome == Outcome::Crash {
            self.memory_mb = self.spec.memory_mb;
        }
        let lost = matches!(outcome, Outcome::Timeout | Outcome::Crash);
        if !lost {
            let span = self.root_span(parent, &end);
            self.spans.push(span);
        }
        self.note_keys();
        self.tell(outcome, lost, carried);
        let done = Done { outcome, end: self.now, sender: self.sender(self.root) };
        self.flush(outcome, lost);
        done
    }

    /// Writes what was sent and received into the spans, as the hooks do.
    fn note_keys(&mut self) {
        if !self.world.options.hooks {
            return;
        }
        for span in &mut self.spans {
            let sent = self.keys_out.iter().filter(|(id, _)| *id == span.context.span);
            let sent: Vec<String> = sent.map(|(_, key)| key.clone()).collect();
            if !sent.is_empty() {
                span.attributes.push((hooks::LINK_OUT, sent.into()));
            }
            if span.context == self.root {
                let received = hooks::keys_in(self.call, self.ready.begin);
                if !received.is_empty() {
                    span.attributes.push((hooks::LINK_IN, received.into()));
                }
            }
        }
    }

    fn root_span(&mut self, parent: Option<u64>, end: &End) -> Span {
        let mut events = Vec::new();
        let mut error = self.error.take();
        if let End::Failed(kind, message) = end {
            let text = format!("{kind}: {message}");
            self.log(Severity::Error, message, attrs!["exception.type" => *kind, "exception.message" => message]);
            let stack = dialect::stack(self.language, kind, message);
            let attributes =
                attrs!["exception.type" => *kind, "exception.message" => message, "exception.stacktrace" => stack];
            events.push(Event { name: "exception", time: self.now, attributes });
            error = Some(text);
        }
        let mut attributes = dialect::root(self);
        attributes.append(&mut self.attributes);
        Span {
            context: self.root,
            parent: parent.map(|p| (p, true)),
            name: dialect::root_name(self),
            kind: dialect::root_kind(self),
            scope: dialect::handler_scope(self.language, self.spec.cloud),
            start: self.ready.begin,
            end: self.now,
            attributes,
            events,
            links: Vec::new(),
            error,
        }
    }

    /// Adds what is true to the facts.
    fn tell(&mut self, outcome: Outcome, lost: bool, carried: Carried) {
        let span = (!lost).then(|| self.root.span_hex());
        for message in &self.call.messages {
            let Some(sender) = &message.sender else { continue };
            self.world.facts.push(Fact::Edge(Edge {
                kind: message.hop,
                from: sender.invocation.clone(),
                to: self.id.clone(),
                message_id: message.id.clone(),
                from_trace_id: sender.context.trace_hex(),
                from_span_id: sender.context.span_hex(),
                to_trace_id: self.root.trace_hex(),
                to_span_id: span.clone(),
                attempt: self.call.attempt.max(message.received),
                context: if lost && carried == Carried::Parent { Carried::Broken } else { carried },
                identity: !lost && hooks::is_provable(message, carried, self.world.options.hooks),
            }));
        }
        let reported = self.spec.cloud == Cloud::Aws && !self.world.options.bare;
        let waited = self.ready.init.filter(|_| matches!(self.ready.start_type, StartType::Cold | StartType::Restore));
        let billed_ms = platform::billed_ms(self.now - self.ready.begin, waited);
        let cost = || platform::cost_usd(billed_ms, self.spec.memory_mb);
        self.world.facts.push(Fact::Invocation(Invocation {
            id: self.id.clone(),
            request_id: self.call.request_id.clone(),
            function: self.spec.name,
            instance: self.ready.environment.instance.clone(),
            extension: self.ready.environment.extension.clone(),
            start_type: self.ready.start_type,
            start_known: self.is_start_known(reported, lost),
            init_ms: self.ready.init.map(millis),
            start_ns: self.ready.begin,
            duration_ms: millis(self.now - self.ready.begin),
            outcome,
            trace_id: self.root.trace_hex(),
            root_span_id: span,
            spans: self.spans.len(),
            reported,
            memory_mb: self.spec.memory_mb,
            billed_ms: (self.spec.cloud == Cloud::Aws).then_some(billed_ms),
            // What is kept ready has prices of its own, which are not listed for this region.
            cost_usd: (self.spec.cloud == Cloud::Aws && !self.ready.kept).then(cost),
            attempt: self.call.attempt,
            trigger: self.call.hop.trigger(),
        }));
    }

    /// Whether what is sent tells how the environment was ready. Of the spans, only Node's do, and they tell
    /// that it was a cold start, or that it was none.
    fn is_start_known(&self, reported: bool, lost: bool) -> bool {
        let start_type = self.ready.start_type;
        let by_span = self.spec.cloud == Cloud::Aws && self.language == Language::Node && !lost;
        reported || start_type == StartType::Warm || (by_span && start_type == StartType::Cold)
    }

    /// Sends what there is, and leaves the environment.
    fn flush(self, outcome: Outcome, lost: bool) {
        let Run { world, spec, language, call, ready, now, memory_mb, xray, spans, logs, .. } = self;
        let waited = matches!(ready.start_type, StartType::Cold | StartType::Restore);
        let measure = (!lost).then(|| Measure {
            trigger: call.hop.trigger(),
            duration_s: (now - ready.begin) as f64 / 1e9,
            error: outcome == Outcome::Error,
            cold_init_s: ready.init.filter(|_| waited).map(|init| init as f64 / 1e9),
            memory_bytes: memory_mb * 1024 * 1024,
        });
        let (measures, measured_from) = world.release(call.func, ready.environment.id, now, measure);
        let environment = Arc::clone(&ready.environment);
        let mut flush = Flush { spans, logs, measures, measured_from, ..Flush::new(environment, now + 3 * MS) };
        if spec.cloud == Cloud::Aws && !world.options.bare {
            let version = ready.environment.version;
            platform::ran(
                &mut flush,
                &platform::Ran {
                    spec,
                    language,
                    request_id: &call.request_id,
                    version,
                    start: ready.begin,
                    end: now,
                    outcome,
                    memory_used_mb: memory_mb,
                    init: ready.init.map(|init| (ready.start_type, init)),
                    xray,
                },
            );
        }
        world.flushes.push(flush);
    }

    /// Lets time pass.
    pub(crate) fn work(&mut self, ms: f64) {
        self.now += self.world.random.around(ms);
    }

    /// Something that takes about `ms`, as a span under the present one.
    pub(crate) fn span(
        &mut self,
        name: &str,
        kind: Kind,
        scope: (&'static str, &'static str),
        ms: f64,
        attributes: Attributes,
    ) -> Context {
        let start = self.now;
        self.work(ms);
        let context = Context { trace: self.root.trace, span: self.world.random.span_id() };
        self.finished(context, name, kind, scope, start, attributes);
        context
    }

    /// A span with ids that were given out before, from `start` until now.
    pub(crate) fn finished(
        &mut self,
        context: Context,
        name: &str,
        kind: Kind,
        scope: (&'static str, &'static str),
        start: Nanos,
        attributes: Attributes,
    ) {
        self.spans.push(Span {
            context,
            parent: Some((self.above, false)),
            name: name.to_owned(),
            kind,
            scope,
            start,
            end: self.now,
            attributes,
            events: Vec::new(),
            links: Vec::new(),
            error: None,
        });
    }

    /// Links and an error for the span that was finished last.
    pub(crate) fn amend(&mut self, links: Vec<Link>, error: Option<String>) {
        if let Some(span) = self.spans.last_mut() {
            span.links = links;
            span.error = error;
        }
    }

    /// Ids for a span that is finished later; new spans are under it until [`Run::leave`].
    pub(crate) fn enter(&mut self) -> (Context, u64) {
        let context = Context { trace: self.root.trace, span: self.world.random.span_id() };
        let before = std::mem::replace(&mut self.above, context.span);
        (context, before)
    }

    /// Back to what [`Run::enter`] said was above.
    pub(crate) fn leave(&mut self, before: u64) {
        self.above = before;
    }

    /// A log record of the function's own.
    pub(crate) fn log(&mut self, severity: Severity, text: &str, attributes: Attributes) {
        let context = Context { trace: self.root.trace, span: self.above };
        let body = match self.language {
            Language::Node => {
                let mut body = attrs!["message" => text, "requestId" => &self.call.request_id];
                body.extend(attributes.iter().cloned());
                Value::Map(body)
            }
            _ => Value::Text(text.to_owned()),
        };
        let observed = self.now + 50_000;
        self.logs.push(Log { time: self.now, observed, severity, body, context: Some(context), attributes });
    }

    /// This invocation as the sender of something, by the span that sent it.
    pub(crate) fn sender(&self, context: Context) -> Sender {
        Sender { invocation: self.id.clone(), context, xray: self.xray, language: self.language }
    }

    /// A message that the span `context` has sent, and the fact of it.
    pub(crate) fn message(&mut self, hop: Hop, destination: &str, id: String, order: u64, context: Context) -> Message {
        let sender = self.sender(context);
        self.keys_out.extend(hooks::key(hop, &id, order).map(|key| (context.span, key)));
        self.world.facts.push(Fact::Send(Sent {
            kind: hop,
            from: sender.invocation.clone(),
            destination: destination.to_owned(),
            message_id: id.clone(),
            trace_id: context.trace_hex(),
            span_id: context.span_hex(),
            time_ns: self.now,
        }));
        let noted = hooks::sender_notes(hop) || self.world.options.hooks;
        Message { hop, id, order, visible_at: self.now, received: 0, sender: Some(sender), noted }
    }

    /// Starts `func` for `message` after `delay_ms`, and does not wait.
    pub(crate) fn start(&mut self, func: Func, message: Message, request_id: String, delay_ms: f64) {
        let at = self.now + self.world.random.around(delay_ms);
        let message = Message { received: 1, ..message };
        let call = Call { func, at, hop: message.hop, request_id, attempt: 1, messages: vec![message] };
        self.world.schedule(at, super::world::Event::Deliver(Box::new(call)));
    }

    /// Starts `func` for `message` and waits for it.
    pub(crate) fn wait_for(&mut self, func: Func, message: Message, request_id: String) -> Done {
        let at = self.now + self.world.random.around(1.5);
        let message = Message { received: 1, ..message };
        let call = Call { func, at, hop: message.hop, request_id, attempt: 1, messages: vec![message] };
        let done = self.world.execute(&call);
        self.now = done.end + self.world.random.around(1.0);
        done
    }
}
