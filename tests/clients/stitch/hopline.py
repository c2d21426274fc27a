"""The running server, and what it says of what happened."""

import dataclasses
import importlib.util
import json
import pathlib

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

_spec = importlib.util.spec_from_file_location("hopline_server", pathlib.Path(__file__).parents[1] / "python/server.py")
hopline = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hopline)
until = hopline.until


@dataclasses.dataclass(frozen=True)
class Edge:
    """Who caused whom, by the ids of their invocations; of callers by the ids of their spans."""

    hop: str
    sender: str
    receiver: str
    certainty: str = "exact"
    attempt: int = 1
    retry: bool = False
    dead_letter: bool = False


HTTP = {"http.request.method": "POST", "url.full": "https://shop.example/orders", "http.response.status_code": 200}


class Hopline:
    """The server, and questions to it."""

    def __init__(self, folder):
        self.server, self._flows = hopline.Server(folder), {}
        self.provider = TracerProvider(resource=Resource({"service.name": "browser"}))
        self.provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{self.server.http}/v1/traces")))

    def call(self, what):
        """Calls `what` with a `traceparent`, as an instrumented client of HTTP does. Gives the call's ids as well."""
        with self.provider.get_tracer("browser").start_as_current_span("POST", kind=trace.SpanKind.CLIENT, attributes=HTTP) as span:
            ids = span.get_span_context()
            trace_id, span_id = trace.format_trace_id(ids.trace_id), trace.format_span_id(ids.span_id)
            return trace_id, span_id, what(f"00-{trace_id}-{span_id}-01")

    def get(self, path, **params):
        answer = self.server.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def flow(self, trace_id):
        """The flow of a trace; asked for once."""
        return self._flow(f"/api/v1/flows/{trace_id}")

    def flow_of(self, invocation):
        """The flow of an invocation, as soon as that is known; asked for once."""
        return self._flow(f"/api/v1/flows?invocation_id={invocation.id}")

    def _flow(self, path):
        def found():
            answer = self.server.get(path)
            return answer.status_code == 200 and answer.json()

        if path not in self._flows:
            self._flows[path] = until(path, found)
            assert self._flows[path]["complete"], self._flows[path].get("reason")
        return self._flows[path]

    def drawn(self, id_):
        return hopline.subprocess.run(
            [hopline.BINARY, "flow", id_, "--server", self.server.api], capture_output=True, text=True, timeout=30, check=True).stdout


def edges(flow):
    """The edges between traces of a flow; those between the same two only once."""
    def end(of):
        return of.get("invocation_id") or of["span_id"]

    traces = {t["trace_id"] for t in flow["traces"]}
    return {Edge(e["hop"], end(e["from"]), end(e["to"]), e["certainty"], e["attempt"], e["retry"], e["dead_letter"])
            for e in flow["edges"] if e["from"]["trace_id"] in traces}


def told(flow):
    """For people who wonder why a test failed."""
    return json.dumps({k: flow[k] for k in ("edges", "missing", "cuts", "traces")}, indent=1)
