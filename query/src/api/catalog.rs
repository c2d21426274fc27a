//! Names and values: services, operations, attribute keys and their values.
//!
//! Names are kept beside each file and are looked up in the rows in memory: no file is
//! opened for them, unless there were too many to be kept, or a file has several tenants.

mod names;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use hopline_model::{AttributeType, Table};
use hopline_proto::value::{ValueRef, lookup, members};
use http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{self, json};
use super::filter::Where;
use super::params::{Params, TimeRange};
use crate::engine::Session;
use crate::error::{Error, Problem};
use crate::otlp::columns::{Text, int64};

/// Most values, keys or names in one answer.
const LIMIT_MAX: usize = 10_000;
/// Most different resources that are looked through for keys and values.
const RESOURCES_MAX: usize = 100_000;

/// Words for the tables.
const TABLES: [&str; 3] = ["spans", "logs", "metrics"];

/// A table.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "only described")]
pub(crate) enum TableName {
    Spans,
    Logs,
    Metrics,
}

pub(super) fn table(params: &Params) -> Result<Table, Error> {
    let name = params.word("table", &TABLES)?;
    Ok(name.and_then(|name| name.parse().ok()).unwrap_or(Table::Spans))
}

/// What `/api/v1/services` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ServicesParams {
    /// The table to look in.
    #[param(value_type = Option<TableName>, default = "spans")]
    table: Table,
    /// Also functions and numbers of rows and errors, which takes a scan.
    #[param(value_type = Option<bool>, default = false)]
    details: bool,
    /// Services that sent something then or later. Without `details` by whole files, so that a few
    /// more may be listed.
    #[param(value_type = Option<String>, example = "-1h")]
    start: Option<i64>,
    /// Services that sent something earlier.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// Services in the answer.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 10000, default = 10000)]
    limit: usize,
}

/// The services.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServicesAnswer {
    /// By name.
    services: Vec<Service>,
    /// Whether these are all.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A service.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Service {
    /// `service.name`
    name: String,
    /// Its functions (`faas.name`). Only with `details`.
    #[serde(skip_serializing_if = "Option::is_none")]
    functions: Option<BTreeSet<String>>,
    /// Rows of the table. Only with `details`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<i64>,
    /// Spans with status `ERROR`, log records of severity 17 or higher. Only with `details`.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<i64>,
}

/// Lists services.
#[utoipa::path(
    get, path = "/api/v1/services", tag = "names", params(ServicesParams),
    responses(
        (status = 200, description = "Services", body = ServicesAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn services(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<ServicesParams>(&uri)?;
    let TimeRange { start, end } = params.range()?;
    let limit = params.limit("limit", LIMIT_MAX, LIMIT_MAX)?;
    let asked = ServicesParams { table: table(&params)?, details: params.flag("details")?, start, end, limit };
    let session = answer::session(&state, "names");
    let range = TimeRange { start: asked.start, end: asked.end };
    let mut services: Vec<Service> = if asked.details {
        detailed_services(&session, asked.table, range).await?
    } else {
        let names = match names::services(&session, asked.table, range) {
            Some(names) => names,
            None => names::scan_services(&session, asked.table, range).await?,
        };
        names.into_iter().map(|name| Service { name, ..Service::default() }).collect()
    };
    let reason = cut(&mut services, asked.limit, "services");
    json(&ServicesAnswer { services, complete: reason.is_none(), reason })
}

/// Leaves the first `limit` of a list, and says so.
fn cut<T>(list: &mut Vec<T>, limit: usize, what: &str) -> Option<String> {
    let reason = (list.len() > limit).then(|| format!("the limit of {limit} {what} was reached"));
    list.truncate(limit);
    reason
}

async fn detailed_services(session: &Session, table: Table, range: TimeRange) -> Result<Vec<Service>, Error> {
    let mut conditions = Where::default();
    conditions.range(table.time_column(), range);
    let errors = match table {
        Table::Spans => "sum(CASE WHEN status_code = 'ERROR' THEN 1 ELSE 0 END)",
        Table::Logs => "sum(CASE WHEN severity_number >= 17 THEN 1 ELSE 0 END)",
        // Only tables of signals can be asked for.
        Table::Metrics | Table::HopKeys | Table::Invocations | Table::FunctionMinutes => "0",
    };
    let sql = format!(
        "SELECT service, function, count(*) AS row_count, {errors} AS error_count FROM {table} {} GROUP BY service, function",
        conditions.text()
    );
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let (service, function) = (Text::of(&batch, "service")?, Text::of(&batch, "function")?);
        let (rows, errors) = (int64(&batch, "row_count")?, int64(&batch, "error_count")?);
        for row in 0..batch.num_rows() {
            let name = service.or_empty(row);
            let entry = services.entry(name.to_owned()).or_default();
            name.clone_into(&mut entry.name);
            let functions = entry.functions.get_or_insert_default();
            functions.extend(function.get(row).map(str::to_owned));
            *entry.rows.get_or_insert_default() += rows.value(row);
            *entry.errors.get_or_insert_default() += errors.value(row);
        }
    }
    Ok(services.into_values().collect())
}

/// What `/api/v1/operations` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OperationsParams {
    /// Operations of this service.
    service: Option<String>,
    /// Operations with a span then or later, by whole files.
    #[param(value_type = Option<String>, example = "-1h")]
    start: Option<i64>,
    /// Operations with a span earlier, by whole files.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// Operations in the answer.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 10000, default = 10000)]
    limit: usize,
}

