"""The same events and calls through the real Node instrumentation (drive.cjs), with the hooks of hooks/node."""

import json
import os
import pathlib
import subprocess

import pytest

import cases

FOLDER = pathlib.Path(__file__).parent
PACKAGES = FOLDER.parent / "node/node_modules"
CASES = cases.cases()


def drive(what, data, **env):
    env = {**os.environ, "NODE_PATH": str(PACKAGES), "HOOKS": "1", **env}
    done = subprocess.run(["node", "drive.cjs", what], cwd=FOLDER, env=env, input=json.dumps(data), capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def invocation(answer):
    """What a case says, as the invocation's span has it."""
    span, = [s for s in answer["spans"] if s["name"] == "worker"]
    others = [s for s in answer["spans"] if s["name"] != "worker"]
    assert others and not any(s["in"] or s["out"] for s in others)
    return {name: span[name] for name in ("in", "parent", "links", "dropped")}


def expected(case):
    return {"in": case["in"], "parent": case.get("parent"), "links": case.get("links", []), "dropped": case.get("dropped", 0)}


@pytest.fixture(scope="module")
def answers():
    return drive("events", CASES)


@pytest.mark.parametrize("name", CASES)
def test_an_event(answers, name):
    answer = answers[name]
    assert invocation(answer) == expected(CASES[name])
    assert (answer["result"], answer["called"], answer["changed"]) == ("done", 1, False)


def test_nothing_stops_the_function():
    events = {str(i): {"event": event} for i, event in enumerate(cases.STRANGE)}
    with_hooks, without = drive("events", events), drive("events", events, HOOKS="")
    for name in events:
        assert with_hooks[name].get("hookError") is None
        # At some the instrumentation itself stumbles; so it does without the hooks.
        assert "error" in without[name] or "error" not in with_hooks[name]
    assert sum("error" not in a for a in with_hooks.values()) > 30


def test_without_hooks_there_is_nothing():
    some = {name: CASES[name] for name in ("sns", "s3", "eventbridge", "kinesis", "dynamodb", "stepfunctions", "msk")}
    for answer in drive("events", some, HOOKS="").values():
        assert invocation(answer) == {"in": [], "parent": None, "links": [], "dropped": 0}


def test_a_layer_is_configured():
    some = {name: CASES[name] for name in ("sns", "s3", "sqs")}
    answers = drive("events", some, LAYER="1")
    assert {n: invocation(a) for n, a in answers.items()} == {n: expected(c) for n, c in some.items()}


def test_what_an_invoking_node_function_sends_is_the_parent():
    parent = f"00-{cases.TRACE}-01"
    answer = drive("events", {"invoke": {"event": {}, "clientContext": {"custom": {"traceparent": parent}}}})["invoke"]
    assert invocation(answer)["parent"] == cases.TRACE


def test_hooks_of_the_application_are_called_too():
    script = """
      const hooks = require("../../../hooks/node"), called = [];
      const note = (name) => () => called.push(name);
      const sdk = hooks.awsSdkConfig({ preRequestHook: note("pre"), responseHook: note("response"), other: 1 });
      const lambda = hooks.awsLambdaConfig({ requestHook: note("request"), responseHook: note("end") });
      sdk.preRequestHook(), sdk.responseHook(), lambda.requestHook(), lambda.responseHook();
      console.log(JSON.stringify([called, sdk.other]));
    """
    env = {**os.environ, "NODE_PATH": str(PACKAGES)}
    done = subprocess.run(["node", "-e", script], cwd=FOLDER, env=env, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == [["pre", "response", "request", "end"], 1], done.stderr


def keys(answers, n, direction="out"):
    """The answer of the call, and the keys on its span."""
    assert "error" not in answers[n], answers[n]["error"]
    span = answers[n]["spans"][-1]
    assert span[{"out": "in", "in": "out"}[direction]] == []
    return answers[n]["answer"], span[direction]


def request_id(answer):
    return answer["$metadata"]["requestId"]


def test_sqs_and_sns(aws):
    entries = [{"Id": str(n), "MessageBody": str(n)} for n in range(3)]
    queue, topic = "$0.QueueUrl", "$5.TopicArn"
    answers = drive("calls", [
        ["sqs", "CreateQueue", {"QueueName": "node-orders"}],
        ["sqs", "SendMessage", {"QueueUrl": queue, "MessageBody": "x"}],
        ["sqs", "SendMessageBatch", {"QueueUrl": queue, "Entries": entries}],
        ["sqs", "ReceiveMessage", {"QueueUrl": queue, "MaxNumberOfMessages": 10}],
        ["sqs", "GetQueueAttributes", {"QueueUrl": queue, "AttributeNames": ["QueueArn"]}],
        ["sns", "CreateTopic", {"Name": "node-priced"}],
        ["sns", "Subscribe", {"TopicArn": topic, "Protocol": "sqs", "Endpoint": "$4.Attributes.QueueArn"}],
        ["sns", "Publish", {"TopicArn": topic, "Message": "x"}],
        ["sqs", "ReceiveMessage", {"QueueUrl": queue}],
        ["sns", "PublishBatch", {"TopicArn": topic, "PublishBatchRequestEntries": [{"Id": "1", "Message": "x"}]}],
    ], AWS_ENDPOINT=aws)
    answer, out = keys(answers, 1)
    assert out == [f"sqs:{answer['MessageId']}"]
    batch, of_batch = keys(answers, 2)
    assert of_batch == [f"sqs:{m['MessageId']}" for m in batch["Successful"]] and len(of_batch) == 3
    received, into = keys(answers, 3, "in")
    assert into == [f"sqs:{m['MessageId']}" for m in received["Messages"]] and set(into) == {*out, *of_batch}
    answer, out = keys(answers, 7)
    assert out == [f"sns:{answer['MessageId']}"]
    received, into = keys(answers, 8, "in")
    assert into == [*out, f"sqs:{received['Messages'][0]['MessageId']}"]
    answer, out = keys(answers, 9)
    assert out == [f"sns:{answer['Successful'][0]['MessageId']}"]


def test_eventbridge_kinesis_and_firehose(aws):
    entry = {"Source": "shop", "DetailType": "placed", "Detail": "{}"}
    payload = "bytes:long enough to be known by its content"
    target = {"RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": "arn:aws:s3:::node-lake"}
    answers = drive("calls", [
        ["eventbridge", "PutEvents", {"Entries": [entry, {**entry, "Detail": "no JSON"}, entry]}],
        ["kinesis", "CreateStream", {"StreamName": "node-clicks", "ShardCount": 2}],
        ["kinesis", "PutRecord", {"StreamName": "node-clicks", "Data": "bytes:x", "PartitionKey": "a"}],
        ["kinesis", "DescribeStream", {"StreamName": "node-clicks"}],
        ["kinesis", "PutRecords", {"StreamARN": "$3.StreamDescription.StreamARN",
                                   "Records": [{"Data": "bytes:x", "PartitionKey": str(n)} for n in range(3)]}],
        ["s3", "CreateBucket", {"Bucket": "node-lake"}],
        ["firehose", "CreateDeliveryStream", {"DeliveryStreamName": "node-lake", "ExtendedS3DestinationConfiguration": target}],
        ["firehose", "PutRecord", {"DeliveryStreamName": "node-lake", "Record": {"Data": payload}}],
        ["firehose", "PutRecordBatch", {"DeliveryStreamName": "node-lake", "Records": [{"Data": payload}, {"Data": "bytes:y"}]}],
    ], AWS_ENDPOINT=aws)
    answer, out = keys(answers, 0)
    assert out == [f"eb:{e['EventId']}" for e in answer["Entries"] if e.get("EventId")] and len(out) == 2
    answer, out = keys(answers, 2)
    assert out == [f"kinesis:us-east-1:node-clicks:{answer['ShardId']}:{answer['SequenceNumber']}"]
    answer, out = keys(answers, 4)
    assert out == [f"kinesis:us-east-1:node-clicks:{r['ShardId']}:{r['SequenceNumber']}" for r in answer["Records"]]
    content = "firehose:node-lake:sha256:843f8f6d2f8ae3997d728e7606b329bf"
    answer, out = keys(answers, 7)
    assert out == [content, f"firehose:node-lake:{answer['RecordId']}"]
    answer, out = keys(answers, 8)
    first, second = (f"firehose:node-lake:{r['RecordId']}" for r in answer["RequestResponses"])
    assert out == [content, second, first]


def test_s3(aws):
    name, part = "red flower + 花.jpg", {"Bucket": "node-photos", "Key": "big", "UploadId": "$4.UploadId"}
    answers = drive("calls", [
        ["s3", "CreateBucket", {"Bucket": "node-photos"}],
        ["s3", "PutObject", {"Bucket": "node-photos", "Key": name, "Body": "x"}],
        ["s3", "PutBucketVersioning", {"Bucket": "node-photos", "VersioningConfiguration": {"Status": "Enabled"}}],
        ["s3", "PutObject", {"Bucket": "node-photos", "Key": "copy", "Body": "y"}],
        ["s3", "CreateMultipartUpload", {"Bucket": "node-photos", "Key": "big"}],
        ["s3", "UploadPart", {**part, "PartNumber": 1, "Body": "x"}],
        ["s3", "CompleteMultipartUpload", {**part, "MultipartUpload": {"Parts": [{"ETag": "$5.ETag", "PartNumber": 1}]}}],
        ["s3", "CopyObject", {"Bucket": "node-photos", "Key": "copied", "CopySource": "node-photos/copy"}],
        ["s3", "DeleteObject", {"Bucket": "node-photos", "Key": "copy"}],
        ["s3", "PutObject", {"Bucket": "no-such-bucket", "Key": "x", "Body": "x"}],
    ], AWS_ENDPOINT=aws)

    def of(answer, name, etag):
        version = answer.get("VersionId")
        versions = [f"s3.ver:node-photos|{name}|{version}"] if version else []
        return [f"s3.req:{request_id(answer)}", *versions, f"s3.obj:node-photos|{name}|" + etag.strip('"')]

    answer, out = keys(answers, 1)
    assert out == of(answer, name, "9dd4e461268c8034f5c8564e155c67a6")
    answer, out = keys(answers, 3)
    assert answer["VersionId"] and out == of(answer, "copy", answer["ETag"])
    answer, out = keys(answers, 6)
    assert answer["ETag"].endswith('-1"') and out == of(answer, "big", answer["ETag"])
    answer, out = keys(answers, 7)
    assert out == of(answer, "copied", answer["CopyObjectResult"]["ETag"])
    answer, out = keys(answers, 8)
    assert out == [f"s3.req:{request_id(answer)}"]
    assert answers[9]["error"].startswith("NoSuchBucket") and answers[9]["spans"][-1]["out"] == []


ABC123, BOTH = "ddb.item:69706c9e1e41a2f0cf8c0650f91cb0c2", "ddb.item:2031d2d69b45adc3d5c27691924ddfcc"


def test_dynamodb(aws):
    def create(name, *attributes):
        return ["dynamodb", "CreateTable", {
            "TableName": name, "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": a, "KeyType": k} for (a, _), k in zip(attributes, ("HASH", "RANGE"))],
            "AttributeDefinitions": [{"AttributeName": a, "AttributeType": t} for a, t in attributes],
        }]

    key, wide = {"id": {"S": "abc123"}}, {"num_key": {"N": "42"}, "bin_key": {"B": "bytes:Hello World"}}
    put, delete = {"PutRequest": {"Item": key}}, {"DeleteRequest": {"Key": {"id": {"S": "other"}}}}
    steps = [
        create("TestTable", ("id", "S")),
        ["dynamodb", "PutItem", {"TableName": "TestTable", "Item": key}],
        ["dynamodb", "UpdateItem", {"TableName": "TestTable", "Key": key, "UpdateExpression": "SET a = :a",
                                    "ExpressionAttributeValues": {":a": {"N": "1"}}}],
        ["dynamodb", "BatchWriteItem", {"RequestItems": {"TestTable": [put, delete]}}],
        ["dynamodb", "TransactWriteItems", {"TransactItems": [{"Put": {"TableName": "TestTable", "Item": key}},
                                                              {"Delete": {"TableName": "TestTable", "Key": {"id": {"S": "other"}}}}]}],
        ["dynamodb", "DeleteItem", {"TableName": "TestTable", "Key": key}],
        ["dynamodb", "DeleteTable", {"TableName": "TestTable"}],
        create("TestTable", ("num_key", "N"), ("bin_key", "B")),
        ["dynamodb", "PutItem", {"TableName": "TestTable", "Item": {**wide, "more": {"S": "x"}}}],
        ["dynamodb", "PutItem", {"TableName": "TestTable", "Item": {**wide, "num_key": {"N": "4.20e1"}}}],
    ]
    answers = drive("calls", steps, AWS_ENDPOINT=aws)
    assert [keys(answers, n)[1] for n in (1, 2, 5, 8)] == [[ABC123], [ABC123], [ABC123], [BOTH]]
    other = keys(answers, 3)[1][0]
    assert (keys(answers, 3)[1], keys(answers, 4)[1]) == ([other, ABC123], [ABC123, other])
    assert keys(answers, 9)[1][1:] == [BOTH]
    # A put alone knows no names of keys, unless it is told them or an item was read before.
    alone = drive("calls", [steps[8], ["dynamodb", "GetItem", {"TableName": "TestTable", "Key": wide}], steps[8]], AWS_ENDPOINT=aws)
    assert [keys(alone, n)[1] for n in (0, 2)] == [[], [BOTH]]
    for setting in ("HOPLINE_DYNAMODB_KEYS", "DD_TRACE_DYNAMODB_TABLE_PRIMARY_KEYS"):
        told = drive("calls", [steps[8]], AWS_ENDPOINT=aws, **{setting: '{"TestTable": ["num_key", "bin_key"]}'})
        assert keys(told, 0)[1] == [BOTH]


def test_step_functions_and_lambda(aws, make_function):
    definition = json.dumps({"StartAt": "p", "States": {"p": {"Type": "Pass", "End": True}}})
    answers = drive("calls", [
        ["sfn", "CreateStateMachine", {"name": "node-m", "definition": definition, "roleArn": "arn:aws:iam::123456789012:role/r"}],
        ["sfn", "StartExecution", {"stateMachineArn": "$0.stateMachineArn", "input": "{}"}],
        ["lambda", "Invoke", {"FunctionName": make_function("node-f"), "Payload": "bytes:{}"}],
    ], AWS_ENDPOINT=aws)
    answer, out = keys(answers, 1)
    assert out == [f"sfn:{answer['executionArn']}"]
    answer, out = keys(answers, 2)
    assert out == [f"lambda:{request_id(answer)}"]


def test_without_hooks_a_call_has_no_key(aws):
    entry = {"Source": "shop", "DetailType": "placed", "Detail": "{}"}
    answers = drive("calls", [["eventbridge", "PutEvents", {"Entries": [entry]}]], AWS_ENDPOINT=aws, HOOKS="")
    assert keys(answers, 0)[1] == []
