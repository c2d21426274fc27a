// An execution environment of a Node function: a process of its own, with the real instrumentations. As runtime.py, but
// with a line of JSON each way. NODE_PATH says where the packages are.
const path = require("node:path");
const readline = require("node:readline");

const PACKAGES = { events: "eventbridge", stepfunctions: "sfn" };
const clients = {};
let job, answers;

exports.doCalls = async () => {
  for (const [service, operation, request] of job.calls) {
    const sdk = require(`@aws-sdk/client-${PACKAGES[service] ?? service}`);
    const answer = await (clients[service] ??= client(sdk)).send(new sdk[`${operation}Command`](request));
    delete answer.Payload;
    answers.push({ ...answer, RequestId: answer.$metadata.requestId });
  }
  if (job.error) throw new Error(job.error);
};

function client(sdk) {
  const Client = Object.values(sdk).find((c) => typeof c === "function" && /^[A-Za-z0-9]+Client$/.test(c.name) && !c.name.startsWith("_"));
  // Kinesis would speak HTTP/2, which moto does not.
  const requestHandler = new (require("@smithy/node-http-handler").NodeHttpHandler)();
  return new Client({ endpoint: process.env.AWS_ENDPOINT, forcePathStyle: true, requestHandler });
}

function start() {
  const api = require("@opentelemetry/api");
  const { NodeSDK } = require("@opentelemetry/sdk-node");
  const { AwsInstrumentation } = require("@opentelemetry/instrumentation-aws-sdk");
  const { AwsLambdaInstrumentation } = require("@opentelemetry/instrumentation-aws-lambda");
  const hooks = process.env.HOOKS ? require(process.env.HOOKS) : null;
  const lambda = new AwsLambdaInstrumentation(hooks ? hooks.awsLambdaConfig() : {});
  const sdk = new AwsInstrumentation(hooks ? hooks.awsSdkConfig() : {});
  new NodeSDK({ instrumentations: [sdk, lambda] }).start();
  lambda.setTracerProvider(api.trace.getTracerProvider()); // it flushes the provider that it was given, not the one behind it
}

async function serve() {
  start();
  const handler = require("./handler.cjs");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    job = JSON.parse(line);
    answers = [];
    process.env._X_AMZN_TRACE_ID = job.trace_header;
    const context = {
      functionName: process.env.AWS_LAMBDA_FUNCTION_NAME, awsRequestId: job.request_id, invokedFunctionArn: process.env.ARN,
      clientContext: job.client_context,
    };
    let error = null;
    await handler.handle(job.event, context).catch((e) => (error = e.message));
    process.stdout.write(`${JSON.stringify({ answers, error })}\n`);
  }
  process.exit(0);
}

if (require.main === module) {
  // The handler asks for this module by its path: it must be this one.
  require.cache[path.resolve(__filename)] = module;
  serve();
}
