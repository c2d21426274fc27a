"use strict";
// Makes AWS event hops exact for Hopline: writes `hopline.link.out` and `hopline.link.in` on OpenTelemetry's own spans.
//
// Stock instrumentation records that a call was made and that a function ran, but seldom which message, event or object
// it was. These hooks for its official extension points add just that:
//
//   new AwsInstrumentation(hooks.awsSdkConfig())
//   new AwsLambdaInstrumentation(hooks.awsLambdaConfig())
//
// The hooks never throw into the function, change no request and no event, and touch no network. What they find is the
// same as what hooks/python finds; the tests of both read the same cases.

const { createHash } = require("node:crypto");
const { context, createTraceState, diag, isSpanContextValid, propagation, trace } = require("@opentelemetry/api");

const LINK_OUT = "hopline.link.out";
const LINK_IN = "hopline.link.in";
// Hopline takes no more keys of one span, and no longer identity.
const KEYS_MAX = 128;
const ID_BYTES_MAX = 2048;
// Of a Firehose record, to be known by its content.
const CONTENT_BYTES_MIN = 32;
// Envelopes in envelopes: EventBridge to SNS to SQS is two deep.
const DEPTH_MAX = 4;
// Where a payload may hold its trace context, besides itself.
const PLACES = ["headers", "metadata", "otel", "_otel", "traceContext", "trace_context", "_datadog"];
// A body is parsed only if it has one of these.
const MARKS = ["traceparent", '"detail-type"', '"TopicArn"', '"eventSource"', '"requestContext"', ":states:"];

// -- keys

const isText = (value) => typeof value === "string";
const text = (value) => (isText(value) ? value : "");
const isTable = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const table = (value) => (isTable(value) ? value : {});
const rows = (value) => (Array.isArray(value) ? value.filter(isTable) : []);

/** The key, as a list of one; an empty list if a part of its identity is missing. */
function key(kind, parts, by = ":") {
  if (!parts.every((part) => isText(part) && part)) return [];
  const identity = parts.join(by);
  return Buffer.byteLength(identity) <= ID_BYTES_MAX ? [`${kind}:${identity}`] : [];
}

/** At most `most` of `items`, evenly spaced, the first and the last among them. */
function spread(items, most) {
  if (items.length <= most) return items;
  if (most <= 1) return items.slice(0, most);
  return Array.from({ length: most }, (_, i) => items[Math.floor((i * (items.length - 1)) / (most - 1))]);
}

/**
 * The keys to write for `messages` (a list of keys each, the most telling first), and how many had to stay out.
 * When there are too many, each message keeps its most telling key before any gets a second one.
 */
function choose(messages) {
  const chosen = [];
  const known = new Set();
  let dropped = 0;
  for (let tier = 0; ; tier++) {
    const ofTier = messages.filter((keys) => keys.length > tier).map((keys) => keys[tier]);
    if (!ofTier.length) return { chosen, dropped };
    const fresh = ofTier.filter((one) => !known.has(one) && known.add(one));
    const kept = spread(fresh, KEYS_MAX - chosen.length);
    dropped += fresh.length - kept.length;
    chosen.push(...kept);
  }
}

function writeKeys(span, attribute, messages, leftOut) {
  const { chosen, dropped } = choose(messages);
  if (chosen.length) span.setAttribute(attribute, chosen);
  // Said, so that a missing edge can be explained.
  if (dropped + leftOut) span.setAttribute(`${attribute}.dropped`, dropped + leftOut);
}

/** What follows `before` in an ARN, up to the next slash or colon: the name of a stream or a table. */
function arnTail(arn, before) {
  const at = text(arn).indexOf(before);
  return at < 0 ? "" : arn.slice(at + before.length).split(/[:/]/)[0];
}

function arnRegion(arn) {
  const parts = text(arn).split(":");
  return parts.length > 5 ? parts[3] : "";
}

