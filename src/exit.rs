//! How the process ends.
//!
//! 0: done. 1: it failed. 2: a flag, an argument or a setting is wrong. 3: what was asked
//! for does not exist, or `verify` found damage.

use std::io;
use std::process::ExitCode;

use crate::config::Problems;

/// It failed.
pub(crate) const FAILURE: u8 = 1;
/// A flag, an argument or a setting is wrong.
pub(crate) const USAGE: u8 = 2;
/// What was asked for does not exist, or damage was found.
pub(crate) const NOT_FOUND: u8 = 3;

/// An error that ends the process with its own code.
#[derive(Debug)]
pub(crate) struct Exit {
    code: u8,
    message: String,
}

impl Exit {
    /// What was asked for does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Exit {
        Exit { code: NOT_FOUND, message: message.into() }
    }

    /// An argument is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Exit {
        Exit { code: USAGE, message: message.into() }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

fn is_no_data_folder(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(hopline_storage::Error::NotADataFolder { .. }))
}

/// The error and its causes on a terminal. What a cause says that stands there already is not repeated:
/// wrappers of errors often pass on their cause's text.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    // An error may tell of values that a service sent.
    text.split('\n').map(crate::render::clean).collect::<Vec<_>>().join("\n")
}

/// Says on standard error what went wrong, and gives the code to end with.
pub(crate) fn report(result: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    // The reader of our output has seen enough (`hopline sql … | head`).
    if error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let code = match error.chain().find_map(|e| e.downcast_ref::<Exit>()) {
        Some(exit) => exit.code,
        None if error.chain().any(|e| e.is::<Problems>()) => USAGE,
        None if error.chain().any(is_no_data_folder) => NOT_FOUND,
        None => FAILURE,
    };
    let prefix = crate::render::Style::stderr().red("error:");
    // Nothing can be done if even that cannot be written.
    let _ = io::Write::write_all(&mut io::stderr(), format!("{prefix} {}\n", chain(&error)).as_bytes());
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("too many rows\n\x1b").context("axum: too many rows\n\x1b").context("read it");
        assert_eq!(chain(&error), "read it: axum: too many rows\n␛");
        assert_eq!(chain(&anyhow::anyhow!("a").context("b")), "b: a");
    }
}
