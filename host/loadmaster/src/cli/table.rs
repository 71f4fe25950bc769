//! Columns that line up, as text and as HTML.

use super::output::Style;
use crate::replay::chart::escape;

/// Spaces between two columns.
const GAP: usize = 3;

/// A table. The first column is left-aligned; the others as `numbers` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Row>,
    /// Columns that are right-aligned.
    numbers: Vec<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Row {
    Part(String),
    Cells {
        cells: Vec<String>,
        /// Cells to be made bold.
        best: Vec<usize>,
    },
}

impl Table {
    /// With these headings; all but the first column hold numbers.
    #[must_use]
    pub fn numeric(head: Vec<String>) -> Self {
        Self {
            numbers: (0..head.len()).map(|at| at > 0).collect(),
            head,
            rows: Vec::new(),
        }
    }

    /// With these headings; a heading that begins with `>` is right-aligned.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        Self {
            numbers: head.iter().map(|h| h.starts_with('>')).collect(),
            head: head
                .iter()
                .map(|h| h.trim_start_matches('>').to_owned())
                .collect(),
            rows: Vec::new(),
        }
    }

    /// A line over the rows that follow.
    pub fn part(&mut self, text: impl Into<String>) {
        self.rows.push(Row::Part(text.into()));
    }

    /// A row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.best(cells, Vec::new());
    }

    /// A row with some cells that stand out.
    pub fn best(&mut self, cells: Vec<String>, best: Vec<usize>) {
        self.rows.push(Row::Cells { cells, best });
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.head.iter().map(|h| h.chars().count()).collect();
        for row in &self.rows {
            if let Row::Cells { cells, .. } = row {
                for (at, cell) in cells.iter().enumerate() {
                    if let Some(width) = widths.get_mut(at) {
                        *width = (*width).max(cell.chars().count());
                    }
                }
            }
        }
        widths
    }

    /// As text.
    #[must_use]
    pub fn text(&self, style: Style) -> String {
        let widths = self.widths();
        let mut out = String::new();
        if self.head.iter().any(|h| !h.is_empty()) {
            self.line(&mut out, &widths, &self.head, |_, text| style.dim(text));
        }
        for row in &self.rows {
            match row {
                Row::Part(text) => out += &format!("{}\n", style.dim(text)),
                Row::Cells { cells, best } => self.line(&mut out, &widths, cells, |at, text| {
                    if best.contains(&at) {
                        style.bold(text)
                    } else {
                        text.to_owned()
                    }
                }),
            }
        }
        out
    }

    fn line(
        &self,
        out: &mut String,
        widths: &[usize],
        cells: &[String],
        paint: impl Fn(usize, &str) -> String,
    ) {
        let mut line = String::new();
        let mut owed = 0;
        for (at, (cell, width)) in std::iter::zip(cells, widths).enumerate() {
            let pad = width - cell.chars().count().min(*width);
            let before = owed + if self.numbers[at] { pad } else { 0 };
            if !cell.is_empty() {
                line += &" ".repeat(before);
                line += &paint(at, cell);
                owed = 0;
            } else {
                owed = before;
            }
            owed += GAP + if self.numbers[at] { 0 } else { pad };
        }
        *out += &line;
        out.push('\n');
    }

    /// As an HTML table.
    #[must_use]
    pub fn html(&self) -> String {
        let mut out = String::from("<table><thead><tr>");
        for head in &self.head {
            out += &format!("<th>{}</th>", escape(head));
        }
        out += "</tr></thead><tbody>";
        for row in &self.rows {
            match row {
                Row::Part(text) => {
                    out += &format!(
                        "<tr class=\"part\"><td colspan=\"{}\">{}</td></tr>",
                        self.head.len(),
                        escape(text)
                    );
                }
                Row::Cells { cells, best } => {
                    out += "<tr>";
                    for (at, cell) in cells.iter().enumerate() {
                        let class = if best.contains(&at) {
                            " class=\"best\""
                        } else {
                            ""
                        };
                        out += &format!("<td{class}>{}</td>", escape(cell));
                    }
                    out += "</tr>";
                }
            }
        }
        out + "</tbody></table>"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_spaces() {
        let mut table = Table::new(&["NAME", ">FREE", "NOTE"]);
        table.row(["node-1", "8", ""].map(str::to_owned).to_vec());
        table.part("zone b");
        table.row(["n2", "128", "± 1"].map(str::to_owned).to_vec());
        let expected = "\
NAME     FREE   NOTE
node-1      8
zone b
n2        128   ± 1
";
        assert_eq!(table.text(Style::PLAIN), expected);
        assert!(
            table.html().contains("<td colspan=\"3\"") || table.html().contains("colspan=\"3\"")
        );
    }
}
