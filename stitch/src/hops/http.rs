//! Requests through a gateway that gives each an id.
//!
//! Requests carry trace context; the id is for those that lost it. API Gateway and
//! function URLs tell the caller the id in a header and the function in the event
//! (API Gateway Developer Guide, "`$context` variables").

use super::messaging::header;
use super::{HopKeys, Rule};
use crate::key::{Direction, Key, Kind};
use crate::span::Span;

const ANSWERED: &[&str] = &[
    "http.response.header.apigw-requestid",
    "http.response.header.apigw_requestid",
    "http.response.header.x-amzn-requestid",
    "http.response.header.x_amzn_requestid",
];

const FUNCTION_ANSWERED: &[&str] = &["http.response.header.x-amzn-requestid", "http.response.header.x_amzn_requestid"];

const ASKED: &[&str] = &[
    "aws.api_gateway.request_id",
    "aws.apigateway.request_id",
    "http.request.header.apigw-requestid",
    "http.request.header.x-amzn-requestid",
];

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "apigateway.request",
        hop: "http",
        direction: Direction::Out,
        reads: ANSWERED,
        on_links: false,
        find: |rule, span, found| {
            if span.kind.is_out() {
                ids(rule, span, found, ANSWERED)
            }
        },
    },
    Rule {
        name: "functionurl.request",
        hop: "lambda.invoke",
        direction: Direction::Out,
        reads: FUNCTION_ANSWERED,
        on_links: false,
        find: url_of_function,
    },
    Rule {
        name: "apigateway.served",
        hop: "http",
        direction: Direction::In,
        reads: ASKED,
        on_links: false,
        find: |rule, span, found| {
            if span.kind.is_in() {
                ids(rule, span, found, ASKED)
            }
        },
    },
];

/// A function URL answers with the request id of the invocation (Lambda Developer Guide, "Invoking function URLs").
fn url_of_function(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let hosts = ["server.address", "url.full"].iter().filter_map(|key| span.attributes.text(key));
    let is_function = |host: &str| host.contains(".lambda-url.") && host.contains(".on.aws");
    if !span.kind.is_out() || !hosts.into_iter().any(is_function) {
        return;
    }
    if let Some(id) = header(span, FUNCTION_ANSWERED) {
        found.push(rule, Key::new(Kind::Lambda, id), None);
    }
}

fn ids(rule: &Rule, span: &Span<'_>, found: &mut HopKeys, keys: &[&str]) {
    let host = span.attributes.first_text(&["http.route", "server.address"]);
    for id in keys.iter().filter_map(|key| header(span, &[key])) {
        found.push(rule, Key::new(Kind::ApiGateway, id), host);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Probe;
    use crate::span::Value::{Json, Text};

    #[test]
    fn requests_through_the_gateway() {
        let header = [("http.response.header.apigw-requestid", Json("[\"JKJaXmPLvHcESHA=\"]"))];
        Probe::client(&header).keys(&["apigateway.request out apigw:JKJaXmPLvHcESHA="]);
        let served = [("aws.api_gateway.request_id", Text("JKJaXmPLvHcESHA=")), ("http.route", Text("/orders"))];
        Probe::server(&served).keys(&["apigateway.served in apigw:JKJaXmPLvHcESHA= @/orders"]);
        Probe::server(&header).keys(&[]);
    }

    #[test]
    fn requests_to_the_url_of_a_function() {
        let id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";
        let header = format!("[\"{id}\"]");
        let call = |url| [("url.full", Text(url)), ("http.response.header.x-amzn-requestid", Json(&header))];
        Probe::client(&call("https://abcdefghij.lambda-url.eu-central-1.on.aws/orders"))
            .keys(&[&format!("apigateway.request out apigw:{id}"), &format!("functionurl.request out lambda:{id}")]);
        Probe::client(&call("https://abcdefghij.execute-api.eu-central-1.amazonaws.com/orders"))
            .keys(&[&format!("apigateway.request out apigw:{id}")]);
    }
}
