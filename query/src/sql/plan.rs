//! Tells the planner which columns and functions the operators of [`super::rewrite`] stand for.
//!
//! An attribute is looked up only where it can be: the names kept with each file, and
//! the layouts of the rows in memory, say with which types a key occurs. A promoted key
//! that only ever has its own type is then its column and nothing else, so that
//! statistics and filters of the files work on it.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use hopline_model::{AttributeType, Promoted, PromotedType, promoted};

use super::rewrite::{ATTR_OP, As, ID_OP, IS_OP, Level, TIME_OP, parse_operand};
use crate::functions::attr::condition::{self, Condition};
use crate::functions::attr::{self, Spec, Target};
use crate::functions::ids::parse_hex;
use crate::table::KeyTypes;

/// Plans Hopline's operators, and comparisons of ids with text.
#[derive(Debug)]
pub(crate) struct Planner {
    pub(crate) keys: Arc<KeyTypes>,
}

impl ExprPlanner for Planner {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = raw;
        match op {
            BinaryOperator::Custom(ref name) if name == ATTR_OP => {
                let (Some(key), Some((level, as_type, alias))) = (text(&left), text(&right).and_then(parse_operand))
                else {
                    return plan_err!("an attribute function takes a key");
                };
                let call = Call { key, level, as_type, alias, schema };
                Ok(PlannerResult::Planned(self.attribute(&call)?))
            }
            BinaryOperator::Custom(ref name) if name == IS_OP => {
                let Some((words, condition)) = text(&right).and_then(|t| Some((t, Condition::parse(t)?))) else {
                    return plan_err!("a comparison takes a number");
                };
                let looked_up = condition::of_lookup(&left, words);
                Ok(PlannerResult::Planned(looked_up.unwrap_or_else(|| condition.of_integers(left))))
            }
            BinaryOperator::Custom(ref name) if name == TIME_OP => {
                let ns = text(&left).and_then(|t| t.parse().ok());
                let time = ScalarValue::TimestampNanosecond(ns, Some(hopline_model::schema::UTC.into()));
                Ok(PlannerResult::Planned(Expr::Literal(time, None)))
            }
            BinaryOperator::Custom(ref name) if name == ID_OP => Ok(PlannerResult::Planned(id(left, &right, schema)?)),
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq => {
                let left = id(left, &right, schema)?;
                let right = id(right, &left, schema)?;
                Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
            }
            op => Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        }
    }
}

/// `expr` as an id, if it is a literal and `other` is an id.
fn id(expr: Expr, other: &Expr, schema: &DFSchema) -> Result<Expr> {
    let is_literal = matches!(
        expr,
        Expr::Literal(ScalarValue::Utf8(Some(_)) | ScalarValue::Utf8View(Some(_)) | ScalarValue::Binary(Some(_)), _)
    );
    if !is_literal {
        return Ok(expr);
    }
    let Ok(DataType::FixedSizeBinary(len)) = other.get_type(schema) else { return Ok(expr) };
    let literal = |bytes| Ok(Expr::Literal(ScalarValue::FixedSizeBinary(len, Some(bytes)), None));
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
            match parse_hex(&text, len as usize) {
                Some(bytes) => literal(bytes),
                None => plan_err!("{other} is an id of {} hexadecimal digits, which {text:?} is not", 2 * len),
            }
        }
        Expr::Literal(ScalarValue::Binary(Some(bytes)), _) if bytes.len() == len as usize => literal(bytes),
        _ => plan_err!("{other} is an id of {len} bytes"),
    }
}

/// One use of an attribute function.
struct Call<'a> {
    key: &'a str,
    level: Level,
    as_type: As,
    alias: &'a str,
    schema: &'a DFSchema,
}

impl Call<'_> {
    /// The name by which the function was called, or could have been.
    fn function(&self) -> String {
        let level = match self.level {
            Level::Row => "attr",
            Level::Resource => "resource_attr",
            Level::Scope => "scope_attr",
        };
        let as_type = match self.as_type {
            As::Natural | As::Number | As::Ordered => "",
            As::Text => "_text",
            As::Int => "_int",
            As::Double => "_double",
            As::Bool => "_bool",
        };
        format!("{level}{as_type}")
    }

    /// The column in scope that is called `name`.
    fn column(&self, name: &str) -> Result<Option<Column>> {
        let mut columns = self.schema.columns_with_unqualified_name(name);
        columns.retain(|c| self.alias.is_empty() || c.relation.as_ref().is_some_and(|r| r.table() == self.alias));
        columns.dedup();
        match columns.as_slice() {
            [] => Ok(None),
            [column] => Ok(Some(column.clone())),
            _ => {
                let (function, key) = (self.function(), self.key);
                let tables = columns
                    .iter()
                    .filter_map(|c| Some(format!("{function}({}, '{key}')", c.relation.as_ref()?.table())));
                let tables: Vec<String> = tables.collect();
                plan_err!("{function}('{key}') may be of several tables: write {}", tables.join(" or "))
            }
        }
    }

    fn required(&self, name: &str) -> Result<Column> {
        match self.column(name)? {
            Some(column) => Ok(column),
            None => {
                let (function, key) = (self.function(), self.key);
                let place = match self.alias {
                    "" => "no table here has it".to_owned(),
                    alias => format!("there is no table {alias} with it here"),
                };
                plan_err!(
                    "{function}('{key}') needs the column {name}: {place}; a subquery must select it to hand it on"
                )
            }
        }
    }

    fn lookup(&self, target: Target, sources: Vec<(char, Column)>) -> Expr {
        let (letters, columns) = sources.into_iter().map(|(letter, c)| (letter, Expr::Column(c))).unzip();
        let spec = Spec { function: self.function(), alias: self.alias.to_owned(), letters };
        attr::call(self.key, target, &spec, columns)
    }
}

