//! How each instrumentation says things: names of spans, names of attributes.
//!
//! The same request id is `aws.request_id` in Python and `aws.request.id` in Node, the
//! same queue `messaging.destination` and `messaging.destination.name`, and so on: what
//! is here is what was recorded of the stock packages, not what the conventions ask for.

use super::catalog::{Cloud, Func, Hop, Language};
use super::run::Run;
use super::words::{Attributes, Context, Kind, Value, attrs};

/// The account of the shop on AWS.
pub(crate) const ACCOUNT: &str = "123456789012";
/// Its region.
pub(crate) const REGION: &str = "eu-central-1";

const PY: &str = "0.66b1";

/// The instrumentation that makes the span of an invocation.
pub(crate) fn handler_scope(language: Language, cloud: Cloud) -> (&'static str, &'static str) {
    match (cloud, language) {
        (Cloud::Azure, _) => ("Microsoft.Azure.Functions.Worker", "2.51.0"),
        (Cloud::Gcp, _) => ("opentelemetry.instrumentation.flask", PY),
        (Cloud::Aws, Language::Node) => ("@opentelemetry/instrumentation-aws-lambda", "0.75.0"),
        (Cloud::Aws, _) => ("opentelemetry.instrumentation.aws_lambda", PY),
    }
}

/// The instrumentation that makes the spans of calls to AWS.
pub(crate) fn aws_scope(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::Node => ("@opentelemetry/instrumentation-aws-sdk", "0.78.0"),
        _ => ("opentelemetry.instrumentation.botocore", PY),
    }
}

/// The ARN of a function.
pub(crate) fn function_arn(name: &str) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
}

/// The name of an invocation's span.
pub(crate) fn root_name(run: &Run<'_>) -> String {
    match run.call.func {
        Func::Settle => format!("orchestration:{}", run.spec.name),
        Func::SettleBook => format!("activity:{}", run.spec.name),
        Func::Ledger => format!("function {}", run.spec.name),
        Func::Loyalty => "POST /".to_owned(),
        _ => run.spec.name.to_owned(),
    }
}

/// The kind of an invocation's span.
pub(crate) fn root_kind(run: &Run<'_>) -> Kind {
    match run.call.func {
        Func::Ledger => Kind::Internal,
        _ => Kind::Server,
    }
}

/// The attributes of an invocation's span, besides those that depend on what it did.
pub(crate) fn root(run: &Run<'_>) -> Attributes {
    let id = &run.call.request_id;
    match (run.spec.cloud, run.language) {
        (Cloud::Azure, _) if matches!(run.call.func, Func::Settle | Func::SettleBook) => {
            let kind = if run.call.func == Func::Settle { "orchestration" } else { "activity" };
            let instance = run.call.messages.first().map_or("", |m| m.id.as_str());
            attrs![
                "durabletask.type" => kind, "durabletask.task.name" => run.spec.name,
                "durabletask.task.instance_id" => instance, "faas.execution" => id,
            ]
        }
        (Cloud::Azure, _) => attrs![
            "az.schema_url" => "https://opentelemetry.io/schemas/1.17.0", "faas.execution" => id,
            "faas.trigger" => "serviceBusTrigger",
        ],
        (Cloud::Gcp, _) => attrs![
            "http.method" => "POST", "http.route" => "/", "http.target" => "/?__GCP_CloudEventsMode=CE_PUBSUB_BINDING",
            "http.status_code" => 204, "http.scheme" => "http", "net.host.name" => "loyalty-2kq7-ey.a.run.app",
            "faas.invocation_id" => id,
        ],
        (Cloud::Aws, Language::Node) => attrs![
            "faas.invocation_id" => id, "cloud.resource_id" => function_arn(run.spec.name),
            "cloud.account.id" => ACCOUNT, "faas.coldstart" => run.ready.start_type == super::words::StartType::Cold,
        ],
        (Cloud::Aws, _) => {
            let mut attributes = attrs![
                "cloud.resource_id" => function_arn(run.spec.name), "faas.invocation_id" => id, "cloud.account.id" => ACCOUNT,
            ];
            // Only these two kinds of events are recognised.
            match run.call.hop {
                Hop::Http => attributes.push(("faas.trigger", "http".into())),
                Hop::Sqs | Hop::SqsDlq | Hop::SnsSqs => attributes.push(("faas.trigger", "pubsub".into())),
                _ => {}
            }
            attributes
        }
    }
}

