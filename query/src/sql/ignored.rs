//! Clauses that the parser takes and the planner passes over.
//!
//! The answer to a query with one would be another than was asked for, in silence.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Select, TableFactor,
};

/// The clause of `select`, if it has one.
pub(super) fn in_select(select: &Select) -> Option<&'static str> {
    let modified = match &select.group_by {
        GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => !modifiers.is_empty(),
    };
    let clauses = [
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (select.value_table_mode.is_some(), "SELECT AS"),
        (select.exclude.is_some(), "EXCLUDE behind the columns"),
        (modified, "WITH behind GROUP BY"),
    ];
    first(&clauses)
}

/// The clause of a table, if it has one.
pub(super) fn in_table(factor: &TableFactor) -> Option<&'static str> {
    match factor {
        TableFactor::Table { sample, partitions, with_ordinality, version, json_path, index_hints, .. } => first(&[
            (sample.is_some(), "TABLESAMPLE"),
            (!partitions.is_empty(), "PARTITION"),
            (*with_ordinality, "WITH ORDINALITY"),
            (version.is_some(), "a version of a table"),
            (json_path.is_some(), "a path into a table"),
            (!index_hints.is_empty(), "an index hint"),
        ]),
        TableFactor::Derived { sample, .. } => first(&[(sample.is_some(), "TABLESAMPLE")]),
        _ => None,
    }
}

/// The part of an expression, if it has one.
pub(super) fn in_expr(expr: &Expr) -> Option<&'static str> {
    let Expr::Function(function) = expr else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let is_star = |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Wildcard));
    let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
    (distinct && list.args.iter().any(is_star)).then_some("DISTINCT *")
}

fn first(clauses: &[(bool, &'static str)]) -> Option<&'static str> {
    clauses.iter().find(|(there, _)| *there).map(|(_, name)| *name)
}
