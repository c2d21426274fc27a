"""One order on its way through the shop, and what really caused what."""

import json

from cloud import dynamodb_event, http_event, kinesis_event, s3_event, sns_event, sqs_event, step_event
from conftest import Edge

# The chain's functions in turn, and who hears of everything else: by the first and the second language of a team.
TEAMS = {"python": ("python", "python"), "node": ("node", "node"), "python-node": ("python", "node"), "node-python": ("node", "python")}


class Story:
    """Plays: API -> SQS -> worker -> SNS -> notify -> S3 -> thumbs -> everything else -> audit.

    `truth` has all edges, `senders` the language of each edge's sender and receiver.
    """

    def __init__(self, cloud, hop, team, hooks):
        self.cloud, self.hop, self.hooks = cloud, hop, hooks
        first, second = TEAMS[team]
        self.name = f"{team}-{'hooks' if hooks else 'stock'}"
        roles = {"api": first, "worker": second, "notify": first, "thumbs": second, "audit": first}
        self.roles = {role: cloud.function(role, language, hooks) for role, language in roles.items()}
        self.truth, self.languages, self.invocations = [], {}, []
        self.chain()
        self.everything_else()

    def invoke(self, role, event, causes, calls=(), **more):
        """`causes`: (hop, sender) each; the sender is an invocation, or the span of a caller."""
        function = self.roles[role]
        invocation = function.invoke(event, calls, **more)
        self.caused(invocation, causes)
        return invocation

    def caused(self, invocation, causes):
        self.invocations.append(invocation)
        for hop, sender in causes:
            id_, language = (sender, "browser") if isinstance(sender, str) else (sender.id, sender.function.language)
            edge = Edge(hop, id_, invocation.id)
            self.truth.append(edge)
            self.languages[edge] = language, invocation.function.language

    def chain(self):
        cloud, name = self.cloud, self.name
        queue, queue_arn = cloud.queue(f"orders-{name}")
        told, told_arn = cloud.queue(f"told-{name}")  # hears what the functions hear
        self.told, self.told_arn = told, told_arn
        priced = cloud.topic(f"priced-{name}", told_arn)
        self.bucket = f"audit-{name}"
        cloud.client("s3").create_bucket(Bucket=self.bucket)
        cloud.client("s3").put_bucket_notification_configuration(Bucket=self.bucket, NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": told_arn, "Events": ["s3:ObjectCreated:*"]}]})
        assert json.loads(cloud.receive(told)[0]["Body"])["Event"] == "s3:TestEvent"

        send = [("sqs", "SendMessage", {"QueueUrl": queue, "MessageBody": json.dumps({"order": name})})]
        self.trace_id, self.caller, api = self.hop.call(lambda parent: self.roles["api"].invoke(http_event(parent), send))
        self.caused(api, [("http", self.caller)])
        publish = [("sns", "Publish", {"TopicArn": priced, "Message": json.dumps({"order": name})})]
        worker = self.invoke("worker", sqs_event(queue_arn, cloud.receive(queue)), [("sqs", api)], publish)
        notification = json.loads(cloud.receive(told)[0]["Body"])
        assert notification["MessageId"] == worker.answers[0]["MessageId"]
        put = [("s3", "PutObject", {"Bucket": self.bucket, "Key": f"red flower+{name}.json", "Body": name})]
        notify = self.invoke("notify", sns_event(notification), [("sns", worker)], put)
        notification = json.loads(cloud.receive(told)[0]["Body"])
        self.thumbs_event = s3_event(notification, notify.answers[0])
        self.notify = notify

    def everything_else(self):
        cloud, name = self.cloud, self.name
        told, told_arn = self.told, self.told_arn
        copies, copies_arn = cloud.queue(f"copies-{name}")
        shipped = cloud.topic(f"shipped-{name}", copies_arn)
        events, stream = cloud.client("events"), f"clicks-{name}"
        events.create_event_bus(Name=f"bus-{name}")
        events.put_rule(Name="all", EventBusName=f"bus-{name}", EventPattern='{"source": ["shop"]}')
        events.put_targets(Rule="all", EventBusName=f"bus-{name}", Targets=[{"Id": "told", "Arn": told_arn}])
        cloud.client("kinesis").create_stream(StreamName=stream, ShardCount=1)
        machine = cloud.client("stepfunctions").create_state_machine(
            name=f"refund-{name}", roleArn="arn:aws:iam::123456789012:role/r",
            definition='{"StartAt": "p", "States": {"p": {"Type": "Pass", "End": true}}}')["stateMachineArn"]
        stream_arn = _orders_table(cloud)
        audit = self.roles["audit"]

        entry = {"Source": "shop", "DetailType": "shipped", "Detail": '{"order": 1}', "EventBusName": f"bus-{name}"}
        heard = len(audit.invocations)
        thumbs = self.invoke("thumbs", self.thumbs_event, [("s3", self.notify)], [
            ("sns", "Publish", {"TopicArn": shipped, "Message": "shipped"}),
            ("events", "PutEvents", {"Entries": [entry]}),
            ("kinesis", "PutRecord", {"StreamName": stream, "Data": name, "PartitionKey": "1"}),
            ("dynamodb", "PutItem", {"TableName": "orders", "Item": {"id": {"S": name}, "total": {"N": "42"}}}),
            ("stepfunctions", "StartExecution", {"stateMachineArn": machine, "input": "{}"}),
            ("lambda", "Invoke", {"FunctionName": audit.name, "Payload": '{"order": 1}'}),
        ])
        called = audit.invocations[heard]
        assert called.id == thumbs.answers[5]["RequestId"]
        self.caused(called, [("lambda.invoke", thumbs)])
        self.invoke("audit", sqs_event(copies_arn, cloud.receive(copies)), [("sns", thumbs)])
        event = json.loads(cloud.receive(told)[0]["Body"])
        assert event["id"] == thumbs.answers[1]["Entries"][0]["EventId"]
        self.invoke("audit", event, [("eventbridge", thumbs)])
        put = thumbs.answers[2]
        self.invoke("audit", kinesis_event(stream, put["ShardId"], _kinesis_record(cloud, stream, put)), [("kinesis", thumbs)])
        self.invoke("audit", dynamodb_event(stream_arn, _change(cloud, stream_arn, name)), [("dynamodb.stream", thumbs)])
        execution = thumbs.answers[4]["executionArn"]
        for state in ("refund", "restock"):
            self.invoke("audit", step_event(execution, state), [("stepfunctions", thumbs)])


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
