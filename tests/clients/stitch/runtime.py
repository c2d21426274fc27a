"""An execution environment of a Python function: a process of its own, with the real instrumentations.

It is told what to do in a table: the event, the id of the request, and the calls to AWS that the handler is to make,
(service, operation, request) each. It gives back their answers when what it recorded is on the server.
"""

import logging
import os
import sys
import types

import boto3
from botocore import xform_name
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

clients = {}
job, answers = {}, []


def do_calls():
    for service, operation, request in job["calls"]:
        if service not in clients:
            clients[service] = boto3.client(service, endpoint_url=os.environ["AWS_ENDPOINT"])
        answer = getattr(clients[service], xform_name(operation))(**request)
        answers.append({**answer, "RequestId": answer["ResponseMetadata"]["RequestId"]})
    if job["error"]:
        raise RuntimeError(job["error"])


def run(pipe, env):
    """Serves until `pipe` is closed."""
    os.environ.update(env)
    logging.getLogger("opentelemetry.instrumentation.aws_lambda").setLevel(logging.ERROR)  # it misses a provider of metrics
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    if env["HOOKS"]:
        sys.path.insert(0, env["HOOKS"])
        import hopline_hooks

        hopline_hooks.instrument()
    else:
        BotocoreInstrumentor().instrument()
        AwsLambdaInstrumentor().instrument()
    import handler

    while True:
        try:
            job.update(pipe.recv())
        except EOFError:
            return
        answers.clear()
        os.environ["_X_AMZN_TRACE_ID"] = job["trace_header"]
        context = types.SimpleNamespace(
            function_name=env["AWS_LAMBDA_FUNCTION_NAME"], aws_request_id=job["request_id"], invoked_function_arn=env["ARN"])
        error = None
        try:
            handler.handle(job["event"], context)
        except Exception as e:  # pylint: disable=broad-except
            error = str(e)
        pipe.send({"answers": [{k: v for k, v in a.items() if isinstance(v, (str, int, list))} for a in answers], "error": error})
