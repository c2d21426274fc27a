//! How often each value of an attribute occurs.

use std::collections::HashMap;

use hopline_proto::value::{lookup, unquote};

use super::names::Keys;
use super::{CountedValue, ValuesParams, resources, type_name, value_type};
use crate::api::answer;
use crate::api::filter::{Where, places};
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::{Text, int64};

/// Values of attributes of the rows: one more than asked for, if there are more.
pub(super) async fn of_rows(session: &Session, key: &str, asked: &ValuesParams) -> Result<Vec<CountedValue>, Error> {
    let keys = Keys::of(session, asked.table);
    let mut conditions = Where::default();
    conditions.range(asked.table.time_column(), TimeRange { start: asked.start, end: asked.end });
    conditions.equals("service", asked.service.as_deref());
    let places = places(asked.table, key, keys.known());
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let value = format!("attr_text({})", conditions.param(key));
    conditions.and(format!("{value} IS NOT NULL"));
    // The first place that has a value gives it, and its type.
    let kind = match places.as_slice() {
        [place] => format!("'{}'", type_name(place.kind)),
        places => {
            let case = places.iter().map(|place| {
                let column = match place.promoted {
                    Some(column) => column.to_owned(),
                    None => format!("{}[{}]", place.kind.column(), conditions.param(key)),
                };
                format!(" WHEN {column} IS NOT NULL THEN '{}'", type_name(place.kind))
            });
            format!("CASE{} END", case.collect::<String>())
        }
    };
    let inner = conditions.text();
    let mut prefix = String::new();
    if let Some(text) = &asked.prefix {
        prefix = format!("WHERE starts_with(value_text, {})", conditions.param(text.as_str()));
    }
    let sql = format!(
        "SELECT value_text, value_type, count(*) AS row_count \
         FROM (SELECT {value} AS value_text, {kind} AS value_type FROM {} {inner}) {prefix} \
         GROUP BY value_text, value_type ORDER BY row_count DESC, value_text, value_type LIMIT {}",
        asked.table,
        asked.limit + 1
    );
    let mut values = Vec::new();
    for batch in answer::rows(session, &sql, conditions.params()).await? {
        let (text, kind) = (Text::of(&batch, "value_text")?, Text::of(&batch, "value_type")?);
        let rows = int64(&batch, "row_count")?;
        values.extend((0..batch.num_rows()).map(|row| CountedValue {
            value: text.or_empty(row).to_owned(),
            kind: kind.or_empty(row).to_owned(),
            count: rows.value(row),
        }));
    }
    Ok(values)
}

/// Values of attributes of the resources, and whether all resources were looked at.
pub(super) async fn of_resources(
    session: &Session,
    key: &str,
    asked: &ValuesParams,
) -> Result<(Vec<CountedValue>, bool), Error> {
    let range = TimeRange { start: asked.start, end: asked.end };
    let (resources, all) = resources(session, asked.table, range, asked.service.as_deref()).await?;
    let mut counts: HashMap<(String, &'static str), i64> = HashMap::new();
    for (resource, rows) in &resources {
        let Some(text) = lookup(resource, "attributes").and_then(|attributes| lookup(attributes, key)) else {
            continue;
        };
        // NaN and the infinities have the names here that they have in rows.
        let plain = lookup(text, "$double").unwrap_or(text);
        let value = unquote(plain).map_or_else(|| text.to_owned(), std::borrow::Cow::into_owned);
        if asked.prefix.as_deref().is_none_or(|prefix| value.starts_with(prefix)) {
            *counts.entry((value, type_name(value_type(text)))).or_default() += rows;
        }
    }
    let counted = counts.into_iter().map(|((value, kind), count)| CountedValue { value, kind: kind.to_owned(), count });
    let mut values: Vec<_> = counted.collect();
    values.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.value, &a.kind).cmp(&(&b.value, &b.kind))));
    Ok((values, all))
}
