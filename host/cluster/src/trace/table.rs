//! Rows of a CSV file, with errors that say exactly what to repair.
//!
//! The dialect is that of the published traces: one header line, commas, no
//! quoting. CRLF line ends and a byte order mark are tolerated, because files
//! that went through a spreadsheet have them.

use std::fmt::Display;
use std::io::BufRead;
use std::ops::RangeInclusive;

use super::TraceError;

/// Bytes of one line. The widest published line is under 200; the bound keeps
/// a file without line ends from being read into memory whole.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Rows of one file: far above the largest published trace (a few hundred
/// thousand rows), far below what would exhaust memory.
pub const ROWS_MAX: u64 = 20_000_000;

/// A column a parser wants.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Name in the header.
    pub name: &'static str,
    /// Whether a file without it is refused.
    pub required: bool,
}

/// A column that must be there.
#[must_use]
pub const fn required(name: &'static str) -> Column {
    Column {
        name,
        required: true,
    }
}

/// A column that may be missing.
#[must_use]
pub const fn optional(name: &'static str) -> Column {
    Column {
        name,
        required: false,
    }
}

/// A file being read row by row.
#[derive(Debug)]
pub struct Table<R> {
    input: R,
    path: String,
    line: u64,
    rows: u64,
    width: usize,
    columns: Vec<(Column, Option<usize>)>,
    buffer: Vec<u8>,
}

/// One row. Columns are addressed by their index in the list given to
/// [`Table::open`].
#[derive(Debug)]
pub struct Row<'a> {
    path: &'a str,
    line: u64,
    columns: &'a [(Column, Option<usize>)],
    cells: Vec<&'a str>,
}

impl<R: BufRead> Table<R> {
    /// Reads the header of `input`; `path` is only used in errors.
    ///
    /// # Errors
    /// An empty file, an unreadable one, or a header that lacks a required
    /// column or names a wanted one twice.
    pub fn open(input: R, path: &str, wanted: &[Column]) -> Result<Self, TraceError> {
        let mut table = Self {
            input,
            path: path.to_owned(),
            line: 0,
            rows: 0,
            width: 0,
            columns: wanted.iter().map(|c| (*c, None)).collect(),
            buffer: Vec::new(),
        };
        if !table.read_line()? {
            return Err(TraceError::Empty {
                path: table.path,
                expected: header_of(wanted),
            });
        }
        let header = match std::str::from_utf8(&table.buffer) {
            Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
            Err(_) => return Err(table.not_text()),
        };
        for (at, name) in header.split(',').map(str::trim).enumerate() {
            table.width = at + 1;
            let Some((column, slot)) = table.columns.iter_mut().find(|(c, _)| c.name == name)
            else {
                continue;
            };
            if slot.replace(at).is_some() {
                return Err(TraceError::HeaderTwice {
                    path: table.path,
                    column: column.name,
                });
            }
        }
        if let Some((missing, _)) = table
            .columns
            .iter()
            .find(|(c, at)| c.required && at.is_none())
        {
            return Err(TraceError::HeaderLacks {
                column: missing.name,
                path: table.path.clone(),
                found: shorten(&header),
                expected: header_of(wanted),
            });
        }
        Ok(table)
    }

    /// Whether the file has column `index` of the wanted list.
    #[must_use]
    pub fn has(&self, index: usize) -> bool {
        self.columns[index].1.is_some()
    }

