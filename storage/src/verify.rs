//! Reads everything back: log segments record by record, data files as a whole (checksum)
//! and row by row. What is wrong is reported, never mended.

use std::sync::Arc;

use bytes::Bytes;
use hopline_model::Table;
use object_store::ObjectMeta;

use crate::compact::checksum_problem;
use crate::data_file::DataFile;
use crate::error::Error;
use crate::log::{Found, Gaps, Scanner, SegmentFile, segment_name, segments};
use crate::merge::FileReader;
use crate::storage::{Inner, Progress, Step};

/// The problem of a live data file that is not there.
pub const FILE_MISSING: &str = "the file is missing";

/// What was found of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file, relative to the data folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Records or rows that could be read.
    pub rows: u64,
    /// What is wrong with it; nothing if it is sound.
    pub problem: Option<String>,
}

/// A data file that no manifest names. It is not read: its rows are none of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlisted {
    /// The file, relative to the data folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it was never committed or is replaced, and so will be deleted by itself.
    pub superfluous: bool,
}

/// What was found of all files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Each log segment and data file.
    pub files: Vec<FileReport>,
    /// Data files that no manifest names. They are no damage.
    pub unlisted: Vec<Unlisted>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.files.iter().all(|f| f.problem.is_none())
    }
}

impl Inner {
    pub(crate) fn verify(&self, progress: Progress<'_>) -> Result<VerifyReport, Error> {
        // Held by us until the end, so that none is deleted meanwhile.
        let files = self.state.lock().files.clone();
        let segments = segments(&self.log_dir)?;
        // Read after the list: what went before it was covered by then.
        let mut gaps = Gaps::new(self.table_log.lock().covered);
        let total = segments.len() + files.iter().map(|f| f.len()).sum::<usize>();
        let mut report = VerifyReport::default();
        let tell = |report: &mut VerifyReport, one: FileReport| {
            let done = report.files.len() as u64 + 1;
            progress(Step { done, total: total as u64, item: &one.path });
            report.files.push(one);
        };
        for (i, segment) in segments.iter().enumerate() {
            // The last one may be growing: not while it is read.
            let _still = (i + 1 == segments.len()).then(|| self.log.lock());
            let gap = gaps.before(segment);
            let Some(SegmentReport { report: mut one, last, ends_whole }) = verify_segment(segment) else {
                gaps.forget();
                continue;
            };
            gaps.after(segment, last, ends_whole);
            if let Some(gap) = gap {
                let name = segment_name(gap.first);
                let missing = format!("lost before it: {gap}; restore log/{name} from a backup before a server starts");
                one.problem = Some(one.problem.map_or(missing.clone(), |problem| format!("{missing}; {problem}")));
            }
            tell(&mut report, one);
        }
        for table in Table::ALL {
            for file in files.get(table.index()).into_iter().flat_map(|f| f.iter()) {
                let problem = self.file_problem(file)?;
                let rows = if problem.is_none() { file.rows } else { 0 };
                tell(&mut report, FileReport { path: file.path.to_string(), bytes: file.size_bytes, rows, problem });
            }
        }
        let census = self.census.lock();
        for (objects, superfluous) in [(&census.superfluous, true), (&census.unknown, false)] {
            let unlisted = |o: &ObjectMeta| Unlisted { path: o.location.to_string(), bytes: o.size, superfluous };
            report.unlisted.extend(objects.iter().map(unlisted));
        }
        Ok(report)
    }

    /// What is wrong with a data file; that it cannot be read is no reason to leave the others unread.
    fn file_problem(&self, file: &Arc<DataFile>) -> Result<Option<String>, Error> {
        let problem = match checksum_problem(&self.objects, file) {
            Ok(None) => self.rows_problem(file),
            other => other,
        };
        let problem = match problem {
            Err(Error::Closed) => return Err(Error::Closed),
            Err(e) => Some(chain(&e)),
            Ok(problem) => problem,
        };
        if problem.is_some() {
            self.metrics.damaged_files.inc();
        }
        Ok(problem)
    }

    fn rows_problem(&self, file: &Arc<DataFile>) -> Result<Option<String>, Error> {
        let mut reader = FileReader::open(&self.objects, file)?;
        let mut rows = 0;
        while let Some(batch) = reader.next_batch()? {
            rows += batch.num_rows() as u64;
        }
        Ok((rows != file.rows).then(|| format!("it has {rows} rows, not {}", file.rows)))
    }
}

/// What was found of one log segment, and what that says of the next one.
struct SegmentReport {
    report: FileReport,
    last: u64,
    ends_whole: bool,
}

/// Nothing if the segment went while we came: its records are in files now.
fn verify_segment(segment: &SegmentFile) -> Option<SegmentReport> {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    let mut report = FileReport { path: format!("log/{name}"), bytes: 0, rows: 0, problem: None };
    let content = match std::fs::read(&segment.path) {
        Ok(content) => Bytes::from(content),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        Err(e) => {
            report.problem = Some(format!("read it: {e}"));
            return Some(SegmentReport { report, last: 0, ends_whole: false });
        }
    };
    report.bytes = content.len() as u64;
    let scanner = match Scanner::new(segment, content) {
        Ok(scanner) => scanner,
        Err(e) => {
            report.problem = Some(chain(&e));
            return Some(SegmentReport { report, last: 0, ends_whole: false });
        }
    };
    let (mut damaged, mut torn, mut last, mut ends_whole) = (0, 0, 0, true);
    for found in scanner {
        ends_whole = matches!(found, Found::Record(_));
        match found {
            Found::Record(frame) => {
                last = frame.position.0;
                match frame.into_record() {
                    Some(_) => report.rows += 1,
                    None => damaged += 1,
                }
            }
            Found::Damaged(_) => damaged += 1,
            Found::Torn(place) => torn += place.len(),
        }
    }
    if damaged > 0 || torn > 0 {
        report.problem = Some(format!("{damaged} damaged places, {torn} bytes of an unfinished write"));
    }
    Some(SegmentReport { report, last, ends_whole })
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(e) = next {
        let cause = e.to_string();
        // Errors of object stores tell their causes themselves.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = e.source();
    }
    text
}

#[cfg(test)]
mod tests;
