//! The messages of OTLP v1 as JSON sees them: field names, numbers and types.
//!
//! Left out on purpose, so that they are ignored like other unknown fields:
//! `AnyValue.stringValueStrindex` and `KeyValue.keyStrindex`, which only profiles use.

/// A message.
pub(super) struct Descriptor {
    pub(super) fields: &'static [Field],
    /// Bytes that its length usually takes.
    pub(super) room: usize,
    pub(super) role: Role,
}

/// What a message is to the transcoder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Plain,
    /// `AnyValue`: counted, since it may enclose itself.
    AnyValue,
    /// Span or log record: what is refused by itself.
    Item,
    /// Metric: refused by itself, counted by its data points.
    Metric,
}

/// A field of a message.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) list: bool,
}

/// The type of a field.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    String,
    /// Base64 in JSON.
    Bytes,
    /// Trace or span id: hexadecimal in JSON.
    Id,
    Enum,
    /// `AnyValue.intValue`, into which some senders also write numbers that are no 64-bit integer.
    IntOrDouble,
    Uint64,
    Uint32,
    Sint32,
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    Bool,
    Message(&'static Descriptor),
}

const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, list: false }
}

const fn list(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, list: true }
}

const fn message(room: usize, fields: &'static [Field]) -> Descriptor {
    Descriptor { fields, room, role: Role::Plain }
}

// Common and resource.

static ANY_VALUE: Descriptor = Descriptor {
    role: Role::AnyValue,
    ..message(
        1,
        &[
            one("stringValue", 1, Kind::String),
            one("intValue", 3, Kind::IntOrDouble),
            one("boolValue", 2, Kind::Bool),
            one("doubleValue", 4, Kind::Double),
            one("arrayValue", 5, Kind::Message(&ARRAY_VALUE)),
            one("kvlistValue", 6, Kind::Message(&KEY_VALUE_LIST)),
            one("bytesValue", 7, Kind::Bytes),
        ],
    )
};

static ARRAY_VALUE: Descriptor = message(1, &[list("values", 1, Kind::Message(&ANY_VALUE))]);

static KEY_VALUE_LIST: Descriptor = message(1, &[list("values", 1, Kind::Message(&KEY_VALUE))]);

static KEY_VALUE: Descriptor = message(1, &[one("key", 1, Kind::String), one("value", 2, Kind::Message(&ANY_VALUE))]);

static SCOPE: Descriptor = message(
    1,
    &[
        one("name", 1, Kind::String),
        one("version", 2, Kind::String),
        list("attributes", 3, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Kind::Uint32),
    ],
);

static ENTITY_REF: Descriptor = message(
    1,
    &[
        one("schemaUrl", 1, Kind::String),
        one("type", 2, Kind::String),
        list("idKeys", 3, Kind::String),
        list("descriptionKeys", 4, Kind::String),
    ],
);

static RESOURCE: Descriptor = message(
    2,
    &[
        list("attributes", 1, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 2, Kind::Uint32),
        list("entityRefs", 3, Kind::Message(&ENTITY_REF)),
    ],
);

// Traces.