    /// Path as given to [`Table::open`].
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The next row; `None` at the end of the file.
    ///
    /// # Errors
    /// An unreadable line or one with another number of columns than the
    /// header.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, TraceError> {
        if !self.read_line()? {
            return Ok(None);
        }
        if self.buffer.is_empty() {
            // Blank lines may end a file but not interrupt it: in the middle
            // they mean that something was lost.
            let blank = self.line;
            while self.read_line()? {
                if !self.buffer.is_empty() {
                    return Err(TraceError::Width {
                        path: self.path.clone(),
                        line: blank,
                        found: 0,
                        expected: self.width,
                    });
                }
            }
            return Ok(None);
        }
        self.rows += 1;
        if self.rows > ROWS_MAX {
            return Err(TraceError::TooManyRows {
                path: self.path.clone(),
                max: ROWS_MAX,
            });
        }
        let Ok(text) = std::str::from_utf8(&self.buffer) else {
            return Err(self.not_text());
        };
        let cells: Vec<&str> = text.split(',').map(str::trim).collect();
        if cells.len() != self.width {
            return Err(TraceError::Width {
                path: self.path.clone(),
                line: self.line,
                found: cells.len(),
                expected: self.width,
            });
        }
        Ok(Some(Row {
            path: &self.path,
            line: self.line,
            columns: &self.columns,
            cells,
        }))
    }

    /// Reads one line into the buffer, without its end; `false` at the end of
    /// the file.
    fn read_line(&mut self) -> Result<bool, TraceError> {
        self.buffer.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let mut limited = std::io::Read::take(&mut self.input, limit);
        let read = limited
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| TraceError::Io {
                path: self.path.clone(),
                source,
            })?;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            if self.buffer.last() == Some(&b'\r') {
                self.buffer.pop();
            }
        } else if read > LINE_BYTES_MAX {
            return Err(TraceError::LongLine {
                path: self.path.clone(),
                line: self.line,
                max: LINE_BYTES_MAX,
            });
        }
        Ok(true)
    }

    fn not_text(&self) -> TraceError {
        TraceError::NotText {
            path: self.path.clone(),
            line: self.line,
        }
    }
}

impl<'a> Row<'a> {
    /// Line number, the header being line 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Text of a column; empty when the file does not have it.
    #[must_use]
    pub fn text(&self, index: usize) -> &'a str {
        self.columns[index].1.map_or("", |at| self.cells[at])
    }

    /// A whole number within `range`.
    ///
    /// # Errors
    /// Anything else.
    pub fn integer(&self, index: usize, range: RangeInclusive<i64>) -> Result<i64, TraceError> {
        match self.text(index).parse::<i64>() {
            Ok(value) if range.contains(&value) => Ok(value),
            _ => Err(self.wrong(
                index,
                format!("an integer from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// A finite number within `range`.
    ///
    /// # Errors
    /// Anything else, `NaN` and infinities included.
    pub fn number(&self, index: usize, range: RangeInclusive<f64>) -> Result<f64, TraceError> {
        match self.text(index).parse::<f64>() {
            Ok(value) if range.contains(&value) => Ok(value),
            _ => Err(self.wrong(
                index,
                format!("a number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// A name of an object (see [`model::node::is_name`]).
    ///
    /// # Errors
    /// Empty, too long, or with characters a name may not have.
    pub fn name(&self, index: usize) -> Result<&'a str, TraceError> {
        let name = self.text(index);
        if model::node::is_name(name) {
            Ok(name)
        } else {
            Err(self.wrong(index, "a name of 1 to 253 characters of [A-Za-z0-9._/-]"))
        }
    }

    /// The error for a cell that is not what was expected.
    #[must_use]
    pub fn wrong(&self, index: usize, expected: impl Display) -> TraceError {
        TraceError::Cell {
            path: self.path.to_owned(),
            line: self.line,
            column: self.columns[index].1.map_or(0, |at| at + 1),
            name: self.columns[index].0.name,
            found: shorten(self.text(index)),
            expected: expected.to_string(),
        }
    }

    /// The error for a row whose cells are each legal but not together.
    #[must_use]
    pub fn contradiction(&self, problem: impl Display) -> TraceError {
        TraceError::Row {
            path: self.path.to_owned(),
            line: self.line,
            problem: problem.to_string(),
        }
    }

    /// The error for a name that an earlier line already used.
    #[must_use]
    pub fn duplicate(&self, index: usize, first: u64) -> TraceError {
        TraceError::Duplicate {
            path: self.path.to_owned(),
            line: self.line,
            column: self.columns[index].1.map_or(0, |at| at + 1),
            name: self.columns[index].0.name,
            found: shorten(self.text(index)),
            first,
        }
    }
}

fn header_of(wanted: &[Column]) -> String {
    let names: Vec<&str> = wanted
        .iter()
        .filter(|c| c.required)
        .map(|c| c.name)
        .collect();
    names.join(",")
}

/// Enough of a text to recognise it by, so that an error stays one line.
fn shorten(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
