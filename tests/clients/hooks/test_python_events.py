"""Events of a function, through the real instrumentation of the Lambda handler, to the spans that are exported."""

import copy
import sys
import types

import pytest
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
from opentelemetry.propagators.aws.aws_xray_propagator import AwsXRayLambdaPropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

import cases
import hopline_hooks

CASES = cases.cases()
ARN = "arn:aws:lambda:us-east-1:123456789012:function:worker"
CONTEXT = types.SimpleNamespace(
    function_name="worker", function_version="1", invoked_function_arn=ARN, memory_limit_in_mb=128,
    aws_request_id="8d3b1c4e-1111-2222-3333-444455556666", log_group_name="g", log_stream_name="s",
)


class Function:
    """A function on AWS whose handler is instrumented; `seen` are the events that the handler got."""

    def __init__(self, monkeypatch):
        self.exporter, self.provider, self.seen = InMemorySpanExporter(), TracerProvider(), []
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.module = types.ModuleType("hopline_function")
        self.module.handle = self.handle
        monkeypatch.setitem(sys.modules, "hopline_function", self.module)
        monkeypatch.setenv("_HANDLER", "hopline_function.handle")
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "worker")

    def handle(self, event, _context):
        with self.provider.get_tracer("app").start_as_current_span("work", kind=SpanKind.CLIENT):
            self.seen.append(event)
        return "done"

    def call(self, event):
        self.exporter.clear()
        assert self.module.handle(event, CONTEXT) == "done"
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def function(monkeypatch):
    function = Function(monkeypatch)
    yield function
    if AwsLambdaInstrumentor().is_instrumented_by_opentelemetry:
        AwsLambdaInstrumentor().uninstrument()


@pytest.fixture
def hooked(function):
    function.provider.add_span_processor(hopline_hooks.HoplineSpanProcessor())
    AwsLambdaInstrumentor().instrument(
        tracer_provider=function.provider, event_context_extractor=hopline_hooks.event_context_extractor
    )
    return function


def found(span):
    """What a case says, as the span has it."""
    parent = span.parent and f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}"
    links = [
        [f"{link.context.trace_id:032x}-{link.context.span_id:016x}", list(link.attributes.get("hopline.link.in", ()))]
        for link in span.links
    ]
    return {
        "in": list(span.attributes.get("hopline.link.in", ())), "parent": parent, "links": links,
        "dropped": span.attributes.get("hopline.link.in.dropped", 0),
    }


def expected(case):
    return {"in": case["in"], "parent": case.get("parent"), "links": case.get("links", []), "dropped": case.get("dropped", 0)}


@pytest.mark.parametrize("name", CASES)
def test_an_event(hooked, name):
    event = copy.deepcopy(CASES[name]["event"])
    spans = hooked.call(event)
    assert found(spans["worker"]) == expected(CASES[name])
    assert spans["worker"].kind is SpanKind.SERVER
    assert hooked.seen == [event] == [CASES[name]["event"]]
    # Only the invocation's own span has the keys.
    assert not any("hopline.link.in" in s.attributes for n, s in spans.items() if n != "worker")


@pytest.mark.parametrize("event", cases.STRANGE, ids=range(len(cases.STRANGE)))
def test_nothing_stops_the_function(hooked, event):
    try:
        hooked.call(event)
    except Exception:
        # The instrumentation itself stumbles over this one; so it does without the hooks.
        AwsLambdaInstrumentor().uninstrument()
        AwsLambdaInstrumentor().instrument(tracer_provider=hooked.provider)
        with pytest.raises(Exception):
            hooked.call(event)
    assert hopline_hooks.event_context_extractor(event) is not None


def test_every_invocation_anew(hooked):
    first = hooked.call(CASES["sns"]["event"])["worker"]
    second = hooked.call(CASES["invoke"]["event"])["worker"]
    assert (first.parent is None, second.parent is None) == (False, True)
    assert "hopline.link.in" not in second.attributes


def test_instrument_sets_all_up(function, monkeypatch):
    hopline_hooks.instrument(tracer_provider=function.provider)
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

    assert BotocoreInstrumentor().is_instrumented_by_opentelemetry
    hopline_hooks.instrument(tracer_provider=function.provider)  # again: still one span a call, one set of keys
    try:
        spans = function.call(CASES["sqs"]["event"])
        assert list(spans) == ["work", "process my-queue", "worker"]
        assert found(spans["worker"]) == expected(CASES["sqs"])
    finally:
        BotocoreInstrumentor().uninstrument()


@pytest.mark.parametrize("name, span", [("sqs", "process my-queue"), ("sns_no_context", "worker"), ("s3", "worker")])
def test_a_decorated_handler_under_a_layer(function, name, span):
    function.module.handle = hopline_hooks.handler(function.module.handle)
    AwsLambdaInstrumentor().instrument(tracer_provider=function.provider)
    spans = function.call(CASES[name]["event"])
    assert found(spans[span])["in"] == CASES[name]["in"]
    assert [link for link in found(spans[span])["links"] if link[1]] == CASES[name].get("links", [])


def test_a_decorated_handler_besides_the_extractor(hooked):
    AwsLambdaInstrumentor().uninstrument()
    hooked.module.handle = hopline_hooks.handler(hooked.module.handle)
    AwsLambdaInstrumentor().instrument(
        tracer_provider=hooked.provider, event_context_extractor=hopline_hooks.event_context_extractor
    )
    with_keys = [n for n, s in hooked.call(CASES["sqs"]["event"]).items() if "hopline.link.in" in s.attributes]
    assert with_keys == ["worker"]


def test_without_hooks_there_is_nothing(function):
    AwsLambdaInstrumentor().instrument(tracer_provider=function.provider)
    for name in ("sns", "s3", "eventbridge", "kinesis", "dynamodb", "stepfunctions", "msk"):
        span = function.call(CASES[name]["event"])["worker"]
        assert found(span) == {"in": [], "parent": None, "links": [], "dropped": 0}


def test_the_global_provider_gets_its_processor_by_itself(function, monkeypatch):
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: function.provider)
    AwsLambdaInstrumentor().instrument(
        tracer_provider=function.provider, event_context_extractor=hopline_hooks.event_context_extractor
    )
    for _ in range(2):
        assert found(function.call(CASES["s3"]["event"])["worker"]) == expected(CASES["s3"])


@pytest.mark.parametrize("name, parent", [
    ("sns", CASES["sns"]["parent"]),  # a span that somebody sent, rather than a segment of X-Ray
    ("sns_no_context", "5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8"),
])
def test_beside_the_propagator_of_x_ray(hooked, monkeypatch, name, parent):
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(AwsXRayLambdaPropagator())
    try:
        assert found(hooked.call(CASES[name]["event"])["worker"])["parent"] == parent
    finally:
        propagate.set_global_textmap(before)
