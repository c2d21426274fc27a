//! The command line.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::Sources;
use crate::{bench, config, demo, flow, maintain, search, serve, sql, tail, telemetry, trace};

const ABOUT: &str = "The observability backend for functions: OTLP in, durable columns, SQL and traces out";

const AFTER: &str = "\
Examples:
  hopline serve                                   start with data in ./hopline-data
  hopline demo                                    play a serverless shop against it
  hopline sql \"SELECT service, count(*) FROM spans GROUP BY 1\"
  hopline search --service checkout --status error
  hopline trace 0af7651916cd43dd8448eb211c80319c

Settings: hopline.toml, then HOPLINE_* variables, then flags; `hopline config show` prints the outcome.
Exit codes: 0 done, 1 failed, 2 a flag or a setting is wrong, 3 not found, or damage was found.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "hopline", version, about = ABOUT, after_help = AFTER, max_term_width = 110)]
#[command(propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Settings [default: ./hopline.toml if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "HOPLINE_CONFIG", help_heading = "Global options")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server
    #[command(after_help = serve::EXAMPLES)]
    Serve(serve::Args),
    /// Ask in SQL: one query, a file of them, or interactively
    #[command(after_help = sql::EXAMPLES)]
    Sql(sql::Args),
    /// Show a trace as a waterfall
    #[command(after_help = trace::EXAMPLES)]
    Trace(trace::Args),
    /// Show the traces of one story, over queues, topics and workflows, as a waterfall
    #[command(after_help = flow::EXAMPLES)]
    Flow(flow::Args),
    /// Find spans
    #[command(after_help = search::EXAMPLES)]
    Search(search::Args),
    /// Follow what arrives, live
    #[command(after_help = tail::EXAMPLES)]
    Tail(tail::Args),
    /// Play a serverless shop and send its telemetry
    Demo(demo::Args),
    /// Measure how much a server takes and how fast it answers
    Bench(bench::Args),
    /// Merge small files of a stopped data folder
    Compact(maintain::Args),
    /// Delete what is older, or more, than a stopped data folder shall keep
    Expire(maintain::ExpireArgs),
    /// Read everything in a stopped data folder back and check it
    #[command(after_help = maintain::VERIFY_HELP)]
    Verify(maintain::Args),
    /// Check or print the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  hopline completions bash > ~/.local/share/bash-completion/completions/hopline")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say `ok`, or everything that is wrong
    Check,
    /// Print all settings as TOML, each with where it comes from
    Show,
}

impl Command {
    /// Whether it works without settings. A file that was named is checked nevertheless: a typing error
    /// must not go unnoticed.
    fn takes_no_settings(&self) -> bool {
        use Command::{
            Bench, Compact, Completions, Config, Demo, Expire, Flow, Search, Serve, Sql, Tail, Trace, Verify,
        };
        match self {
            Sql(_) | Trace(_) | Flow(_) | Search(_) | Tail(_) | Demo(_) | Bench(_) | Completions { .. } => true,
            Serve(_) | Compact(_) | Expire(_) | Verify(_) | Config(_) => false,
        }
    }
}

/// Does what the command line says.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let Cli { config, command } = Cli::parse();
    if !matches!(command, Command::Serve(_)) {
        telemetry::start_for_commands();
    }
    // The other commands read the settings anyway, with their flags.
    if config.is_some() && command.takes_no_settings() {
        config::load(&Sources::new(config.clone()))?;
    }
    match command {
        Command::Serve(args) => serve::run(&args, config),
        Command::Sql(args) => on_runtime(sql::run(args, config)),
        Command::Trace(args) => on_runtime(trace::run(args, config)),
        Command::Flow(args) => on_runtime(flow::run(args, config)),
        Command::Search(args) => on_runtime(search::run(args, config)),
        Command::Tail(args) => on_runtime(tail::run(args, config)),
        Command::Demo(args) => on_runtime(demo::run(args)),
        Command::Bench(args) => on_runtime(bench::run(args)),
        Command::Compact(args) => on_runtime(maintain::compact(args, config)),
        Command::Expire(args) => on_runtime(maintain::expire(args, config)),
        Command::Verify(args) => on_runtime(maintain::verify(args, config)),
        Command::Config(ConfigCommand::Check) => print(|| {
            config::load(&Sources::new(config))?;
            Ok("ok\n".to_owned())
        }),
        Command::Config(ConfigCommand::Show) => print(|| show(config)),
        Command::Completions { shell } => print(|| {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hopline", &mut script);
            Ok(String::from_utf8_lossy(&script).into_owned())
        }),
    }
}

fn show(config: Option<PathBuf>) -> anyhow::Result<String> {
    let loaded = config::load(&Sources::new(config))?;
    let file = match &loaded.file {
        Some(file) => format!("# file: {}\n", file.display()),
        None => "# file: none\n".to_owned(),
    };
    Ok(file + &loaded.to_toml()?)
}

fn print(text: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(text()?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command on a runtime of its own. What the command leaves running does not hold up the end.
fn on_runtime(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
