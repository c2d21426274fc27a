//! Which files cannot have a row that passes the filters of a query.
//!
//! Known of each file: the range of its times, its tenants, services and operations,
//! and the keys of its attributes. DataFusion's pruning derives from the filters what
//! must hold of the first three; the keys are looked at here.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, TimestampNanosecondArray, UInt64Array};
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use hopline_model::{Table, schema};
use hopline_storage::DataFile;

use super::keys::may_have_key;
use crate::functions::attr;

/// More ids than this in one filter are not looked up one by one.
const IDS_MAX: usize = 256;

/// The files among `files` that may have rows of `tenant` which pass `filters`.
pub(super) fn prune(
    table: Table,
    files: &[Arc<DataFile>],
    tenant: &str,
    filters: &[Expr],
    state: &dyn Session,
) -> Result<Vec<Arc<DataFile>>> {
    let keys: Vec<&str> = filters.iter().flat_map(split_conjunction).filter_map(required_key).collect();
    let of_tenant = |file: &DataFile| file.tenants.as_ref().is_none_or(|tenants| tenants.iter().any(|t| t == tenant));
    let mut left: Vec<Arc<DataFile>> = files.iter().filter(|file| of_tenant(file)).cloned().collect();
    left.retain(|file| keys.iter().all(|key| may_have_key(file, key)));
    let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(left) };
    let schema = schema::of(table);
    let physical = state.create_physical_expr(filter, &DFSchema::try_from(Arc::clone(&schema))?)?;
    // What cannot be turned into a statement about a file's range leaves every file in.
    let predicate = PruningPredicateBuilder::new().with_file_schema(schema).build(physical);
    let Some(predicate) = predicate else { return Ok(left) };
    let kept = predicate.prune(&Known { table, files: &left })?;
    let mut kept = kept.into_iter();
    left.retain(|_| kept.next().unwrap_or(true));
    Ok(left)
}

/// The attribute that a row must have to pass `filter`.
fn required_key(filter: &Expr) -> Option<&str> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => match (&**left, &**right) {
            (side, Expr::Literal(..)) | (Expr::Literal(..), side) => attr::key_of(side),
            _ => None,
        },
        Expr::IsNotNull(inner) | Expr::Not(inner) => attr::key_of(inner),
        Expr::ScalarFunction(_) => attr::key_of(filter),
        Expr::Like(like) => attr::key_of(&like.expr),
        Expr::Between(between) => attr::key_of(&between.expr),
        Expr::InList(list) => attr::key_of(&list.expr),
        _ => None,
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, ILikeMatch, LikeMatch, Lt, LtEq, NotEq, RegexIMatch, RegexMatch};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | LikeMatch | ILikeMatch | RegexMatch | RegexIMatch)
}

/// An id of a table's [`Table::id_column`], as bytes.
pub(super) type Id = Vec<u8>;

/// The ids of `table` of which a row must have one to pass `filters`, if they are few.
pub(super) fn ids(table: Table, filters: &[Expr]) -> Option<Vec<Id>> {
    let column = table.id_column()?;
    filters.iter().flat_map(split_conjunction).filter_map(|filter| ids_of(column, filter)).min_by_key(Vec::len)
}

fn ids_of(column: &str, filter: &Expr) -> Option<Vec<Id>> {
    let is_id = |expr: &Expr| matches!(expr, Expr::Column(c) if c.name == column);
    let ids = match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (&**left, &**right) {
            (side, literal) | (literal, side) if is_id(side) => vec![id(literal)?],
            _ => return None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut ids = ids_of(column, left)?;
            ids.extend(ids_of(column, right)?);
            ids
        }
        Expr::InList(list) if !list.negated && is_id(&list.expr) => list.list.iter().map(id).collect::<Option<_>>()?,
        _ => return None,
    };
    (ids.len() <= IDS_MAX).then_some(ids)
}

fn id(expr: &Expr) -> Option<Id> {
    match expr {
        Expr::Literal(ScalarValue::FixedSizeBinary(_, Some(bytes)), _) => Some(bytes.clone()),
        Expr::Literal(value, _) => text(value).map(|text| text.as_bytes().to_vec()),
        _ => None,
    }
}

/// What is known of files without opening them, in the words of DataFusion's pruning.
struct Known<'a> {
    table: Table,
    files: &'a [Arc<DataFile>],
}

impl Known<'_> {
    fn times(&self, column: &Column, time: impl Fn(&DataFile) -> i64) -> Option<ArrayRef> {
        if column.name != self.table.time_column() {
            return None;
        }
        let times = self.files.iter().map(|file| time(file));
        Some(Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone(schema::UTC)))
    }
}

impl PruningStatistics for Known<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |file| file.min_time)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |file| file.max_time)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        // Times are never null.
        (column.name == self.table.time_column())
            .then(|| Arc::new(UInt64Array::from(vec![0_u64; self.files.len()])) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.files.iter().map(|file| file.rows))))
    }

    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let values: Vec<&str> = values.iter().map(text).collect::<Option<_>>()?;
        let of_file = |file: &DataFile| -> Option<bool> {
            let (mut some_in, mut some_out) = (false, false);
            let mut see = |name: &str| if values.contains(&name) { some_in = true } else { some_out = true };
            match (column.name.as_str(), self.table) {
                ("service", _) => file.services.as_ref()?.iter().for_each(|s| see(s)),
                ("tenant", _) => file.tenants.as_ref()?.iter().for_each(|t| see(t)),
                ("name", Table::Spans | Table::Metrics) => {
                    file.operations.as_ref()?.iter().for_each(|(_, n, _)| see(n))
                }
                ("kind", Table::Spans) | ("type", Table::Metrics) => {
                    file.operations.as_ref()?.iter().for_each(|(_, _, k)| see(k));
                }
                _ => return None,
            }
            match (some_in, some_out) {
                (true, false) => Some(true),
                (false, true) => Some(false),
                _ => None,
            }
        };
        Some(self.files.iter().map(|file| of_file(file)).collect())
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Dictionary(_, inner) => text(inner),
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            Some(text)
        }
        _ => None,
    }
}
