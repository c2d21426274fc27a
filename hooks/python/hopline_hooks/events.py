"""What a function's event tells: the keys of what was received, and the trace context that travelled inside.

Shapes are those of AWS's documentation of each trigger. Envelopes are opened: a notification of SNS in a message of SQS,
an event of EventBridge in either, a notification of S3 in any of them. A message in an envelope has the keys of both,
the inner one first: it is what the sender knows.
"""

import base64
import json
import re
from urllib.parse import unquote_plus

from . import items
from .keys import KEYS_MAX, arn_region, arn_tail, firehose_content, key, rows, s3_object, spread, table, text

# Envelopes in envelopes: EventBridge to SNS to SQS is two deep.
DEPTH_MAX = 4
# Where a payload may hold its trace context, besides itself.
PLACES = ("headers", "metadata", "otel", "_otel", "traceContext", "trace_context", "_datadog")
# A body is parsed only if it has one of these.
MARKS = ("traceparent", '"detail-type"', '"TopicArn"', '"eventSource"', '"requestContext"', ":states:")

_OBJECT = re.compile(r"\s*\{")
_XRAY = re.compile(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24})")
_XRAY_PARENT = re.compile(r"Parent=([0-9a-f]{16})")


class Event:
    """What `read` finds.

    messages: the keys of each message, the most telling first
    carriers: (`{"traceparent": .., "tracestate": ..}`, keys) of each message that carries context
    left_out: messages that were not looked at, because there were too many
    only_links: the context may not become the parent of the invocation: it took several messages, or came by SQS, where
        the conventions ask for links
    """

    __slots__ = ("messages", "carriers", "left_out", "only_links")

    def __init__(self):
        self.messages, self.carriers, self.left_out, self.only_links = [], [], 0, False

    def add(self, keys, carrier):
        if keys:
            self.messages.append(keys)
        if carrier:
            self.carriers.append((carrier, keys))


def read(event):
    """Reads an event of any kind. Raises nothing for events of a known shape; the caller guards against the others."""
    found = Event()
    if isinstance(event, list):  # EventBridge Pipes send the bare list
        _records(event, found)
    elif isinstance(event, dict):
        if isinstance(event.get("Records"), list):
            _records(event["Records"], found)
        elif isinstance(event.get("records"), dict):
            _kafka(event, found)
        elif "deliveryStreamArn" in event:
            _firehose(event, found)
        elif isinstance(event.get("rmqMessagesByQueue"), dict) or event.get("eventSource") == "aws:mq":
            _broker(event, found)
        else:
            found.add(*_payload(event, 0))
    return found


def _batch(found, records):
    """The records to look at."""
    found.only_links = found.only_links or len(records) > 1
    chosen = spread(records, KEYS_MAX)
    found.left_out += len(records) - len(chosen)
    return chosen


def _records(records, found):
    records = rows(records)
    sources = {_source(r) for r in records[:1]}
    chosen = _batch(found, records)
    if sources == {"aws:kinesis"} and found.left_out:
        found.left_out = 0
        found.messages.append(_kinesis_ranges(records))
    for record in chosen:
        reader = READERS.get(_source(record))
        if reader:
            keys, carrier = reader(record, 0)
            found.only_links = found.only_links or reader is _sqs
            if reader is _kinesis and len(chosen) < len(records):
                keys = []
            found.add(keys, carrier)


def _source(record):
    return (text(record.get("eventSource")) or text(record.get("EventSource"))).strip().lower()


def _sqs(record, depth):
    keys, carrier = _body(record.get("body"), depth)
    attributes = table(record.get("messageAttributes"))
    keys = keys + _dead_letter(attributes, "stringValue") + key("sqs", record.get("messageId"))
    header = table(record.get("attributes")).get("AWSTraceHeader")
    return keys, _attributes(attributes, "stringValue") or carrier or _xray(header)


def _sns(record, depth):
    return _notification(table(record.get("Sns")), depth)


def _notification(sns, depth):
    keys, carrier = _body(sns.get("Message"), depth)
    attributes = table(sns.get("MessageAttributes"))
    keys = keys + _dead_letter(attributes, "Value") + key("sns", sns.get("MessageId"))
    return keys, _attributes(attributes, "Value") or carrier


def _s3(record, _depth):
    # In an event the object's key is encoded as in a form: "red+flower.jpg" is "red flower.jpg".
    answer, s3 = table(record.get("responseElements")), table(record.get("s3"))
    thing = table(s3.get("object"))
    keys = key("s3.req", answer.get("x-amz-request-id"))
    if text(record.get("eventName")).startswith(("ObjectCreated:", "s3:ObjectCreated:")):
        name = unquote_plus(text(thing.get("key")))
        keys += s3_object(table(s3.get("bucket")).get("name"), name, thing.get("eTag"), thing.get("versionId"))
    return keys + key("s3.req", answer.get("x-amz-id-2")), None


