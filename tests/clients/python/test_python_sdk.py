"""Known telemetry from the Python SDK, read back value by value."""

import math
import socket
import threading

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

import grpc
import otlp_json
from server import until

RESOURCE = Resource({"service.name": "shop", "service.version": "1.2", "process.pid": 7, "tags": ["a", "b"]})
T = 1_790_000_000_000_000_000
PROTOCOLS = ["grpc", "grpc-gzip", "http", "http-gzip"]


def exporter(server, protocol, grpc_class, http_class, signal, **kwargs):
    kind, _, compression = protocol.partition("-")
    if kind == "grpc":
        compression = grpc.Compression.Gzip if compression else grpc.Compression.NoCompression
        return grpc_class(endpoint=server.grpc, insecure=True, compression=compression, **kwargs)
    compression = Compression.Gzip if compression else Compression.NoCompression
    return http_class(endpoint=f"{server.http}/v1/{signal}", compression=compression, **kwargs)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_spans(server, protocol):
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(BatchSpanProcessor(exporter(server, protocol, GrpcSpans, HttpSpans, "traces")))
    tracer = provider.get_tracer("shop.orders", "0.3", schema_url="https://example.com/schema", attributes={"s": 1})
    other = SpanContext(0x5B8EFFF798038103D269B633813FC60C, 0xEEE19B7EC3C1B174, True, TraceFlags(1), TraceState([("k", "v")]))
    sent = {
        "text": "ü\n\"", "empty": "", "big": 2**63 - 1, "small": -(2**63), "double": 0.1, "whole": 2.0,
        "nan": math.nan, "infinity": -math.inf, "yes": True, "no": False, "texts": ["a", ""], "ints": [1, -2],
        "doubles": [1.0, 0.5], "bools": [True, False], "nothing": [], "http.route": "/orders/{id}",
        "http.response.status_code": 500, "faas.invocation_id": "11aa", "messaging.message_id": "m-1",
    }
    with tracer.start_as_current_span("parent", kind=SpanKind.SERVER, attributes=sent, start_time=T,
                                      links=[Link(other, {"messaging.message.id": "m-2", "n": 3})]) as parent:
        parent.add_event("cache miss", {"key": "k", "tries": 2}, timestamp=T + 5)
        parent.set_status(Status(StatusCode.ERROR, "it broke"))
        tracer.start_span("child", kind=SpanKind.PRODUCER, start_time=T + 10).end(T + 20)
    parent_context = parent.get_span_context()
    provider.shutdown()

    trace_id, span_id = f"{parent_context.trace_id:032x}", f"{parent_context.span_id:016x}"
    found = otlp_json.spans(server.trace(trace_id))
    assert {s["name"] for _, _, s in found} == {"parent", "child"}
    resource, scope, span = next(f for f in found if f[2]["name"] == "parent")
    assert resource["process.pid"] == 7 and resource["tags"] == ["a", "b"]
    assert (scope["name"], scope["version"], otlp_json.attributes(scope["attributes"])) == ("shop.orders", "0.3", {"s": 1})
    got = otlp_json.attributes(span["attributes"])
    assert list(got) == list(sent), "the order of sending"
    assert math.isnan(got.pop("nan")) and math.isnan(sent.pop("nan"))
    assert got == sent and [type(v) for v in got.values()] == [type(v) for v in sent.values()]
    assert (span["kind"], span["status"], span["startTimeUnixNano"]) == (2, {"code": 2, "message": "it broke"}, str(T))
    event, = span["events"]
    assert (event["name"], event["timeUnixNano"]) == ("cache miss", str(T + 5))
    assert otlp_json.attributes(event["attributes"]) == {"key": "k", "tries": 2}
    link, = span["links"]
    assert (link["traceId"], link["spanId"]) == (f"{other.trace_id:032x}", f"{other.span_id:016x}")
    assert otlp_json.attributes(link["attributes"]) == {"messaging.message.id": "m-2", "n": 3}

    row, = server.sql(f"""SELECT span_id, kind, status_code, service, http_route, http_response_status_code AS status,
        faas_invocation_id, messaging_message_id, attributes_int['big'] AS big, attributes_double['whole'] AS whole,
        attributes_bool['no'] AS no, attributes_other['texts'] AS texts, attr('http.route') AS route, attr('text') AS text,
        resource_attr('service.version') AS version FROM spans WHERE trace_id = '{trace_id}' AND name = 'parent'""")
    assert row == {
        "span_id": span_id, "kind": "SERVER", "status_code": "ERROR", "service": "shop", "http_route": "/orders/{id}",
        "status": 500, "faas_invocation_id": "11aa", "messaging_message_id": "m-1", "big": 2**63 - 1, "whole": 2.0,
        "no": False, "texts": '["a",""]', "route": "/orders/{id}", "text": "ü\n\"", "version": "1.2",
    }
    child, = server.sql("SELECT parent_span_id, duration, start_time FROM spans WHERE name = 'child'")
    assert child == {"parent_span_id": span_id, "duration": 10, "start_time": "2026-09-21T14:13:20.000000010Z"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_logs(server, protocol):
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter(server, protocol, GrpcLogs, HttpLogs, "logs")))
    logger = provider.get_logger("shop.log", "1")
    bodies = ["plain", {"a": 1, "b": [True, None, 2.5], "c": {"d": b"\x00\xff"}}, None, 7, ["x", 1]]
    for n, body in enumerate(bodies):
        logger.emit(LogRecord(timestamp=T + n, observed_timestamp=T + 100, severity_number=SeverityNumber.WARN2,
                              severity_text="WARN", body=body, event_name=f"event-{n}",
                              attributes={"n": n, "list": [1, "x"], "map": {"k": b"\x01"}}))
    provider.shutdown()
    rows = server.sql("SELECT body, body_is_json, severity_number, severity_text, event_name, attributes_int, attributes_other FROM logs ORDER BY time")
    assert [r["body"] for r in rows] == [
        "plain", '{"a":1,"b":[true,null,2.5],"c":{"d":{"$bytes":"AP8="}}}', rows[2]["body"], "7", '["x",1]'
    ]
    assert rows[2]["body"] in (None, "null")
    assert [r["event_name"] for r in rows] == [f"event-{n}" for n in range(5)]
    assert all((r["severity_number"], r["severity_text"]) == (14, "WARN") for r in rows)
    assert rows[3]["attributes_int"] == {"n": 3}
    assert rows[3]["attributes_other"] == {"list": '[1,"x"]', "map": '{"k":{"$bytes":"AQ=="}}'}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_metrics(server, protocol):
    delta = {kind: AggregationTemporality.DELTA for kind in (Counter, Histogram)}
    exporting = exporter(server, protocol, GrpcMetrics, HttpMetrics, "metrics", preferred_temporality=delta)
    reader = PeriodicExportingMetricReader(exporting, export_interval_millis=3_600_000)
    views = [View(instrument_name="fine", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider([reader], resource=RESOURCE, views=views)
    meter = provider.get_meter("shop.metrics")
    tracing = TracerProvider(resource=RESOURCE)
    with tracing.get_tracer("t").start_as_current_span("with an exemplar") as span:
        meter.create_counter("orders", unit="{order}", description="orders taken").add(2**40, {"region": "eu", "ok": True})
        meter.create_histogram("latency", unit="ms", explicit_bucket_boundaries_advisory=[1, 10]).record(5, {"route": "/"})
    meter.create_up_down_counter("open").add(-3)
    meter.create_gauge("load").set(0.25)
    for value in (0, 1.0, 3.0, 0.5):
        meter.create_histogram("fine").record(value)
    provider.shutdown()

    rows = {r["name"]: r for r in server.sql("SELECT * FROM metrics")}
    assert set(rows) == {"orders", "latency", "open", "load", "fine"}
    orders = rows["orders"]
    assert (orders["value_int"], orders["unit"], orders["description"]) == (2**40, "{order}", "orders taken")
    assert (orders["type"], orders["temporality"], orders["is_monotonic"]) == ("sum", "delta", True)
    assert (orders["attributes_string"], orders["attributes_bool"]) == ({"region": "eu"}, {"ok": True})
    assert orders["exemplars"][0]["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert (rows["open"]["value_int"], rows["open"]["temporality"], rows["open"]["is_monotonic"]) == (-3, "cumulative", False)
    assert (rows["load"]["value"], rows["load"]["type"], rows["load"]["temporality"]) == (0.25, "gauge", None)
    latency = rows["latency"]
    assert (latency["count"], latency["sum"], latency["min"], latency["max"]) == (1, 5.0, 5.0, 5.0)
    assert (latency["bucket_counts"], latency["explicit_bounds"]) == ([0, 1, 0], [1.0, 10.0])
    fine = rows["fine"]
    assert (fine["type"], fine["count"], fine["zero_count"], fine["min"], fine["max"]) == ("exponential_histogram", 4, 1, 0.0, 3.0)
    assert sum(fine["positive_bucket_counts"]) == 3 and not any(fine["negative_bucket_counts"] or [])


SMALL = "[collector]\nmax_request_bytes = 65536\nmax_pending_bytes = 140000\n"


@pytest.mark.parametrize("server", [SMALL], indirect=True)
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_is_refused_as_retryable_arrives_later_and_once(server, protocol):
    host, _, port = server.http.removeprefix("http://").rpartition(":")
    head = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 60000\r\n\r\n"
    # Two bodies that do not end hold nearly all the room there is.
    held = [socket.create_connection((host, int(port))) for _ in range(2)]
    for connection in held:
        connection.sendall(head + bytes(99))
    until("both are being received", lambda: metric(server, "pending_bytes") >= 120_000)
    exporting = exporter(server, protocol, GrpcSpans, HttpSpans, "traces")
    results = []

    class Keep(SpanExporter):
        def export(self, spans):
            results.append(exporting.export(spans))
            return results[-1]

        def shutdown(self):
            exporting.shutdown()

    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(Keep()))

    def send():
        with provider.get_tracer("t").start_as_current_span("late", attributes={"pad": "x" * 30_000}):
            pass

    sending = threading.Thread(target=send)
    sending.start()
    until("it was refused", lambda: metric(server, "overload") > 0)
    assert not results
    for connection in held:
        connection.close()
    sending.join(60)
    assert results == [SpanExportResult.SUCCESS]
    assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": 1}]


def metric(server, part):
    """The sum of the server's own metrics whose name or labels have `part`."""
    lines = [l for l in server.get("/metrics").text.splitlines() if part in l and not l.startswith("#")]
    return sum(float(l.rsplit(" ", 1)[1]) for l in lines)


def test_found_at_once_and_after_a_kill(server):
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(exporter(server, "grpc", GrpcSpans, HttpSpans, "traces")))
    tracer = provider.get_tracer("t")
    for n in range(20):
        with tracer.start_as_current_span(f"op-{n}") as span:
            pass
        assert otlp_json.spans(server.trace(f"{span.get_span_context().trace_id:032x}"))[0][2]["name"] == f"op-{n}"
    server.kill()
    server.start()
    assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": 20}]
