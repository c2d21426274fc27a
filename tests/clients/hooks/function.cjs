// The function whose handler @opentelemetry/instrumentation-aws-lambda wraps.
const { trace } = require("@opentelemetry/api");

exports.seen = [];
exports.handle = async (event) => {
  trace.getTracer("app").startSpan("work").end();
  exports.seen.push(event);
  return "done";
};