def _dynamodb(record, _depth):
    if table(record.get("userIdentity")).get("principalId") == "dynamodb.amazonaws.com":
        return [], None  # the table's time to live deleted it: nobody wrote
    name = text(record.get("tableName")) or arn_tail(record.get("eventSourceARN"), ":table/")
    return items.of_key(name, table(table(record.get("dynamodb")).get("Keys")), stream=True), None


def _kinesis(record, depth):
    inner = table(record.get("kinesis")) or record  # Pipes send it flat
    keys, carrier = [], None
    data = _decoded(inner.get("data"))
    if b'"traceparent"' in data or b'"aws:dynamodb"' in data:
        keys, carrier = _body(data.decode("utf-8", "replace"), depth)
    arn, (shard, sequence) = record.get("eventSourceARN"), _kinesis_id(record)
    region = text(record.get("awsRegion")) or arn_region(arn)
    return keys + key("kinesis", region, arn_tail(arn, ":stream/"), shard, sequence), carrier


def _kinesis_id(record):
    shard, _, sequence = text(record.get("eventID")).rpartition(":")
    return shard, sequence


def _kinesis_ranges(records):
    """One key a shard, from its first record to its last."""
    shards = {}
    for record in records:
        arn, (shard, sequence) = record.get("eventSourceARN"), _kinesis_id(record)
        if sequence.isdigit():
            shards.setdefault((text(record.get("awsRegion")) or arn_region(arn), arn_tail(arn, ":stream/"), shard), []).append(
                (len(sequence), sequence)  # as numbers are ordered
            )
    keys = []
    for place, sequences in shards.items():
        keys += key("kinesis.range", *place, f"{min(sequences)[1]}..{max(sequences)[1]}")
    return keys


def _kafka(event, found):
    records = [r for partition in event["records"].values() for r in rows(partition)]
    for record in _batch(found, records):
        headers = [h for h in rows(record.get("headers"))]
        carrier = _carrier({name: _bytes(value) for h in headers for name, value in h.items()})
        found.add(_kafka_keys(record), carrier)


def _kafka_keys(record):
    partition, offset = record.get("partition"), record.get("offset")
    if type(partition) is not int or type(offset) is not int:
        return []
    # A producer does not know the cluster as its trigger does, hence the dash.
    return key("kafka", "-", record.get("topic"), str(partition), str(offset))


def _firehose(event, found):
    stream = arn_tail(event.get("deliveryStreamArn"), ":deliverystream/")
    source = event.get("sourceKinesisStreamArn")
    for record in _batch(found, rows(event.get("records"))):
        of_stream = table(record.get("kinesisRecordMetadata"))
        place = (arn_region(source), arn_tail(source, ":stream/"), of_stream.get("shardId"), of_stream.get("sequenceNumber"))
        keys = key("kinesis", *place) or firehose_content(stream, _decoded(record.get("data")))
        found.add(keys + key("firehose", stream, record.get("recordId")), None)


def _broker(event, found):
    messages = []
    for queue, of_queue in table(event.get("rmqMessagesByQueue")).items():
        messages += [("rabbitmq", queue.split("::")[0], m) for m in rows(of_queue)]
    messages += [("activemq", None, m) for m in rows(event.get("messages"))]
    for system, queue, message in _batch(found, messages):
        if system == "rabbitmq":
            properties = table(message.get("basicProperties"))
            carrier = {name: _bytes(value) for name, value in table(properties.get("headers")).items()}
            found.add(key("mq", system, queue, properties.get("messageId"), by="|"), _carrier(carrier))
        else:
            queue = table(message.get("destination")).get("physicalName")
            found.add(key("mq", system, queue, message.get("messageID"), by="|"), _carrier(table(message.get("properties"))))


def _eventbridge(event, depth):
    source, detail = text(event.get("source")), table(event.get("detail"))
    if source == "aws.s3":
        thing, bucket = table(detail.get("object")), table(detail.get("bucket")).get("name")
        keys = key("s3.req", detail.get("request-id"))
        if event.get("detail-type") == "Object Created":
            keys += s3_object(bucket, thing.get("key"), thing.get("etag"), thing.get("version-id"))
        return keys, None
    if source == "aws.states":
        return key("sfn", detail.get("executionArn")), None
    if source.startswith("aws."):
        return [], None  # a schedule, or AWS itself: nobody sent it
    if source == "lambda" and _is_outcome(detail):
        return _payload(detail, depth)  # Lambda sent it, on behalf of a function
    return key("eb", event.get("id")), _carrier_in(detail)


