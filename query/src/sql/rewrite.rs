//! What Hopline's SQL has beside DataFusion's, put into words that the planner knows.
//!
//! A function such as `attr('k')` stands for columns that only the planner can name,
//! since it alone knows which tables are in scope. So the function is written, in the
//! parsed text, as an operator that no text can contain; the planner asks
//! [`crate::sql::plan::Planner`] about operators, and tells it the columns in scope.
//!
//! - `$1`, `$name` become literals ([`Params`]);
//! - `attr('k')`, `attr(alias, 'k')`, `resource_attr`, `scope_attr` and their `_int`,
//!   `_double`, `_bool`, `_text` forms become [`ATTR_OP`];
//! - such a function without a type, beside a number or inside of `avg` and the like, is one of numbers;
//! - text in `id IN ('…')` and `id BETWEEN '…' AND '…'` becomes [`ID_OP`], which makes it an id where the column is one;
//! - `p50(x)`, `p75`, `p90`, `p95`, `p99`, `p999` become `approx_percentile_cont`.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query,
    UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut,
};

use crate::error::Error;
use crate::functions::attr::condition::Condition;
use crate::sql::params::Params;

/// Left: key. Right: `<level> <type> <alias>`.
pub(crate) const ATTR_OP: &str = "@hopline attr";
/// Left: what [`ATTR_OP`] gives. Right: a condition on a number ([`Condition`]).
pub(crate) const IS_OP: &str = "@hopline is";
/// Left: nanoseconds since 1970 as text.
pub(crate) const TIME_OP: &str = "@hopline time";
/// Left: text. Right: what it is compared with.
pub(crate) const ID_OP: &str = "@hopline id";

/// Where an attribute is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The span, log record or data point itself.
    Row,
    /// Its resource.
    Resource,
    /// Its instrumentation scope.
    Scope,
}

/// The type that an attribute's value is given as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum As {
    /// The promoted column's type, else text.
    Natural,
    /// As [`As::Natural`] where that is a number, else [`As::Double`] or [`As::Int`].
    Number,
    /// A number where it only ever is one, so that `max` of 9 and 10 is 10; else as [`As::Natural`].
    Ordered,
    /// Text.
    Text,
    /// 64-bit integer.
    Int,
    /// 64-bit floating point.
    Double,
    /// True or false.
    Bool,
}

const LEVELS: [(&str, Level); 3] =
    [("attr", Level::Row), ("resource_attr", Level::Resource), ("scope_attr", Level::Scope)];
const TYPES: [(&str, As); 7] = [
    ("", As::Natural),
    ("_number", As::Number),
    ("_ordered", As::Ordered),
    ("_text", As::Text),
    ("_int", As::Int),
    ("_double", As::Double),
    ("_bool", As::Bool),
];
const PERCENTILES: [(&str, &str); 6] =
    [("p50", "0.5"), ("p75", "0.75"), ("p90", "0.9"), ("p95", "0.95"), ("p99", "0.99"), ("p999", "0.999")];
/// Functions whose first argument is a number.
const OF_NUMBERS: [&str; 28] = [
    "sum",
    "avg",
    "mean",
    "median",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var",
    "var_pop",
    "var_samp",
    "var_sample",
    "approx_percentile_cont",
    "approx_median",
    "abs",
    "round",
    "floor",
    "ceil",
    "sqrt",
    "ln",
    "log10",
    "log2",
    "power",
    "p50",
    "p75",
    "p90",
    "p95",
    "p99",
    "p999",
];

/// Writes all parts of `statement` that are Hopline's own in words that the planner knows.
pub(crate) fn rewrite(statement: &mut Statement, params: &Params) -> Result<(), Error> {
    let sql = match statement {
        Statement::Statement(sql) => sql,
        Statement::Explain(explain) => return rewrite(&mut explain.statement, params),
        _ => return Ok(()),
    };
    match sql.visit(&mut Rewrite { params }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Rewrite<'a> {
    params: &'a Params,
}

impl VisitorMut for Rewrite<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        super::name::columns(query, is_ours);
        ControlFlow::Continue(())
    }

    // What is inside is rewritten before what is around it.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match self.rewrite(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