/** The keys of one state of an object. An access point's ARN is no bucket name: events name the bucket. */
function s3Object(bucket, name, etag, version) {
  if (text(bucket).startsWith("arn:")) return [];
  const bare = text(etag).replace(/^"+|"+$/g, "");
  const versioned = version === "null" ? [] : key("s3.ver", [bucket, name, version], "|");
  return [...versioned, ...key("s3.obj", [bucket, name, bare], "|")];
}

/** The key of a record by its content: its reader is given another record id than its writer. */
function firehoseContent(stream, data) {
  if (data.length < CONTENT_BYTES_MIN) return []; // likely to be written more than once
  return key("firehose", [stream, "sha256", createHash("sha256").update(data).digest("hex").slice(0, 32)]);
}

// -- DynamoDB items: SHA-256 over `table|name|value|name|value`, as Datadog's span pointers have it

const SETTINGS = ["HOPLINE_DYNAMODB_KEYS", "DD_BOTOCORE_DYNAMODB_TABLE_PRIMARY_KEYS", "DD_TRACE_DYNAMODB_TABLE_PRIMARY_KEYS"];
const TABLES_MAX = 1000;
// DynamoDB's numbers have 38 digits and exponents up to 125.
const EXPONENT_MAX = 130;
const learned = new Map();

const tableName = (name) => arnTail(name, ":table/") || text(name);
const byBytes = (names) => [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

/** Remembers which attributes are the primary key of a table. */
function learn(name, attributes) {
  const known = learned.size < TABLES_MAX || learned.has(name);
  if (attributes.length >= 1 && attributes.length <= 2 && known) learned.set(name, byBytes(attributes));
}

/** Reads the names of primary keys from the environment: `{"table": ["partition key", "sort key"]}`. */
function loadSettings() {
  for (const setting of SETTINGS) {
    try {
      const tables = JSON.parse(process.env[setting] || "{}");
      for (const [name, attributes] of Object.entries(tables)) if (Array.isArray(attributes)) learn(name, attributes);
    } catch {
      // what is not understood is as if it were not there
    }
  }
}

/** The keys of the item with this primary key; two where a number can be written in two ways. */
function itemOfKey(named, attributes, stream = false) {
  const name = tableName(named);
  const names = byBytes(Object.keys(table(attributes)));
  if (!name || names.length < 1 || names.length > 2) return [];
  const values = names.map((attribute) => forms(attributes[attribute], stream));
  if (values.some((of) => !of.length)) return [];
  const keys = [0, 1].map((form) => {
    const hash = createHash("sha256").update(name);
    names.forEach((attribute, i) => hash.update("|").update(attribute).update("|").update(values[i][form] ?? values[i][0]));
    if (names.length === 1) hash.update("||");
    return `ddb.item:${hash.digest("hex").slice(0, 32)}`;
  });
  return [...new Set(keys)];
}

/** The keys of a whole item, if the primary key of its table is known. */
function itemOfWhole(named, item) {
  const name = tableName(named);
  const names = learned.get(name);
  if (!names || !names.every((attribute) => Object.hasOwn(table(item), attribute))) return [];
  return itemOfKey(name, Object.fromEntries(names.map((attribute) => [attribute, item[attribute]])));
}

/** The value of a key, as it is written and in its shortest form. The document client's are plain values. */
function forms(value, stream) {
  if (isText(value)) return [value];
  if (typeof value === "number" || typeof value === "bigint") return [String(value), shortest(String(value))];
  if (value instanceof Uint8Array) return [value];
  const entries = Object.entries(table(value));
  if (entries.length !== 1) return [];
  const [kind, inner] = entries[0];
  if (kind === "S" && isText(inner)) return [inner];
  if (kind === "N" && isText(inner)) return [inner, shortest(inner)];
  if (kind === "B" && inner instanceof Uint8Array) return [inner];
  if (kind === "B" && isText(inner) && stream) return [Buffer.from(inner, "base64")];
  return [];
}

function shortest(number) {
  const parts = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,9}))?$/.exec(number);
  if (!parts || !(parts[2] || parts[3])) return number;
  const digits = (parts[2] + (parts[3] || "")).replace(/^0+/, "");
  if (!digits) return "0";
  // The value is 0.DIGITS times ten to the power of `point`.
  const leading = (parts[2] + (parts[3] || "")).length - digits.length;
  const point = parts[2].length - leading + Number(parts[4] || 0);
  if (Math.abs(point - 1) > EXPONENT_MAX) return number;
  const before = point > 0 ? digits.slice(0, point).padEnd(point, "0") : "0";
  const after = (point > 0 ? digits.slice(point) : "0".repeat(-point) + digits).replace(/0+$/, "");
  return (parts[1] === "-" ? "-" : "") + before + (after && `.${after}`);
}