def _is_outcome(event):
    request = table(event.get("requestContext"))
    return "functionArn" in request and "condition" in request


def _payload(event, depth):
    """A single event, or what a body of JSON holds."""
    if "detail-type" in event and "source" in event:
        return _eventbridge(event, depth)
    if event.get("Type") == "Notification" and "TopicArn" in event:
        return _notification(event, depth)
    if isinstance(event.get("Records"), list):
        inner = rows(event["Records"])[:KEYS_MAX]
        return [k for r in inner if _source(r) == "aws:s3" for k in _s3(r, depth)[0]], None
    if event.get("eventSource") == "aws:dynamodb":  # a table's changes by way of Kinesis
        return _dynamodb(event, depth)
    if _is_outcome(event):  # of an asynchronous invocation
        return key("lambda", event["requestContext"].get("requestId")), None
    keys, carrier = _workflow(event)
    if not keys and depth == 0 and isinstance(event.get("requestContext"), dict):
        keys = key("apigw", event["requestContext"].get("requestId"))
    return keys, carrier or _carrier_in(event)


def _body(body, depth):
    body = text(body)
    if depth >= DEPTH_MAX or not _OBJECT.match(body) or not any(mark in body for mark in MARKS):
        return [], None
    try:
        inner = json.loads(body)
        return _payload(inner, depth + 1) if isinstance(inner, dict) else ([], None)
    except Exception:  # whoever wrote this body must not hide the other messages
        return [], None


def _workflow(event):
    """The keys of a step, where the workflow puts its context object ($$) or parts of it into the payload."""
    for place in (event, *[v for v in list(event.values())[:32] if isinstance(v, dict)]):
        for context in (place, table(place.get("_datadog"))):
            execution = table(context.get("Execution"))
            if ":states:" in text(execution.get("Id")):
                arguments = table(execution.get("Input"))
                return _step(context, execution, arguments), _carrier_in(place) or _carrier_in(event) or _carrier_in(arguments)
    for name, value in event.items():
        if re.sub("[^a-z]", "", text(name).lower()) in ("executionid", "executionarn") and ":states:" in text(value):
            return key("sfn", value), None
    return [], None


def _step(context, execution, arguments):
    arn, state = execution["Id"], table(context.get("State"))
    keys = key("sfn", arn)
    retry = state.get("RetryCount")
    more = [str(retry)] if isinstance(retry, int) and retry > 0 else []
    keys += key("sfn", arn, state.get("Name"), state.get("EnteredTime"), *more, by="#")
    above = context.get("RootExecutionId") or arguments.get("AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID")
    return keys + [k for k in key("sfn", above) if k not in keys]


def _dead_letter(attributes, value):
    """The invocation that failed, where Lambda itself put its event into a dead-letter queue or topic."""
    if "RequestID" not in attributes or "ErrorCode" not in attributes:
        return []
    return key("lambda", table(attributes["RequestID"]).get(value))


def _attributes(attributes, value):
    return _carrier({name: table(a).get(value) for name, a in attributes.items()})


def _carrier_in(payload):
    for place in (payload, *[payload.get(name) for name in PLACES]):
        carrier = _carrier(place) if isinstance(place, dict) else None
        if carrier:
            return carrier
    return None


def _carrier(values):
    found = {}
    for name, value in values.items():
        low = name.lower() if isinstance(name, str) else ""
        if low in ("traceparent", "tracestate") and isinstance(value, str):
            found[low] = value
    return found if "traceparent" in found else None


def _xray(header):
    header = text(header)
    root, parent = _XRAY.search(header), _XRAY_PARENT.search(header)
    if not root or not parent:
        return None
    return {"traceparent": f"00-{root[1]}{root[2]}-{parent[1]}-{'01' if 'Sampled=1' in header else '00'}"}


def _bytes(value):
    """A header's text: Kafka's come as a list of numbers, RabbitMQ's as `{"bytes": [..]}`."""
    value = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(value, list) and len(value) <= 1024 and all(isinstance(n, int) for n in value):
        return bytes(n & 255 for n in value).decode("utf-8", "replace")
    return value


def _decoded(data):
    try:
        return base64.b64decode(text(data))
    except ValueError:
        return b""


READERS = {
    "aws:sqs": _sqs,
    "aws:sns": _sns,
    "aws:s3": _s3,
    "aws:dynamodb": _dynamodb,
    "aws:kinesis": _kinesis,
}
