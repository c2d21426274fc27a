//! `/api/v1/invocations`: what functions did, one by one.
//!
//! An invocation is brought together on read from all that says something of it
//! (`hopline_stitch::invocation`), so that what arrives late is in the next answer.

pub(super) mod by_id;
pub(crate) mod read;
mod waited;

use axum::extract::{Path, State};
use axum::response::Response;
use hopline_stitch::cost::Cost;
use hopline_stitch::fingerprint;
use hopline_stitch::invocation::{Invocation, Outcome, StartType, Trigger};
use http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{self, Cursor, json, rfc3339};
use super::flow::left_by;
use super::params::{Params, TimeRange};
use crate::engine::Session;
use crate::error::{Error, Problem};
use read::{Which, by_id, has_keys, known};
use waited::{Waited, waited};

/// Words for how an invocation ended, and one for all that failed.
const OUTCOMES: [&str; 7] = ["ok", "error", "timeout", "oom", "crash", "unknown", "failed"];
const HALF_HOUR: i64 = 1_800_000_000_000;
const ORDERS: [&str; 4] = ["newest", "oldest", "slowest", "costliest"];

/// What `/api/v1/invocations` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InvocationsParams {
    /// Of this function.
    #[param(value_type = Option<String>)]
    function: Option<String>,
    /// That began then or later. Default: an hour before `end`.
    #[param(value_type = Option<String>, example = "-1h")]
    start: Option<i64>,
    /// That began earlier. Default: now.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// That ended so: `ok`, `error`, `timeout`, `oom`, `crash`, `unknown`; or `failed`, all but `ok` and `unknown`.
    #[param(value_type = Option<String>)]
    outcome: Option<&'static str>,
    /// Whose environment came to be ready so: `cold`, `warm`, `preinit`, `restore`, `unknown`.
    #[param(value_type = Option<String>)]
    start_type: Option<StartType>,
    /// That were started so: `http`, `pubsub`, `datasource`, `timer`, `other`.
    #[param(value_type = Option<String>)]
    trigger: Option<Trigger>,
    /// Of this version of the function.
    #[param(value_type = Option<String>)]
    version: Option<String>,
    /// In this region.
    #[param(value_type = Option<String>)]
    region: Option<String>,
    /// In this execution environment.
    #[param(value_type = Option<String>)]
    instance: Option<String>,
    /// That failed with the error that has this fingerprint.
    #[param(value_type = Option<String>)]
    fingerprint: Option<u64>,
    /// That took so long at least.
    #[param(value_type = Option<String>, example = "500ms")]
    min_duration: Option<i64>,
    /// `newest`, `oldest`, `slowest` or `costliest` first.
    #[param(value_type = Option<String>, default = "newest")]
    order: &'static str,
    /// Invocations in the answer.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000, default = 50)]
    limit: usize,
    /// The cursor of the answer before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

impl InvocationsParams {
    fn read(params: &Params) -> Result<Self, Error> {
        let cursor = Cursor::of(params)?;
        let range = match &cursor {
            Some(cursor) => cursor.range(),
            None => super::functions::range_of(params)?,
        };
        let text = |name| params.text(name).map(|text| text.map(str::to_owned));
        Ok(InvocationsParams {
            function: text("function")?,
            start: range.start,
            end: range.end,
            outcome: params.word("outcome", &OUTCOMES)?,
            start_type: word(params, "start_type", StartType::ALL, StartType::name)?,
            trigger: word(params, "trigger", Trigger::ALL, Trigger::name)?,
            version: text("version")?,
            region: text("region")?,
            instance: text("instance")?,
            fingerprint: params.value("fingerprint", |text| {
                fingerprint::from_text(text).ok_or_else(|| "16 hexadecimal digits were expected".to_owned())
            })?,
            min_duration: params.duration("min_duration")?,
            order: params.word("order", &ORDERS)?.unwrap_or("newest"),
            limit: params.limit("limit", 50, 1_000)?,
            cursor,
        })
    }

    fn range(&self) -> TimeRange {
        TimeRange { start: self.start, end: self.end }
    }

