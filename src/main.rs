//! The `hopline` binary: command line, configuration, starting and stopping the parts.
//!
//! Modules in reading order:
//! - [`cli`]: the command line; [`exit`]: how the process ends;
//! - [`config`]: settings and where they come from;
//! - [`serve`]: the server, a list of parts that start and stop; [`server_file`]: where it can be found;
//! - [`telemetry`]: the server's own log and spans;
//! - [`source`]: a server or a folder ([`offline`]) that the commands below ask;
//! - [`sql`], [`trace`], [`search`], [`tail`]: commands that read; [`flags`]: values they take; [`json`]: what they read;
//! - [`maintain`]: `compact`, `expire`, `verify`;
//! - [`demo`], [`mod@bench`]: commands that send;
//! - [`render`]: tables and waterfalls on a terminal.

mod bench;
mod cli;
mod config;
mod demo;
mod exit;
mod flags;
mod flow;
mod json;
mod maintain;
mod offline;
mod render;
mod search;
mod serve;
mod server_file;
mod source;
mod sql;
mod tail;
mod telemetry;
mod trace;

use std::process::ExitCode;

fn main() -> ExitCode {
    exit::report(cli::run())
}
