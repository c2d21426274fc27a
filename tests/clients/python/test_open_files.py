"""The Parquet files of a stopped server, read by DuckDB and Polars."""

import duckdb
import polars
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

T = 1_790_000_000_000_000_000


def send(server):
    resource = Resource({"service.name": "files", "k8s.pod.name": "pod-1"})
    spans = TracerProvider(resource=resource)
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{server.http}/v1/traces")))
    tracer = spans.get_tracer("t")
    for n in range(500):
        span = tracer.start_span(f"op-{n % 7}", start_time=T + n, attributes={
            "http.route": f"/r/{n % 5}", "http.response.status_code": 200 + n % 3, "n": n, "half": n / 2, "even": n % 2 == 0,
            "list": [n, n + 1], "word": f"w{n}"})
        span.add_event("e", {"n": n}, timestamp=T + n)
        span.end(T + 2 * n)
    spans.shutdown()
    logs = LoggerProvider(resource=resource)
    logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(f"{server.http}/v1/logs")))
    logs.get_logger("l").emit(LogRecord(timestamp=T, body={"a": 1}))
    logs.shutdown()
    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(f"{server.http}/v1/metrics"), export_interval_millis=3_600_000)], resource=resource)
    meters.get_meter("m").create_histogram("h").record(3)
    meters.shutdown()


QUERY = """SELECT name, count(*) AS n, sum(duration) AS d, sum(http_response_status_code) AS s, min(http_route) AS r
    FROM {} GROUP BY name ORDER BY name"""


def test_duckdb_and_polars_read_what_sql_reads(server):
    send(server)
    ours = server.sql(QUERY.format("spans"))
    values = server.sql("SELECT span_id, attributes_int['n'] AS n, attributes_double['half'] AS half, attributes_bool['even'] AS even, attributes_string['word'] AS word, attributes_other['list'] AS list FROM spans ORDER BY n")
    logs = server.sql("SELECT body, service FROM logs")
    points = server.sql("SELECT name, count, sum FROM metrics")
    server.stop()

    files = {t: [str(f) for f in server.data.glob(f"data/{t}/**/*.parquet")] for t in ("spans", "logs", "metrics")}
    assert all(files.values()), files
    assert sum(r["n"] for r in ours) == 500

    def duck(query, table="spans"):
        return duckdb.sql(query.format(f"read_parquet({files[table]})")).pl().to_dicts()

    assert duck(QUERY) == ours
    got = duck("SELECT lower(hex(span_id)) AS span_id, attributes_int['n'] AS n, attributes_double['half'] AS half, attributes_bool['even'] AS even, attributes_string['word'] AS word, attributes_other['list'] AS list FROM {} ORDER BY n")
    assert got == values
    assert duck("SELECT body, service FROM {}", "logs") == logs
    assert duck("SELECT name, count, sum FROM {}", "metrics") == points
    pod = duck("""SELECT DISTINCT json_extract_string(resource, '$.attributes."k8s.pod.name"') AS pod FROM {}""")
    assert pod == [{"pod": "pod-1"}]

    frame = polars.read_parquet(files["spans"])
    by_name = frame.group_by(polars.col("name").cast(polars.String)).agg(
        polars.len().alias("n"), polars.col("duration").sum().alias("d"), polars.col("http_response_status_code").sum().alias("s"),
        polars.col("http_route").cast(polars.String).min().alias("r")).sort("name")
    assert by_name.to_dicts() == ours
    ids = sorted(v.hex() for v in frame["span_id"].to_list())
    assert ids == sorted(v["span_id"] for v in values)
    assert polars.read_parquet(files["logs"])["body"].to_list() == ['{"a":1}']
    assert polars.read_parquet(files["metrics"])["count"].to_list() == [1]
