"""Known telemetry from the Node SDK (tests/clients/node/send.mjs), read back value by value."""

import json
import pathlib
import subprocess

import pytest

import otlp_json

NODE = pathlib.Path(__file__).parents[1] / "node"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf", "http/json"])
def test_all_signals(server, protocol):
    endpoint = server.grpc if protocol == "grpc" else server.http
    command = ["node", "send.mjs", protocol, endpoint]
    done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    ids = json.loads(done.stdout.splitlines()[-1])

    found = {s["name"]: (r, c, s) for r, c, s in otlp_json.spans(server.trace(ids["traceId"]))}
    assert set(found) == {"parent", "child"}
    resource, scope, span = found["parent"]
    assert (resource["process.pid"], scope["name"], scope["version"]) == (7, "node.orders", "2")
    assert (span["spanId"], span["kind"], span["status"]) == (ids["spanId"], 5, {"code": 2, "message": "broke"})
    assert (span["startTimeUnixNano"], span["endTimeUnixNano"]) == ("1790000000000000005", "1790000001000000005")
    got = otlp_json.attributes(span["attributes"])
    assert got == {
        "text": "ü\n\"", "empty": "", "int": 42, "max": 2**53 - 1, "double": 0.1, "yes": True, "texts": ["a", ""],
        "ints": [1, -2], "mixed": [1.5, 2], "nothing": [], "messaging.system": "aws_sqs", "messaging.message.id": "m-1",
    }
    assert [type(got[k]) for k in ("int", "double", "yes")] == [int, float, bool]
    event, = span["events"]
    assert (event["timeUnixNano"], otlp_json.attributes(event["attributes"])) == ("1790000000000000009", {"n": 2})
    link, = span["links"]
    assert (link["traceId"], link["spanId"]) == ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")
    child = found["child"][2]
    assert (child["spanId"], child["parentSpanId"]) == (ids["childId"], ids["spanId"])

    log, = server.sql("SELECT body, body_is_json, severity_number, trace_id, span_id, attributes_other FROM logs")
    assert json.loads(log["body"]) == {"order": 7, "tags": ["x", None], "nested": {"ok": True}}
    assert (log["severity_number"], log["trace_id"], log["span_id"]) == (17, ids["traceId"], ids["spanId"])
    assert log["attributes_other"]["bytes"] == '{"$bytes":"AP8="}'

    points = {p["name"]: p for p in server.sql("SELECT * FROM metrics WHERE scope_name = 'node.meter'")}
    assert set(points) == {"orders", "latency"}
    orders = points["orders"]
    assert (orders["value"], orders["temporality"], orders["attributes_string"]) == (3, "delta", {"region": "eu"})
    latency = points["latency"]
    assert (latency["count"], latency["sum"], latency["bucket_counts"]) == (1, 5.0, [0, 1, 0])
