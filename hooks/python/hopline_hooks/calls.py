"""What a call to AWS tells: the keys of what it sent, read from its request and its answer.

Each function takes (request, answer, region) and gives a list of keys for each message, the most telling first.
"""

from . import events, items
from .keys import arn_region, arn_tail, firehose_content, key, rows, s3_object, table, text


def _sqs_send(_request, answer, _region):
    return [key("sqs", answer.get("MessageId"))]


def _sqs_send_batch(_request, answer, _region):
    return [key("sqs", m.get("MessageId")) for m in rows(answer.get("Successful"))]


def _sqs_receive(_request, answer, _region):
    # As in a function's event, but with capitals.
    messages = [{"messageId": m.get("MessageId"), "body": m.get("Body")} for m in rows(answer.get("Messages"))]
    return [events.READERS["aws:sqs"](m, 0)[0] for m in messages]


def _sns_publish(_request, answer, _region):
    return [key("sns", answer.get("MessageId"))]


def _sns_publish_batch(_request, answer, _region):
    return [key("sns", m.get("MessageId")) for m in rows(answer.get("Successful"))]


def _put_events(_request, answer, _region):
    return [key("eb", e.get("EventId")) for e in rows(answer.get("Entries"))]


def _kinesis_put(request, answer, region):
    arn = request.get("StreamARN")
    place = (arn_region(arn) or region, text(request.get("StreamName")) or arn_tail(arn, ":stream/"))
    records = rows(answer.get("Records")) or [answer]
    return [key("kinesis", *place, r.get("ShardId"), r.get("SequenceNumber")) for r in records]


def _firehose_put(request, answer, _region):
    stream = request.get("DeliveryStreamName")
    sent = rows(request.get("Records")) or [table(request.get("Record"))]
    answers = rows(answer.get("RequestResponses")) or [answer]
    keys = []
    for record, its in zip(sent, answers):
        if its.get("RecordId"):
            data = record.get("Data")
            data = data.encode() if isinstance(data, str) else data if isinstance(data, (bytes, bytearray)) else b""
            keys.append(firehose_content(stream, data) + key("firehose", stream, its["RecordId"]))
    return keys


def _s3_write(request, answer, _region):
    etag = table(answer.get("CopyObjectResult")).get("ETag") or answer.get("ETag")
    thing = s3_object(request.get("Bucket"), request.get("Key"), etag, answer.get("VersionId"))
    return [_request_id("s3.req", answer) + thing]


def _s3_delete(_request, answer, _region):
    return [_request_id("s3.req", answer)]


def _lambda_invoke(_request, answer, _region):
    return [_request_id("lambda", answer)]


def _start_execution(_request, answer, _region):
    return [key("sfn", answer.get("executionArn"))]


def _ddb_put(request, _answer, _region):
    return [items.of_item(request.get("TableName"), table(request.get("Item")))]


def _ddb_key(request, _answer, _region):
    return [_of_key(request.get("TableName"), request.get("Key"))]


def _ddb_read(request, _answer, _region):
    _of_key(request.get("TableName"), request.get("Key"))
    return []


def _ddb_batch(request, answer, _region):
    written = _batch_writes(request.get("RequestItems"))
    refused = _batch_writes(answer.get("UnprocessedItems"))
    return [keys for keys in written if keys not in refused]


def _batch_writes(requests):
    keys = []
    for name, writes in table(requests).items():
        writes = rows(writes)
        # A deletion names the table's key, by which the items to put are then known too.
        keys += [_of_key(name, w["DeleteRequest"].get("Key")) for w in writes if "DeleteRequest" in w]
        keys += [items.of_item(name, w["PutRequest"].get("Item") or {}) for w in writes if "PutRequest" in w]
    return [k for k in keys if k]


def _ddb_transact(request, _answer, _region):
    keys = []
    for action in rows(request.get("TransactItems")):
        for kind, write in action.items():
            if kind == "Put":
                keys.append(items.of_item(write.get("TableName"), table(write.get("Item"))))
            elif kind in ("Update", "Delete"):
                keys.append(_of_key(write.get("TableName"), write.get("Key")))
    return keys


def _ddb_describe(_request, answer, _region):
    items.learn_schema(table(answer.get("Table")) or table(answer.get("TableDescription")))
    return []


def _of_key(name, attributes):
    if not isinstance(attributes, dict) or not isinstance(name, str):
        return []
    items.learn(items.table_name(name), attributes)
    return items.of_key(name, attributes)


def _request_id(kind, answer):
    return key(kind, table(answer.get("ResponseMetadata")).get("RequestId"))


SENDS = {
    ("sqs", "SendMessage"): _sqs_send,
    ("sqs", "SendMessageBatch"): _sqs_send_batch,
    ("sns", "Publish"): _sns_publish,
    ("sns", "PublishBatch"): _sns_publish_batch,
    ("events", "PutEvents"): _put_events,
    ("kinesis", "PutRecord"): _kinesis_put,
    ("kinesis", "PutRecords"): _kinesis_put,
    ("firehose", "PutRecord"): _firehose_put,
    ("firehose", "PutRecordBatch"): _firehose_put,
    ("s3", "PutObject"): _s3_write,
    ("s3", "CopyObject"): _s3_write,
    ("s3", "CompleteMultipartUpload"): _s3_write,
    ("s3", "DeleteObject"): _s3_delete,
    ("s3", "DeleteObjects"): _s3_delete,
    ("dynamodb", "PutItem"): _ddb_put,
    ("dynamodb", "UpdateItem"): _ddb_key,
    ("dynamodb", "DeleteItem"): _ddb_key,
    ("dynamodb", "BatchWriteItem"): _ddb_batch,
    ("dynamodb", "TransactWriteItems"): _ddb_transact,
    # These send nothing; they tell which attributes are the key of a table.
    ("dynamodb", "GetItem"): _ddb_read,
    ("dynamodb", "DescribeTable"): _ddb_describe,
    ("dynamodb", "CreateTable"): _ddb_describe,
    ("lambda", "Invoke"): _lambda_invoke,
    ("stepfunctions", "StartExecution"): _start_execution,
    ("stepfunctions", "StartSyncExecution"): _start_execution,
}
RECEIVES = {("sqs", "ReceiveMessage"): _sqs_receive}
