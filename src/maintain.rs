//! `hopline compact`, `expire` and `verify`: work on a data folder that no server holds.
//!
//! A running server does the first two by itself, in the background.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use hopline_storage::{Done, FILE_MISSING, Mode, Storage, VerifyReport};
use prometheus::Registry;

use crate::config::{self, Loaded, Sources};
use crate::exit::{self, Exit};
use crate::offline;
use crate::render::progress::Progress;
use crate::render::table::{self, Column};
use crate::render::{Style, bytes, clean, count};

pub(crate) const VERIFY_HELP: &str = "\
Exit codes: 0 all is sound, 3 damage was found (a damaged or missing file, lost manifests) or there is no data folder,
1 it could not be checked, for instance because a server holds the folder. Data files that no manifest names are listed
as a warning: they are no damage.";

/// What `hopline expire` is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ExpireArgs {
    #[command(flatten)]
    args: Args,
    /// Gives up the data files that are missing on disk, so that queries work again; their rows are lost
    #[arg(long)]
    missing: bool,
}

/// What the commands are asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Data folder [default: ./hopline-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Args {
    fn load(&self, file: Option<PathBuf>) -> anyhow::Result<Loaded> {
        let data = self.data.as_ref().map(|dir| dir.display());
        Ok(config::load(&Sources::new(file).flag("data", "--data", data))?)
    }
}

/// Merges small files.
pub(crate) async fn compact(args: Args, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let done = work(args, file, |storage| {
        let progress = Progress::start("compacting");
        let done = storage.compact(&|step| progress.set(step.done, step.total, clean(step.item).into_owned()));
        progress.finish();
        done.context("compact")
    });
    let Done { files_removed, files_added, bytes_removed, bytes_added, rows_removed } = done.await?;
    if files_removed == 0 {
        return say("there is nothing to compact\n");
    }
    say(&format!(
        "{} files ({}) became {} ({}); {} duplicate rows are gone\n",
        count(files_removed),
        bytes(bytes_removed),
        count(files_added),
        bytes(bytes_added),
        count(rows_removed),
    ))
}

/// Deletes what is older, or more, than the settings say.
pub(crate) async fn expire(args: ExpireArgs, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let ExpireArgs { args, missing } = args;
    let done = work(args, file, move |storage| {
        let progress = Progress::start("expiring");
        let given_up = if missing { storage.forget_missing() } else { Ok(Done::default()) };
        let done = given_up.and_then(|given_up| Ok((given_up, storage.expire()?)));
        progress.finish();
        done.context("expire")
    });
    let (given_up, done) = done.await?;
    let gone = |done: Done| {
        let Done { files_removed, bytes_removed, rows_removed, .. } = done;
        format!(
            "{} files ({}) with {} rows are gone\n",
            count(files_removed),
            bytes(bytes_removed),
            count(rows_removed)
        )
    };
    let mut text = String::new();
    if missing {
        text = match given_up.files_removed {
            0 => "no data file is missing\n".to_owned(),
            _ => format!("given up, because they were missing: {}", gone(given_up)),
        };
    }
    text.push_str(&if done.files_removed == 0 { "nothing has expired\n".to_owned() } else { gone(done) });
    say(&text)
}

/// Opens the folder for writing, does `job`, and closes it.
async fn work<T: Send + 'static>(
    args: Args,
    file: Option<PathBuf>,
    job: impl FnOnce(&Storage) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let loaded = args.load(file)?;
    let storage = offline::open(&loaded, Mode::ReadWrite, Registry::new()).await?;
    let job = move || {
        let result = storage.flush().context("write out the log's rows").and_then(|()| job(&storage));
        let closed = storage.close().context("close the data folder");
        result.and_then(|done| closed.map(|()| done))
    };
    tokio::task::spawn_blocking(job).await.context("work on the data folder")?
}

