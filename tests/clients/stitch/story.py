"""Orders on their way through the shop, and what really caused what."""

import json

from cloud import (destination_event, dynamodb_event, eventbridge_event, http_event, kinesis_event, s3_event, sns_event, sqs_event,
                   step_event)
from hopline import Edge

# The chain's functions in turn, and who hears of everything else: by the first and the second language of a team.
TEAMS = {"python": ("python", "python"), "node": ("node", "node"), "python-node": ("python", "node"), "node-python": ("node", "python")}


class Story:
    """What happened: `truth` has all edges, `languages` of each the sender's and the receiver's."""

    def __init__(self, cloud, hop, team, hooks, what):
        self.cloud, self.hop, self.hooks = cloud, hop, hooks
        first, second = TEAMS[team]
        self.name = f"{what.__name__.replace('_', '-')}-{team}-{'hooks' if hooks else 'stock'}"
        self._roles = {"api": first, "worker": second, "notify": first, "thumbs": second, "audit": first, "clerk": second}
        self.truth, self.languages, self.invocations = [], {}, []
        what(self)

    def function(self, role):
        return self.cloud.function(role, self._roles[role], self.hooks)

    def invoke(self, role, event, causes, calls=(), error=None, **more):
        """`causes`: (hop, sender) each; the sender is an invocation, or the span of a caller. `more` is said of the edges."""
        invocation = self.function(role).invoke(event, calls, error)
        self.caused(invocation, causes, **more)
        return invocation

    def order(self, calls, header="traceparent"):
        """A call of the API: the trace, and the invocation."""
        def ask(parent):
            return self.function("api").invoke(http_event(parent, header), calls)

        trace_id, span_id, api = self.hop.call(ask)
        self.caused(api, [("http", span_id)])
        return trace_id, api

    def caused(self, invocation, causes, **more):
        self.invocations.append(invocation)
        for hop, sender in causes:
            id_, language = (sender, "browser") if isinstance(sender, str) else (sender.id, sender.function.language)
            edge = Edge(hop, id_, invocation.id, **more)
            self.truth.append(edge)
            self.languages[edge] = language, invocation.function.language


def an_order(story):
    """API -> SQS -> worker -> SNS -> notify -> S3 -> thumbs -> all other kinds of hops -> audit."""
    cloud, name = story.cloud, story.name
    for role in ("api", "worker", "notify", "thumbs", "audit"):
        story.function(role)  # they start side by side
    queue, queue_arn = cloud.queue(f"orders-{name}")
    told, told_arn = cloud.queue(f"told-{name}")  # hears what the functions hear
    priced = cloud.topic(f"priced-{name}", told_arn)
    bucket = f"audit-{name}"
    _bucket(cloud, bucket, told, told_arn)
    send = [("sqs", "SendMessage", {"QueueUrl": queue, "MessageBody": '{"order": 1}'})]
    story.trace_id, api = story.order(send)
    publish = [("sns", "Publish", {"TopicArn": priced, "Message": '{"order": 1}'})]
    worker = story.invoke("worker", sqs_event(queue_arn, cloud.receive(queue)), [("sqs", api)], publish)
    notification = json.loads(cloud.receive(told)[0]["Body"])
    assert notification["MessageId"] == worker.answers[0]["MessageId"]
    put = [("s3", "PutObject", {"Bucket": bucket, "Key": "red flower+.json", "Body": name})]
    notify = story.invoke("notify", sns_event(notification), [("sns", worker)], put)
    notification = json.loads(cloud.receive(told)[0]["Body"])
    story.message = worker.answers[0]["MessageId"]
    story.object = f"s3.obj:{bucket}|red flower+.json|" + notify.answers[0]["ETag"].strip('"')
    _all_other_hops(story, s3_event(notification, notify.answers[0]), notify)