    fn takes(&self, invocation: &Invocation) -> bool {
        let same = |wanted: &Option<String>, got: &Option<String>| wanted.is_none() || wanted == got;
        let outcome = match self.outcome {
            None => true,
            Some("failed") => invocation.outcome.is_failed(),
            Some(name) => Outcome::from_name(name) == Some(invocation.outcome),
        };
        outcome
            && self.start_type.is_none_or(|wanted| wanted == invocation.start_type)
            && self.trigger.is_none_or(|wanted| Some(wanted) == invocation.trigger)
            && same(&self.version, &invocation.version)
            && same(&self.region, &invocation.region)
            && same(&self.instance, &invocation.instance)
            && self.fingerprint.is_none_or(|wanted| Some(wanted) == invocation.fingerprint)
            && self.min_duration.is_none_or(|least| invocation.duration_ns.is_some_and(|took| took >= least))
    }

    /// What the order goes by: the smallest first.
    fn rank(&self, invocation: &Invocation) -> i64 {
        match self.order {
            "oldest" => invocation.start_ns,
            "slowest" => invocation.duration_ns.unwrap_or(-1).saturating_neg(),
            "costliest" => invocation.cost.as_ref().map_or(1, |cost| -((cost.usd * 1e12) as i64)),
            _ => invocation.start_ns.saturating_neg(),
        }
    }
}

/// The value of a parameter that is one of the words of an enumeration.
fn word<T: Copy>(params: &Params, name: &str, all: &[T], name_of: fn(T) -> &'static str) -> Result<Option<T>, Error> {
    params.value(name, |text| {
        let found = all.iter().copied().find(|value| name_of(*value).eq_ignore_ascii_case(text));
        let words: Vec<&str> = all.iter().map(|value| name_of(*value)).collect();
        found.ok_or_else(|| format!("one of {} was expected", words.join(", ")))
    })
}

/// Invocations by condition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InvocationsAnswer {
    /// In the order asked for.
    invocations: Vec<InvocationAnswer>,
    /// How many there are that meet the conditions.
    count: usize,
    /// Log records that the platform says it dropped in that time, of this function or of all: what they would have told
    /// is not known.
    dropped_records: i64,
    /// Whether these are all that are left.
    complete: bool,
    /// Give it back to get the next ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// An invocation, as all that is known of it tells. What is not known is left out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invocation)]
pub(crate) struct InvocationAnswer {
    /// The platform's request id; the span's id if there is none.
    id: String,
    /// Which try with this id it is, from 1, of those that are looked at.
    attempt: u32,
    /// The function.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Its execution environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The account, the subscription or the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// `aws`, `azure`, `gcp`, `other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    provider: Option<&'static str>,
    /// `x86_64`, `arm64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    architecture: Option<&'static str>,
    /// What started it: `http`, `pubsub`, `datasource`, `timer`, `other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    trigger: Option<&'static str>,
    /// RFC 3339: when the handler was called.
    start_time: String,
    /// Nanoseconds, as the platform reports it, with what extensions did after the answer; else as `runtime_ns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ns: Option<i64>,
    /// Nanoseconds that the handler took.
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_ns: Option<i64>,
    /// Nanoseconds that are billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    billed_ns: Option<i64>,
    /// Nanoseconds of its environment's initialisation, if it is the first there.
    #[serde(skip_serializing_if = "Option::is_none")]
    init_ns: Option<i64>,
    /// Nanoseconds of its environment's restore, if it is the first there.
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_ns: Option<i64>,
    /// Memory it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_size_bytes: Option<i64>,
    /// Memory it used at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_used_bytes: Option<i64>,
    /// `cold`, `warm`, `preinit`, `restore`, `unknown`.
    #[schema(value_type = String)]
    start_type: &'static str,
    /// Why the start type is what it is.
    start_evidence: String,
    /// Whether its environment was initialised again for it, after a failure.
    reinit: bool,
    /// `ok`, `error`, `timeout`, `oom`, `crash`, `unknown`.
    #[schema(value_type = String)]
    outcome: &'static str,
    /// Whether anyone tells that memory ran out. A function may go on after that.
    out_of_memory: bool,
    /// Why it failed, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// The type of its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
    /// The text of its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    /// 16 hexadecimal digits: the same for all errors of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// The status code it answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<i64>,
    /// How often the message that started it was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<i64>,
    /// 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    /// 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    /// The trace of the extension's span of the initialisation that it waited for or was first after.
    #[serde(skip_serializing_if = "Option::is_none")]
    init_trace_id: Option<String>,
    /// That span.
    #[serde(skip_serializing_if = "Option::is_none")]
    init_span_id: Option<String>,
    /// Whether its span is there.
    has_span: bool,
    /// Whether the platform's report of it is there.
    has_report: bool,
    /// What it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<CostAnswer>,
}

