//! The few things the log does with files, behind a trait so that tests can make them fail.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// Creates, removes and syncs files.
pub(crate) trait Files: Send + Sync {
    /// Creates a file that must not exist yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// Opens a file and cuts it at `len`, durably.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;

    /// Removes a file, if it is there.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations and removals in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Writes a whole file, durably: either the old content stays or the new one is there.
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// A file that is appended to. What was not written yet may read as zeros.
pub(crate) trait LogFile: Send {
    /// Appends all of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was appended durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file at `len`; the next append goes there.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// The operating system's files.
pub(crate) struct OsFiles;

impl Files for OsFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().create_new(true).write(true).open(path)?;
        Ok(Box::new(OsLogFile { file, len: 0, end: 0 }))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }
}

/// How far ahead zeros are written.
const AHEAD: u64 = 256 << 10;
/// Larger appends make the file grow themselves: beside their own cost that of growing does not count.
const SMALL_APPEND: usize = 64 << 10;
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// A file that grows by zeros ahead of what is appended. A sync of bytes inside of a file writes
/// just these; one of a file that grew also writes its new size, in a second place: twice the
/// time, and on a file system with a journal more (docs/performance.md).
struct OsLogFile {
    file: File,
    /// Where the next append goes.
    len: u64,
    /// Behind the zeros. Invariant: `len <= end`, and between them the file holds zeros.
    end: u64,
}

impl OsLogFile {
    /// Writes zeros behind what was just appended. Without room for them nothing is wrong.
    fn write_ahead(&mut self) {
        let until = (self.end / AHEAD + 1) * AHEAD;
        while self.end < until {
            let count = ZEROS.len().min((until - self.end) as usize);
            match ZEROS.get(..count).map(|zeros| self.file.write_all(zeros)) {
                Some(Ok(())) => self.end += count as u64,
                _ => return,
            }
        }
    }
}

impl LogFile for OsLogFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.len))?;
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        if self.len > self.end {
            self.end = self.len;
            if bytes.len() <= SMALL_APPEND {
                self.write_ahead();
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        (self.len, self.end) = (len, len);
        Ok(())
    }
}

impl Drop for OsLogFile {
    /// Gives the zeros back. Where that fails, or the process is killed, readers take them for what they are.
    fn drop(&mut self) {
        let _ = self.file.set_len(self.len);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_log_file_grows_in_steps_and_ends_where_its_bytes_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let size = || std::fs::metadata(&path).unwrap().len();
        let mut file = OsFiles.create(&path).unwrap();
        file.append(b"one").unwrap();
        assert_eq!(size(), AHEAD);
        file.append(b"two").unwrap();
        file.sync().unwrap();
        assert_eq!(size(), AHEAD);
        file.append(&vec![b'x'; AHEAD as usize]).unwrap();
        assert_eq!(size(), AHEAD + 6, "a large append takes what it needs");
        file.append(b"three").unwrap();
        assert_eq!(size(), 2 * AHEAD);
        file.truncate(3).unwrap();
        assert_eq!(size(), 3);
        file.append(b"four").unwrap();
        assert!(std::fs::read(&path).unwrap().starts_with(b"onefour\0\0"));
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"onefour");
        assert!(OsFiles.create(&path).is_err(), "it is there already");
    }
}