impl Rewrite<'_> {
    fn rewrite(&self, expr: &mut Expr) -> Result<(), Error> {
        match expr {
            Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => {
                *expr = self.params.get(name)?.literal();
            }
            Expr::Function(function) => {
                if let Some(attribute) = attribute(function)? {
                    *expr = attribute;
                } else {
                    of_numbers(function);
                    percentile(function)?;
                }
            }
            Expr::BinaryOp { left, op, right } if !matches!(op, BinaryOperator::Custom(_)) => {
                if let Some(condition) = comparison(left, op, right) {
                    *expr = condition;
                    return Ok(());
                }
                if is_number(right) {
                    as_number(left);
                }
                if is_number(left) {
                    as_number(right);
                }
            }
            Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: inner } => as_number(inner),
            Expr::Between { expr: value, low, high, negated } => {
                if let (Some(low), Some(high)) = (numeral(low), numeral(high))
                    && let Some(condition) = condition(value, &format!("BETWEEN {low} AND {high}"))
                {
                    *expr = negate(condition, *negated);
                    return Ok(());
                }
                if is_number(low) || is_number(high) {
                    as_number(value);
                }
                id_text(low, value);
                id_text(high, value);
            }
            Expr::InList { expr: value, list, negated } => {
                if let Some(numbers) = list.iter().map(numeral).collect::<Option<Vec<_>>>()
                    && let Some(condition) = condition(value, &format!("IN ({})", numbers.join(", ")))
                {
                    *expr = negate(condition, *negated);
                    return Ok(());
                }
                for item in list {
                    id_text(item, value);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether `expr` is a function that is taken apart here.
fn is_ours(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else { return false };
    name(function).is_some_and(|name| PERCENTILES.iter().any(|(p, _)| *p == name) || attribute_kind(&name).is_some())
}

/// Where the attribute function `name` looks, and the type that it gives.
fn attribute_kind(name: &str) -> Option<(Level, As)> {
    LEVELS.iter().find_map(|(prefix, level)| {
        let rest = name.strip_prefix(prefix)?;
        let (_, as_type) = TYPES.iter().find(|(suffix, _)| *suffix == rest)?;
        Some((*level, *as_type))
    })
}

/// The function's own name, unless it has a schema.
fn name(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [part] => part.as_ident().map(|i| i.value.to_lowercase()),
        _ => None,
    }
}

fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = |arg| match arg {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

/// The operator that stands for an attribute function, if `function` is one.
fn attribute(function: &Function) -> Result<Option<Expr>, Error> {
    let Some(name) = name(function) else { return Ok(None) };
    let Some((level, as_type)) = attribute_kind(&name) else { return Ok(None) };
    let wrong = || Error::Plan {
        message: format!("{name} takes an attribute's key, and before it the table's name where there are several"),
        hint: Some(format!("{name}('http.route'), or {name}(s, 'http.route') with FROM spans s")),
    };
    let arguments = arguments(function).ok_or_else(wrong)?;
    let (alias, key) = match arguments.as_slice() {
        [key] => (String::new(), key),
        [Expr::Identifier(alias), key] => (normalised(alias), key),
        _ => return Err(wrong()),
    };
    let Some(key) = text(key) else { return Err(wrong()) };
    Ok(Some(operator(key, level, as_type, &alias)))
}

fn normalised(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

fn operator(key: &str, level: Level, as_type: As, alias: &str) -> Expr {
    let text = |text: String| Box::new(Expr::value(Value::SingleQuotedString(text)));
    let level = LEVELS.iter().find(|(_, l)| *l == level).map_or("", |(name, _)| name);
    let as_type = TYPES.iter().find(|(_, t)| *t == as_type).map_or("", |(name, _)| name);
    Expr::BinaryOp {
        left: text(key.to_owned()),
        op: BinaryOperator::Custom(ATTR_OP.to_owned()),
        right: text(format!("{level} {as_type} {alias}")),
    }
}

/// Reads what [`operator`] wrote on its right side.
pub(crate) fn parse_operand(text: &str) -> Option<(Level, As, &str)> {
    let mut parts = text.splitn(3, ' ');
    let (level, as_type, alias) = (parts.next()?, parts.next()?, parts.next()?);
    let (_, level) = LEVELS.iter().find(|(name, _)| *name == level)?;
    let (_, as_type) = TYPES.iter().find(|(name, _)| *name == as_type)?;
    Some((*level, *as_type, alias))
}

/// Makes an attribute function without a type one of numbers.
fn as_number(expr: &mut Expr) {
    retype(expr, As::Number);
}

/// Gives an attribute function without a type one; false if `expr` is something else.
fn retype(expr: &mut Expr, as_type: As) -> bool {
    match expr {
        Expr::Nested(inner) => retype(inner, as_type),
        Expr::BinaryOp { op: BinaryOperator::Custom(op), left, right } if op == ATTR_OP => {
            let Some((level, As::Natural, alias)) = text(right).and_then(parse_operand) else { return false };
            let Some(key) = text(left) else { return false };
            *expr = operator(key, level, as_type, alias);
            true
        }
        _ => false,
    }
}

/// The comparison of an attribute function without a type with a number, if it is one.
fn comparison(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Expr> {
    let (sign, mirrored) = match op {
        BinaryOperator::Eq => ("=", "="),
        BinaryOperator::NotEq => ("<>", "<>"),
        BinaryOperator::Lt => ("<", ">"),
        BinaryOperator::LtEq => ("<=", ">="),
        BinaryOperator::Gt => (">", "<"),
        BinaryOperator::GtEq => (">=", "<="),
        _ => return None,
    };
    match (numeral(left), numeral(right)) {
        (None, Some(number)) => condition(left, &format!("{sign} {number}")),
        (Some(number), None) => condition(right, &format!("{mirrored} {number}")),
        _ => None,
    }
}

/// The condition on `value`, if that is an attribute function without a type.
fn condition(value: &Expr, condition: &str) -> Option<Expr> {
    Condition::parse(condition)?;
    let mut value = value.clone();
    retype(&mut value, As::Number).then(|| Expr::BinaryOp {
        left: Box::new(value),
        op: BinaryOperator::Custom(IS_OP.to_owned()),
        right: Box::new(Expr::value(Value::SingleQuotedString(condition.to_owned()))),
    })
}

fn negate(condition: Expr, negated: bool) -> Expr {
    match negated {
        true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(condition) },
        false => condition,
    }
}

/// The text of a number, with its sign.
fn numeral(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) => Some(text.replace('_', "")),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => numeral(expr),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            let text = numeral(expr)?;
            Some(text.strip_prefix('-').map_or_else(|| format!("-{text}"), str::to_owned))
        }
        Expr::Nested(inner) => numeral(inner),
        _ => None,
    }
}

fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => is_number(expr),
        Expr::Nested(inner) => is_number(inner),
        _ => false,
    }
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Some(text),
        _ => None,
    }
}

