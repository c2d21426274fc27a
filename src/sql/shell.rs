//! The conversation: a statement may span lines and ends with a semicolon; `\` begins a command.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum as _;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::split::{self, Statement};
use super::{Client, Format, eprint};
use crate::exit;
use crate::render::Style;

const HELP: &str = r"  \d             the tables
  \d TABLE       the columns of a table
  \format NAME   table, csv, json or ndjson
  \timing        show how long queries take, or stop showing it
  \q             leave (also Ctrl-D)
A query ends with a semicolon. Ctrl-C gives up what is typed or runs.
";

/// What `\d` asks: the tables, without those that describe them.
const TABLES: &str = "SELECT table_name FROM information_schema.tables \
                      WHERE table_schema <> 'information_schema' ORDER BY table_name";

/// Statements kept in the history.
const HISTORY_MAX: usize = 5_000;

/// Talks until the user leaves.
pub(super) async fn run(client: &mut Client) -> anyhow::Result<ExitCode> {
    client.timing = true;
    let config = rustyline::Config::builder().max_history_size(HISTORY_MAX).context("set the history's size")?.build();
    let mut editor = DefaultEditor::with_config(config).context("start the line editor")?;
    let history = history_file();
    if let Some(file) = &history {
        // There is none the first time.
        let _ = editor.load_history(file);
    }
    eprint(&format!("hopline {} on {}; \\? helps\n", env!("CARGO_PKG_VERSION"), client.source.name()))?;
    let mut typed = String::new();
    loop {
        let prompt = if typed.is_empty() { "hopline> " } else { "    ...> " };
        match tokio::task::block_in_place(|| editor.readline(prompt)) {
            Ok(line) if typed.is_empty() && line.trim().is_empty() => {}
            Ok(line) if typed.is_empty() && line.trim_start().starts_with('\\') => {
                remember(&mut editor, &line);
                if !command(client, line.trim()).await? {
                    break;
                }
            }
            Ok(line) => {
                typed.push_str(&line);
                typed.push('\n');
                if split::is_whole(&typed) {
                    let text = std::mem::take(&mut typed);
                    remember(&mut editor, text.trim());
                    for statement in split::statements(&text) {
                        if !ask(client, &statement).await? {
                            break;
                        }
                    }
                }
            }
            Err(ReadlineError::Interrupted) => typed.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error).context("read a line"),
        }
    }
    if let Some(file) = &history {
        save(&mut editor, file);
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks, and shows an error instead of ending. False if it went wrong.
async fn ask(client: &Client, statement: &Statement<'_>) -> anyhow::Result<bool> {
    let style = Style::stderr();
    let result = tokio::select! {
        result = client.run(statement) => result,
        _ = tokio::signal::ctrl_c() => {
            eprint(&format!("{}\n", style.yellow("given up")))?;
            return Ok(false);
        }
    };
    match result {
        Ok(()) => Ok(true),
        Err(error) => {
            eprint(&format!("{} {}\n", style.red("error:"), exit::chain(&error)))?;
            Ok(false)
        }
    }
}

/// Does what a line that begins with a backslash says. False if it says to leave.
async fn command(client: &mut Client, line: &str) -> anyhow::Result<bool> {
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim().trim_end_matches(';');
    match (name, argument) {
        (r"\q" | r"\quit" | r"\exit", _) => return Ok(false),
        (r"\?" | r"\h" | r"\help", _) => eprint(HELP)?,
        (r"\d" | r"\dt", "") => {
            ask(client, &TABLES.into()).await?;
        }
        (r"\d", table) if table.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')) => {
            ask(client, &format!("DESCRIBE {table}").as_str().into()).await?;
        }
        (r"\timing", _) => {
            client.timing = !client.timing;
            eprint(if client.timing { "times are shown\n" } else { "times are not shown\n" })?;
        }
        (r"\format", format) => match Format::from_str(format, true) {
            Ok(format) => client.format = format,
            Err(_) => eprint("the formats are table, csv, json and ndjson\n")?,
        },
        _ => eprint(&format!("there is no command {name}; \\? lists them\n"))?,
    }
    Ok(true)
}

fn remember(editor: &mut DefaultEditor, text: &str) {
    // A history that cannot be kept is no reason to stop.
    let _ = editor.add_history_entry(text);
}

fn save(editor: &mut DefaultEditor, file: &PathBuf) {
    let saved = file.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(ReadlineError::from);
    if let Err(error) = saved.and_then(|()| editor.save_history(file)) {
        tracing::warn!(file = %file.display(), %error, "the history was not saved");
    }
}

/// In the user's state folder (XDG Base Directory Specification).
fn history_file() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("hopline/sql_history"))
}
