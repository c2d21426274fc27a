"""Calls to AWS (moto), through the real instrumentation of botocore, to the spans that are exported."""

import json
from decimal import Decimal

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import hopline_hooks
from hopline_hooks import items

PAYLOAD = b"long enough to be known by its content"


@pytest.fixture
def spans():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def unchanged(hook):
        def checked(span, service, operation, data):
            before = repr(data)
            hook(span, service, operation, data)
            assert repr(data) == before

        return checked

    BotocoreInstrumentor().instrument(
        tracer_provider=provider,
        request_hook=unchanged(hopline_hooks.request_hook),
        response_hook=unchanged(hopline_hooks.response_hook),
    )
    yield exporter
    BotocoreInstrumentor().uninstrument()
    assert not hopline_hooks._requests


@pytest.fixture(autouse=True)
def _nothing_learned():
    items._learned.clear()


@pytest.fixture
def client(aws):
    return lambda service: boto3.client(service, endpoint_url=aws)


@pytest.fixture
def keys(spans):
    """Calls, and gives the answer and the keys on the call's span."""

    def call(function, attribute="hopline.link.out", **request):
        spans.clear()
        answer = function(**request)
        span = spans.get_finished_spans()[-1]
        other = {"hopline.link.out", "hopline.link.in"} - {attribute}
        assert not other & set(span.attributes)
        return answer, list(span.attributes.get(attribute, ()))

    return call


def test_sqs(client, keys):
    sqs = client("sqs")
    queue = sqs.create_queue(QueueName="orders")["QueueUrl"]
    answer, out = keys(sqs.send_message, QueueUrl=queue, MessageBody="x")
    assert out == [f"sqs:{answer['MessageId']}"]
    entries = [{"Id": str(n), "MessageBody": str(n)} for n in range(3)]
    batch, out_of_batch = keys(sqs.send_message_batch, QueueUrl=queue, Entries=entries)
    assert out_of_batch == [f"sqs:{m['MessageId']}" for m in batch["Successful"]] and len(out_of_batch) == 3
    received, into = keys(sqs.receive_message, "hopline.link.in", QueueUrl=queue, MaxNumberOfMessages=10)
    assert into == [f"sqs:{m['MessageId']}" for m in received["Messages"]] and set(into) == {*out, *out_of_batch}


def test_sns_and_a_queue_behind_it(client, keys):
    sns, sqs = client("sns"), client("sqs")
    topic = sns.create_topic(Name="priced")["TopicArn"]
    queue = sqs.create_queue(QueueName="behind")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    answer, out = keys(sns.publish, TopicArn=topic, Message="x")
    assert out == [f"sns:{answer['MessageId']}"]
    received, into = keys(sqs.receive_message, "hopline.link.in", QueueUrl=queue)
    assert into == [*out, f"sqs:{received['Messages'][0]['MessageId']}"]
    entries = [{"Id": str(n), "Message": str(n)} for n in range(2)]
    answer, out = keys(sns.publish_batch, TopicArn=topic, PublishBatchRequestEntries=entries)
    assert out == [f"sns:{m['MessageId']}" for m in answer["Successful"]] and len(out) == 2


def test_eventbridge(client, keys):
    entry = {"Source": "shop", "DetailType": "placed", "Detail": "{}"}
    answer, out = keys(client("events").put_events, Entries=[entry, entry])
    assert out == [f"eb:{e['EventId']}" for e in answer["Entries"]] and len(out) == 2
    answer, out = keys(client("events").put_events, Entries=[{**entry, "Detail": "no JSON"}, entry])
    assert answer["FailedEntryCount"] == 1 and out == [f"eb:{answer['Entries'][1]['EventId']}"]


def test_kinesis(client, keys):
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName="clicks", ShardCount=2)
    answer, out = keys(kinesis.put_record, StreamName="clicks", Data=b"x", PartitionKey="a")
    assert out == [f"kinesis:us-east-1:clicks:{answer['ShardId']}:{answer['SequenceNumber']}"]
    arn = kinesis.describe_stream(StreamName="clicks")["StreamDescription"]["StreamARN"]
    records = [{"Data": b"x", "PartitionKey": str(n)} for n in range(3)]
    answer, out = keys(kinesis.put_records, StreamARN=arn, Records=records)
    assert out == [f"kinesis:us-east-1:clicks:{r['ShardId']}:{r['SequenceNumber']}" for r in answer["Records"]]


def test_more_keys_than_a_span_may_have(client, keys, spans):
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName="flood", ShardCount=1)
    records = [{"Data": b"x", "PartitionKey": str(n)} for n in range(500)]
    answer, out = keys(kinesis.put_records, StreamName="flood", Records=records)
    ids = [f"kinesis:us-east-1:flood:{r['ShardId']}:{r['SequenceNumber']}" for r in answer["Records"]]
    assert len(out) == 128 and (out[0], out[-1]) == (ids[0], ids[-1])
    assert spans.get_finished_spans()[-1].attributes["hopline.link.out.dropped"] == 372


