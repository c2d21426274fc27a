//! The functions that hear of things: from topics, buses, buckets, tables, streams and the clock.

use crate::demo::catalog::{Func, Language};
use crate::demo::dialect::dynamodb;
use crate::demo::run::{End, Run};
use crate::demo::words::{Kind, Severity, attrs};

use super::{Scenario, order, orders};

/// Writes to the customer, and tells the bus and the loyalty programme.
pub(super) fn notify(run: &mut Run<'_>) -> End {
    let number = order(run);
    run.work(5.0);
    if Scenario(number).mail_is_down() && run.call.attempt == 1 {
        http(run, "POST", "mail.example.net", "/send", 503, 210.0);
        return End::Failed("ConnectionError", "mail.example.net did not answer".to_owned());
    }
    http(run, "POST", "mail.example.net", "/send", 202, 60.0);
    run.log(Severity::Info, "mail sent", attrs!["order.id" => number as i64]);
    run.event_bridge("shop", number, Func::Audit);
    if number.is_multiple_of(2) {
        run.pub_sub(number);
    }
    End::Ok
}

/// Keeps the search index.
pub(super) fn search_index(run: &mut Run<'_>) -> End {
    orders::in_batch(run, "search", |run, _| {
        http(run, "PUT", "search.shop.internal", "/orders/_doc", 201, 22.0);
        End::Ok
    })
}

/// Writes down what happened.
pub(super) fn audit(run: &mut Run<'_>) -> End {
    let number = order(run);
    run.work(3.0);
    run.s3_put("audit", number, Func::Thumbs);
    End::Ok
}

/// Makes small pictures; large ones are too much for it.
pub(super) fn thumbs(run: &mut Run<'_>) -> End {
    let number = order(run);
    let bucket = || attrs!["aws.s3.bucket" => "audit"];
    let more = if run.language == Language::Node { bucket() } else { attrs![] };
    run.aws("S3", "GetObject", 25.0, more);
    if Scenario(number).large_picture() && run.call.attempt == 1 {
        let text = if run.language == Language::Node { "JavaScript heap out of memory" } else { "MemoryError" };
        run.log(Severity::Error, text, attrs![]);
        run.work(300.0);
        return End::Crashed;
    }
    run.work(70.0);
    let more = if run.language == Language::Node { bucket() } else { attrs![] };
    run.aws("S3", "PutObject", 22.0, more);
    End::Ok
}

/// Follows the orders table.
pub(super) fn stock(run: &mut Run<'_>) -> End {
    let records = run.call.messages.len() as i64;
    run.work(4.0);
    run.log(Severity::Info, "stock counted", attrs!["records" => records]);
    run.aws("DynamoDB", "UpdateItem", 6.0, dynamodb(run.language, "stock", "UpdateItem"));
    End::Ok
}

/// Follows the click stream.
pub(super) fn clicks(run: &mut Run<'_>) -> End {
    let records = run.call.messages.len() as i64;
    run.work(2.0 + records as f64);
    run.log(Severity::Info, "clicks counted", attrs!["records" => records, "bytes_per_record" => 212.5]);
    End::Ok
}

/// Follows the shipments.
pub(super) fn shipments(run: &mut Run<'_>) -> End {
    run.work(6.0);
    http(run, "POST", "parcels.example.org", "/labels", 200, 80.0);
    End::Ok
}

/// Adds points; what pushes the message says which one it was.
pub(super) fn loyalty(run: &mut Run<'_>) -> End {
    let id = run.call.messages.first().map_or(String::new(), |m| m.id.clone());
    run.attributes = attrs![
        "messaging.system" => "gcp_pubsub", "messaging.message.id" => &id, "cloudevents.event_id" => &id,
        "cloudevents.event_source" => "//pubsub.googleapis.com/projects/shop-demo-1234/topics/loyalty-events",
        "faas.trigger" => "pubsub",
    ];
    let attributes = attrs!["db.system" => "firestore", "db.operation" => "commit", "rpc.system" => "grpc"];
    run.span("Firestore.Commit", Kind::Client, ("google.cloud.firestore", "2.23.0"), 18.0, attributes);
    End::Ok
}

/// Adds up the day. Two times in three it has enough time for it.
pub(super) fn nightly_report(run: &mut Run<'_>) -> End {
    run.aws("DynamoDB", "Scan", 380.0, dynamodb(run.language, "orders", "Scan"));
    let more = if run.language == Language::Node { attrs!["aws.s3.bucket" => "reports"] } else { attrs![] };
    run.aws("S3", "GetObject", 120.0, more);
    if order(run).is_multiple_of(3) {
        run.log(Severity::Warn, "still adding", attrs![]);
        return End::TimedOut;
    }
    run.work(400.0);
    End::Ok
}

/// A request to a server outside.
pub(super) fn http(run: &mut Run<'_>, method: &str, host: &str, path: &str, status: i64, ms: f64) {
    let url = format!("https://{host}{path}");
    let (scope, attributes) = match run.language {
        Language::Python => (
            ("opentelemetry.instrumentation.urllib3", "0.66b1"),
            attrs!["http.method" => method, "http.url" => url, "http.status_code" => status],
        ),
        _ => (
            ("@opentelemetry/instrumentation-undici", "0.29.0"),
            attrs![
                "http.request.method" => method, "url.full" => url, "server.address" => host, "server.port" => 443,
                "http.response.status_code" => status,
            ],
        ),
    };
    run.span(method, Kind::Client, scope, ms, attributes);
    if status >= 400 {
        run.amend(Vec::new(), Some(String::new()));
    }
}
