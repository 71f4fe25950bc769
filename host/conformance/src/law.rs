//! The laws of the contract, with their stable codes.

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
    /// Every call stays within its fuel, at full size too.
    Budget,
    /// The same call on two fresh instances gives the same answer for the same fuel.
    Determinism,
    /// A reused instance answers like a fresh one, whatever it was asked before.
    Statelessness,
    /// Any split of the rows into calls gives the same scores.
    BatchSplit,
    /// The order of the rows does not matter.
    RowPermutation,
    /// Rows that look the same to the policy get the same score.
    EqualRows,
    /// The answer depends on the context given last, not on those before.
    ContextReplay,
    /// Placed devices are different, usable, and as many as asked for.
    Place,
    /// The parts of an explanation add up to the score.
    Explain,
    /// Everything remembered goes through the state that the host keeps.
    StateCarry,
    /// Any bytes may come as state: from another version, cut off, garbage.
    StateTolerance,
    /// A finding has a code, a field of the object and a message.
    Findings,
    /// Patches change fields that may be changed, to values they take, and say why.
    Patches,
    /// Patches applied to their own result change nothing, nor does asking again.
    Idempotence,
    /// The order of an object's labels does not matter.
    LabelOrder,
    /// Sort keys follow their heads, in whatever order those come.
    HeadOrder,
    /// Rulings name quotas, resources and numbers of pods that there are.
    Rulings,
    /// More quota turns no admission of a job alone into a wait.
    Monotonicity,
    /// What a case leaves no doubt about is answered so, or not at all.
    Expectation,
    /// Whoever leaves or moves exists, may, and is named once.
    Victims,
    /// A group leaves or moves as a whole or not at all.
    Groups,
    /// No budget is overdrawn.
    Disruptions,
    /// Enough pods of every role are placed, on rows of the domain that was taken.
    Placements,
    /// No device is used that is absent or out of order.
    DeviceHealth,
    /// Everything placed has room once the others have left.
    Room,
    /// Nobody leaves who could have stayed.
    MinimalVictims,
    /// The order of the running work does not matter.
    RunningOrder,
    /// An earlier nomination is kept, or something cheaper found.
    Nomination,
}

impl Law {
    /// Every law.
    pub const ALL: [Self; 31] = [
        Self::Describe,
        Self::Settings,
        Self::Answer,
        Self::Budget,
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
        Self::Findings,
        Self::Patches,
        Self::Idempotence,
        Self::LabelOrder,
        Self::HeadOrder,
        Self::Rulings,
        Self::Monotonicity,
        Self::Expectation,
        Self::Victims,
        Self::Groups,
        Self::Disruptions,
        Self::Placements,
        Self::DeviceHealth,
        Self::Room,
        Self::MinimalVictims,
        Self::RunningOrder,
        Self::Nomination,
    ];

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.words().0
    }

    /// The law in one sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        self.words().1
    }

    /// The law with this code.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.code() == code)
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Describe => (
                "describe",
                "It says who it is in the contract's terms, always the same.",
            ),
            Self::Settings => (
                "settings",
                "Defaults are accepted, settings it does not know are refused.",
            ),
            Self::Answer => (
                "answer",
                "Answers have the length and the range of the contract.",
            ),
            Self::Budget => (
                "budget",
                "Every call stays within its fuel, at full size too.",
            ),
            Self::Determinism => (
                "determinism",
                "The same call on two fresh instances gives the same answer for the same fuel.",
            ),
            Self::Statelessness => (
                "statelessness",
                "A reused instance answers like a fresh one, whatever it was asked before.",
            ),
            Self::BatchSplit => (
                "batch-split",
                "Any split of the rows into calls gives the same scores.",
            ),
            Self::RowPermutation => ("row-permutation", "The order of the rows does not matter."),
            Self::EqualRows => (
                "equal-rows",
                "Rows that look the same to the policy get the same score.",
            ),
            Self::ContextReplay => (
                "context-replay",
                "The answer depends on the context given last, not on those before.",
            ),
            Self::Place => (
                "place",
                "Placed devices are different, usable, and as many as asked for.",
            ),
            Self::Explain => (
                "explain",
                "The parts of an explanation add up to the score.",
            ),
            Self::StateCarry => (
                "state-carry",
                "Everything remembered goes through the state that the host keeps.",
            ),
            Self::StateTolerance => (
                "state-tolerance",
                "Any bytes may come as state: from another version, cut off, garbage.",
            ),
            Self::Findings => (
                "findings",
                "A finding has a code, a field of the object and a message.",
            ),
            Self::Patches => (
                "patches",
                "Patches change fields that may be changed, to values they take, and say why.",
            ),
            Self::Idempotence => (
                "idempotence",
                "Patches applied to their own result change nothing, nor does asking again.",
            ),
            Self::LabelOrder => (
                "label-order",
                "The order of an object's labels does not matter.",
            ),
            Self::HeadOrder => (
                "head-order",
                "Sort keys follow their heads, in whatever order those come.",
            ),
            Self::Rulings => (
                "rulings",
                "Rulings name quotas, resources and numbers of pods that there are.",
            ),
            Self::Monotonicity => (
                "monotonicity",
                "More quota turns no admission of a job alone into a wait.",
            ),
            Self::Expectation => (
                "expectation",
                "What a case leaves no doubt about is answered so, or not at all.",
            ),
            Self::Victims => (
                "victims",
                "Whoever leaves or moves exists, may, and is named once.",
            ),
            Self::Groups => (
                "groups",
                "A group leaves or moves as a whole or not at all.",
            ),
            Self::Disruptions => ("disruptions", "No budget is overdrawn."),
            Self::Placements => (
                "placements",
                "Enough pods of every role are placed, on rows of the domain that was taken.",
            ),
            Self::DeviceHealth => (
                "device-health",
                "No device is used that is absent or out of order.",
            ),
            Self::Room => (
                "room",
                "Everything placed has room once the others have left.",
            ),
            Self::MinimalVictims => ("minimal-victims", "Nobody leaves who could have stayed."),
            Self::RunningOrder => (
                "running-order",
                "The order of the running work does not matter.",
            ),
            Self::Nomination => (
                "nomination",
                "An earlier nomination is kept, or something cheaper found.",
            ),
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