impl Planner {
    fn attribute(&self, call: &Call<'_>) -> Result<Expr> {
        let column = match call.level {
            Level::Row => return self.row_attribute(call),
            Level::Resource => call.required("resource")?,
            Level::Scope => call.required("scope")?,
        };
        let target = match call.as_type {
            As::Natural | As::Text | As::Ordered => Target::Text,
            As::Number | As::Double => Target::Double,
            As::Int => Target::Int,
            As::Bool => Target::Bool,
        };
        Ok(call.lookup(target, vec![('r', column)]))
    }

    fn row_attribute(&self, call: &Call<'_>) -> Result<Expr> {
        let types = self.keys.types(call.key);
        let promoted = match promoted::find(call.key) {
            // An alias is looked up as it was sent.
            Some((promoted, false)) => call.column(promoted.column)?.map(|column| (promoted, column)),
            _ => None,
        };
        let target = target(call.as_type, promoted.as_ref().map(|(p, _)| *p), &types);
        let mut sources: Vec<(char, Column)> = Vec::new();
        let own_type = promoted.as_ref().map(|(p, _)| own_type(p));
        if let Some((_, column)) = &promoted {
            sources.push(('p', column.clone()));
        }
        for kind in types.into_iter().filter(|kind| Some(*kind) != own_type && can_be(*kind, target)) {
            sources.push((kind.letter(), call.required(kind.column())?));
        }
        match (sources.as_slice(), promoted) {
            ([(_, column)], Some((promoted, _))) => {
                let column = Expr::Column(column.clone());
                match (promoted.kind, target) {
                    (PromotedType::String, Target::Text)
                    | (PromotedType::Int, Target::Int)
                    | (PromotedType::Bool, Target::Bool) => Ok(column),
                    (PromotedType::Int, Target::Double) => Ok(cast(column, DataType::Float64)),
                    _ => Ok(call.lookup(target, sources)),
                }
            }
            ([], None) => {
                // Nobody has sent the key. Still the table must be one that could have it.
                call.required(AttributeType::String.column())?;
                Ok(call.lookup(target, sources))
            }
            _ => Ok(call.lookup(target, sources)),
        }
    }
}

fn own_type(promoted: &Promoted) -> AttributeType {
    match promoted.kind {
        PromotedType::String => AttributeType::String,
        PromotedType::Int => AttributeType::Int,
        PromotedType::Bool => AttributeType::Bool,
    }
}

/// The type that an attribute is given as, if it occurs with `types`.
fn target(as_type: As, promoted: Option<&Promoted>, types: &[AttributeType]) -> Target {
    let natural = match promoted.map(|p| p.kind) {
        Some(PromotedType::Int) => Target::Int,
        Some(PromotedType::Bool) => Target::Bool,
        Some(PromotedType::String) | None => Target::Text,
    };
    let number = match types {
        [AttributeType::Int] => Target::Int,
        _ => Target::Double,
    };
    let only_numbers =
        !types.is_empty() && types.iter().all(|t| matches!(t, AttributeType::Int | AttributeType::Double));
    match as_type {
        As::Number if natural == Target::Int => Target::Int,
        As::Number => number,
        As::Ordered if natural == Target::Text && only_numbers => number,
        As::Natural | As::Ordered => natural,
        As::Text => Target::Text,
        As::Int => Target::Int,
        As::Double => Target::Double,
        As::Bool => Target::Bool,
    }
}

/// Whether a value of type `kind` can be given as `target`.
fn can_be(kind: AttributeType, target: Target) -> bool {
    use AttributeType::{Bool, Double, Int, String};
    match target {
        Target::Text => true,
        Target::Int | Target::Double => matches!(kind, String | Int | Double),
        Target::Bool => matches!(kind, String | Bool),
    }
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}
