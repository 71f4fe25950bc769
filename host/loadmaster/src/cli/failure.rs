//! Why a command did not do what it was asked: what, where, why, what next.

use std::process::ExitCode;

use super::output::Style;

/// Exit codes, as written in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A check failed, or the command could not finish.
    Failed = 1,
    /// What was typed, or a file that was given, is wrong.
    Usage = 2,
    /// Not allowed.
    Refused = 3,
    /// Somebody changed it first.
    Conflict = 4,
    /// No answer from the host.
    Unreachable = 5,
    /// A policy misbehaved.
    PolicyFault = 6,
}

/// An error for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the process ends with.
    pub exit: Exit,
    /// One sentence, without a capital and a full stop.
    pub what: String,
    /// Causes, outermost first.
    pub causes: Vec<String>,
    /// What to do about it.
    pub hints: Vec<String>,
}

/// What every verb returns.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// With a sentence.
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// An error with its causes.
    #[must_use]
    pub fn from_error(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut failure = Self::new(exit, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            failure.causes.push(error.to_string());
            cause = error.source();
        }
        failure
    }

    /// With something to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// As [`Self::hint`], if there is something.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hints.extend(hint);
        self
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self, style: Style) -> String {
        let mut text = format!("{} {}\n", style.bad("error:"), self.what);
        for (at, cause) in self.causes.iter().enumerate() {
            let head = if at == 0 { "because:" } else { "        " };
            text += &format!("  {head} {cause}\n");
        }
        for hint in &self.hints {
            text += &format!("{} {hint}\n", style.accent("hint:"));
        }
        text
    }

    /// What `main` returns.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

/// Where a failed file or value came from decides the code, so there is no
/// `From`: each place says which it is.
pub trait OrFail<T> {
    /// The error as a failure with this exit code.
    ///
    /// # Errors
    /// As `self`.
    fn or_fail(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: std::error::Error + 'static> OrFail<T> for Result<T, E> {
    fn or_fail(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::from_error(exit, &error))
    }
}
