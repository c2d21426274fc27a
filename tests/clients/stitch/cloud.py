"""AWS as moto plays it, with what moto leaves out; and the events that it would call functions with."""

import base64
import json
import logging
import re
import threading
import uuid

import boto3
from functions import ACCOUNT, REGION, Function
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")


class Cloud:
    """moto's server, and all functions."""

    def __init__(self, server):
        self.server, self.functions = server, {}
        self.events = []  # asynchronous invocations that were asked for: payload, request id
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._http = make_server("127.0.0.1", 0, self, threaded=True)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.port}"
        self._clients, self._trace_headers, self._lock = {}, {}, threading.Lock()

    def stop(self):
        for function in self.functions.values():
            function.stop()
        self._http.shutdown()
        self._thread.join()

    def client(self, service):
        """A client without any instrumentation."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = boto3.client(
                    service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing")
            return self._clients[service]

    def function(self, name, language, hooks):
        name = f"{name}-{language}-{'hooks' if hooks else 'stock'}"
        with self._lock:
            if name not in self.functions:
                self.functions[name] = Function(name, language, hooks, self.url, self.server)
            return self.functions[name]

    def __call__(self, environ, start_response):
        function = _INVOKE.fullmatch(environ["PATH_INFO"])
        if function:
            return self._invoke(function[1], environ, start_response)
        header = environ.get("HTTP_X_AMZN_TRACE_ID")
        if not header or "SendMessage" not in environ.get("HTTP_X_AMZ_TARGET", ""):
            return self._moto(environ, start_response)
        # SQS keeps the request's X-Ray header with the message; moto does not.
        answer = b"".join(self._moto(environ, start_response))
        sent = json.loads(answer)
        self._trace_headers.update((m["MessageId"], header) for m in sent.get("Successful", [sent]))
        return [answer]

    def _invoke(self, name, environ, start_response):
        """Lambda's Invoke: moto would need Docker. The callee runs before the caller is answered, unless it is to run later."""
        payload = json.loads(_body(environ) or b"null")
        context = environ.get("HTTP_X_AMZ_CLIENT_CONTEXT")
        context = json.loads(base64.b64decode(context)) if context else None
        request_id = str(uuid.uuid4())
        is_event = environ.get("HTTP_X_AMZ_INVOCATION_TYPE") == "Event"
        if is_event:
            self.events.append((payload, request_id))
        else:
            self.functions[name].invoke(payload, request_id=request_id, client_context=context)
        status = "202 Accepted" if is_event else "200 OK"
        start_response(status, [("x-amzn-RequestId", request_id), ("Content-Type", "application/json")])
        return [b'{"statusCode": 200}']

    # -- what there is

    def queue(self, name, **attributes):
        url = self.client("sqs").create_queue(QueueName=name, Attributes={"VisibilityTimeout": "0", **attributes})["QueueUrl"]
        return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    def topic(self, name, *queue_arns):
        arn = self.client("sns").create_topic(Name=name)["TopicArn"]
        for queue in queue_arns:
            self.client("sns").subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue)
        return arn

    # -- what came

    def receive(self, url, count=1, delete=True):
        """Exactly `count` messages, as ReceiveMessage gives them."""
        messages = []
        for _ in range(3):
            messages += self.client("sqs").receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"],
                VisibilityTimeout=600 if delete else 0).get("Messages", [])
            if len(messages) >= count:
                break
        assert len(messages) == count, messages
        for message in messages:
            if message["MessageId"] in self._trace_headers:
                message["Attributes"]["AWSTraceHeader"] = self._trace_headers[message["MessageId"]]
            if delete:
                self.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return messages


def _body(environ):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    return environ["wsgi.input"].read(length) if length else environ["wsgi.input"].read()


# -- events, as AWS documents them


def http_event(traceparent, header="traceparent"):
    return {
        "version": "2.0", "routeKey": "POST /orders", "rawPath": "/orders", "rawQueryString": "",
        "headers": {header: traceparent, "content-type": "application/json", "host": "shop.example", "x-forwarded-proto": "https"},
        "requestContext": {
            "accountId": ACCOUNT, "apiId": "api", "domainName": "shop.example", "stage": "$default", "requestId": str(uuid.uuid4()),
            "http": {"method": "POST", "path": "/orders", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "test"},
        },
        "body": "{}", "isBase64Encoded": False,
    }


