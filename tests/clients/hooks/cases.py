"""Events as AWS documents them (events/*.json) and what a hook must find in each, for Python and Node alike.

A case has `event`, `in` (the keys, in their order), and where there are any `parent` (trace id-span id), `links`
(the same, with the keys of the message), `dropped` (how many keys or messages had to stay out).
"""

import base64
import json
import pathlib

FOLDER = pathlib.Path(__file__).parent
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"


def kinesis(n, shard, data="x"):
    # Sequence numbers of unequal length: they are ordered as numbers, not as texts.
    sequence = str(99_990 + n)
    return {
        "kinesis": {"kinesisSchemaVersion": "1.0", "partitionKey": "1", "sequenceNumber": sequence,
                    "data": base64.b64encode(data.encode()).decode(), "approximateArrivalTimestamp": 1545084650.987},
        "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventID": f"{shard}:{sequence}",
        "eventName": "aws:kinesis:record", "awsRegion": "us-east-2",
        "eventSourceARN": "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
    }


def sqs(n):
    return {"messageId": f"m-{n}", "body": "x", "attributes": {}, "messageAttributes": {}, "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue", "awsRegion": "us-east-2"}


def large():
    """Batches with more messages than a span may have keys."""
    parent = f"00-{TRACE}-01"
    first, second = "shardId-000000000001", "shardId-000000000002"
    records = [kinesis(n, first) for n in range(200)] + [kinesis(n, second) for n in range(100)]
    records[0] = kinesis(0, first, json.dumps({"traceparent": parent}))
    yield "kinesis_large", {
        "event": {"Records": records},
        "in": [f"kinesis.range:us-east-2:lambda-stream:{first}:99990..100189",
               f"kinesis.range:us-east-2:lambda-stream:{second}:99990..100089"],
        "links": [[TRACE, []]],
    }
    yield "kinesis_128", {
        "event": {"Records": records[:128]},
        "in": [f"kinesis:us-east-2:lambda-stream:{first}:{99_990 + n}" for n in range(128)],
        "links": [[TRACE, [f"kinesis:us-east-2:lambda-stream:{first}:99990"]]],
    }
    # Evenly spread, the first and the last among them.
    yield "sqs_large", {
        "event": {"Records": [sqs(n) for n in range(300)]},
        "in": [f"sqs:m-{n * 299 // 127}" for n in range(128)],
        "dropped": 172,
    }


def cases():
    files = {f.stem: json.loads(f.read_text()) for f in sorted((FOLDER / "events").glob("*.json"))}
    return {**files, **dict(large())}


# What a function may be sent by anybody: nothing of it may stop the function.
STRANGE = [
    None, True, 7, 1.5, "text", [], [None], [1, [2]], {}, {"Records": None}, {"Records": []}, {"Records": [None]},
    {"Records": [{"eventSource": 7}]}, {"Records": [{"eventSource": "aws:sqs"}]},
    {"Records": [{"eventSource": "aws:sqs", "messageId": 7, "body": 7, "attributes": [], "messageAttributes": "x"}]},
    {"Records": [{"eventSource": "aws:sqs", "messageId": "m", "body": '{"Records": {"traceparent": 1}}'}]},
    {"Records": [{"eventSource": "aws:sqs", "messageId": "m", "body": '{"traceparent": ' + "[" * 3000}]},
    {"Records": [{"EventSource": "aws:sns", "Sns": 7}]}, {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": 7}}]},
    {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "%E8%ZZ+"}, "bucket": {"name": "b"}},
                  "eventName": "ObjectCreated:Put"}]},
    {"Records": [{"eventSource": "aws:s3", "s3": [], "responseElements": 7, "eventName": 7}]},
    {"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": "%%%"}, "eventID": "x"}] * 200},
    {"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {"Keys": {"a": {"N": "1E+999999999"}}},
                  "eventSourceARN": "arn:aws:dynamodb:r:1:table/T/stream/x"}]},
    {"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {"Keys": {"a": {"L": []}, "b": 7, "c": None}}}]},
    {"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {"Keys": {"a": {"B": "*"}}}, "tableName": "t"}]},
    {"eventSource": "aws:kafka", "records": {"t-0": 7, "u-0": [{"headers": 7}, {"headers": [{"traceparent": ["x"]}]}]}},
    {"eventSource": "aws:rmq", "rmqMessagesByQueue": {"q::/": [{"basicProperties": {"headers": {"traceparent": {"bytes": 7}}}}]}},
    {"eventSource": "aws:mq", "messages": 7}, {"deliveryStreamArn": 7, "records": [{"data": 7}]},
    {"detail-type": 7, "source": 7, "detail": 7}, {"detail-type": "x", "source": "lambda", "id": 7, "detail": []},
    {"requestContext": 7}, {"requestContext": {"requestId": 7}}, {"headers": 7, "multiValueHeaders": {"a": 7}},
    {"headers": {"traceparent": 7}}, {"headers": {"traceparent": ["x"]}}, {"traceparent": "00-0-0-0"},
    {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"}, {"Execution": {"Id": ":states:", "Input": 7}, "State": 7},
    {"Execution": {"Id": ["x"]}}, {"executionArn": 7}, {"x" * 5000: "y" * 100_000},
]
