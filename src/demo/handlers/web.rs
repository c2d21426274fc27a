//! The shop's web site: no function, the other end of the API gateway.

use crate::demo::catalog::{Func, Hop, Language};
use crate::demo::words::{Context, Fact, Flush, Kind, MS, Nanos, Sent, Span, attrs};
use crate::demo::world::{Call, Message, Sender, World};

use super::Scenario;

const SCOPE: (&str, &str) = ("@opentelemetry/instrumentation-undici", "0.29.0");

/// Somebody orders: a request to the API, and its answer.
pub(crate) fn order(world: &mut World, at: Nanos, number: u64) {
    let web = world.web();
    let context = Context { trace: world.random.trace_id(), span: world.random.span_id() };
    let request = world.random.hex32();
    let sender =
        Sender { invocation: format!("web-{number}"), context, xray: Context::default(), language: Language::Node };
    world.facts.push(Fact::Send(Sent {
        kind: Hop::Http,
        from: sender.invocation.clone(),
        destination: "POST /orders".to_owned(),
        message_id: request.clone(),
        trace_id: context.trace_hex(),
        span_id: context.span_hex(),
        time_ns: at,
    }));
    let message = Message {
        hop: Hop::Http,
        id: request,
        order: number,
        visible_at: at,
        received: 1,
        sender: Some(sender),
        noted: true,
    };
    let request_id = world.random.uuid();
    let arrives = at + world.random.around(6.0);
    let call =
        Call { func: Func::OrdersApi, at: arrives, hop: Hop::Http, request_id, attempt: 1, messages: vec![message] };
    let done = world.execute(&call);
    let end = done.end + world.random.around(5.0);
    let refused = Scenario(number).refused();
    let status = if refused { 400 } else { 202 };
    let mut attributes = attrs![
        "http.request.method" => "POST", "url.full" => "https://api.shop.example/orders", "url.path" => "/orders",
        "url.scheme" => "https", "server.address" => "api.shop.example", "server.port" => 443,
        "http.response.status_code" => status, "user_agent.original" => "shop-web/2026.11",
    ];
    if refused {
        attributes.push(("error.type", "400".into()));
    }
    let span = Span {
        context,
        parent: None,
        name: "POST".to_owned(),
        kind: Kind::Client,
        scope: SCOPE,
        start: at,
        end,
        attributes,
        events: Vec::new(),
        links: Vec::new(),
        error: refused.then(String::new),
    };
    world.flushes.push(Flush { spans: vec![span], ..Flush::new(web, end + 40 * MS) });
}