// -- events of a function

const XRAY = /Root=1-([0-9a-f]{8})-([0-9a-f]{24})/;
const XRAY_PARENT = /Parent=([0-9a-f]{16})/;

/**
 * What an event tells: the keys of each message, the most telling first; the trace context of each that carries one; how
 * many messages were not looked at; and whether that context may not become the parent of the invocation, because it took
 * several messages, or came by SQS, where the conventions ask for links.
 *
 * Envelopes are opened: a notification of SNS in a message of SQS, an event of EventBridge in either, a notification of S3
 * in any of them. A message in an envelope has the keys of both, the inner one first: it is what the sender knows.
 */
class Found {
  messages = [];
  carriers = [];
  leftOut = 0;
  onlyLinks = false;

  add([keys, carrier]) {
    if (keys.length) this.messages.push(keys);
    if (carrier) this.carriers.push([carrier, keys]);
  }

  batch(records) {
    this.onlyLinks ||= records.length > 1;
    const chosen = spread(records, KEYS_MAX);
    this.leftOut += records.length - chosen.length;
    return chosen;
  }
}

function readEvent(event) {
  const found = new Found();
  if (Array.isArray(event)) readRecords(event, found); // EventBridge Pipes send the bare list
  else if (!isTable(event)) return found;
  else if (Array.isArray(event.Records)) readRecords(event.Records, found);
  else if (isTable(event.records)) readKafka(event, found);
  else if ("deliveryStreamArn" in event) readFirehose(event, found);
  else if (isTable(event.rmqMessagesByQueue) || event.eventSource === "aws:mq") readBroker(event, found);
  else found.add(ofPayload(event, 0));
  return found;
}

const sourceOf = (record) => (text(record.eventSource) || text(record.EventSource)).trim().toLowerCase();

function readRecords(all, found) {
  const records = rows(all);
  const chosen = found.batch(records);
  const ranges = records.length > chosen.length && sourceOf(records[0]) === "aws:kinesis";
  if (ranges) {
    found.leftOut = 0;
    found.messages.push(kinesisRanges(records));
  }
  for (const record of chosen) {
    const reader = READERS.get(sourceOf(record));
    if (!reader) continue;
    const [keys, carrier] = reader(record, 0);
    found.onlyLinks ||= reader === ofSqs;
    found.add([ranges && reader === ofKinesis ? [] : keys, carrier]);
  }
}

function ofSqs(record, depth) {
  const [inner, carrier] = ofBody(record.body, depth);
  const attributes = table(record.messageAttributes);
  const keys = [...inner, ...deadLetter(attributes, "stringValue"), ...key("sqs", [record.messageId])];
  return [keys, ofAttributes(attributes, "stringValue") || carrier || ofXray(table(record.attributes).AWSTraceHeader)];
}

const ofSns = (record, depth) => ofNotification(table(record.Sns), depth);

function ofNotification(sns, depth) {
  const [inner, carrier] = ofBody(sns.Message, depth);
  const attributes = table(sns.MessageAttributes);
  const keys = [...inner, ...deadLetter(attributes, "Value"), ...key("sns", [sns.MessageId])];
  return [keys, ofAttributes(attributes, "Value") || carrier];
}

function ofS3(record) {
  const answer = table(record.responseElements);
  const thing = table(table(record.s3).object);
  const keys = key("s3.req", [answer["x-amz-request-id"]]);
  if (/^(s3:)?ObjectCreated:/.test(text(record.eventName))) {
    keys.push(...s3Object(table(table(record.s3).bucket).name, decodeName(text(thing.key)), thing.eTag, thing.versionId));
  }
  return [[...keys, ...key("s3.req", [answer["x-amz-id-2"]])], null];
}

