//! DataFusion's errors in the words of this room.
//!
//! What a client caused is told in full; what it did not is told as a fault of ours and
//! kept for the log.

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use parquet::errors::ParquetError;

use super::{Error, ErrorKind, message};

const DIVISION_BY_ZERO: &str = "division by zero";

/// Names farther from the one asked for than this are not offered.
const DISTANCE_MAX: usize = 3;

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => (*inner).into(),
            DataFusionError::Collection(mut errors) if !errors.is_empty() => errors.swap_remove(0).into(),
            DataFusionError::Shared(shared) => from_shared(&shared),
            DataFusionError::External(inner) => from_external(inner),
            DataFusionError::ArrowError(inner, _) => from_arrow(*inner),
            DataFusionError::ObjectStore(e) => Error::Read(e),
            DataFusionError::IoError(e) => from_io(e),
            DataFusionError::ParquetError(e) => from_parquet(*e),
            DataFusionError::Internal(_)
            | DataFusionError::ExecutionJoin(_)
            | DataFusionError::Substrait(_)
            | DataFusionError::Ffi(_) => from_text(&error.to_string()).unwrap_or(Error::Internal(Box::new(error))),
            by_client => from_client(&by_client),
        }
    }
}

/// Errors that the text of the query caused.
fn from_client(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::SQL(parser, _) => from_parser(parser),
        DataFusionError::SchemaError(schema, _) => from_schema(schema),
        DataFusionError::Plan(message) | DataFusionError::Configuration(message) => {
            let (message, hint) = message::planning(message);
            Error::Plan { message, hint }
        }
        DataFusionError::NotImplemented(message) => {
            let (message, hint) = message::not_supported(message);
            Error::Plan { message, hint }
        }
        DataFusionError::Execution(message) => {
            from_text(message).unwrap_or_else(|| Error::Execution(message::tidy(message)))
        }
        DataFusionError::ResourcesExhausted(message) => Error::Memory(exhausted(message)),
        other => from_text(&other.to_string()).unwrap_or_else(|| Error::internal(other.to_string())),
    }
}

/// An error that several owners have: its text is all that can be taken.
fn from_shared(error: &DataFusionError) -> Error {
    let root = error.find_root();
    match root {
        DataFusionError::ArrowError(arrow, _) => from_values(arrow)
            .or_else(|| from_text(&root.to_string()))
            .unwrap_or_else(|| Error::internal(root.to_string())),
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(ours) if ours.kind() == ErrorKind::Invalid => Error::Execution(ours.to_string()),
            Some(ours) if ours.kind() == ErrorKind::Memory => Error::Memory(ours.to_string()),
            _ => from_client(root),
        },
        DataFusionError::ParquetError(_) | DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => {
            from_text(&root.to_string()).unwrap_or_else(|| Error::Read(root.to_string().into()))
        }
        root => from_client(root),
    }
}

fn from_external(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let error = match error.downcast::<Error>() {
        Ok(ours) => return *ours,
        Err(other) => other,
    };
    let error = match error.downcast::<DataFusionError>() {
        Ok(inner) => return (*inner).into(),
        Err(other) => other,
    };
    let error = match error.downcast::<ArrowError>() {
        Ok(inner) => return from_arrow(*inner),
        Err(other) => other,
    };
    match error.downcast::<ParquetError>() {
        Ok(inner) => from_parquet(*inner),
        // The engine of regular expressions speaks for itself.
        Err(other) => from_text(&other.to_string()).unwrap_or(Error::Internal(other)),
    }
}

fn from_arrow(error: ArrowError) -> Error {
    if let Some(error) = from_values(&error).or_else(|| from_text(&error.to_string())) {
        return error;
    }
    match error {
        ArrowError::ExternalError(inner) => from_external(inner),
        ArrowError::IoError(_, e) => from_io(e),
        other => Error::Internal(Box::new(other)),
    }
}

/// Files are read with the filters of the query, whose errors come out as the reader's.
fn from_parquet(error: ParquetError) -> Error {
    if let Some(error) = from_text(&error.to_string()) {
        return error;
    }
    match error {
        ParquetError::External(inner) => match inner.downcast::<DataFusionError>() {
            Ok(inner) => (*inner).into(),
            Err(other) => Error::Read(other),
        },
        other => Error::Read(Box::new(other)),
    }
}

/// What the client caused, though it came wrapped as something else: only the text tells.
fn from_text(text: &str) -> Option<Error> {
    if let Some(debug) = message::of_filter(text) {
        return Some(from_filter(debug));
    }
    message::regular_expression(text).map(Error::Execution)
}