pub(super) static TRACES: Descriptor = message(0, &[list("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))]);

static RESOURCE_SPANS: Descriptor = message(
    3,
    &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        list("scopeSpans", 2, Kind::Message(&SCOPE_SPANS)),
        one("schemaUrl", 3, Kind::String),
    ],
);

static SCOPE_SPANS: Descriptor = message(
    3,
    &[
        one("scope", 1, Kind::Message(&SCOPE)),
        list("spans", 2, Kind::Message(&SPAN)),
        one("schemaUrl", 3, Kind::String),
    ],
);

static SPAN: Descriptor = Descriptor {
    role: Role::Item,
    ..message(
        2,
        &[
            one("traceId", 1, Kind::Id),
            one("spanId", 2, Kind::Id),
            one("traceState", 3, Kind::String),
            one("parentSpanId", 4, Kind::Id),
            one("flags", 16, Kind::Fixed32),
            one("name", 5, Kind::String),
            one("kind", 6, Kind::Enum),
            one("startTimeUnixNano", 7, Kind::Fixed64),
            one("endTimeUnixNano", 8, Kind::Fixed64),
            list("attributes", 9, Kind::Message(&KEY_VALUE)),
            one("droppedAttributesCount", 10, Kind::Uint32),
            list("events", 11, Kind::Message(&EVENT)),
            one("droppedEventsCount", 12, Kind::Uint32),
            list("links", 13, Kind::Message(&LINK)),
            one("droppedLinksCount", 14, Kind::Uint32),
            one("status", 15, Kind::Message(&STATUS)),
        ],
    )
};

static EVENT: Descriptor = message(
    1,
    &[
        one("timeUnixNano", 1, Kind::Fixed64),
        one("name", 2, Kind::String),
        list("attributes", 3, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Kind::Uint32),
    ],
);

static LINK: Descriptor = message(
    1,
    &[
        one("traceId", 1, Kind::Id),
        one("spanId", 2, Kind::Id),
        one("traceState", 3, Kind::String),
        list("attributes", 4, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 5, Kind::Uint32),
        one("flags", 6, Kind::Fixed32),
    ],
);

static STATUS: Descriptor = message(1, &[one("message", 2, Kind::String), one("code", 3, Kind::Enum)]);

// Logs.

pub(super) static LOGS: Descriptor = message(0, &[list("resourceLogs", 1, Kind::Message(&RESOURCE_LOGS))]);

static RESOURCE_LOGS: Descriptor = message(
    3,
    &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        list("scopeLogs", 2, Kind::Message(&SCOPE_LOGS)),
        one("schemaUrl", 3, Kind::String),
    ],
);

static SCOPE_LOGS: Descriptor = message(
    3,
    &[
        one("scope", 1, Kind::Message(&SCOPE)),
        list("logRecords", 2, Kind::Message(&LOG_RECORD)),
        one("schemaUrl", 3, Kind::String),
    ],
);

static LOG_RECORD: Descriptor = Descriptor {
    role: Role::Item,
    ..message(
        2,
        &[
            one("timeUnixNano", 1, Kind::Fixed64),
            one("observedTimeUnixNano", 11, Kind::Fixed64),
            one("severityNumber", 2, Kind::Enum),
            one("severityText", 3, Kind::String),
            one("body", 5, Kind::Message(&ANY_VALUE)),
            list("attributes", 6, Kind::Message(&KEY_VALUE)),
            one("droppedAttributesCount", 7, Kind::Uint32),
            one("flags", 8, Kind::Fixed32),
            one("traceId", 9, Kind::Id),
            one("spanId", 10, Kind::Id),
            one("eventName", 12, Kind::String),
        ],
    )
};

// Metrics.

pub(super) static METRICS: Descriptor = message(0, &[list("resourceMetrics", 1, Kind::Message(&RESOURCE_METRICS))]);

static RESOURCE_METRICS: Descriptor = message(
    3,
    &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        list("scopeMetrics", 2, Kind::Message(&SCOPE_METRICS)),
        one("schemaUrl", 3, Kind::String),
    ],
);

static SCOPE_METRICS: Descriptor = message(
    3,
    &[
        one("scope", 1, Kind::Message(&SCOPE)),
        list("metrics", 2, Kind::Message(&METRIC)),
        one("schemaUrl", 3, Kind::String),
    ],
);

static METRIC: Descriptor = Descriptor {
    role: Role::Metric,
    ..message(
        2,
        &[
            one("name", 1, Kind::String),
            one("description", 2, Kind::String),
            one("unit", 3, Kind::String),
            one("gauge", 5, Kind::Message(&GAUGE)),
            one("sum", 7, Kind::Message(&SUM)),
            one("histogram", 9, Kind::Message(&HISTOGRAM)),
            one("exponentialHistogram", 10, Kind::Message(&EXPONENTIAL_HISTOGRAM)),
            one("summary", 11, Kind::Message(&SUMMARY)),
            list("metadata", 12, Kind::Message(&KEY_VALUE)),
        ],
    )
};

/// The members of a metric that hold its points, under [`POINTS`].
pub(super) const POINT_HOLDERS: [&str; 5] = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];

