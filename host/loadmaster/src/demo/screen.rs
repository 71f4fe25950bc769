//! What is seen while it plays: one line that renews itself on a terminal, a
//! line a second elsewhere.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;

use model::NodeSpec;

use super::play::{FIRST, Outcome, SECOND};
use super::{DemoOptions, NODES};

/// On a terminal a line stays every so many seconds, the others are renewed.
const KEEP_EVERY: u64 = 5;

/// One second of the play.
pub(super) struct Line {
    pub(super) seconds: u64,
    pub(super) arrived: f64,
    pub(super) allocated: f64,
    /// Allocation of the ghost, once it differs.
    pub(super) ghost: Option<f64>,
    pub(super) running: u64,
    /// By reason code.
    pub(super) waiting: Vec<(&'static str, u32)>,
    pub(super) rate: u64,
    pub(super) policy: String,
}

pub(super) struct Screen {
    terminal: bool,
    colour: bool,
    /// A line is there that the next one replaces.
    open: bool,
    noted: String,
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// `12345` as `12,345`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn micros(us: u64) -> String {
    match us {
        0..1000 => format!("{us} µs"),
        _ => format!("{:.1} ms", us as f64 / 1000.0),
    }
}

impl Screen {
    pub(super) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self {
            terminal,
            colour,
            open: false,
            noted: String::new(),
        }
    }

    /// A whole line. A reader that went away is no reason to stop the host.
    pub(super) fn say(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        let clear = if self.open { "\r\x1b[2K" } else { "" };
        let _ = writeln!(out, "{clear}{text}");
        let _ = out.flush();
        self.open = false;
    }

    fn replaceable(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "\r\x1b[2K{text}");
        let _ = out.flush();
        self.open = true;
    }

    pub(super) fn bold(&self, text: &str) -> String {
        if self.colour {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn dim(&self, text: &str) -> String {
        if self.colour {
            format!("\x1b[2m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Something that takes a moment; said once.
    pub(super) fn note(&mut self, text: &str) {
        if self.noted == text {
            return;
        }
        text.clone_into(&mut self.noted);
        let text = self.dim(text);
        if self.terminal {
            self.replaceable(&text)
        } else {
            self.say(&text)
        }
    }

    /// The address first: somebody may want to look at once.
    pub(super) fn title(&mut self, nodes: &[NodeSpec], options: &DemoOptions, address: SocketAddr) {
        let gpus: usize = nodes.iter().map(|n| n.gpus.len()).sum();
        let page = self.bold(&format!("http://{address}/"));
        self.say(&format!(
            "page   {page}      API  http://{address}/api/docs"
        ));
        let size = format!(
            "{} nodes, {} GPUs, seed {}",
            count(nodes.len() as u64),
            count(gpus as u64),
            options.seed
        );
        self.say(&format!(
            "       {size}; a second here is a minute there; Ctrl-C ends it"
        ));
        if options.nodes < NODES / 10 {
            self.say("       so few nodes show how it works, not how well it packs");
        }
        self.say("");
    }

    pub(super) fn header(&mut self) {
        let text = format!(
            "  {:>5}{:>10}{:>15}{:>14}{:>10}{:>13}   {:<27}{}",
            "time",
            "arrived",
            "GPU allocated",
            "without swap",
            "running",
            "decisions/s",
            "scoring",
            "waiting"
        );
        let text = self.dim(&text);
        self.say(&text);
    }

    pub(super) fn line(&mut self, line: &Line) {
        let waiting: Vec<String> = line
            .waiting
            .iter()
            .map(|(code, n)| format!("{n} {code}"))
            .collect();
        let text = format!(
            "  {:>5}{:>10}{:>15}{:>14}{:>10}{:>13}   {:<27}{}",
            format!("{}:{:02}", line.seconds / 60, line.seconds % 60),
            percent(line.arrived),
            percent(line.allocated),
            line.ghost.map_or(String::new(), percent),
            count(line.running),
            count(line.rate),
            line.policy,
            if waiting.is_empty() {
                "–".to_owned()
            } else {
                waiting.join(", ")
            },
        );
        if self.terminal && !line.seconds.is_multiple_of(KEEP_EVERY) {
            self.replaceable(&text);
        } else {
            self.say(&text);
        }
    }

    pub(super) fn swapped(&mut self, outcome: &Outcome) {
        let pause = micros(outcome.swap_us.unwrap_or_default());
        let what = self.bold(&format!("── swap  {} → {SECOND}", FIRST.0));
        self.say(&format!(
            "{what}   decisions held up {pause}, failed {}, mixed {}",
            outcome.failed, outcome.mixed
        ));
    }

    pub(super) fn interrupted(&mut self) {
        if self.open {
            self.say("");
        }
    }
}