def test_s3(client, keys):
    s3 = client("s3")
    s3.create_bucket(Bucket="photos")
    name = "red flower + 花.jpg"

    def of(answer, name, etag, version=None):
        versions = [f"s3.ver:photos|{name}|{version}"] if version else []
        return [f"s3.req:{answer['ResponseMetadata']['RequestId']}", *versions, f"s3.obj:photos|{name}|" + etag.strip('"')]

    answer, out = keys(s3.put_object, Bucket="photos", Key=name, Body=b"x")
    assert out == of(answer, name, "9dd4e461268c8034f5c8564e155c67a6")
    s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    answer, out = keys(s3.copy_object, Bucket="photos", Key="copy", CopySource={"Bucket": "photos", "Key": name})
    assert out == of(answer, "copy", answer["CopyObjectResult"]["ETag"], answer["VersionId"])
    upload = s3.create_multipart_upload(Bucket="photos", Key="big")["UploadId"]
    part = {"Bucket": "photos", "Key": "big", "UploadId": upload}
    etag = s3.upload_part(**part, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"ETag": etag, "PartNumber": 1}]}
    answer, out = keys(s3.complete_multipart_upload, **part, MultipartUpload=parts)
    assert answer["ETag"].endswith('-1"') and out == of(answer, "big", answer["ETag"], answer["VersionId"])
    answer, out = keys(s3.delete_object, Bucket="photos", Key="big")
    assert out == [f"s3.req:{answer['ResponseMetadata']['RequestId']}"]
    assert keys(s3.get_object, Bucket="photos", Key=name)[1] == []


def table(client, name, *attributes):
    kinds = {"id": "S", "num_key": "N", "bin_key": "B"}
    client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": a, "KeyType": k} for a, k in zip(attributes, ("HASH", "RANGE"))],
        AttributeDefinitions=[{"AttributeName": a, "AttributeType": kinds[a]} for a in attributes],
    )


ABC123, BOTH = "ddb.item:69706c9e1e41a2f0cf8c0650f91cb0c2", "ddb.item:2031d2d69b45adc3d5c27691924ddfcc"
NUMBER_AND_BYTES = {"num_key": {"N": "42"}, "bin_key": {"B": b"Hello World"}}


def test_dynamodb_by_the_key(client, keys):
    dynamodb = client("dynamodb")
    table(dynamodb, "TestTable", "id")
    of_item = {"TableName": "TestTable", "Key": {"id": {"S": "abc123"}}}
    more = {"UpdateExpression": "SET a = :a", "ExpressionAttributeValues": {":a": {"N": "1"}}}
    assert keys(dynamodb.update_item, **of_item, **more)[1] == [ABC123]
    assert keys(dynamodb.delete_item, **of_item)[1] == [ABC123]
    assert keys(dynamodb.get_item, **of_item)[1] == []
    refused = {"ConditionExpression": "attribute_exists(nothing)"}
    with pytest.raises(ClientError):
        keys(dynamodb.delete_item, **of_item, **refused)


def test_dynamodb_put_needs_the_names_of_the_key(client, keys, monkeypatch):
    dynamodb = client("dynamodb")
    table(dynamodb, "TestTable", "num_key", "bin_key")
    items._learned.clear()
    put = {"TableName": "TestTable", "Item": {**NUMBER_AND_BYTES, "more": {"S": "x"}}}
    assert keys(dynamodb.put_item, **put)[1] == []
    dynamodb.describe_table(TableName="TestTable")
    assert keys(dynamodb.put_item, **put)[1] == [BOTH]
    items._learned.clear()
    dynamodb.get_item(TableName="TestTable", Key=NUMBER_AND_BYTES)
    assert keys(dynamodb.put_item, **put)[1] == [BOTH]
    for setting in items.SETTINGS:
        items._learned.clear()
        monkeypatch.setenv(setting, json.dumps({"TestTable": ["num_key", "bin_key"]}))
        items.load_settings()
        assert keys(dynamodb.put_item, **put)[1] == [BOTH]
        monkeypatch.setenv(setting, "no JSON")
        items.load_settings()
        monkeypatch.delenv(setting)


def test_dynamodb_several_items(client, keys):
    dynamodb = client("dynamodb")
    table(dynamodb, "TestTable", "id")
    put, delete = {"PutRequest": {"Item": {"id": {"S": "abc123"}}}}, {"DeleteRequest": {"Key": {"id": {"S": "other"}}}}
    out = keys(dynamodb.batch_write_item, RequestItems={"TestTable": [put, delete]})[1]
    assert out[1] == ABC123 and len(out) == 2
    actions = [
        {"Put": {"TableName": "TestTable", "Item": {"id": {"S": "abc123"}}}},
        {"Delete": {"TableName": "TestTable", "Key": {"id": {"S": "other"}}}},
        {"ConditionCheck": {"TableName": "TestTable", "Key": {"id": {"S": "x"}}, "ConditionExpression": "attribute_not_exists(id)"}},
    ]
    assert keys(dynamodb.transact_write_items, TransactItems=actions)[1] == [ABC123, out[0]]