/// The list of points in each of [`POINT_HOLDERS`].
pub(super) const POINTS: &str = "dataPoints";

static GAUGE: Descriptor = message(2, &[list(POINTS, 1, Kind::Message(&NUMBER_POINT))]);

static SUM: Descriptor = message(
    2,
    &[
        list(POINTS, 1, Kind::Message(&NUMBER_POINT)),
        one("aggregationTemporality", 2, Kind::Enum),
        one("isMonotonic", 3, Kind::Bool),
    ],
);

static HISTOGRAM: Descriptor =
    message(2, &[list(POINTS, 1, Kind::Message(&HISTOGRAM_POINT)), one("aggregationTemporality", 2, Kind::Enum)]);

static EXPONENTIAL_HISTOGRAM: Descriptor = message(
    2,
    &[list(POINTS, 1, Kind::Message(&EXPONENTIAL_HISTOGRAM_POINT)), one("aggregationTemporality", 2, Kind::Enum)],
);

static SUMMARY: Descriptor = message(2, &[list(POINTS, 1, Kind::Message(&SUMMARY_POINT))]);

static NUMBER_POINT: Descriptor = message(
    1,
    &[
        list("attributes", 7, Kind::Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Kind::Fixed64),
        one("timeUnixNano", 3, Kind::Fixed64),
        one("asDouble", 4, Kind::Double),
        one("asInt", 6, Kind::Sfixed64),
        list("exemplars", 5, Kind::Message(&EXEMPLAR)),
        one("flags", 8, Kind::Uint32),
    ],
);

static HISTOGRAM_POINT: Descriptor = message(
    2,
    &[
        list("attributes", 9, Kind::Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Kind::Fixed64),
        one("timeUnixNano", 3, Kind::Fixed64),
        one("count", 4, Kind::Fixed64),
        one("sum", 5, Kind::Double),
        list("bucketCounts", 6, Kind::Fixed64),
        list("explicitBounds", 7, Kind::Double),
        list("exemplars", 8, Kind::Message(&EXEMPLAR)),
        one("flags", 10, Kind::Uint32),
        one("min", 11, Kind::Double),
        one("max", 12, Kind::Double),
    ],
);

static EXPONENTIAL_HISTOGRAM_POINT: Descriptor = message(
    2,
    &[
        list("attributes", 1, Kind::Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Kind::Fixed64),
        one("timeUnixNano", 3, Kind::Fixed64),
        one("count", 4, Kind::Fixed64),
        one("sum", 5, Kind::Double),
        one("scale", 6, Kind::Sint32),
        one("zeroCount", 7, Kind::Fixed64),
        one("positive", 8, Kind::Message(&BUCKETS)),
        one("negative", 9, Kind::Message(&BUCKETS)),
        one("flags", 10, Kind::Uint32),
        list("exemplars", 11, Kind::Message(&EXEMPLAR)),
        one("min", 12, Kind::Double),
        one("max", 13, Kind::Double),
        one("zeroThreshold", 14, Kind::Double),
    ],
);

static BUCKETS: Descriptor = message(1, &[one("offset", 1, Kind::Sint32), list("bucketCounts", 2, Kind::Uint64)]);

static SUMMARY_POINT: Descriptor = message(
    2,
    &[
        list("attributes", 7, Kind::Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Kind::Fixed64),
        one("timeUnixNano", 3, Kind::Fixed64),
        one("count", 4, Kind::Fixed64),
        one("sum", 5, Kind::Double),
        list("quantileValues", 6, Kind::Message(&VALUE_AT_QUANTILE)),
        one("flags", 8, Kind::Uint32),
    ],
);

static VALUE_AT_QUANTILE: Descriptor = message(1, &[one("quantile", 1, Kind::Double), one("value", 2, Kind::Double)]);

static EXEMPLAR: Descriptor = message(
    1,
    &[
        list("filteredAttributes", 7, Kind::Message(&KEY_VALUE)),
        one("timeUnixNano", 2, Kind::Fixed64),
        one("asDouble", 3, Kind::Double),
        one("asInt", 6, Kind::Sfixed64),
        one("spanId", 4, Kind::Id),
        one("traceId", 5, Kind::Id),
    ],
);
