//! Line charts as SVG text: no script, no font, no request. Colours are CSS
//! variables of the page, so that it can be read light and dark; every line
//! also has its own dash and its name beside it, because colour alone is no
//! label.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 58.0;
/// Room for the names at the ends of the lines.
const RIGHT: f64 = 190.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 46.0;
/// Distance of two names.
const NAME_HEIGHT: f64 = 16.0;

/// One line, or a cloud of marks.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// Shown at its end and in the tips.
    pub name: String,
    /// In order of x.
    pub points: Vec<(f64, f64)>,
    /// x, low, high: a band behind the line.
    pub band: Vec<(f64, f64, f64)>,
    /// Number of its colour.
    pub colour: usize,
    /// Reference of somebody else: thin and dashed.
    pub reference: bool,
    /// Only marks, no line.
    pub marks: bool,
}

/// A chart.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// Read by screen readers.
    pub title: String,
    /// Under the axis.
    pub x_label: String,
    /// Over the axis.
    pub y_label: String,
    /// From, to; points outside are not drawn.
    pub x: (f64, f64),
    /// From, to.
    pub y: (f64, f64),
    /// Back to front.
    pub lines: Vec<Line>,
}

impl Chart {
    /// The chart as an `<svg>` element.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut out = String::new();
        let _ = write!(
            out,
            r#"<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#,
            escape(&self.title)
        );
        self.grid(&mut out);
        for line in &self.lines {
            self.band(&mut out, line);
        }
        for line in &self.lines {
            self.line(&mut out, line);
        }
        self.names(&mut out);
        out += "</svg>";
        out
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - (y - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn inside(&self, x: f64, y: f64) -> bool {
        x >= self.x.0 && x <= self.x.1 && y.is_finite()
    }

    fn grid(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, text) in ticks(self.y.0, self.y.1) {
            let y = self.py(value);
            let _ = write!(
                out,
                r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{text}</text>"#,
                LEFT - 8.0,
                y + 4.0
            );
        }
        for (value, text) in ticks(self.x.0, self.x.1) {
            let x = self.px(value);
            let _ = write!(
                out,
                r#"<line class="axis" x1="{x:.1}" x2="{x:.1}" y1="{bottom}" y2="{:.1}"/><text class="tick" x="{x:.1}" y="{:.1}" text-anchor="middle">{text}</text>"#,
                bottom + 5.0,
                bottom + 19.0
            );
        }
        let _ = write!(
            out,
            r#"<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/><text class="label" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text class="label" x="{LEFT}" y="12">{}</text>"#,
            (LEFT + right) / 2.0,
            HEIGHT - 6.0,
            escape(&self.x_label),
            escape(&self.y_label)
        );
    }

    fn band(&self, out: &mut String, line: &Line) {
        let band: Vec<_> = line
            .band
            .iter()
            .filter(|(x, low, high)| self.inside(*x, *low) && high.is_finite())
            .collect();
        if band.len() < 2 {
            return;
        }
        let upper = band.iter().map(|(x, _, high)| (*x, *high));
        let lower = band.iter().rev().map(|(x, low, _)| (*x, *low));
        let path = self.path(upper.chain(lower));
        let _ = write!(
            out,
            r#"<path class="band c{}" d="{path}Z"/>"#,
            line.colour % 8
        );
    }