def sqs_event(queue_arn, messages):
    def attribute(value):
        return {"stringValue": value["StringValue"], "stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}

    return {"Records": [{
        "messageId": m["MessageId"], "receiptHandle": m["ReceiptHandle"], "body": m["Body"], "attributes": m["Attributes"],
        "messageAttributes": {name: attribute(a) for name, a in m.get("MessageAttributes", {}).items()},
        "md5OfBody": m["MD5OfBody"], "eventSource": "aws:sqs", "eventSourceARN": queue_arn, "awsRegion": REGION,
    } for m in messages]}


def sns_event(notification):
    """`notification`: the envelope that SNS puts into a queue; a function gets the same."""
    arn = f"{notification['TopicArn']}:{uuid.uuid4()}"
    sns = {"Subject": None, "MessageAttributes": {}, **notification}
    return {"Records": [{"EventVersion": "1.0", "EventSubscriptionArn": arn, "EventSource": "aws:sns", "Sns": sns}]}


def s3_event(notification, answer):
    """`notification`: moto's; it leaves out the request that wrote the object."""
    record, = notification["Records"]
    return {"Records": [{**record, "responseElements": {"x-amz-request-id": answer["RequestId"], "x-amz-id-2": "id2"}}]}


def eventbridge_event(entry, id_):
    """What becomes of an entry of PutEvents."""
    return {
        "version": "0", "id": id_, "detail-type": entry["DetailType"], "source": entry["Source"], "account": ACCOUNT,
        "time": "2026-01-02T03:04:05Z", "region": REGION, "resources": [], "detail": json.loads(entry["Detail"]),
    }


def kinesis_event(stream, shard, record):
    return {"Records": [{
        "kinesis": {
            "kinesisSchemaVersion": "1.0", "partitionKey": record["PartitionKey"], "sequenceNumber": record["SequenceNumber"],
            "data": base64.b64encode(record["Data"]).decode(),
            "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"].timestamp(),
        },
        "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventID": f"{shard}:{record['SequenceNumber']}",
        "eventName": "aws:kinesis:record", "invokeIdentityArn": f"arn:aws:iam::{ACCOUNT}:role/r", "awsRegion": REGION,
        "eventSourceARN": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{stream}",
    }]}


def dynamodb_event(stream_arn, record):
    change = record["dynamodb"]
    change = {**change, "ApproximateCreationDateTime": change["ApproximateCreationDateTime"].timestamp()}
    return {"Records": [{
        "eventID": record["eventID"], "eventName": record["eventName"], "eventVersion": record["eventVersion"],
        "eventSource": "aws:dynamodb", "awsRegion": REGION, "dynamodb": change, "eventSourceARN": stream_arn,
    }]}


def destination_event(invocation):
    """The record of an asynchronous invocation's success."""
    return {
        "version": "1.0", "timestamp": "2026-01-02T03:04:05.678Z",
        "requestContext": {
            "requestId": invocation.id, "functionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{invocation.function.name}:$LATEST",
            "condition": "Success", "approximateInvokeCount": 1,
        },
        "requestPayload": {}, "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"}, "responsePayload": {"statusCode": 200},
    }


def step_event(execution_arn, state):
    """The payload of a task whose parameters pass the context object."""
    machine = execution_arn.replace(":execution:", ":stateMachine:").rpartition(":")[0]
    return {"order": {}, "context": {
        "Execution": {"Id": execution_arn, "Input": {}, "Name": execution_arn.rsplit(":", 1)[-1], "StartTime": "2026-01-02T03:04:05.678Z"},
        "State": {"Name": state, "EnteredTime": "2026-01-02T03:04:05.789Z", "RetryCount": 0},
        "StateMachine": {"Id": machine, "Name": machine.rsplit(":", 1)[-1]},
    }}