def test_dynamodb_what_was_not_processed_was_not_written():
    from hopline_hooks.calls import SENDS

    put = lambda i: {"PutRequest": {"Item": {"id": {"S": i}}}}
    items.learn("TestTable", ["id"])
    request = {"RequestItems": {"TestTable": [put("abc123"), put("refused")]}}
    answer = {"UnprocessedItems": {"TestTable": [put("refused")]}}
    assert SENDS["dynamodb", "BatchWriteItem"](request, answer, "") == [[ABC123]]


def test_dynamodb_tables_of_boto3(aws, client, keys):
    table(client("dynamodb"), "TestTable", "num_key", "bin_key")
    resource = boto3.resource("dynamodb", endpoint_url=aws).Table("TestTable")
    short = keys(resource.put_item, Item={"num_key": 42, "bin_key": b"Hello World"})[1]
    assert short == [BOTH]
    # The stream has 42 where the writer wrote 42.0.
    long = keys(resource.put_item, Item={"num_key": Decimal("42.0"), "bin_key": b"Hello World"})[1]
    assert len(long) == 2 and long[1] == BOTH


@pytest.mark.parametrize("number, shortest", [
    ("42", "42"), ("42.0", "42"), ("-0", "0"), ("1E+2", "100"), ("0.10", "0.1"), ("1e-3", "0.001"), ("007", "7"), ("0.0", "0"),
    ("0E+999", "0"), ("1E+999", "1E+999"), ("x", "x"), ("NaN", "NaN"),
])
def test_dynamodb_shortest_number(number, shortest):
    assert items._shortest(number) == shortest


def test_step_functions(client, keys):
    sfn = client("stepfunctions")
    definition = json.dumps({"StartAt": "p", "States": {"p": {"Type": "Pass", "End": True}}})
    machine = sfn.create_state_machine(name="m", definition=definition, roleArn="arn:aws:iam::123456789012:role/r")
    answer, out = keys(sfn.start_execution, stateMachineArn=machine["stateMachineArn"], input="{}")
    assert out == [f"sfn:{answer['executionArn']}"] and ":execution:m:" in out[0]


def test_lambda_invoke(client, keys, make_function):
    answer, out = keys(client("lambda").invoke, FunctionName=make_function("f"), Payload=b"{}")
    assert out == [f"lambda:{answer['ResponseMetadata']['RequestId']}"]


def test_firehose(client, keys):
    firehose, s3 = client("firehose"), client("s3")
    s3.create_bucket(Bucket="lake")
    target = {"RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": "arn:aws:s3:::lake"}
    firehose.create_delivery_stream(DeliveryStreamName="lake", ExtendedS3DestinationConfiguration=target)
    content = "firehose:lake:sha256:843f8f6d2f8ae3997d728e7606b329bf"
    answer, out = keys(firehose.put_record, DeliveryStreamName="lake", Record={"Data": PAYLOAD})
    assert out == [content, f"firehose:lake:{answer['RecordId']}"]
    answer, out = keys(firehose.put_record_batch, DeliveryStreamName="lake", Records=[{"Data": PAYLOAD}, {"Data": b"short"}])
    first, second = (f"firehose:lake:{r['RecordId']}" for r in answer["RequestResponses"])
    assert out == [content, second, first]


def test_what_was_refused_has_no_key(client, spans):
    with pytest.raises(ClientError):
        client("s3").put_object(Bucket="no-such-bucket", Key="x", Body=b"x")
    with pytest.raises(EndpointConnectionError):
        boto3.client("sns", endpoint_url="http://127.0.0.1:9").publish(TopicArn="arn:aws:sns:us-east-1:1:t", Message="x")
    assert len(spans.get_finished_spans()) == 2
    assert not any("hopline.link.out" in s.attributes for s in spans.get_finished_spans())


def test_nothing_for_spans_that_are_not_sampled(client, aws):
    provider = TracerProvider(sampler=ALWAYS_OFF)
    BotocoreInstrumentor().instrument(
        tracer_provider=provider, request_hook=hopline_hooks.request_hook, response_hook=hopline_hooks.response_hook
    )
    try:
        client("sqs").create_queue(QueueName="unseen")
        client("sqs").send_message(QueueUrl=f"{aws}/123456789012/unseen", MessageBody="x")
        assert not hopline_hooks._requests
    finally:
        BotocoreInstrumentor().uninstrument()


@pytest.mark.parametrize("answer", [None, {}, 7, {"Entries": 7}, {"Successful": [None]}, {"Records": [{}]}, {"UnprocessedItems": 7}])
@pytest.mark.parametrize("request_", [None, {}, 7, {"Key": 7}, {"TableName": 7, "Key": {}, "Item": 7}, {"RequestItems": {"t": [{}]}},
                                      {"TransactItems": [{"Put": {}}]}, {"Record": {"Data": 7}}])
def test_nothing_is_raised(answer, request_):
    from hopline_hooks.calls import RECEIVES, SENDS

    span = TracerProvider().get_tracer("t").start_span("s")
    for service, operation in [*SENDS, *RECEIVES, ("sqs", "Nothing")]:
        hopline_hooks.request_hook(span, service, operation, request_)
        hopline_hooks.response_hook(span, service, operation, answer)
