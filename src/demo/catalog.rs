//! The shop's functions, the hops between them, and what carries trace context.

use serde::Serialize;

use super::words::Carried;

/// Whose instrumentation the functions on AWS have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Style {
    /// Python throughout, default propagation.
    Python,
    /// Node throughout, default propagation.
    Node,
    /// Both in one chain.
    Mixed,
}

/// What a function is instrumented in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// `opentelemetry-instrumentation-aws-lambda` and `-botocore`.
    Python,
    /// `@opentelemetry/instrumentation-aws-lambda` and `-aws-sdk`.
    Node,
    /// The isolated worker of Azure Functions.
    DotNet,
}

/// Where a function runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cloud {
    /// AWS Lambda.
    Aws,
    /// Azure Functions.
    Azure,
    /// Google Cloud functions.
    Gcp,
}

/// How its environments come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starts {
    /// When an invocation needs one.
    OnDemand,
    /// So many are kept ready.
    Provisioned(u32),
    /// From a snapshot.
    SnapStart,
}

/// A function of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Func {
    /// Takes orders over HTTP; provisioned concurrency.
    OrdersApi,
    /// Handles orders from the queue in batches.
    OrdersWorker,
    /// Looks after orders that nobody could handle.
    OrdersDlq,
    /// Says what an order costs; called and waited for; SnapStart.
    Pricing,
    /// Called and not waited for; retried by the platform.
    Receipts,
    /// Hears of receipts that were given up.
    Failures,
    /// Tells the customer; a subscriber of a topic.
    Notify,
    /// Keeps the search index; the topic's other subscriber, through a queue.
    SearchIndex,
    /// Writes down what happened; started by the event bus.
    Audit,
    /// Makes small pictures of what was put into a bucket.
    Thumbs,
    /// Follows the orders table's stream.
    Stock,
    /// Follows the click stream.
    Clicks,
    /// Follows a Kafka topic.
    Shipments,
    /// Workflow: reserves the goods.
    ReserveStock,
    /// Workflow: takes the money, and tells Azure.
    ChargeCard,
    /// Workflow: hands the parcel over.
    ShipOrder,
    /// Workflow, compensation: gives the money back.
    RefundCard,
    /// Workflow, compensation: gives the goods back.
    ReleaseStock,
    /// Started by the clock; sometimes too slow.
    NightlyReport,
    /// Azure: reads the Service Bus queue.
    Ledger,
    /// Azure: Durable orchestration.
    Settle,
    /// Azure: an activity of it.
    SettleBook,
    /// Google: gets pushed messages.
    Loyalty,
}

/// What is known of a function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    /// Its name.
    pub(crate) name: &'static str,
    /// Where it runs.
    pub(crate) cloud: Cloud,
    /// Its memory.
    pub(crate) memory_mb: u64,
    /// The longest it may run.
    pub(crate) timeout_ms: u64,
    /// How long its initialisation takes.
    pub(crate) init_ms: f64,
    /// How its environments come up.
    pub(crate) starts: Starts,
    /// Its language when styles are mixed.
    mixed: Language,
}

const fn spec(name: &'static str, memory_mb: u64, init_ms: f64, mixed: Language) -> Spec {
    Spec { name, cloud: Cloud::Aws, memory_mb, timeout_ms: 30_000, init_ms, starts: Starts::OnDemand, mixed }
}

impl Func {
    /// All of them.
    pub(crate) const ALL: [Func; 23] = [
        Func::OrdersApi,
        Func::OrdersWorker,
        Func::OrdersDlq,
        Func::Pricing,
        Func::Receipts,
        Func::Failures,
        Func::Notify,
        Func::SearchIndex,
        Func::Audit,
        Func::Thumbs,
        Func::Stock,
        Func::Clicks,
        Func::Shipments,
        Func::ReserveStock,
        Func::ChargeCard,
        Func::ShipOrder,
        Func::RefundCard,
        Func::ReleaseStock,
        Func::NightlyReport,
        Func::Ledger,
        Func::Settle,
        Func::SettleBook,
        Func::Loyalty,
    ];

