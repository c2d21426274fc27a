// The function whose handler @opentelemetry/instrumentation-aws-lambda wraps. What it does is told with each invocation.
const runtime = require("./runtime.cjs");

exports.handle = async () => {
  await runtime.doCalls();
  return { statusCode: 200 };
};
