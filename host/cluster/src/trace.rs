//! Published trace files, read row by row.
//!
//! `table` reads CSV and words the errors; `openb` knows the Alibaba GPU
//! cluster, `philly` the gang jobs and `series` request rates.

pub mod openb;
pub mod philly;
pub mod series;
pub mod table;

/// A file that is not the trace it should be.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be opened or read.
    #[error("{path}: cannot read the file")]
    Io {
        /// File.
        path: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// No header.
    #[error("{path}: the file is empty, expected a header with the columns {expected}")]
    Empty {
        /// File.
        path: String,
        /// Columns wanted.
        expected: String,
    },
    /// A header and nothing else.
    #[error("{path}: no rows after the header, expected at least {expected}")]
    NoRows {
        /// File.
        path: String,
        /// What at least.
        expected: &'static str,
    },
    /// A required column is missing.
    #[error(
        "{path}:1: the header has no column {column:?}; found \"{found}\", expected the columns {expected}"
    )]
    HeaderLacks {
        /// File.
        path: String,
        /// Column.
        column: &'static str,
        /// Header line.
        found: String,
        /// Columns wanted.
        expected: String,
    },
    /// A column named twice.
    #[error("{path}:1: the header names column {column:?} twice")]
    HeaderTwice {
        /// File.
        path: String,
        /// Column.
        column: &'static str,
    },
    /// Another number of cells than the header.
    #[error("{path}:{line}: found {found} columns, expected {expected} as in the header")]
    Width {
        /// File.
        path: String,
        /// Line, the header being 1.
        line: u64,
        /// Cells.
        found: usize,
        /// Cells of the header.
        expected: usize,
    },
    /// A cell that does not parse or is out of bounds.
    #[error("{path}:{line}: column {column} ({name}): found {found:?}, expected {expected}")]
    Cell {
        /// File.
        path: String,
        /// Line, the header being 1.
        line: u64,
        /// Column, from 1.
        column: usize,
        /// Its name in the header.
        name: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
    /// Cells that contradict each other.
    #[error("{path}:{line}: {problem}")]
    Row {
        /// File.
        path: String,
        /// Line, the header being 1.
        line: u64,
        /// Sentence.
        problem: String,
    },
    /// A name that was used before.
    #[error(
        "{path}:{line}: column {column} ({name}): found {found:?}, which line {first} already has; expected a unique name"
    )]
    Duplicate {
        /// File.
        path: String,
        /// Line, the header being 1.
        line: u64,
        /// Column, from 1.
        column: usize,
        /// Its name in the header.
        name: &'static str,
        /// The name.
        found: String,
        /// Line of the first use.
        first: u64,
    },
    /// A line that is not UTF-8.
    #[error("{path}:{line}: the line is not UTF-8 text")]
    NotText {
        /// File.
        path: String,
        /// Line, the header being 1.
        line: u64,
    },
    /// A line above the bound.
    #[error("{path}:{line}: the line is longer than {max} bytes")]
    LongLine {
        /// File.
        path: String,
        /// Line, the header being 1.
        line: u64,
        /// The bound.
        max: usize,
    },
    /// A file above the bound.
    #[error("{path}: more than {max} rows")]
    TooManyRows {
        /// File.
        path: String,
        /// The bound.
        max: u64,
    },
}

/// Opens a file for the parsers below.
///
/// # Errors
/// The file cannot be opened; the error names it.
pub fn open(
    path: &std::path::Path,
) -> Result<(std::io::BufReader<std::fs::File>, String), TraceError> {
    let shown = path.display().to_string();
    match std::fs::File::open(path) {
        Ok(file) => Ok((std::io::BufReader::new(file), shown)),
        Err(source) => Err(TraceError::Io {
            path: shown,
            source,
        }),
    }
}

#[cfg(test)]
mod tests;
