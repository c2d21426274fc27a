// Sends known telemetry with the OpenTelemetry SDK for Node: `node send.mjs <protocol> <endpoint>`,
// protocol one of grpc, http/protobuf, http/json. Prints the ids of what it sent as JSON.
import { context, logs, metrics, SpanKind, SpanStatusCode, trace, TraceFlags } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { NodeSDK } from "@opentelemetry/sdk-node";

const [protocol, endpoint] = process.argv.slice(2);
process.env.OTEL_EXPORTER_OTLP_PROTOCOL = protocol;
process.env.OTEL_EXPORTER_OTLP_ENDPOINT = endpoint;
process.env.OTEL_EXPORTER_OTLP_COMPRESSION = "gzip";
process.env.OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE = "delta";
process.env.OTEL_TRACES_EXPORTER = process.env.OTEL_LOGS_EXPORTER = process.env.OTEL_METRICS_EXPORTER = "otlp";
process.env.OTEL_METRIC_EXPORT_INTERVAL = "3600000";

const sdk = new NodeSDK({
  resource: resourceFromAttributes({ "service.name": "node-shop", "process.pid": 7 }),
  autoDetectResources: false,
});
sdk.start();

const tracer = trace.getTracer("node.orders", "2");
const parent = tracer.startSpan("parent", {
  kind: SpanKind.CONSUMER,
  startTime: [1790000000, 5],
  attributes: {
    text: "ü\n\"", empty: "", int: 42, max: Number.MAX_SAFE_INTEGER, double: 0.1, yes: true, texts: ["a", ""],
    ints: [1, -2], mixed: [1.5, 2], nothing: [], "messaging.system": "aws_sqs", "messaging.message.id": "m-1",
  },
  links: [{
    context: { traceId: "5b8efff798038103d269b633813fc60c", spanId: "eee19b7ec3c1b174", traceFlags: TraceFlags.SAMPLED },
    attributes: { "messaging.message.id": "m-2" },
  }],
});
parent.addEvent("retry", { n: 2 }, [1790000000, 9]);
parent.setStatus({ code: SpanStatusCode.ERROR, message: "broke" });
const inside = trace.setSpan(context.active(), parent);
const child = tracer.startSpan("child", { startTime: [1790000000, 10] }, inside);
child.end([1790000000, 30]);
parent.end([1790000001, 5]);

logs.getLogger("node.log").emit({
  body: { order: 7, tags: ["x", null], nested: { ok: true } }, severityNumber: 17, severityText: "ERROR", timestamp: 1790000000000,
  attributes: { n: 1, bytes: new Uint8Array([0, 255]) }, context: inside,
});
metrics.getMeter("node.meter").createCounter("orders", { unit: "1" }).add(3, { region: "eu" });
metrics.getMeter("node.meter").createHistogram("latency", { advice: { explicitBucketBoundaries: [1, 10] } }).record(5);

const { traceId, spanId } = parent.spanContext();
await sdk.shutdown();
console.log(JSON.stringify({ traceId, spanId, childId: child.spanContext().spanId }));