    fn line(&self, out: &mut String, line: &Line) {
        let points = || {
            let points = line.points.iter().copied();
            points.filter(|(x, y)| self.inside(*x, *y))
        };
        let colour = line.colour % 8;
        if !line.marks {
            let kind = if line.reference { "line ref" } else { "line" };
            let path = self.path(points());
            let _ = write!(out, r#"<path class="{kind} c{colour}" d="{path}"/>"#);
        }
        // Marks carry the exact values; on dense lines they would hide the line.
        if line.marks || points().count() <= 24 {
            for (x, y) in points() {
                let radius = if line.marks { 6.0 } else { 3.0 };
                let _ = write!(
                    out,
                    r#"<circle class="mark c{colour}" cx="{:.1}" cy="{:.1}" r="{radius}"><title>{}: {} at {}</title></circle>"#,
                    self.px(x),
                    self.py(y.clamp(self.y.0, self.y.1)),
                    escape(&line.name),
                    number(y),
                    number(x)
                );
            }
        }
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (at, (x, y)) in points.enumerate() {
            let y = y.clamp(self.y.0, self.y.1);
            let step = if at == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", self.px(x), self.py(y));
        }
        path
    }

    /// The name of a mark, on the side where there is more room.
    fn name_beside(&self, out: &mut String, line: &Line) {
        let Some((x, y)) = line.points.last().filter(|(x, y)| self.inside(*x, *y)) else {
            return;
        };
        let (x, y) = (self.px(*x), self.py(y.clamp(self.y.0, self.y.1)));
        let (shift, anchor) = if x > (LEFT + WIDTH) / 2.0 {
            (-11.0, "end")
        } else {
            (11.0, "start")
        };
        let _ = write!(
            out,
            r#"<text class="name c{}" x="{:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            line.colour % 8,
            x + shift,
            y + 4.0,
            escape(&line.name)
        );
    }

    /// Names at the line ends, moved apart where they would overlap.
    fn names(&self, out: &mut String) {
        for line in self.lines.iter().filter(|l| l.marks) {
            self.name_beside(out, line);
        }
        let mut names: Vec<(f64, f64, &Line)> = self
            .lines
            .iter()
            .filter(|l| !l.marks)
            .filter_map(|line| {
                let mut inside = line.points.iter().filter(|(x, y)| self.inside(*x, *y));
                let (x, y) = inside.next_back()?;
                Some((self.py(y.clamp(self.y.0, self.y.1)), self.px(*x), line))
            })
            .collect();
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut last = f64::NEG_INFINITY;
        let mut placed = Vec::new();
        for (y, x, line) in names {
            last = (last + NAME_HEIGHT).max(y);
            placed.push((last, y, x, line));
        }
        let overflow = (last - (HEIGHT - BOTTOM)).max(0.0);
        for (y, from, x, line) in placed {
            let y = y - overflow;
            let left = WIDTH - RIGHT + 14.0;
            let colour = line.colour % 8;
            let _ = write!(
                out,
                r#"<path class="lead c{colour}" d="M{:.1} {from:.1}L{left} {y:.1}"/><text class="name c{colour}" x="{:.1}" y="{:.1}">{}</text>"#,
                x + 3.0,
                left + 4.0,
                y + 4.0,
                escape(&shortened(&line.name, 25))
            );
        }
    }
}

/// Round numbers between two values, about six of them, with their text.
fn ticks(from: f64, to: f64) -> Vec<(f64, String)> {
    let rough = ((to - from) / 6.0).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|s| *s >= rough)
        .unwrap_or(rough);
    let first = (from / step).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last)
        .map(|n| (n as f64 * step, number(n as f64 * step)))
        .collect()
}

fn number(value: f64) -> String {
    let rounded = (value * 100.0).round() / 100.0;
    if rounded.abs() >= 10_000.0 {
        super::summary::short(rounded)
    } else {
        format!("{rounded}")
    }
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most - 1).collect();
    cut.push('…');
    cut
}

/// Text inside HTML or an attribute.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let texts =
            |from, to| -> Vec<String> { ticks(from, to).into_iter().map(|(_, t)| t).collect() };
        assert_eq!(texts(60.0, 130.0), ["60", "80", "100", "120"]);
        assert_eq!(texts(0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
    }

    #[test]
    fn names_are_escaped_and_nothing_leaves_the_frame() {
        let chart = Chart {
            x: (0.0, 10.0),
            y: (0.0, 10.0),
            lines: vec![Line {
                name: "<script>".to_owned(),
                points: vec![(0.0, -50.0), (5.0, 500.0), (20.0, 1.0), (6.0, f64::NAN)],
                ..Line::default()
            }],
            ..Chart::default()
        };
        let svg = chart.svg();
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script>"));
        assert!(!svg.contains("NaN") && !svg.contains("-"[..].repeat(2).as_str()));
        assert_eq!(svg.matches("<circle").count(), 2);
    }
}