fn of_numbers(function: &mut Function) {
    let as_type = match name(function).as_deref() {
        Some("min" | "max") => As::Ordered,
        Some(name) if OF_NUMBERS.contains(&name) => As::Number,
        _ => return,
    };
    for order in &mut function.within_group {
        retype(&mut order.expr, as_type);
    }
    if let FunctionArguments::List(list) = &mut function.args
        && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first_mut()
    {
        retype(first, as_type);
    }
}

fn percentile(function: &mut Function) -> Result<(), Error> {
    let name = name(function);
    let Some((p, share)) = PERCENTILES.iter().find(|(p, _)| name.as_deref() == Some(p)) else { return Ok(()) };
    match &mut function.args {
        FunctionArguments::List(list) if list.args.len() == 1 && function.within_group.is_empty() => {
            let share = Expr::value(Value::Number((*share).to_owned(), false));
            list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(share)));
            function.name = ObjectName::from(vec![Ident::new("approx_percentile_cont")]);
            Ok(())
        }
        _ => Err(Error::Plan { message: format!("{p} takes one argument"), hint: Some(format!("{p}(duration)")) }),
    }
}

/// Text that is compared with `value` is an id, should `value` turn out to be one.
fn id_text(item: &mut Expr, value: &Expr) {
    let is_column = matches!(value, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    if is_column && text(item).is_some() {
        *item = Expr::BinaryOp {
            left: Box::new(item.clone()),
            op: BinaryOperator::Custom(ID_OP.to_owned()),
            right: Box::new(value.clone()),
        };
    }
}