/// An error of a filter that was moved into the files' reader, as its `Debug` shows it.
fn from_filter(debug: &str) -> Error {
    let quoted = message::quoted(debug);
    if let Some(message) = message::regular_expression(debug) {
        return Error::Execution(quoted.as_deref().and_then(message::regular_expression).unwrap_or(message));
    }
    match quoted {
        _ if debug.starts_with("ArrowError(DivideByZero") => Error::Execution(DIVISION_BY_ZERO.to_owned()),
        Some(message) if debug.starts_with("ResourcesExhausted(") => Error::Memory(exhausted(&message)),
        Some(message) if !debug.starts_with("Internal(") => Error::Execution(message::tidy(&message)),
        _ => Error::internal(debug),
    }
}

/// Errors that the values of rows caused, or that there are too many of them.
fn from_values(error: &ArrowError) -> Option<Error> {
    match error {
        ArrowError::DivideByZero => Some(Error::Execution(DIVISION_BY_ZERO.to_owned())),
        ArrowError::MemoryError(message) => Some(Error::Memory(message.clone())),
        ArrowError::IoError(message, e) => {
            is_disk_full(e.kind(), message).then(|| Error::Memory("the disk for spilled rows is full".to_owned()))
        }
        ArrowError::CastError(m)
        | ArrowError::ParseError(m)
        | ArrowError::ComputeError(m)
        | ArrowError::ArithmeticOverflow(m)
        | ArrowError::InvalidArgumentError(m)
        | ArrowError::NotYetImplemented(m) => from_text(m).or_else(|| Some(Error::Execution(message::tidy(m)))),
        _ => None,
    }
}

fn is_disk_full(kind: std::io::ErrorKind, message: &str) -> bool {
    // The second is how the limit of spilled bytes is told.
    matches!(kind, std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        || message.contains("disk space during the spilling")
}

fn from_io(error: std::io::Error) -> Error {
    match is_disk_full(error.kind(), &error.to_string()) {
        true => Error::Memory("the disk for spilled rows is full".to_owned()),
        false => Error::Read(Box::new(error)),
    }
}

/// Takes the position out of the parser's text, where it stands as ` at Line: 1, Column: 8`.
pub(crate) fn from_parser(error: &ParserError) -> Error {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            return Error::Parse { message: "the query is nested too deeply".to_owned(), position: None };
        }
    };
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        return Error::Parse { message: text.to_owned(), position: None };
    };
    // The parser shows its own type here.
    let message = if message.starts_with("No infix parser for token") { "this cannot stand here" } else { message };
    let position = place.split_once(", Column: ").and_then(|(line, column)| {
        let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
        Some((line.parse().ok()?, digits.parse().ok()?))
    });
    Error::Parse { message: message.to_owned(), position }
}

fn from_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names = valid_fields.iter().map(|c| c.name.as_str());
            let near = nearest(&field.name, names);
            let hint = (!near.is_empty()).then(|| format!("did you mean {}?", near.join(", ")));
            Error::Plan { message: format!("there is no column {}", field.flat_name()), hint }
        }
        SchemaError::AmbiguousReference { field } => Error::Plan {
            message: format!("the column {} is in more than one table", field.flat_name()),
            hint: Some(format!("write the table's name before it, as in spans.{}", field.name)),
        },
        other => Error::Plan { message: other.to_string(), hint: None },
    }
}

/// The first line, without advice about DataFusion's own settings.
fn exhausted(message: &str) -> String {
    message.lines().next().unwrap_or_default().replace("datafusion.runtime.", "")
}

/// The up to three of `names` that are nearest to `name`.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let name = name.to_lowercase();
    let mut near: Vec<(usize, &str)> = names
        .map(|n| (distance(&name, &n.to_lowercase()), n))
        .filter(|(d, n)| *d <= DISTANCE_MAX.min(n.len().max(name.len()) / 3) || n.replace('_', "").contains(&name))
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(3).map(|(_, n)| n).collect()
}

/// Levenshtein's distance between two texts, by bytes.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let change = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = change.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("duraton", "duration", 1)]
        {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }

    #[test]
    fn near_names() {
        assert_eq!(nearest("servce", ["name", "service", "scope"].into_iter()), ["service"]);
        assert!(nearest("xyz", ["name", "service"].into_iter()).is_empty());
    }

    #[test]
    fn the_position_is_taken_out_of_the_text() {
        let error = from_parser(&ParserError::ParserError("Expected: x, found: y at Line: 3, Column: 14".to_owned()));
        let Error::Parse { message, position } = error else { panic!("{error:?}") };
        assert_eq!((message.as_str(), position), ("Expected: x, found: y", Some((3, 14))));
    }
}