/** In an event the object's key is encoded as in a form: "red+flower.jpg" is "red flower.jpg". */
function decodeName(name) {
  try {
    return decodeURIComponent(name.replace(/\+/g, " "));
  } catch {
    return name;
  }
}

function ofDynamo(record) {
  if (table(record.userIdentity).principalId === "dynamodb.amazonaws.com") {
    return [[], null]; // the table's time to live deleted it: nobody wrote
  }
  const name = text(record.tableName) || arnTail(record.eventSourceARN, ":table/");
  return [itemOfKey(name, table(record.dynamodb).Keys, true), null];
}

function ofKinesis(record, depth) {
  const flat = isTable(record.kinesis) && Object.keys(record.kinesis).length ? record.kinesis : record; // Pipes send it flat
  const data = Buffer.from(text(flat.data), "base64");
  const opened = data.includes('"traceparent"') || data.includes('"aws:dynamodb"');
  const [inner, carrier] = opened ? ofBody(data.toString(), depth) : [[], null];
  return [[...inner, ...key("kinesis", [...kinesisPlace(record), kinesisSequence(record)])], carrier];
}

const kinesisSequence = (record) => text(record.eventID).split(":").at(-1);

function kinesisPlace(record) {
  const arn = record.eventSourceARN;
  const shard = text(record.eventID).split(":").slice(0, -1).join(":");
  return [text(record.awsRegion) || arnRegion(arn), arnTail(arn, ":stream/"), shard];
}

/** One key a shard, from its first record to its last. */
function kinesisRanges(records) {
  const shards = new Map();
  const less = (a, b) => (a.length === b.length ? a < b : a.length < b.length); // as numbers are ordered
  for (const record of records) {
    const place = kinesisPlace(record);
    const sequence = kinesisSequence(record);
    if (!/^\d+$/.test(sequence)) continue;
    const known = shards.get(place.join(":"));
    if (!known) shards.set(place.join(":"), { place, first: sequence, last: sequence });
    else if (less(sequence, known.first)) known.first = sequence;
    else if (less(known.last, sequence)) known.last = sequence;
  }
  return [...shards.values()].flatMap(({ place, first, last }) => key("kinesis.range", [...place, `${first}..${last}`]));
}

function readKafka(event, found) {
  for (const record of found.batch(Object.values(event.records).flatMap(rows))) {
    const { topic, partition, offset } = record;
    const numbered = Number.isInteger(partition) && Number.isInteger(offset);
    // A producer does not know the cluster as its trigger does, hence the dash.
    const keys = numbered ? key("kafka", ["-", topic, String(partition), String(offset)]) : [];
    const headers = rows(record.headers).flatMap(Object.entries);
    found.add([keys, carrierOf(Object.fromEntries(headers.map(([name, value]) => [name, fromBytes(value)])))]);
  }
}

function readFirehose(event, found) {
  const stream = arnTail(event.deliveryStreamArn, ":deliverystream/");
  const source = event.sourceKinesisStreamArn;
  for (const record of found.batch(rows(event.records))) {
    const of = table(record.kinesisRecordMetadata);
    let keys = key("kinesis", [arnRegion(source), arnTail(source, ":stream/"), of.shardId, of.sequenceNumber]);
    if (!keys.length) keys = firehoseContent(stream, Buffer.from(text(record.data), "base64"));
    found.add([[...keys, ...key("firehose", [stream, record.recordId])], null]);
  }
}

function readBroker(event, found) {
  const queues = Object.entries(table(event.rmqMessagesByQueue));
  const messages = queues.flatMap(([queue, of]) => rows(of).map((m) => ["rabbitmq", queue.split("::")[0], m]));
  messages.push(...rows(event.messages).map((m) => ["activemq", table(m.destination).physicalName, m]));
  for (const [system, queue, message] of found.batch(messages)) {
    const properties = table(message.basicProperties);
    const headers = system === "rabbitmq" ? properties.headers : message.properties;
    const id = system === "rabbitmq" ? properties.messageId : message.messageID;
    const texts = Object.entries(table(headers)).map(([name, value]) => [name, fromBytes(value)]);
    found.add([key("mq", [system, queue, id], "|"), carrierOf(Object.fromEntries(texts))]);
  }
}

