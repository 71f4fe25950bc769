//! What guests say. The only import of a policy, so the only way out of it
//! besides its answers: bounded, escaped, and without influence on anything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::{
    LOG_CALL_BYTES_MAX, LOG_DECISION_BYTES_MAX, LOG_RING_BYTES_MAX, MESSAGE_BYTES_MAX,
};

/// Severity, as the guest gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the usual five")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// One message of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Severity.
    pub level: LogLevel,
    /// Text with control characters escaped.
    pub text: String,
    /// Whether its end was cut off.
    pub truncated: bool,
}

/// The messages of one policy, over all its instances, until someone reads them.
#[derive(Debug, Default)]
pub(crate) struct LogRing {
    records: VecDeque<LogRecord>,
    bytes: usize,
    dropped: u64,
}

impl LogRing {
    fn push(&mut self, record: LogRecord) {
        self.bytes += record.text.len();
        self.records.push_back(record);
        // The newest are what someone looking for a cause needs.
        while self.bytes > LOG_RING_BYTES_MAX
            && let Some(oldest) = self.records.pop_front()
        {
            self.bytes -= oldest.text.len();
            self.dropped += 1;
        }
    }

    pub(crate) fn drain(&mut self) -> (Vec<LogRecord>, u64) {
        self.bytes = 0;
        let dropped = std::mem::take(&mut self.dropped);
        (self.records.drain(..).collect(), dropped)
    }
}

/// The log import of one instance.
#[derive(Debug)]
pub(crate) struct GuestLog {
    ring: Arc<Mutex<LogRing>>,
    /// Bytes that this decision may still log.
    left: usize,
    /// Last message of level error in this call: the panic text, if a trap
    /// follows.
    last_error: Option<String>,
}

impl GuestLog {
    pub(crate) fn new(ring: Arc<Mutex<LogRing>>) -> Self {
        Self {
            ring,
            left: LOG_DECISION_BYTES_MAX,
            last_error: None,
        }
    }

    pub(crate) fn begin_decision(&mut self) {
        self.left = LOG_DECISION_BYTES_MAX;
    }

    pub(crate) fn begin_call(&mut self) {
        self.last_error = None;
    }

    /// Whether another message would be looked at. Errors always are, so that
    /// the panic text of a chatty policy is not lost.
    pub(crate) fn wants(&self, level: LogLevel) -> bool {
        self.left > 0 || level == LogLevel::Error
    }

    pub(crate) fn count_dropped(&self) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.dropped += 1;
    }

    pub(crate) fn push(&mut self, level: LogLevel, message: &str) {
        if level == LogLevel::Error {
            self.last_error = Some(escape(message, MESSAGE_BYTES_MAX).0);
        }
        if self.left == 0 {
            self.count_dropped();
            return;
        }
        let (text, truncated) = escape(message, LOG_CALL_BYTES_MAX.min(self.left));
        // At least one, or a guest could log empty messages for ever.
        self.left = self.left.saturating_sub(text.len().max(1));
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.push(LogRecord {
            level,
            text,
            truncated,
        });
    }

    pub(crate) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}

/// `text` with everything escaped that could move a cursor, start a line or
/// reverse the reading direction, cut after `max` bytes of the result.
pub(crate) fn escape(text: &str, max: usize) -> (String, bool) {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let before = out.len();
        let reorders = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
        if c.is_control() || reorders {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > max {
            out.truncate(before);
            return (out, true);
        }
    }
    (out, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_fool_a_terminal_is_escaped() {
        assert_eq!(escape("a\n\x1b[31mb", 100).0, "a\\n\\u{1b}[31mb");
        assert_eq!(escape("\u{202e}x", 100).0, "\\u{202e}x");
        assert_eq!(escape("käse", 100), ("käse".to_owned(), false));
        assert_eq!(escape("käse", 2), ("k".to_owned(), true));
    }

    #[test]
    fn a_decision_keeps_64_kib_and_a_policy_256() {
        let ring = Arc::new(Mutex::new(LogRing::default()));
        let mut log = GuestLog::new(Arc::clone(&ring));
        let long = "x".repeat(1 << 20);
        for _ in 0..10 {
            log.push(LogLevel::Info, &long);
        }
        assert!(!log.wants(LogLevel::Info));
        let kept = |ring: &Mutex<LogRing>| ring.lock().unwrap().bytes;
        assert_eq!(kept(&ring), LOG_DECISION_BYTES_MAX);
        for _ in 0..10 {
            log.begin_decision();
            (0..4).for_each(|_| log.push(LogLevel::Info, &long));
        }
        assert!(kept(&ring) <= LOG_RING_BYTES_MAX);
        let (records, dropped) = ring.lock().unwrap().drain();
        assert_eq!(records.len() as u64 + dropped, 10 + 40);
    }
}