/// What a web request adds to the span of the function behind the gateway.
pub(crate) fn http_request(language: Language, path: &str, status: i64) -> Attributes {
    let host = "api.shop.example";
    match language {
        Language::Node => attrs!["url.full" => format!("https://{host}{path}")],
        _ => attrs![
            "http.method" => "POST", "http.route" => path, "http.target" => path, "http.status_code" => status,
            "http.scheme" => "https", "http.user_agent" => "shop-web/2026.11", "net.host.name" => host,
        ],
    }
}

/// A stack trace, as the language prints it.
pub(crate) fn stack(language: Language, kind: &str, message: &str) -> String {
    match language {
        Language::Node => format!(
            "{kind}: {message}\n    at handler (/var/task/index.js:41:11)\n    at Runtime.handleOnce (file:///var/runtime/index.mjs:1306:29)"
        ),
        Language::DotNet => format!(
            "{kind}: {message}\n   at Shop.Ledger.Run(ServiceBusReceivedMessage message) in /src/Ledger.cs:line 28"
        ),
        Language::Python => format!(
            "Traceback (most recent call last):\n  File \"/var/task/app.py\", line 41, in handler\n    raise {kind}(\"{message}\")\n{kind}: {message}\n"
        ),
    }
}

impl Run<'_> {
    /// A call to an AWS service: its span, and the service's request id.
    pub(crate) fn aws(&mut self, service: &str, operation: &str, ms: f64, more: Attributes) -> (Context, String) {
        let request_id = self.world.random.uuid();
        let name = format!("{service}.{operation}");
        let attributes = aws_call(self.language, service, operation, &request_id, more);
        let context = self.span(&name, Kind::Client, aws_scope(self.language), ms, attributes);
        (context, request_id)
    }
}

/// The attributes of a call to an AWS service.
pub(crate) fn aws_call(
    language: Language,
    service: &str,
    operation: &str,
    request_id: &str,
    more: Attributes,
) -> Attributes {
    let mut attributes = attrs!["rpc.system" => "aws-api", "rpc.service" => service, "rpc.method" => operation];
    match language {
        Language::Node => {
            attributes.extend(
                attrs!["cloud.region" => REGION, "aws.request.id" => request_id, "http.response.status_code" => 200],
            );
        }
        _ => {
            let host = format!("{}.{REGION}.amazonaws.com", service.to_ascii_lowercase());
            attributes.extend(attrs![
                "cloud.region" => REGION, "server.address" => host, "server.port" => 443,
                "aws.request_id" => request_id, "http.status_code" => 200, "retry_attempts" => 0,
            ]);
        }
    }
    attributes.extend(more);
    attributes
}

/// What a call to DynamoDB adds.
pub(crate) fn dynamodb(language: Language, table: &str, operation: &str) -> Attributes {
    let tables = Value::Texts(vec![table.to_owned()]);
    match language {
        Language::Node => {
            attrs!["db.system.name" => "aws.dynamodb", "db.operation.name" => operation, "aws.dynamodb.table_names" => tables]
        }
        _ => attrs!["db.system" => "dynamodb", "db.operation" => operation, "aws.dynamodb.table_names" => tables],
    }
}

/// The URL of a queue.
pub(crate) fn queue_url(queue: &str) -> String {
    format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{queue}")
}

/// What sending to a queue adds; `id` is the message's where the instrumentation sees it.
pub(crate) fn sqs_send(language: Language, queue: &str, id: Option<&str>) -> Attributes {
    let url = queue_url(queue);
    let mut attributes = match language {
        Language::Node => attrs![
            "messaging.system" => "aws_sqs", "messaging.destination.name" => queue, "url.full" => url,
            "messaging.operation.type" => "send",
        ],
        _ => attrs![
            "messaging.system" => "aws.sqs", "messaging.destination" => queue, "messaging.url" => &url, "aws.queue_url" => &url,
        ],
    };
    if let Some(id) = id {
        attributes.push(("messaging.message.id", id.into()));
    }
    attributes
}

/// What handling a batch from a queue says.
pub(crate) fn sqs_process(queue: &str, messages: usize) -> Attributes {
    let mut attributes = attrs![
        "messaging.system" => "aws_sqs", "messaging.destination.name" => queue, "messaging.operation.type" => "process",
    ];
    if messages > 1 {
        attributes.push(("messaging.batch.message_count", Value::Int(messages as i64)));
    }
    attributes
}
