"""Functions of Lambda, each in a process of its own, and invocations of them."""

import dataclasses
import json
import multiprocessing
import os
import pathlib
import secrets
import subprocess
import threading
import time
import uuid

FOLDER = pathlib.Path(__file__).parent
HOOKS = FOLDER.parents[2] / "hooks"
REGION, ACCOUNT = "us-east-1", "123456789012"
AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION,
       "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}

# Python's are forked from a process that has everything imported.
_python = multiprocessing.get_context("forkserver")
_python.set_forkserver_preload(["boto3", "opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk.trace.export",
                                "opentelemetry.instrumentation.aws_lambda", "opentelemetry.instrumentation.botocore"])


@dataclasses.dataclass
class Invocation:
    """What a function did: `answers` are those of the calls it made."""

    function: "Function"
    id: str
    answers: list = dataclasses.field(default_factory=list)
    error: str | None = None


class Function:
    """A function with one execution environment, which starts with its first invocation."""

    def __init__(self, name, language, hooks, aws, server):
        self.name, self.language, self.hooks = name, language, hooks
        self.instance = f"2026/01/02/[$LATEST]{secrets.token_hex(16)}"
        self.invocations = []
        self._busy = threading.Lock()
        resource = {
            "service.name": name, "faas.name": name, "faas.version": "$LATEST", "faas.instance": self.instance,
            "faas.max_memory": 128 * 1024 * 1024, "cloud.provider": "aws", "cloud.platform": "aws_lambda", "cloud.region": REGION,
        }
        protocol, endpoint = {"python": ("http/protobuf", server.http), "node": ("grpc", server.grpc)}[language]
        self._env = {
            **AWS, "AWS_ENDPOINT": aws, "AWS_LAMBDA_FUNCTION_NAME": name, "_HANDLER": "handler.handle",
            "LAMBDA_TASK_ROOT": str(FOLDER), "ARN": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}",
            "HOOKS": str(HOOKS / language) if hooks else "", "HOPLINE_DYNAMODB_KEYS": '{"orders": ["id"]}',
            "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{k}={v}" for k, v in resource.items()), "OTEL_PROPAGATORS": "tracecontext",
            "OTEL_NODE_RESOURCE_DETECTORS": "env",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none",
        }
        self._exchange, self.stop = {"python": self._start_python, "node": self._start_node}[language]()

    def _start_python(self):
        from runtime import run

        ours, theirs = _python.Pipe()
        process = _python.Process(target=run, args=(theirs, self._env), daemon=True)
        process.start()
        theirs.close()

        def exchange(job):
            ours.send(job)
            return ours.recv()

        def stop():
            ours.close()
            process.join()

        return exchange, stop

    def _start_node(self):
        env = {**os.environ, **self._env, "NODE_PATH": str(FOLDER.parent / "node/node_modules"), "NODE_NO_WARNINGS": "1"}
        process = subprocess.Popen(["node", "runtime.cjs"], cwd=FOLDER, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def exchange(job):
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        def stop():
            process.stdin.close()
            process.wait()
            process.stdout.close()

        return exchange, stop

    def invoke(self, event, calls=(), error=None, request_id=None, client_context=None):
        """Waits until the handler has made its `calls`, and its spans are sent; then, with `error`, it failed with it."""
        invocation = Invocation(self, request_id or str(uuid.uuid4()))
        with self._busy:
            self.invocations.append(invocation)
            got = self._exchange({
                "event": event, "calls": list(calls), "error": error, "request_id": invocation.id, "client_context": client_context,
                "trace_header": f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0",
            })
        invocation.answers, invocation.error = got["answers"], got["error"]
        assert invocation.error == error, f"{self.name} on {event}: {invocation.error}"
        return invocation
