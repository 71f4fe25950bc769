//! Data to the standard output, everything else to the standard error.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::failure::{Exit, Failure, Outcome};
use super::table::Table;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people; may change between versions.
    #[default]
    Table,
    /// The table with more columns.
    Wide,
    /// The API's object; stable.
    Json,
    /// The same as YAML.
    Yaml,
    /// Only names, one a line.
    Name,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Colour of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    on: bool,
}

impl Style {
    /// Without colour.
    pub const PLAIN: Self = Self { on: false };

    fn pick(colour: Colour, terminal: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self {
            on: match colour {
                Colour::Auto => terminal && wanted,
                Colour::Always => true,
                Colour::Never => false,
            },
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Something wrong.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Something well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// To be noticed.
    #[must_use]
    pub fn accent(self, text: &str) -> String {
        self.paint("1;36", text)
    }

    /// A heading, or the best of several.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Less important.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// Where a verb writes to.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// Asked for with `-o`.
    pub format: Format,
    /// Of the standard output.
    pub style: Style,
    /// Of the standard error.
    pub notes: Style,
}

impl Out {
    /// From the options and the two streams.
    #[must_use]
    pub fn new(format: Format, colour: Colour) -> Self {
        Self {
            format,
            style: Style::pick(colour, std::io::stdout().is_terminal()),
            notes: Style::pick(colour, std::io::stderr().is_terminal()),
        }
    }

    /// Writes text to the standard output. A reader that went away (`| head`)
    /// is no error.
    ///
    /// # Errors
    /// The output is full or broken.
    pub fn print(&self, text: &str) -> Outcome {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(
                Exit::Failed,
                "cannot write to the standard output",
            )
            .hint(e.to_string())),
            _ => Ok(()),
        }
    }

    /// A remark.
    pub fn note(&self, text: &str) {
        eprintln!("{} {text}", self.notes.dim("note:"));
    }

    /// Something that will surprise.
    pub fn warn(&self, text: &str) {
        eprintln!("{} {text}", self.notes.accent("warning:"));
    }

    /// What to do next.
    pub fn next(&self, text: &str) {
        eprintln!("{} {text}", self.notes.dim("next:"));
    }

    /// One value in the format asked for; `table` makes the text for people.
    ///
    /// # Errors
    /// The output is full or broken.
    pub fn value<T: Serialize>(
        &self,
        value: &T,
        name: &str,
        text: impl FnOnce(Style) -> String,
    ) -> Outcome {
        match self.format {
            Format::Table | Format::Wide => self.print(&text(self.style)),
            Format::Name => self.print(&format!("{name}\n")),
            Format::Json => self.json(value),
            Format::Yaml => self.yaml(value),
        }
    }

    /// A list in the format asked for.
    ///
    /// # Errors
    /// The output is full or broken.
    pub fn list<T: Serialize>(
        &self,
        items: &[T],
        name: impl Fn(&T) -> String,
        table: impl FnOnce(bool) -> Table,
        empty: &str,
    ) -> Outcome {
        match self.format {
            Format::Table | Format::Wide if items.is_empty() => {
                self.note(empty);
                Ok(())
            }
            Format::Table | Format::Wide => {
                let table = table(self.format == Format::Wide);
                self.print(&table.text(self.style))
            }
            Format::Name => {
                let names: String = items.iter().map(|i| name(i) + "\n").collect();
                self.print(&names)
            }
            Format::Json => self.json(&items),
            Format::Yaml => self.yaml(&items),
        }
    }

    /// JSON, indented.
    ///
    /// # Errors
    /// The output is full or broken.
    pub fn json<T: Serialize>(&self, value: &T) -> Outcome {
        self.print(&(json_text(value)? + "\n"))
    }

    fn yaml<T: Serialize>(&self, value: &T) -> Outcome {
        let value = serde_json::to_value(value).map_err(unwritable)?;
        self.print(&super::yaml::text(&value))
    }
}

fn json_text<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(unwritable)
}

fn unwritable(error: serde_json::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write the answer: {error}"))
}