/** A single event, or what a body of JSON holds. */
function ofPayload(event, depth) {
  if ("detail-type" in event && "source" in event) return ofEventBridge(event, depth);
  if (event.Type === "Notification" && "TopicArn" in event) return ofNotification(event, depth);
  if (Array.isArray(event.Records)) {
    const inner = rows(event.Records).slice(0, KEYS_MAX);
    return [inner.filter((r) => sourceOf(r) === "aws:s3").flatMap((r) => ofS3(r)[0]), null];
  }
  if (event.eventSource === "aws:dynamodb") return ofDynamo(event); // a table's changes by way of Kinesis
  if (isOutcome(event)) return [key("lambda", [event.requestContext.requestId]), null]; // of an asynchronous invocation
  let [keys, carrier] = ofWorkflow(event);
  if (!keys.length && depth === 0 && isTable(event.requestContext)) keys = key("apigw", [event.requestContext.requestId]);
  return [keys, carrier || carrierIn(event)];
}

function ofEventBridge(event, depth) {
  const source = text(event.source);
  const detail = table(event.detail);
  if (source === "aws.s3") {
    const thing = table(detail.object);
    const keys = key("s3.req", [detail["request-id"]]);
    if (event["detail-type"] === "Object Created") {
      keys.push(...s3Object(table(detail.bucket).name, thing.key, thing.etag, thing["version-id"]));
    }
    return [keys, null];
  }
  if (source === "aws.states") return [key("sfn", [detail.executionArn]), null];
  if (source.startsWith("aws.")) return [[], null]; // a schedule, or AWS itself: nobody sent it
  if (source === "lambda" && isOutcome(detail)) return ofPayload(detail, depth); // Lambda sent it, on behalf of a function
  return [key("eb", [event.id]), carrierIn(detail)];
}

function isOutcome(event) {
  const request = table(event.requestContext);
  return "functionArn" in request && "condition" in request;
}

