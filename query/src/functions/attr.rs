//! Looks an attribute up in a promoted column, in the maps of its types, or in the text of a resource or scope.
//!
//! Arguments: the key; a word for each column after it (see [`Spec`]); the columns, in
//! the order in which they are looked at. The first that has the key gives the value,
//! which is then converted to the function's type; what cannot be converted is null.
//! The planner leaves out what cannot hold the key, so most calls look at one column.

pub(crate) mod condition;
mod kernel;
mod source;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The type that a lookup gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// Text: any value can be written as text.
    Text,
    /// A 64-bit integer.
    Int,
    /// A 64-bit floating point number.
    Double,
    /// True or false.
    Bool,
}

impl Target {
    const ALL: [Target; 4] = [Target::Text, Target::Int, Target::Double, Target::Bool];

    /// The Arrow type.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Target::Text => DataType::Utf8,
            Target::Int => DataType::Int64,
            Target::Double => DataType::Float64,
            Target::Bool => DataType::Boolean,
        }
    }

    fn function_name(self) -> &'static str {
        match self {
            Target::Text => "hopline_attr_text",
            Target::Int => "hopline_attr_int",
            Target::Double => "hopline_attr_double",
            Target::Bool => "hopline_attr_bool",
        }
    }
}

/// What the columns of a call are, and how the call was written.
///
/// As text: the function's name as written, a space, the table's alias or nothing, a
/// space, and a letter a column: `p` promoted, `s i d b o` the map of that type
/// ([`hopline_model::AttributeType::letter`]), `r` the text of a resource or scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// The name of the function as it was written.
    pub(crate) function: String,
    /// The table's alias as it was written, or empty.
    pub(crate) alias: String,
    /// A letter a column.
    pub(crate) letters: String,
}

impl Spec {
    fn to_text(&self) -> String {
        format!("{} {} {}", self.function, self.alias, self.letters)
    }

    fn parse(text: &str) -> Option<Spec> {
        let mut parts = text.splitn(2, ' ');
        let function = parts.next()?.to_owned();
        let (alias, letters) = parts.next()?.rsplit_once(' ')?;
        Some(Spec { function, alias: alias.to_owned(), letters: letters.to_owned() })
    }

    /// The call as it was written.
    fn call(&self, key: &str) -> String {
        let alias = if self.alias.is_empty() { String::new() } else { format!("{}, ", self.alias) };
        format!("{}({alias}'{key}')", self.function)
    }
}

/// The functions: one a type, and one that compares.
pub(crate) fn all() -> Vec<ScalarUDF> {
    let lookups = Target::ALL.map(|target| ScalarUDF::from(Attr::new(target)));
    lookups.into_iter().chain([ScalarUDF::from(condition::AttrIs::new())]).collect()
}

/// A call that gives the attribute `key` as `target`.
pub(crate) fn call(key: &str, target: Target, spec: &Spec, columns: Vec<Expr>) -> Expr {
    let text = |text: String| Expr::Literal(ScalarValue::Utf8(Some(text)), None);
    let mut args = vec![text(key.to_owned()), text(spec.to_text())];
    args.extend(columns);
    ScalarUDF::from(Attr::new(target)).call(args)
}

/// The key that `expr` looks up in the attributes of rows, if it is a call that is null where there is no such key.
pub(crate) fn key_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::ScalarFunction(f) if is_ours(f.func.name()) => {
            let key = literal(f.args.first())?;
            let spec = Spec::parse(literal(f.args.get(1))?)?;
            (!spec.letters.contains(['r', 'p'])).then_some(key)
        }
        Expr::Cast(cast) => key_of(&cast.expr),
        Expr::TryCast(cast) => key_of(&cast.expr),
        _ => None,
    }
}

fn is_ours(function: &str) -> bool {
    function == condition::NAME || Target::ALL.iter().any(|t| t.function_name() == function)
}

/// The text of an argument that is a literal.
fn text(argument: Option<&ColumnarValue>) -> Option<&str> {
    match argument? {
        ColumnarValue::Scalar(ScalarValue::Utf8(Some(text))) => Some(text),
        _ => None,
    }
}

fn literal(expr: Option<&Expr>) -> Option<&str> {
    match expr? {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Attr {
    target: Target,
    signature: Signature,
}

impl Attr {
    fn new(target: Target) -> Attr {
        Attr { target, signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Attr {
    fn name(&self) -> &str {
        self.target.function_name()
    }

    // Answers show the call as it was written.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let (Some(key), Some(spec)) = (literal(args.first()), literal(args.get(1)).and_then(Spec::parse)) else {
            return internal_err!("{} without its literals", self.name());
        };
        Ok(spec.call(key))
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.target.data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (Some(key), Some(spec)) = (text(args.args.first()), text(args.args.get(1))) else {
            return exec_err!("{} takes two literals and columns", self.name());
        };
        let Some(spec) = Spec::parse(spec) else { return exec_err!("{}: {spec:?} says nothing", self.name()) };
        let columns = args.args.iter().skip(2).map(|c| c.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
        let values = kernel::look_up(key, &spec.letters, &columns, args.number_rows, self.target)?;
        Ok(ColumnarValue::Array(Arc::clone(&values)))
    }
}
