//! Names for the columns of an answer.
//!
//! A function that [`rewrite`](crate::sql::rewrite) takes apart would give its column the name of what it
//! became. So such a column is given the text of the function, as other functions' columns have it.

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr};

/// Names the columns of `query`'s outermost SELECTs whose whole expression is one of the functions
/// that `ours` picks.
pub(crate) fn columns(query: &mut Query, ours: impl Fn(&Expr) -> bool + Copy) {
    // Iterative, as a chain of UNIONs may be long.
    let mut bodies = vec![query.body.as_mut()];
    while let Some(body) = bodies.pop() {
        match body {
            SetExpr::Select(select) => select.projection.iter_mut().for_each(|item| name(item, ours)),
            SetExpr::SetOperation { left, right, .. } => bodies.extend([left.as_mut(), right.as_mut()]),
            _ => {}
        }
    }
}

fn name(item: &mut SelectItem, ours: impl Fn(&Expr) -> bool) {
    if let SelectItem::UnnamedExpr(expr) = item
        && ours(expr)
    {
        let alias = Ident::with_quote('"', expr.to_string());
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}