function ofBody(body, depth) {
  if (!isText(body) || depth >= DEPTH_MAX || !/^\s*\{/.test(body) || !MARKS.some((mark) => body.includes(mark))) return [[], null];
  try {
    const inner = JSON.parse(body);
    return isTable(inner) ? ofPayload(inner, depth + 1) : [[], null];
  } catch {
    return [[], null]; // whoever wrote this body must not hide the other messages
  }
}

/** The keys of a step, where the workflow puts its context object ($$) or parts of it into the payload. */
function ofWorkflow(event) {
  for (const place of [event, ...Object.values(event).slice(0, 32).filter(isTable)]) {
    for (const of of [place, table(place._datadog)]) {
      const execution = table(of.Execution);
      if (!text(execution.Id).includes(":states:")) continue;
      const input = table(execution.Input);
      return [ofStep(of, execution, input), carrierIn(place) || carrierIn(event) || carrierIn(input)];
    }
  }
  for (const [name, value] of Object.entries(event)) {
    const plain = name.length < 40 ? name.toLowerCase().replace(/[^a-z]/g, "") : "";
    if ((plain === "executionid" || plain === "executionarn") && text(value).includes(":states:")) {
      return [key("sfn", [value]), null];
    }
  }
  return [[], null];
}

function ofStep(of, execution, input) {
  const state = table(of.State);
  const retry = Number.isInteger(state.RetryCount) && state.RetryCount > 0 ? [String(state.RetryCount)] : [];
  const keys = key("sfn", [execution.Id]);
  keys.push(...key("sfn", [execution.Id, state.Name, state.EnteredTime, ...retry], "#"));
  const above = key("sfn", [of.RootExecutionId || input.AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID]);
  return [...keys, ...above.filter((one) => !keys.includes(one))];
}

/** The invocation that failed, where Lambda itself put its event into a dead-letter queue or topic. */
function deadLetter(attributes, value) {
  if (!("RequestID" in attributes && "ErrorCode" in attributes)) return [];
  return key("lambda", [table(attributes.RequestID)[value]]);
}

function ofAttributes(attributes, value) {
  return carrierOf(Object.fromEntries(Object.entries(attributes).map(([name, of]) => [name, table(of)[value]])));
}

function carrierIn(payload) {
  for (const place of [payload, ...PLACES.map((name) => payload[name])]) {
    const carrier = isTable(place) && carrierOf(place);
    if (carrier) return carrier;
  }
  return null;
}

function carrierOf(values) {
  const found = {};
  for (const [name, value] of Object.entries(values)) {
    if (name.length !== 11 && name.length !== 10) continue;
    const low = name.toLowerCase();
    if ((low === "traceparent" || low === "tracestate") && isText(value)) found[low] = value;
  }
  return found.traceparent ? found : null;
}

function ofXray(header) {
  const root = XRAY.exec(text(header));
  const parent = XRAY_PARENT.exec(text(header));
  if (!root || !parent) return null;
  return { traceparent: `00-${root[1]}${root[2]}-${parent[1]}-${header.includes("Sampled=1") ? "01" : "00"}` };
}

/** A header's text: Kafka's come as a list of numbers, RabbitMQ's as `{"bytes": [..]}`. */
function fromBytes(value) {
  const bytes = isTable(value) ? value.bytes : value;
  return Array.isArray(bytes) && bytes.length <= 1024 && bytes.every(Number.isInteger) ? Buffer.from(bytes.map((n) => n & 255)).toString() : bytes;
}

const READERS = new Map([
  ["aws:sqs", ofSqs],
  ["aws:sns", ofSns],
  ["aws:s3", ofS3],
  ["aws:dynamodb", ofDynamo],
  ["aws:kinesis", ofKinesis],
]);

/** [span context, keys of its message], each context once. */
function contextsOf(found) {
  const contexts = new Map();
  for (const [carrier, keys] of found.carriers.slice(0, KEYS_MAX)) {
    const of = spanContextOf(carrier);
    if (of && !contexts.has(of.traceId + of.spanId)) contexts.set(of.traceId + of.spanId, [of, keys.slice(0, 1)]);
  }
  return [...contexts.values()];
}

function spanContextOf({ traceparent, tracestate }) {
  const parts = /^\s*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\s*$/.exec(traceparent);
  if (!parts || parts[1] === "ff" || (parts[1] === "00" && parts[5])) return null;
  const of = { traceId: parts[2], spanId: parts[3], traceFlags: parseInt(parts[4], 16) & 1, isRemote: true };
  if (tracestate) of.traceState = createTraceState(tracestate);
  return isSpanContextValid(of) ? of : null;
}

// -- calls to AWS: each function takes (request, answer, region) and gives a list of keys for each message

const requestId = (kind, answer) => key(kind, [table(answer.$metadata).requestId]);
const each = (kind, list, id) => rows(list).map((of) => key(kind, [of[id]]));

function ofKinesisPut(request, answer, region) {
  const arn = request.StreamARN;
  const place = [arnRegion(arn) || region, text(request.StreamName) || arnTail(arn, ":stream/")];
  return (Array.isArray(answer.Records) ? rows(answer.Records) : [answer]).map((r) => key("kinesis", [...place, r.ShardId, r.SequenceNumber]));
}

function ofFirehosePut(request, answer) {
  const stream = request.DeliveryStreamName;
  const sent = Array.isArray(request.Records) ? rows(request.Records) : [table(request.Record)];
  const answers = Array.isArray(answer.RequestResponses) ? rows(answer.RequestResponses) : [answer];
  return sent.map((record, i) => {
    const id = table(answers[i]).RecordId;
    const data = isText(record.Data) ? Buffer.from(record.Data) : record.Data instanceof Uint8Array ? record.Data : Buffer.alloc(0);
    return id ? [...firehoseContent(stream, data), ...key("firehose", [stream, id])] : [];
  });
}

function ofS3Write(request, answer) {
  const etag = table(answer.CopyObjectResult).ETag || answer.ETag;
  return [[...requestId("s3.req", answer), ...s3Object(request.Bucket, request.Key, etag, answer.VersionId)]];
}

const ofS3Delete = (_request, answer) => [requestId("s3.req", answer)];

function ofDynamoKey(named, attributes) {
  if (!isText(named) || !isTable(attributes)) return [];
  learn(tableName(named), Object.keys(attributes));
  return itemOfKey(named, attributes);
}

function ofDynamoBatch(request, answer) {
  const refused = new Set(batchWrites(answer.UnprocessedItems).map(String));
  return batchWrites(request.RequestItems).filter((keys) => !refused.has(String(keys)));
}

function batchWrites(requests) {
  return Object.entries(table(requests)).flatMap(([name, all]) => {
    const writes = rows(all);
    // A deletion names the table's key, by which the items to put are then known too.
    const deleted = writes.filter((w) => w.DeleteRequest).map((w) => ofDynamoKey(name, w.DeleteRequest.Key));
    const put = writes.filter((w) => w.PutRequest).map((w) => itemOfWhole(name, w.PutRequest.Item));
    return [...deleted, ...put].filter((keys) => keys.length);
  });
}

function ofDynamoTransaction(request) {
  return rows(request.TransactItems).flatMap((action) =>
    Object.entries(action).map(([kind, write]) => {
      if (kind === "Put") return itemOfWhole(table(write).TableName, table(write).Item);
      return kind === "Update" || kind === "Delete" ? ofDynamoKey(table(write).TableName, table(write).Key) : [];
    }),
  );
}

function ofDynamoDescription(_request, answer) {
  const { TableName, KeySchema } = table(answer.Table || answer.TableDescription);
  learn(tableName(TableName), rows(KeySchema).map((of) => text(of.AttributeName)));
  return [];
}

const ofDynamoPut = (request) => [itemOfWhole(request.TableName, request.Item)];
const ofDynamoWrite = (request) => [ofDynamoKey(request.TableName, request.Key)];
const ofExecution = (_request, answer) => [key("sfn", [answer.executionArn])];

const SENDS = new Map(
  Object.entries({
    "sqs.SendMessage": (_request, answer) => [key("sqs", [answer.MessageId])],
    "sqs.SendMessageBatch": (_request, answer) => each("sqs", answer.Successful, "MessageId"),
    "sns.Publish": (_request, answer) => [key("sns", [answer.MessageId])],
    "sns.PublishBatch": (_request, answer) => each("sns", answer.Successful, "MessageId"),
    "eventbridge.PutEvents": (_request, answer) => each("eb", answer.Entries, "EventId"),
    "kinesis.PutRecord": ofKinesisPut,
    "kinesis.PutRecords": ofKinesisPut,
    "firehose.PutRecord": ofFirehosePut,
    "firehose.PutRecordBatch": ofFirehosePut,
    "s3.PutObject": ofS3Write,
    "s3.CopyObject": ofS3Write,
    "s3.CompleteMultipartUpload": ofS3Write,
    "s3.DeleteObject": ofS3Delete,
    "s3.DeleteObjects": ofS3Delete,
    "dynamodb.PutItem": ofDynamoPut,
    "dynamodb.UpdateItem": ofDynamoWrite,
    "dynamodb.DeleteItem": ofDynamoWrite,
    "dynamodb.BatchWriteItem": ofDynamoBatch,
    "dynamodb.TransactWriteItems": ofDynamoTransaction,
    "dynamodb.DescribeTable": ofDynamoDescription,
    "dynamodb.CreateTable": ofDynamoDescription,
    "lambda.Invoke": (_request, answer) => [requestId("lambda", answer)],
    "sfn.StartExecution": ofExecution,
    "sfn.StartSyncExecution": ofExecution,
  }),
);

function ofReceive(_request, answer) {
  // As in a function's event, but with capitals.
  return rows(answer.Messages).map((m) => ofSqs({ messageId: m.MessageId, body: m.Body }, 0)[0]);
}

const callOf = ({ serviceName, commandName }) => `${text(serviceName).toLowerCase()}.${text(commandName).replace(/Command$/, "")}`;

// -- the hooks

/** What a hook cannot do must not harm the function. */
function never(hook, name, otherwise = () => undefined) {
  return (...args) => {
    try {
      return hook(...args);
    } catch (error) {
      diag.debug(`hopline ${name}`, error);
      return otherwise(...args);
    }
  };
}

const preRequestHook = never((span, { request }) => {
  // Reading an item sends nothing, but tells which attributes are the key of its table.
  if (callOf(request) === "dynamodb.GetItem") ofDynamoKey(request.commandInput.TableName, request.commandInput.Key);
}, "preRequestHook");

const responseHook = never((span, { response }) => {
  const { request, data } = response;
  const call = callOf(request);
  const receives = call === "sqs.ReceiveMessage";
  const find = receives ? ofReceive : SENDS.get(call);
  if (!find || !span.isRecording() || !isTable(data)) return;
  const region = text(request.region) || process.env.AWS_REGION || "";
  writeKeys(span, receives ? LINK_IN : LINK_OUT, find(table(request.commandInput), data, region), 0);
}, "responseHook");

const requestHook = never((span, { event }) => {
  if (!span.isRecording()) return;
  const found = readEvent(event);
  writeKeys(span, LINK_IN, found.messages, found.leftOut);
  if (!found.onlyLinks || !span.addLink) return; // the extractor made it the parent
  for (const [of, keys] of contextsOf(found)) span.addLink({ context: of, attributes: keys.length ? { [LINK_IN]: keys } : {} });
}, "requestHook");

// Headers have their names in lower case; what a propagator puts together itself is read as it is.
const headerGetter = {
  keys: (carrier) => Object.keys(carrier),
  get: (carrier, name) => carrier[name] ?? carrier[name.toLowerCase()],
};

/** The context in HTTP headers, by the propagators that the application chose, whatever the case of their names. */
function fromHeaders(event, invocation) {
  const headers = {};
  // What a function of Node sends with an invocation stands in the context, not in the event.
  const client = table(table(invocation).clientContext);
  const sources = [table(client.custom || client.Custom), table(table(event).headers), table(table(event).multiValueHeaders)];
  for (const [name, value] of sources.flatMap(Object.entries)) {
    const single = Array.isArray(value) ? value[0] : value;
    if (isText(single)) headers[name.toLowerCase()] = single;
  }
  return { any: Object.keys(headers).length > 0, parent: propagation.extract(context.active(), headers, headerGetter) };
}

const eventContextExtractor = never((event, invocation) => {
  const { any, parent } = fromHeaders(event, invocation);
  if (any && isSpanContextValid(trace.getSpanContext(parent) || {})) return parent;
  return never(() => {
    const found = readEvent(event);
    const [first] = found.onlyLinks ? [] : contextsOf(found);
    return first ? trace.setSpanContext(parent, first[0]) : parent;
  }, "eventContextExtractor", () => parent)();
}, "eventContextExtractor", () => context.active());

/** Calls the application's own hook after ours. */
const both = (ours, theirs) => (theirs ? (...args) => (ours(...args), theirs(...args)) : ours);

function awsSdkConfig(config = {}) {
  return {
    ...config,
    preRequestHook: both(preRequestHook, config.preRequestHook),
    responseHook: both(responseHook, config.responseHook),
  };
}

function awsLambdaConfig(config = {}) {
  return { ...config, requestHook: both(requestHook, config.requestHook), eventContextExtractor };
}

function configureLayer() {
  const before = { aws: globalThis.configureAwsInstrumentation, lambda: globalThis.configureLambdaInstrumentation };
  globalThis.configureAwsInstrumentation = (config) => awsSdkConfig(before.aws ? before.aws(config) : config);
  globalThis.configureLambdaInstrumentation = (config) => awsLambdaConfig(before.lambda ? before.lambda(config) : config);
}

loadSettings();

module.exports = { preRequestHook, responseHook, requestHook, eventContextExtractor, awsSdkConfig, awsLambdaConfig, configureLayer };