/// What something cost.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cost)]
pub(crate) struct CostAnswer {
    /// In `currency`.
    pub(super) amount: f64,
    /// ISO 4217.
    pub(super) currency: String,
    /// The version of the price table that it was worked out with.
    pub(super) price_table: String,
    /// Whether it is the price of `x86_64` because nobody says which processor it was.
    pub(super) architecture_assumed: bool,
}

impl InvocationAnswer {
    pub(super) fn of(invocation: &Invocation, currency: &str) -> InvocationAnswer {
        let i = invocation;
        InvocationAnswer {
            id: i.id.clone(),
            attempt: i.attempt,
            function: i.function.clone(),
            version: i.version.clone(),
            instance: i.instance.clone(),
            account: i.account.clone(),
            region: i.region.clone(),
            provider: i.provider.map(|p| p.name()),
            architecture: i.architecture.map(|a| a.name()),
            trigger: i.trigger.map(|t| t.name()),
            start_time: rfc3339(i.start_ns),
            duration_ns: i.duration_ns,
            runtime_ns: i.runtime_ns,
            billed_ns: i.billed_ns,
            init_ns: i.init_ns,
            restore_ns: i.restore_ns,
            memory_size_bytes: i.memory_size,
            memory_used_bytes: i.memory_used,
            start_type: i.start_type.name(),
            start_evidence: i.start_evidence.to_string(),
            reinit: i.reinit,
            outcome: i.outcome.name(),
            out_of_memory: i.out_of_memory,
            cause: i.cause.clone(),
            error_type: i.error_type.clone(),
            error_message: i.error_message.clone(),
            fingerprint: i.fingerprint.map(fingerprint::to_text),
            http_status: i.http_status,
            deliveries: i.deliveries,
            trace_id: i.trace_id.map(|id| id.to_string()),
            span_id: i.span_id.map(|id| id.to_string()),
            init_trace_id: i.init_span.map(|(trace, _)| trace.to_string()),
            init_span_id: i.init_span.map(|(_, span)| span.to_string()),
            has_span: i.has_span,
            has_report: i.has_report,
            cost: i.cost.as_ref().map(|cost| CostAnswer::of(cost, currency)),
        }
    }
}

impl CostAnswer {
    fn of(cost: &Cost, currency: &str) -> CostAnswer {
        CostAnswer {
            amount: cost.usd,
            currency: currency.to_owned(),
            price_table: cost.table.to_string(),
            architecture_assumed: cost.is_architecture_assumed,
        }
    }
}

