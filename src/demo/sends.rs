//! How a function sends: one method for each kind of hop.
//!
//! Each makes the producer's spans as the stock instrumentation does, notes the truth,
//! and schedules what the message sets off.

use super::catalog::{Func, Hop, Language};
use super::dialect::{ACCOUNT, REGION, aws_call, aws_scope, dynamodb, function_arn, sqs_send};
use super::run::{Done, Run};
use super::words::{Kind, MS, attrs};
use super::world::{Channel, Event, Message, Saga};

impl Run<'_> {
    /// Sends `count` messages about `order` to the queue: one alone, or a batch.
    pub(crate) fn sqs(&mut self, channel: Channel, order: u64, count: usize) {
        let queue = channel.name();
        let ids: Vec<String> = (0..count.max(1)).map(|_| self.world.random.uuid()).collect();
        let operation = if ids.len() > 1 { "SendMessageBatch" } else { "SendMessage" };
        let request_id = self.world.random.uuid();
        // Of a batch Python notes the first id, Node none.
        let seen = if self.language == Language::Node && ids.len() > 1 { None } else { ids.first().cloned() };
        let more = sqs_send(self.language, queue, seen.as_deref());
        let attributes = aws_call(self.language, "SQS", operation, &request_id, more);
        let (name, kind) = match self.language {
            Language::Node => (format!("{queue} send"), Kind::Producer),
            _ => (format!("SQS.{operation}"), Kind::Client),
        };
        let context = self.span(&name, kind, aws_scope(self.language), 9.0, attributes);
        for id in ids {
            let noted = self.world.options.hooks || seen.as_ref() == Some(&id);
            let message = Message { noted, ..self.message(Hop::Sqs, queue, id, order, context) };
            self.world.put(channel, message);
        }
    }

    /// Publishes to the topic, which has a function and a queue for subscribers.
    pub(crate) fn sns(&mut self, topic: &str, order: u64, subscriber: Func, queue: Channel) {
        let arn = format!("arn:aws:sns:{REGION}:{ACCOUNT}:{topic}");
        let request_id = self.world.random.uuid();
        let mut more = attrs!["messaging.destination.name" => &arn, "messaging.destination_kind" => "topic"];
        if self.language == Language::Node {
            more.extend(attrs!["messaging.system" => "aws.sns", "aws.sns.topic.arn" => &arn]);
        } else {
            more.extend(attrs!["messaging.system" => "aws.sns", "messaging.destination" => &arn]);
        }
        let attributes = aws_call(self.language, "SNS", "Publish", &request_id, more);
        let context = self.span(&format!("{topic} send"), Kind::Producer, aws_scope(self.language), 12.0, attributes);
        let id = self.world.random.uuid();
        let message = self.message(Hop::Sns, &arn, id, order, context);
        let copy = Message { hop: Hop::SnsSqs, ..message.clone() };
        let delivery = self.world.random.uuid();
        self.start(subscriber, message, delivery, 35.0);
        let visible_at = self.now + self.world.random.around(30.0);
        self.world.put(queue, Message { visible_at, ..copy });
    }

    /// Puts an event on the bus; a rule starts `target`.
    pub(crate) fn event_bridge(&mut self, bus: &str, order: u64, target: Func) {
        let (context, _) = self.aws("EventBridge", "PutEvents", 14.0, attrs![]);
        let id = self.world.random.uuid();
        let message = self.message(Hop::EventBridge, bus, id, order, context);
        let delivery = self.world.random.uuid();
        self.start(target, message, delivery, 120.0);
    }

    /// Puts an object; the bucket starts `target`. The object's identity is the put's request id.
    pub(crate) fn s3_put(&mut self, bucket: &str, order: u64, target: Func) {
        let more = if self.language == Language::Node { attrs!["aws.s3.bucket" => bucket] } else { attrs![] };
        let (context, request_id) = self.aws("S3", "PutObject", 28.0, more);
        let message = self.message(Hop::S3, bucket, request_id, order, context);
        let delivery = self.world.random.uuid();
        self.start(target, message, delivery, 180.0);
    }

    /// Writes to the table, whose stream a function follows.
    pub(crate) fn dynamodb_put(&mut self, order: u64) {
        let more = dynamodb(self.language, "orders", "PutItem");
        let (context, _) = self.aws("DynamoDB", "PutItem", 6.0, more);
        let sequence = format!("{}", 400_000_000_000_000 + self.world.random.below(1 << 40));
        let mut message = self.message(Hop::DynamoDbStream, "orders", sequence, order, context);
        message.visible_at += 250 * MS;
        self.world.put(Channel::OrdersTable, message);
    }

    /// Puts a record into the stream.
    pub(crate) fn kinesis(&mut self, order: u64) {
        let key = if self.language == Language::Node { "aws.kinesis.stream.name" } else { "aws.kinesis.stream_name" };
        let (context, _) = self.aws("Kinesis", "PutRecord", 7.0, attrs![key => "clicks"]);
        let sequence = 49_600_000_000_000_000 + self.world.random.below(1 << 50);
        let id = format!("shardId-{:012}:{sequence}", self.world.random.below(2));
        let message = self.message(Hop::Kinesis, "clicks", id, order, context);
        self.world.put(Channel::Clicks, message);
    }

    /// Sends a record to the Kafka topic.
    pub(crate) fn kafka(&mut self, order: u64) {
        let (scope, attributes) = match self.language {
            Language::Node => (
                ("@opentelemetry/instrumentation-kafkajs", "0.32.0"),
                attrs![
                    "messaging.system" => "kafka", "messaging.destination.name" => "shipments",
                    "messaging.operation.type" => "send", "messaging.operation.name" => "send",
                ],
            ),
            _ => (
                ("opentelemetry.instrumentation.kafka", "0.66b1"),
                attrs!["messaging.system" => "kafka", "messaging.destination" => "shipments", "messaging.url" => "[\"b-1.msk:9092\"]"],
            ),
        };
        let context = self.span("shipments send", Kind::Producer, scope, 4.0, attributes);
        let partition = self.world.random.below(3);
        let id = format!("shipments-{partition}:{}", 1_000 + self.world.random.below(1 << 32));
        let message = self.message(Hop::Kafka, "shipments", id, order, context);
        self.world.put(Channel::Shipments, message);
    }

    /// Calls a function and waits for its answer.
    pub(crate) fn invoke(&mut self, func: Func, order: u64) -> Done {
        let start = self.now;
        let (context, before) = self.enter();
        self.leave(before);
        let request_id = self.world.random.uuid();
        let message = self.message(Hop::Invoke, func.spec().name, request_id.clone(), order, context);
        let done = self.wait_for(func, message, request_id.clone());
        self.invoked(context, start, func, &request_id);
        done
    }

    /// Calls a function and does not wait.
    pub(crate) fn invoke_async(&mut self, func: Func, order: u64) {
        let start = self.now;
        let (context, before) = self.enter();
        self.leave(before);
        self.work(11.0);
        let request_id = self.world.random.uuid();
        let message = self.message(Hop::InvokeAsync, func.spec().name, request_id.clone(), order, context);
        self.start(func, message, request_id.clone(), 25.0);
        self.invoked(context, start, func, &request_id);
    }

    fn invoked(&mut self, context: super::words::Context, start: i64, func: Func, request_id: &str) {
        let name = func.spec().name;
        let mut more =
            attrs!["faas.invoked_provider" => "aws", "faas.invoked_name" => name, "faas.invoked_region" => REGION];
        let span = match self.language {
            Language::Node => {
                more.push(("faas.execution", request_id.into()));
                format!("{name} Invoke")
            }
            _ => {
                more.push(("aws.lambda.invoked_arn", function_arn(name).into()));
                "Lambda.Invoke".to_owned()
            }
        };
        let attributes = aws_call(self.language, "Lambda", "Invoke", request_id, more);
        self.finished(context, &span, Kind::Client, aws_scope(self.language), start, attributes);
    }

    /// Starts the order's workflow.
    pub(crate) fn start_execution(&mut self, order: u64) {
        let machine = format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:fulfil");
        let (context, _) =
            self.aws("SFN", "StartExecution", 16.0, attrs!["aws.step_functions.state_machine.arn" => machine]);
        let execution = format!("arn:aws:states:{REGION}:{ACCOUNT}:execution:fulfil:{}", self.world.random.uuid());
        let message = self.message(Hop::StepFunctions, "fulfil", execution.clone(), order, context);
        let Some(sender) = message.sender else { return };
        let at = self.now + self.world.random.around(40.0);
        let saga = Saga { execution, order, step: Func::ReserveStock, attempt: 1, sender };
        self.world.schedule(at, Event::Step(Box::new(saga)));
    }

    /// Sends to the Service Bus queue on Azure.
    pub(crate) fn service_bus(&mut self, order: u64) {
        let id = self.world.random.hex32();
        let attributes = attrs![
            "messaging.system" => "servicebus", "messaging.destination.name" => "payments", "messaging.operation" => "publish",
            "messaging.message.id" => &id, "net.peer.name" => "shop.servicebus.windows.net", "az.namespace" => "Microsoft.ServiceBus",
        ];
        let context =
            self.span("ServiceBusSender.send", Kind::Producer, ("azure.servicebus", "7.14.3"), 31.0, attributes);
        let message = self.message(Hop::ServiceBus, "payments", id, order, context);
        let invocation = self.world.random.uuid();
        self.start(Func::Ledger, message, invocation, 20.0);
    }

    /// Publishes to the Pub/Sub topic on Google's cloud.
    pub(crate) fn pub_sub(&mut self, order: u64) {
        let id = format!("{}", 11_000_000_000_000_000 + self.world.random.below(1 << 50));
        let attributes = attrs![
            "messaging.system" => "gcp_pubsub", "messaging.destination.name" => "loyalty-events",
            "messaging.operation" => "create", "messaging.message.id" => &id, "gcp.project_id" => "shop-demo-1234",
        ];
        let context = self.span(
            "loyalty-events create",
            Kind::Producer,
            ("google.cloud.pubsub_v1.publisher", "2.33.0"),
            26.0,
            attributes,
        );
        let message = self.message(Hop::PubSub, "loyalty-events", id, order, context);
        let execution = self.world.random.uuid();
        self.start(Func::Loyalty, message, execution, 45.0);
    }
}
