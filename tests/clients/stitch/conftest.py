"""One running Hopline and one AWS for all tests here, and what Hopline says of what happened there."""

import dataclasses
import importlib.util
import json
import pathlib

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from cloud import Cloud
from functions import AWS

_spec = importlib.util.spec_from_file_location("hopline_server", pathlib.Path(__file__).parents[1] / "python/conftest.py")
hopline = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hopline)


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


class Hopline:
    """The server, and questions to it."""

    def __init__(self, folder):
        self.server = hopline.Server(folder)
        self.provider = TracerProvider(resource=Resource({"service.name": "browser"}))
        self.provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{self.server.http}/v1/traces")))

    def call(self, what):
        """Calls `what` with a `traceparent`, as an instrumented client of HTTP does. Gives the call's ids as well."""
        with self.provider.get_tracer("browser").start_as_current_span("POST", kind=trace.SpanKind.CLIENT) as span:
            ids = span.get_span_context()
            trace_id, span_id = trace.format_trace_id(ids.trace_id), trace.format_span_id(ids.span_id)
            return trace_id, span_id, what(f"00-{trace_id}-{span_id}-01")

    def get(self, path, **params):
        answer = self.server.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def flow(self, trace_id, **params):
        flow = self.get(f"/api/v1/flows/{trace_id}", **params)
        assert flow["complete"], flow.get("reason")
        return flow

    def flow_of(self, invocation):
        """The flow of an invocation, as soon as that is known."""
        def found():
            answer = self.server.get("/api/v1/flows", params={"invocation_id": invocation.id})
            return answer.status_code == 200 and answer.json()

        flow = hopline.until(f"invocation {invocation.id} of {invocation.function.name}", found)
        assert flow["complete"], flow.get("reason")
        return flow

    def drawn(self, id_):
        return hopline.subprocess.run(
            [hopline.BINARY, "flow", id_, "--server", self.server.api], capture_output=True, text=True, timeout=30, check=True).stdout


def edges(flow):
    """The edges of a flow, and those between the same two only once."""
    def end(of):
        return of.get("invocation_id") or of["span_id"]

    return {Edge(e["hop"], end(e["from"]), end(e["to"]), e["certainty"], e["attempt"], e["retry"], e["dead_letter"])
            for e in flow["edges"]}


def told(flow):
    """For people who wonder why a test failed."""
    short = {k: v for k, v in flow.items() if k not in ("rows", "critical_path")}
    return json.dumps(short, indent=1)


@pytest.fixture(scope="session")
def hop(tmp_path_factory):
    hop = Hopline(tmp_path_factory.mktemp("hopline"))
    yield hop
    hop.provider.shutdown()
    hop.server.stop()


@pytest.fixture(scope="session")
def cloud(hop):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS.items():
            patch.setenv(name, value)
        cloud = Cloud(hop.server)
        yield cloud
        cloud.stop()