def _all_other_hops(story, written, notify):
    cloud, name = story.cloud, story.name
    copies, copies_arn = cloud.queue(f"copies-{name}")
    shipped, stream = cloud.topic(f"shipped-{name}", copies_arn), f"clicks-{name}"
    cloud.client("events").create_event_bus(Name=f"bus-{name}")
    cloud.client("kinesis").create_stream(StreamName=stream, ShardCount=1)
    machine = cloud.client("stepfunctions").create_state_machine(
        name=f"refund-{name}", roleArn="arn:aws:iam::123456789012:role/r",
        definition='{"StartAt": "p", "States": {"p": {"Type": "Pass", "End": true}}}')["stateMachineArn"]
    changes_arn = _orders_table(cloud)
    entry = {"Source": "shop", "DetailType": "shipped", "Detail": '{"order": 1}', "EventBusName": f"bus-{name}"}
    audit = story.function("audit")
    heard = len(audit.invocations)

    thumbs = story.invoke("thumbs", written, [("s3", notify)], [
        ("sns", "Publish", {"TopicArn": shipped, "Message": "shipped"}),
        ("events", "PutEvents", {"Entries": [entry]}),
        ("kinesis", "PutRecord", {"StreamName": stream, "Data": name, "PartitionKey": "1"}),
        ("dynamodb", "PutItem", {"TableName": "orders", "Item": {"id": {"S": name}, "total": {"N": "42"}}}),
        ("stepfunctions", "StartExecution", {"stateMachineArn": machine, "input": "{}"}),
        ("lambda", "Invoke", {"FunctionName": audit.name, "Payload": '{"order": 1}'}),
    ])
    _, put_events, put_record, _, started, invoked = thumbs.answers
    called = audit.invocations[heard]  # meanwhile
    assert called.id == invoked["RequestId"]
    story.caused(called, [("lambda.invoke", thumbs)])
    story.invoke("audit", sqs_event(copies_arn, cloud.receive(copies)), [("sns", thumbs)])
    story.invoke("audit", eventbridge_event(entry, put_events["Entries"][0]["EventId"]), [("eventbridge", thumbs)])
    record = _kinesis_record(cloud, stream, put_record)
    story.invoke("audit", kinesis_event(stream, put_record["ShardId"], record), [("kinesis", thumbs)])
    story.invoke("audit", dynamodb_event(changes_arn, _change(cloud, changes_arn, name)), [("dynamodb.stream", thumbs)])
    story.invoke("audit", destination_event(thumbs), [("lambda.destination", thumbs)])
    before = thumbs
    for state in ("refund", "restock"):
        before = story.invoke("audit", step_event(started["executionArn"], state), [("stepfunctions", before)])


def retries(story):
    """A poisonous message: three tries, then the dead-letter queue."""
    cloud, name = story.cloud, story.name
    dead, dead_arn = cloud.queue(f"dead-{name}")
    policy = {"deadLetterTargetArn": dead_arn, "maxReceiveCount": 3}
    queue, queue_arn = cloud.queue(f"orders-{name}", RedrivePolicy=json.dumps(policy))
    send = [("sqs", "SendMessage", {"QueueUrl": queue, "MessageBody": "poison"})]
    story.trace_id, api = story.order(send)
    for attempt in (1, 2, 3):
        event = sqs_event(queue_arn, cloud.receive(queue, delete=False))
        assert event["Records"][0]["attributes"]["ApproximateReceiveCount"] == str(attempt)
        story.invoke("worker", event, [("sqs", api)], error="poison", attempt=attempt, retry=attempt > 1)
    cloud.receive(queue, 0)
    story.invoke("audit", sqs_event(dead_arn, cloud.receive(dead)), [("sqs", api)], dead_letter=True)


def two_orders(story):
    """Two orders in one batch; the worker tells of each."""
    cloud, name = story.cloud, story.name
    queue, queue_arn = cloud.queue(f"orders-{name}")
    told, told_arn = cloud.queue(f"told-{name}")
    priced = cloud.topic(f"priced-{name}", told_arn)
    send = [("sqs", "SendMessage", {"QueueUrl": queue, "MessageBody": "order"})]
    story.trace_ids, apis = zip(*(story.order(send) for _ in range(2)))
    publish = [("sns", "Publish", {"TopicArn": priced, "Message": n}) for n in "12"]
    worker = story.invoke("worker", sqs_event(queue_arn, cloud.receive(queue, 2)), [("sqs", api) for api in apis], publish)
    for message in cloud.receive(told, 2):
        story.invoke("notify", sns_event(json.loads(message["Body"])), [("sns", worker)])


def one_after_the_other(story):
    """Two orders, by the same queue, and two with the same content written to the same object before anybody looks at it."""
    cloud, name = story.cloud, story.name
    queue, queue_arn = cloud.queue(f"orders-{name}")
    told, told_arn = cloud.queue(f"told-{name}")
    _bucket(cloud, name, told, told_arn)
    send = [("sqs", "SendMessage", {"QueueUrl": queue, "MessageBody": "order"})]
    put = [("s3", "PutObject", {"Bucket": name, "Key": "latest", "Body": "order"})]
    written = []
    for _ in range(2):
        _, api = story.order(send)
        worker = story.invoke("worker", sqs_event(queue_arn, cloud.receive(queue)), [("sqs", api)], put)
        written.append((worker, s3_event(json.loads(cloud.receive(told)[0]["Body"]), worker.answers[0])))
    for worker, event in written:
        story.invoke("audit", event, [("s3", worker)])