/// Reads everything back and checks it.
pub(crate) async fn verify(args: Args, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let loaded = args.load(file)?;
    // Not replayed: what is damaged must not keep the rest from being looked at.
    let job = move || {
        let (dir, config) = (loaded.data_dir(), loaded.config.storage.clone());
        let (storage, _replay) = offline::open_storage(dir, config, Mode::ReadOnly, &Registry::new())?;
        let progress = Progress::start("verifying");
        let report = storage.verify(&|step| progress.set(step.done, step.total, clean(step.item).into_owned()));
        progress.finish();
        report.context("verify")
    };
    let report = match tokio::task::spawn_blocking(job).await.context("verify the data folder")? {
        Ok(report) => report,
        Err(error) if is_damage(&error) => return Err(Exit::not_found(format!("damage was found: {error:#}")).into()),
        Err(error) => return Err(error),
    };
    if !report.unlisted.is_empty() {
        let warning = Style::stderr().yellow("warning:");
        let count = count(report.unlisted.len() as u64);
        let text = format!("{warning} {count} data files are named by no manifest:\n{}", unlisted(&report));
        std::io::stderr().write_all(text.as_bytes())?;
    }
    let style = Style::stdout();
    say(&summary(&report, style))?;
    if report.files.iter().any(|f| f.problem.as_deref() == Some(FILE_MISSING)) {
        let hint = Style::stderr().yellow("hint:");
        let text = "restore missing files from a backup, or give their rows up with `hopline expire --missing`";
        writeln!(std::io::stderr(), "{hint} {text}")?;
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_FOUND) })
}

/// Whether the folder could not be opened because of what stands in it.
fn is_damage(error: &anyhow::Error) -> bool {
    use hopline_storage::Error::{Corrupt, LostManifests};
    let storage = error.chain().find_map(|e| e.downcast_ref::<hopline_storage::Error>());
    matches!(storage, Some(Corrupt { .. } | LostManifests { .. }))
}

/// The data files that no manifest names, as a warning.
fn unlisted(report: &VerifyReport) -> String {
    let mut text = String::new();
    for file in &report.unlisted {
        let what = match file.superfluous {
            true => "never committed, or replaced; a server deletes it",
            false => "nothing is known of it, and it stays; move it away if it is not wanted",
        };
        text.push_str(&format!("  {} ({}): {what}\n", clean(&file.path), bytes(file.bytes)));
    }
    text
}

fn summary(report: &VerifyReport, style: Style) -> String {
    let total: u64 = report.files.iter().map(|f| f.bytes).sum();
    let rows: u64 = report.files.iter().map(|f| f.rows).sum();
    let read = format!(
        "{} files, {} rows and records, {} were read",
        count(report.files.len() as u64),
        count(rows),
        bytes(total)
    );
    let damaged: Vec<Vec<String>> = report
        .files
        .iter()
        .filter_map(|f| Some(vec![f.path.clone(), bytes(f.bytes), count(f.rows), f.problem.clone()?]))
        .collect();
    if damaged.is_empty() {
        return format!("{read}: {}\n", style.green("all sound"));
    }
    let columns = [Column::text("file"), Column::number("size"), Column::number("readable"), Column::text("problem")];
    let found = format!("damage in {} of them", count(damaged.len() as u64));
    format!("{}{read}: {}\n", table::render(&columns, &damaged, style), style.red(&found))
}

fn say(text: &str) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use hopline_storage::{FileReport, Unlisted};

    use super::*;

    #[test]
    fn damage_is_listed() {
        let file = |path: &str, problem: Option<&str>| FileReport {
            path: path.to_owned(),
            bytes: 2048,
            rows: 10,
            problem: problem.map(str::to_owned),
        };
        let sound = VerifyReport { files: vec![file("a", None)], unlisted: Vec::new() };
        assert_eq!(summary(&sound, Style::plain(None)), "1 files, 10 rows and records, 2.0 KiB were read: all sound\n");
        let damaged = VerifyReport { files: vec![file("a", None), file("b", Some("checksum"))], unlisted: Vec::new() };
        let text = summary(&damaged, Style::plain(None));
        assert!(text.contains(" b    │ 2.0 KiB │       10 │ checksum\n"), "{text}");
        assert!(text.ends_with("damage in 1 of them\n"), "{text}");
    }

    #[test]
    fn files_that_no_manifest_names_are_listed() {
        let file = |path: &str, superfluous| Unlisted { path: path.to_owned(), bytes: 2048, superfluous };
        let report = VerifyReport { files: Vec::new(), unlisted: vec![file("a", true), file("b\n", false)] };
        let text = unlisted(&report);
        assert!(text.starts_with("  a (2.0 KiB): never committed") && text.contains("b↵ (2.0 KiB): nothing"), "{text}");
    }
}
