//! What was checked, and how it went.

use std::fmt;

/// A law of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Law {
    /// It says who it is in the contract's terms, always the same.
    Describe,
    /// Defaults are accepted, settings it does not know are refused.
    Settings,
    /// Answers have the length and the range of the contract.
    Answer,
    /// The same call on two fresh instances gives the same answer for the same
    /// fuel.
    Determinism,
    /// A reused instance answers like a fresh one, whatever it was asked before.
    Statelessness,
    /// Any split of the rows into calls gives the same scores.
    BatchSplit,
    /// The order of the rows does not matter.
    RowPermutation,
    /// Rows that look the same to the policy get the same score.
    EqualRows,
    /// The score depends on the context given last, not on those before.
    ContextReplay,
    /// Placed devices are different, usable, and as many as asked for.
    Place,
    /// The parts of an explanation add up to the score.
    Explain,
    /// Everything remembered goes through the state that the host keeps.
    StateCarry,
    /// Any bytes may come as state: from another version, cut off, garbage.
    StateTolerance,
}

impl Law {
    /// Every law.
    pub const ALL: [Self; 13] = [
        Self::Describe,
        Self::Settings,
        Self::Answer,
        Self::Determinism,
        Self::Statelessness,
        Self::BatchSplit,
        Self::RowPermutation,
        Self::EqualRows,
        Self::ContextReplay,
        Self::Place,
        Self::Explain,
        Self::StateCarry,
        Self::StateTolerance,
    ];

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Settings => "settings",
            Self::Answer => "answer",
            Self::Determinism => "determinism",
            Self::Statelessness => "statelessness",
            Self::BatchSplit => "batch-split",
            Self::RowPermutation => "row-permutation",
            Self::EqualRows => "equal-rows",
            Self::ContextReplay => "context-replay",
            Self::Place => "place",
            Self::Explain => "explain",
            Self::StateCarry => "state-carry",
            Self::StateTolerance => "state-tolerance",
        }
    }

    /// The law with this code.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.code() == code)
    }

    /// The law in one sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Describe => "It says who it is in the contract's terms, always the same.",
            Self::Settings => "Defaults are accepted, settings it does not know are refused.",
            Self::Answer => "Answers have the length and the range of the contract.",
            Self::Determinism => {
                "The same call on two fresh instances gives the same answer for the same fuel."
            }
            Self::Statelessness => {
                "A reused instance answers like a fresh one, whatever it was asked before."
            }
            Self::BatchSplit => "Any split of the rows into calls gives the same scores.",
            Self::RowPermutation => "The order of the rows does not matter.",
            Self::EqualRows => "Rows that look the same to the policy get the same score.",
            Self::ContextReplay => {
                "The score depends on the context given last, not on those before."
            }
            Self::Place => "Placed devices are different, usable, and as many as asked for.",
            Self::Explain => "The parts of an explanation add up to the score.",
            Self::StateCarry => "Everything remembered goes through the state that the host keeps.",
            Self::StateTolerance => "Any bytes may come as state.",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// How one check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The law was kept.
    Pass,
    /// It was broken.
    Fail {
        /// How, with numbers.
        detail: String,
    },
    /// It could not be looked at.
    NotRun {
        /// Why not.
        because: String,
    },
}

/// One law on one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which law.
    pub law: Law,
    /// Which case.
    pub case: String,
    /// How it went.
    pub verdict: Verdict,
}

/// The outcome of a run of the kit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// [`crate::KIT_VERSION`] of the kit that ran.
    pub kit_version: String,
    /// [`crate::WIT_VERSION`] of the cases.
    pub wit_version: String,
    /// In the order in which they ran.
    pub checks: Vec<Check>,
    /// Most fuel of one call, 0 for a native policy.
    pub fuel_max: u64,
}

impl Report {
    /// Whether no law was broken and something was looked at.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures().next().is_none() && self.checks.iter().any(|c| c.verdict == Verdict::Pass)
    }

    /// What was broken, in order.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        let failed = |c: &&Check| matches!(c.verdict, Verdict::Fail { .. });
        self.checks.iter().filter(failed)
    }

    /// Checks of this law that passed, failed and did not run.
    #[must_use]
    pub fn counts(&self, law: Law) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for check in self.checks.iter().filter(|c| c.law == law) {
            match check.verdict {
                Verdict::Pass => counts.0 += 1,
                Verdict::Fail { .. } => counts.1 += 1,
                Verdict::NotRun { .. } => counts.2 += 1,
            }
        }
        counts
    }
}

/// One line a law, then one line a failure.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "conformance kit {}, contract {}",
            self.kit_version, self.wit_version
        )?;
        for law in Law::ALL {
            let (passed, failed, not_run) = self.counts(law);
            if passed + failed + not_run == 0 {
                continue;
            }
            let word = if failed > 0 {
                "FAIL"
            } else if passed > 0 {
                "ok"
            } else {
                "not run"
            };
            write!(f, "  {:<16} {word:<8} {passed:>4} passed", law.code())?;
            if failed > 0 {
                write!(f, ", {failed} failed")?;
            }
            if not_run > 0 {
                write!(f, ", {not_run} not run")?;
            }
            writeln!(f)?;
        }
        for check in self.failures() {
            if let Verdict::Fail { detail } = &check.verdict {
                writeln!(f, "{}: {}: {detail}", check.law, check.case)?;
            }
        }
        if self.fuel_max > 0 {
            writeln!(f, "most fuel of one call: {}", self.fuel_max)?;
        }
        Ok(())
    }
}

/// Collects checks while a kit runs.
#[derive(Debug, Default)]
pub(crate) struct Book {
    checks: Vec<Check>,
    pub(crate) fuel_max: u64,
}

impl Book {
    /// Notes a verdict; the error is the failure's detail.
    pub(crate) fn note(&mut self, law: Law, case: &str, result: Result<(), Broken>) -> bool {
        let verdict = match result {
            Ok(()) => Verdict::Pass,
            Err(Broken::Law(detail)) => Verdict::Fail { detail },
            Err(Broken::NotRun(because)) => Verdict::NotRun { because },
        };
        let kept = !matches!(verdict, Verdict::Fail { .. });
        self.checks.push(Check {
            law,
            case: case.to_owned(),
            verdict,
        });
        kept
    }

    pub(crate) fn skip(&mut self, law: Law, case: &str, because: &str) {
        self.note(law, case, Err(Broken::NotRun(because.to_owned())));
    }

    pub(crate) fn fuel(&mut self, fuel: u64) {
        self.fuel_max = self.fuel_max.max(fuel);
    }

    pub(crate) fn report(self) -> Report {
        Report {
            kit_version: crate::KIT_VERSION.to_owned(),
            wit_version: crate::WIT_VERSION.to_owned(),
            checks: self.checks,
            fuel_max: self.fuel_max,
        }
    }
}

/// Why a check did not pass.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The law is broken.
    Law(String),
    /// It could not be looked at.
    NotRun(String),
}

impl From<String> for Broken {
    fn from(detail: String) -> Self {
        Self::Law(detail)
    }
}

/// A fault while a law was looked at breaks the law.
impl From<model::PolicyFault> for Broken {
    fn from(fault: model::PolicyFault) -> Self {
        Self::Law(format!("fault {}: {fault}", fault.code()))
    }
}