/// Finds invocations.
#[utoipa::path(
    get, path = "/api/v1/invocations", tag = "functions", params(InvocationsParams),
    responses(
        (status = 200, description = "Invocations", body = InvocationsAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn invocations(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<InvocationsParams>(&uri)?;
    let asked = InvocationsParams::read(&params)?;
    let session = answer::unlimited_session(&state, "invocations");
    let which = Which { functions: asked.function.iter().cloned().collect(), range: asked.range() };
    let known = known(&session, &which).await?;
    let mut found: Vec<&Invocation> = known.within(asked.range()).filter(|i| asked.takes(i)).collect();
    let key = |i: &Invocation| (asked.rank(i), ids(i));
    found.sort_by_cached_key(|i| key(i));
    let count = found.len();
    if let Some(cursor) = &asked.cursor {
        // What came since the page before may stand in front of it: the next page begins behind its last.
        let last = (cursor.value, cursor.ids.clone());
        found.retain(|i| key(i) > last);
    }
    let more = found.len() > asked.limit;
    found.truncate(asked.limit);
    let next = found.last().filter(|_| more).map(|last| {
        let (value, ids) = key(last);
        Cursor { fingerprint: params.fingerprint(), value, ids, given: 0, start: asked.start, end: asked.end }.text()
    });
    let reason = match (&known.reason, more) {
        (Some(reason), _) => Some(reason.clone()),
        (None, true) => Some(format!("the limit of {} invocations was reached: go on with the cursor", asked.limit)),
        (None, false) => None,
    };
    let currency = state.engine.prices().currency();
    json(&InvocationsAnswer {
        invocations: found.into_iter().map(|i| InvocationAnswer::of(i, currency)).collect(),
        count,
        dropped_records: known.dropped_records,
        complete: reason.is_none(),
        cursor: next,
        reason,
    })
}

/// What tells invocations of one rank apart.
fn ids(invocation: &Invocation) -> String {
    let function = invocation.function.as_deref().unwrap_or_default();
    format!("{}#{}#{}#{function}", invocation.id, invocation.attempt, invocation.start_ns)
}

/// One request to a function: its tries, and where to read on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OneInvocationAnswer {
    /// The tries with this id, the earliest first.
    attempts: Vec<InvocationAnswer>,
    /// How long what set them off had waited: of those tries of which that is known for sure.
    waited: Vec<Waited>,
    /// Paths of this API that tell more.
    links: InvocationLinks,
    /// Whether all that is stored of it is in the answer.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Where to read on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InvocationLinks {
    /// Its flow, if its span, its caller's or one that it left is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<String>,
    /// Its log records.
    logs: String,
    /// Its trace, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    /// Its function, half an hour before it until half an hour after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
}

/// Tells of one invocation.
#[utoipa::path(
    get, path = "/api/v1/invocations/{invocation_id}", tag = "functions",
    params(("invocation_id" = String, Path, description = "The platform's request id; of an invocation without one, its span's id", example = "8476a536-e9f4-11e8-9739-2dfe598c3fcd")),
    responses(
        (status = 200, description = "The invocation", body = OneInvocationAnswer),
        (status = 400, description = "A parameter was given", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nothing is known of it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn invocation(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Error> {
    Params::none(&uri)?;
    let session = answer::unlimited_session(&state, "invocation");
    let missing = || Error::NotFound(format!("nothing is known of an invocation {id}"));
    let known = by_id(&session, &id).await?.ok_or_else(missing)?;
    let attempts: Vec<&Invocation> = known.merged.invocations.iter().filter(|i| i.id == id).collect();
    let first = *attempts.first().ok_or_else(missing)?;
    let links = links(&session, first).await?;
    let waited = waited(&session, &attempts).await?;
    let currency = state.engine.prices().currency();
    let attempts = attempts.into_iter().map(|i| InvocationAnswer::of(i, currency)).collect();
    json(&OneInvocationAnswer { attempts, waited, links, complete: known.reason.is_none(), reason: known.reason })
}

async fn links(session: &Session, first: &Invocation) -> Result<InvocationLinks, Error> {
    let id = encode(&first.id);
    let by_span =
        first.trace_id.zip(first.span_id).map(|(trace, span)| format!("/api/v1/flows/{trace}?span_id={span}"));
    // What it left behind, if its span never came.
    let left = if first.has_span { None } else { left_by(session, &first.id).await? };
    let flow = match left.is_some() || has_keys(session, &first.id).await? {
        true => Some(format!("/api/v1/flows?invocation_id={id}")),
        false => by_span,
    };
    let function = |function: &str| {
        let (start, end) = (first.start_ns.saturating_sub(HALF_HOUR), first.start_ns.saturating_add(HALF_HOUR));
        format!("/api/v1/functions/{}?start={}&end={}", encode(function), rfc3339(start), rfc3339(end))
    };
    Ok(InvocationLinks {
        flow,
        logs: format!("/api/v1/logs?invocation_id={id}"),
        trace: first.trace_id.or(left).map(|trace| format!("/api/v1/traces/{trace}")),
        function: first.function.as_deref().map(function),
    })
}

/// A text as a part of an address (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
