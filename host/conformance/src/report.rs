//! What was checked, and how it went.

use std::fmt;

use crate::law::Law;

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

    /// No answer: more fuel than there is breaks the budget, anything else the
    /// law of answers.
    pub(crate) fn fault(&mut self, case: &str, fault: model::PolicyFault) {
        let law = match fault {
            model::PolicyFault::OutOfFuel { .. } => Law::Budget,
            _ => Law::Answer,
        };
        self.note(law, case, Err(fault.into()));
    }

    /// An answer at full size, for so much fuel.
    pub(crate) fn within_budget(&mut self, case: &str, fuel: u64) {
        if fuel > 0 {
            self.note(Law::Budget, case, Ok(()));
        } else {
            self.skip(Law::Budget, case, "a native policy burns no fuel");
        }
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