def asynchronous(story):
    """An invocation that nobody waits for: it fails twice, and is tried again under its id."""
    clerk = story.function("clerk")
    request = {"FunctionName": clerk.name, "InvocationType": "Event", "Payload": '{"order": 1}'}
    story.trace_id, api = story.order([("lambda", "Invoke", request)])
    payload, request_id = story.cloud.events.pop()
    assert request_id == api.answers[0]["RequestId"]
    for attempt in (1, 2, 3):
        tried = clerk.invoke(payload, error="not yet" if attempt < 3 else None, request_id=request_id)  # AWS waits a minute
        story.caused(tried, [("lambda.invoke", api)], attempt=attempt, retry=attempt > 1)


def fan_out(story):
    """One notification, two functions; the second does not have it at the first try."""
    told, told_arn = story.cloud.queue(f"told-{story.name}")
    topic = story.cloud.topic(f"priced-{story.name}", told_arn)
    story.trace_id, api = story.order([("sns", "Publish", {"TopicArn": topic, "Message": "priced"})])
    event = sns_event(json.loads(story.cloud.receive(told)[0]["Body"]))
    story.invoke("worker", event, [("sns", api)])
    story.invoke("audit", event, [("sns", api)], error="not yet")
    story.invoke("audit", event, [("sns", api)], attempt=2, retry=True)


def batch(story):
    """Three messages sent by one call, and received together."""
    queue, queue_arn = story.cloud.queue(f"orders-{story.name}")
    entries = [{"Id": n, "MessageBody": n} for n in "123"]
    story.trace_id, api = story.order([("sqs", "SendMessageBatch", {"QueueUrl": queue, "Entries": entries})])
    story.invoke("worker", sqs_event(queue_arn, story.cloud.receive(queue, 3)), [("sqs", api)])


def poll(story):
    """A consumer that asks for messages itself."""
    queue, _ = story.cloud.queue(f"orders-{story.name}")
    story.trace_id, api = story.order([("sqs", "SendMessage", {"QueueUrl": queue, "MessageBody": "order"})])
    story.invoke("worker", {}, [("sqs", api)], [("sqs", "ReceiveMessage", {"QueueUrl": queue})])


def capital_header(story):
    """The gateway gives the header as the client wrote it."""
    story.trace_id, _ = story.order([], header="Traceparent")


def _bucket(cloud, name, told, told_arn):
    """A bucket, of whose objects a queue is told."""
    cloud.client("s3").create_bucket(Bucket=name)
    cloud.client("s3").put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={
        "QueueConfigurations": [{"QueueArn": told_arn, "Events": ["s3:ObjectCreated:*"]}]})
    assert json.loads(cloud.receive(told)[0]["Body"])["Event"] == "s3:TestEvent"


def _orders_table(cloud):
    """The stream of the table of orders."""
    dynamodb = cloud.client("dynamodb")
    if "orders" not in dynamodb.list_tables()["TableNames"]:
        dynamodb.create_table(
            TableName="orders", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"})
    return dynamodb.describe_table(TableName="orders")["Table"]["LatestStreamArn"]


def _change(cloud, stream_arn, id_):
    streams = cloud.client("dynamodbstreams")
    shard, = streams.describe_stream(StreamArn=stream_arn)["StreamDescription"]["Shards"]
    start = streams.get_shard_iterator(StreamArn=stream_arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
    records = streams.get_records(ShardIterator=start["ShardIterator"])["Records"]
    record, = [r for r in records if r["dynamodb"]["Keys"] == {"id": {"S": id_}}]
    return record


def _kinesis_record(cloud, stream, put):
    kinesis = cloud.client("kinesis")
    start = kinesis.get_shard_iterator(
        StreamName=stream, ShardId=put["ShardId"], ShardIteratorType="AT_SEQUENCE_NUMBER", StartingSequenceNumber=put["SequenceNumber"])
    record = kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"][0]
    assert record["SequenceNumber"] == put["SequenceNumber"]
    return record
