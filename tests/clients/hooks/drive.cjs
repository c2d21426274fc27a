// Runs the real Node instrumentation with the hooks: `node drive.cjs <events|calls>`, with JSON on standard input and
// output. NODE_PATH says where the packages are, HOOKS whether the hooks are there ("" for not).
const fs = require("node:fs");
const path = require("node:path");
const api = require("@opentelemetry/api");
const { AsyncLocalStorageContextManager } = require("@opentelemetry/context-async-hooks");
const { W3CTraceContextPropagator } = require("@opentelemetry/core");
const { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } = require("@opentelemetry/sdk-trace");
const { AwsInstrumentation } = require("@opentelemetry/instrumentation-aws-sdk");
const { AwsLambdaInstrumentation } = require("@opentelemetry/instrumentation-aws-lambda");

const hooks = process.env.HOOKS ? require(path.resolve(__dirname, "../../../hooks/node")) : null;
const exporter = new InMemorySpanExporter();
const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
api.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
api.propagation.setGlobalPropagator(new W3CTraceContextPropagator());
api.trace.setGlobalTracerProvider(provider);
if (process.env.LAYER) hooks.configureLayer();

/** A hook must not change what it is given. */
function unchanged(config) {
  for (const name of ["preRequestHook", "responseHook"]) {
    const hook = config[name];
    if (!hook) continue;
    config[name] = (span, info) => {
      const before = JSON.stringify([info, info.response?.data]);
      hook(span, info);
      if (JSON.stringify([info, info.response?.data]) !== before) throw new Error(`${name} changed ${before}`);
    };
  }
  return config;
}

function start(Instrumentation, config) {
  const started = new Instrumentation(config);
  started.setTracerProvider(provider);
  return started;
}

function seen(span) {
  const of = ({ traceId, spanId }) => `${traceId}-${spanId}`;
  return {
    name: span.name,
    in: span.attributes["hopline.link.in"] ?? [],
    out: span.attributes["hopline.link.out"] ?? [],
    dropped: span.attributes["hopline.link.in.dropped"] ?? span.attributes["hopline.link.out.dropped"] ?? 0,
    parent: span.parentSpanContext ? of(span.parentSpanContext) : null,
    links: span.links.map((l) => [of(l.context), l.attributes?.["hopline.link.in"] ?? []]),
  };
}

async function events(input) {
  process.env.LAMBDA_TASK_ROOT = __dirname;
  process.env._HANDLER = "function.handle";
  const layer = globalThis.configureLambdaInstrumentation;
  const instrumentation = start(AwsLambdaInstrumentation, layer ? layer({}) : hooks ? hooks.awsLambdaConfig() : {});
  const handler = require("./function.cjs");
  const answers = {};
  for (const [name, { event, clientContext }] of Object.entries(input)) {
    exporter.reset();
    handler.seen.length = 0;
    const before = JSON.stringify(event);
    const invocation = {
      functionName: "worker", awsRequestId: "8d3b1c4e", clientContext,
      invokedFunctionArn: "arn:aws:lambda:us-east-1:123456789012:function:worker",
    };
    let error;
    const result = await (async () => handler.handle(event, invocation))().catch((e) => (error = String(e)));
    const hookError = hooks && (() => { try { hooks.eventContextExtractor(event, invocation); } catch (e) { return String(e); } })();
    await provider.forceFlush();
    answers[name] = {
      result, error, hookError, changed: JSON.stringify(event) !== before, called: handler.seen.length,
      spans: exporter.getFinishedSpans().map(seen),
    };
  }
  instrumentation.disable();
  return answers;
}

async function calls(list) {
  start(AwsInstrumentation, unchanged(hooks ? hooks.awsSdkConfig() : {}));
  // Kinesis would speak HTTP/2, which moto does not.
  const requestHandler = new (require("@smithy/node-http-handler").NodeHttpHandler)();
  const config = { endpoint: process.env.AWS_ENDPOINT, region: "us-east-1", forcePathStyle: true, maxAttempts: 1, requestHandler };
  const answers = [];
  // "$3.QueueUrl" stands for a value of the fourth answer.
  const filled = (value) => {
    if (typeof value === "string" && /^\$\d+\./.test(value)) {
      const [n, ...names] = value.slice(1).split(".");
      return names.reduce((of, name) => of[name], answers[n].answer);
    }
    if (typeof value === "string" && value.startsWith("bytes:")) return Buffer.from(value.slice(6));
    if (Array.isArray(value)) return value.map(filled);
    return value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, filled(v)])) : value;
  };
  for (const [service, command, request] of list) {
    const sdk = require(`@aws-sdk/client-${service}`);
    const Client = Object.values(sdk).find((c) => typeof c === "function" && /^[A-Za-z0-9]+Client$/.test(c.name) && !c.name.startsWith("_"));
    exporter.reset();
    let answer, error;
    try {
      answer = await new Client(config).send(new sdk[`${command}Command`](filled(request)));
    } catch (e) {
      error = `${e.name}: ${e.message}`;
    }
    await provider.forceFlush();
    answers.push({ answer, error, spans: exporter.getFinishedSpans().map(seen) });
  }
  return answers;
}

const input = JSON.parse(fs.readFileSync(0, "utf8"));
({ events, calls })[process.argv[2]](input).then((answer) => console.log(JSON.stringify(answer)));