    /// What is known of it.
    pub(crate) fn spec(self) -> Spec {
        use Language::{DotNet, Node, Python};
        let azure = |name, init_ms| Spec { cloud: Cloud::Azure, ..spec(name, 1536, init_ms, DotNet) };
        match self {
            Func::OrdersApi => Spec { starts: Starts::Provisioned(2), ..spec("orders-api", 512, 420.0, Node) },
            Func::OrdersWorker => spec("orders-worker", 512, 510.0, Python),
            Func::OrdersDlq => spec("orders-dlq", 128, 260.0, Python),
            Func::Pricing => Spec { starts: Starts::SnapStart, ..spec("pricing", 1024, 190.0, Python) },
            Func::Receipts => spec("receipts", 256, 380.0, Node),
            Func::Failures => spec("failures", 128, 240.0, Python),
            Func::Notify => spec("notify", 256, 330.0, Node),
            Func::SearchIndex => Spec { starts: Starts::SnapStart, ..spec("search-index", 512, 210.0, Python) },
            Func::Audit => spec("audit", 128, 280.0, Python),
            Func::Thumbs => spec("thumbs", 1024, 640.0, Node),
            Func::Stock => Spec { starts: Starts::SnapStart, ..spec("stock", 256, 160.0, Python) },
            Func::Clicks => spec("clicks", 256, 310.0, Node),
            Func::Shipments => spec("shipments-in", 512, 520.0, Python),
            Func::ReserveStock => spec("reserve-stock", 256, 290.0, Python),
            Func::ChargeCard => spec("charge-card", 256, 350.0, Node),
            Func::ShipOrder => spec("ship-order", 256, 300.0, Python),
            Func::RefundCard => spec("refund-card", 256, 340.0, Node),
            Func::ReleaseStock => spec("release-stock", 256, 290.0, Python),
            Func::NightlyReport => Spec { timeout_ms: 3_000, ..spec("nightly-report", 512, 480.0, Python) },
            Func::Ledger => azure("ledger", 2_600.0),
            Func::Settle => azure("settle", 2_400.0),
            Func::SettleBook => azure("settle-book", 2_400.0),
            Func::Loyalty => Spec { cloud: Cloud::Gcp, ..spec("loyalty", 256, 900.0, Python) },
        }
    }

    /// What it is instrumented in.
    pub(crate) fn language(self, style: Style) -> Language {
        let spec = self.spec();
        match (spec.cloud, style) {
            (Cloud::Aws, Style::Python) | (Cloud::Gcp, _) => Language::Python,
            (Cloud::Aws, Style::Node) => Language::Node,
            (Cloud::Aws | Cloud::Azure, _) => spec.mixed,
        }
    }
}

/// A way from one invocation to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub(crate) enum Hop {
    /// A request through the API gateway.
    #[serde(rename = "http")]
    Http,
    /// A call that is waited for.
    #[serde(rename = "lambda.invoke")]
    Invoke,
    /// A call that is not.
    #[serde(rename = "lambda.invoke.async")]
    InvokeAsync,
    /// What becomes of a call that failed for good.
    #[serde(rename = "lambda.destination")]
    Destination,
    /// A queue.
    #[serde(rename = "sqs")]
    Sqs,
    /// A queue, after the message was moved to the dead letters.
    #[serde(rename = "sqs.dlq")]
    SqsDlq,
    /// A topic.
    #[serde(rename = "sns")]
    Sns,
    /// A topic and then a queue.
    #[serde(rename = "sns.sqs")]
    SnsSqs,
    /// An event bus.
    #[serde(rename = "eventbridge")]
    EventBridge,
    /// A bucket's notification.
    #[serde(rename = "s3")]
    S3,
    /// A table's stream.
    #[serde(rename = "dynamodb.stream")]
    DynamoDbStream,
    /// A stream.
    #[serde(rename = "kinesis")]
    Kinesis,
    /// A Kafka topic.
    #[serde(rename = "kafka")]
    Kafka,
    /// A workflow: from who started it to the first step, and from step to step.
    #[serde(rename = "stepfunctions")]
    StepFunctions,
    /// Azure Service Bus.
    #[serde(rename = "servicebus")]
    ServiceBus,
    /// Azure Durable Functions.
    #[serde(rename = "durable")]
    Durable,
    /// Google Pub/Sub, pushed.
    #[serde(rename = "pubsub")]
    PubSub,
    /// The clock: it has no sender.
    #[serde(rename = "schedule")]
    Schedule,
}

impl Hop {
    /// `faas.trigger` of what it starts.
    pub(crate) fn trigger(self) -> &'static str {
        match self {
            Hop::Http => "http",
            Hop::Schedule => "timer",
            Hop::S3 | Hop::DynamoDbStream => "datasource",
            Hop::Invoke | Hop::InvokeAsync | Hop::Destination | Hop::StepFunctions => "other",
            _ => "pubsub",
        }
    }
}

/// What stock instrumentation, as it is set up by default, makes of the trace context
/// on its way from a sender in one language to a receiver in another.
pub(crate) fn carried(hop: Hop, from: Language, to: Language) -> Carried {
    match hop {
        Hop::Http | Hop::ServiceBus | Hop::Durable => Carried::Parent,
        // Python writes `payload.headers`, which both read; Node writes the client context, which neither reads.
        Hop::Invoke | Hop::InvokeAsync => match from {
            Language::Python => Carried::Parent,
            _ => Carried::Broken,
        },
        // Node reads the X-Ray header, which names a segment that nobody exports; Python
        // reads the message attributes, which Node writes and botocore does not.
        Hop::Sqs | Hop::SqsDlq => match (from, to) {
            (_, Language::Node) => Carried::Dangling,
            (Language::Node, _) => Carried::Link,
            _ => Carried::Broken,
        },
        // Inside the topic's envelope nobody looks; the X-Ray header is on the queue's message.
        Hop::SnsSqs if to == Language::Node => Carried::Dangling,
        // What is pushed comes with a trace of the pusher's own, which nobody sees.
        Hop::PubSub => Carried::Phantom,
        _ => Carried::Broken,
    }
}