/// The operations.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OperationsAnswer {
    /// By service, name and kind.
    operations: Vec<Operation>,
    /// Whether these are all.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A span name of a service.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub(crate) struct Operation {
    /// `service.name`
    service: String,
    /// The spans' name.
    name: String,
    /// The spans' kind.
    kind: String,
}

/// Lists operations: the names and kinds of the spans of each service.
#[utoipa::path(
    get, path = "/api/v1/operations", tag = "names", params(OperationsParams),
    responses(
        (status = 200, description = "Operations", body = OperationsAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn operations(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<OperationsParams>(&uri)?;
    let TimeRange { start, end } = params.range()?;
    let service = params.text("service")?.map(str::to_owned);
    let asked = OperationsParams { service, start, end, limit: params.limit("limit", LIMIT_MAX, LIMIT_MAX)? };
    let session = answer::session(&state, "names");
    let range = TimeRange { start: asked.start, end: asked.end };
    let service = asked.service.as_deref();
    let operations = match names::operations(&session, service, range) {
        Some(operations) => operations,
        None => names::scan_operations(&session, service, range).await?,
    };
    let operations = operations.into_iter().map(|(service, name, kind)| Operation { service, name, kind });
    let mut operations: Vec<Operation> = operations.collect();
    let reason = cut(&mut operations, asked.limit, "operations");
    json(&OperationsAnswer { operations, complete: reason.is_none(), reason })
}

/// What `/api/v1/attributes` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AttributesParams {
    /// The table to look in.
    #[param(value_type = Option<TableName>, default = "spans")]
    table: Table,
    /// Keys that begin like this.
    prefix: Option<String>,
    /// Keys of rows then or later, by whole files.
    #[param(value_type = Option<String>, example = "-1h")]
    start: Option<i64>,
    /// Keys of rows earlier, by whole files.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// Keys in the answer.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 10000, default = 10000)]
    limit: usize,
}

/// The keys of attributes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttributesAnswer {
    /// By key and level.
    attributes: Vec<Attribute>,
    /// Whether these are all.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A key of attributes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Attribute {
    /// The key.
    key: String,
    /// Where such attributes stand: `span`, `log`, `point`, or `resource`.
    #[schema(value_type = String)]
    level: &'static str,
    /// Types of the values: `string`, `int`, `double`, `bool`, `other`.
    #[schema(value_type = Vec<String>)]
    types: Vec<&'static str>,
}

fn level(table: Table) -> &'static str {
    match table {
        Table::Spans => "span",
        Table::Logs => "log",
        Table::Metrics => "point",
        // Only tables of signals can be asked for.
        Table::HopKeys | Table::Invocations | Table::FunctionMinutes => "row",
    }
}

fn type_name(kind: AttributeType) -> &'static str {
    match kind {
        AttributeType::String => "string",
        AttributeType::Int => "int",
        AttributeType::Double => "double",
        AttributeType::Bool => "bool",
        AttributeType::Other => "other",
    }
}

