//! Reads everything back.

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

/// What was found of all files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Each log segment and data file.
    pub files: Vec<FileReport>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.files.iter().all(|f| f.problem.is_none())
    }
}