/// Lists the keys of attributes, with their types, of the rows and of their resources.
#[utoipa::path(
    get, path = "/api/v1/attributes", tag = "names", params(AttributesParams),
    responses(
        (status = 200, description = "Keys", body = AttributesAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn attributes(State(state): State<ApiState>, uri: Uri) -> Result<Response, Error> {
    let params = Params::of::<AttributesParams>(&uri)?;
    let TimeRange { start, end } = params.range()?;
    let prefix = params.text("prefix")?.map(str::to_owned);
    let limit = params.limit("limit", LIMIT_MAX, LIMIT_MAX)?;
    let asked = AttributesParams { table: table(&params)?, prefix, start, end, limit };
    let session = answer::session(&state, "names");
    let range = TimeRange { start: asked.start, end: asked.end };
    let mut found: BTreeMap<(String, &'static str), BTreeSet<&'static str>> = BTreeMap::new();
    let mut add = |key: &str, level, kind| {
        if asked.prefix.as_deref().is_none_or(|prefix| key.starts_with(prefix)) {
            found.entry((key.to_owned(), level)).or_default().insert(type_name(kind));
        }
    };
    let keys = match names::keys(&session, asked.table, range) {
        Some(keys) => keys,
        None => names::scan_keys(&session, asked.table, range).await?,
    };
    for (key, letter) in &keys {
        add(key, level(asked.table), AttributeType::from_letter(*letter).unwrap_or(AttributeType::Other));
    }
    let (resources, all) = resources(&session, asked.table, range, None).await?;
    for (resource, _) in &resources {
        for (key, value) in members(lookup(resource, "attributes").unwrap_or("{}")).map_while(Result::ok) {
            add(&key, "resource", value_type(value));
        }
    }
    let cut = found.len() > asked.limit;
    let attributes = found.into_iter().take(asked.limit);
    let attributes =
        attributes.map(|((key, level), types)| Attribute { key, level, types: types.into_iter().collect() }).collect();
    let reason = match (cut, all) {
        (true, _) => Some(format!("the limit of {} keys was reached", asked.limit)),
        (_, false) => Some(format!("only {RESOURCES_MAX} different resources were looked at")),
        _ => None,
    };
    json(&AttributesAnswer { attributes, complete: reason.is_none(), reason })
}

/// The type of a value text.
fn value_type(text: &str) -> AttributeType {
    match ValueRef::parse(text) {
        Ok(ValueRef::String(_)) => AttributeType::String,
        Ok(ValueRef::Int(_)) => AttributeType::Int,
        Ok(ValueRef::Double(_)) => AttributeType::Double,
        Ok(ValueRef::Bool(_)) => AttributeType::Bool,
        _ => AttributeType::Other,
    }
}

/// The different resources and how many rows each has, and whether these are all.
async fn resources(
    session: &Session,
    table: Table,
    range: TimeRange,
    service: Option<&str>,
) -> Result<(Vec<(String, i64)>, bool), Error> {
    let mut conditions = Where::default();
    conditions.range(table.time_column(), range);
    conditions.equals("service", service);
    let sql = format!(
        "SELECT resource, count(*) AS row_count FROM {table} {} GROUP BY resource LIMIT {}",
        conditions.text(),
        RESOURCES_MAX + 1
    );
    let mut resources = Vec::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let (text, rows) = (Text::of(&batch, "resource")?, int64(&batch, "row_count")?);
        resources.extend((0..batch.num_rows()).map(|row| (text.or_empty(row).to_owned(), rows.value(row))));
    }
    let all = resources.len() <= RESOURCES_MAX;
    resources.truncate(RESOURCES_MAX);
    Ok((resources, all))
}

/// What `/api/v1/attributes/{key}/values` takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ValuesParams {
    /// The table to look in.
    #[param(value_type = Option<TableName>, default = "spans")]
    table: Table,
    /// Attributes of the rows themselves, or of their resources.
    #[param(rename = "level", value_type = Option<Level>, default = "row")]
    resource: bool,
    /// Values in rows of this service.
    service: Option<String>,
    /// Values that begin like this.
    prefix: Option<String>,
    /// Values in rows then or later.
    #[param(value_type = Option<String>, example = "-1h")]
    start: Option<i64>,
    /// Values in rows earlier.
    #[param(value_type = Option<String>)]
    end: Option<i64>,
    /// Values in the answer: the most frequent.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 10000, default = 100)]
    limit: usize,
}

/// Where attributes stand.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "only described")]
pub(crate) enum Level {
    Row,
    Resource,
}

/// The values of an attribute.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValuesAnswer {
    /// The most frequent first; equally frequent ones by value.
    values: Vec<CountedValue>,
    /// Whether these are all.
    complete: bool,
    /// Why the answer is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A value and how often it occurs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountedValue {
    /// The value as text.
    value: String,
    /// Its type: `string`, `int`, `double`, `bool`, `other`.
    #[serde(rename = "type")]
    kind: String,
    /// Rows with this value.
    count: i64,
}

/// Lists the values of an attribute and how often each occurs.
#[utoipa::path(
    get, path = "/api/v1/attributes/{key}/values", tag = "names",
    params(("key" = String, Path, description = "The attribute's key", example = "http.route"), ValuesParams),
    responses(
        (status = 200, description = "Values", body = ValuesAnswer),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn values(
    State(state): State<ApiState>,
    Path(key): Path<String>,
    uri: Uri,
) -> Result<Response, Error> {
    let params = Params::of::<ValuesParams>(&uri)?;
    let TimeRange { start, end } = params.range()?;
    let asked = ValuesParams {
        table: table(&params)?,
        resource: params.word("level", &["row", "resource"])? == Some("resource"),
        service: params.text("service")?.map(str::to_owned),
        prefix: params.text("prefix")?.map(str::to_owned),
        start,
        end,
        limit: params.limit("limit", 100, LIMIT_MAX)?,
    };
    let session = answer::session(&state, "names");
    let (mut values, all) = if asked.resource {
        values::of_resources(&session, &key, &asked).await?
    } else {
        (values::of_rows(&session, &key, &asked).await?, true)
    };
    let reason = cut(&mut values, asked.limit, "values")
        .or_else(|| (!all).then(|| format!("only {RESOURCES_MAX} different resources were looked at")));
    json(&ValuesAnswer { values, complete: reason.is_none(), reason })
}
