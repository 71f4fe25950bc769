//! What may follow what.

use std::fmt;

/// Where a policy is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Its bytes arrived.
    Uploaded,
    /// The bytes are a component of a contract this host serves.
    Validated,
    /// There is machine code, and it said who it is.
    Compiled,
    /// It keeps the contract's laws; may be activated.
    Conformant,
    /// Decides.
    Active,
    /// Decided before and stays instantiated, for a rollback.
    Previous,
    /// Decided once; may be activated again.
    Retired,
    /// Refused on its way up.
    Rejected,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Uploaded,
        Self::Validated,
        Self::Compiled,
        Self::Conformant,
        Self::Active,
        Self::Previous,
        Self::Retired,
        Self::Rejected,
    ];

    /// Whether `next` may follow. One arm a state: a new one must be thought
    /// about.
    #[must_use]
    pub fn can_move_to(self, next: Self) -> bool {
        match self {
            Self::Uploaded => matches!(next, Self::Validated | Self::Rejected),
            Self::Validated => matches!(next, Self::Compiled | Self::Rejected),
            Self::Compiled => matches!(next, Self::Conformant | Self::Rejected),
            Self::Conformant => next == Self::Active,
            // Straight to retired when a breaker takes it out.
            Self::Active => matches!(next, Self::Previous | Self::Retired),
            Self::Previous => matches!(next, Self::Active | Self::Retired),
            Self::Retired => next == Self::Active,
            // The same bytes may be uploaded again, as a new life.
            Self::Rejected => false,
        }
    }

    /// Whether a set may be made of policies in this state.
    #[must_use]
    pub fn is_usable(self) -> bool {
        match self {
            Self::Conformant | Self::Active | Self::Previous | Self::Retired => true,
            Self::Uploaded | Self::Validated | Self::Compiled | Self::Rejected => false,
        }
    }

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uploaded => "uploaded",
            Self::Validated => "validated",
            Self::Compiled => "compiled",
            Self::Conformant => "conformant",
            Self::Active => "active",
            Self::Previous => "previous",
            Self::Retired => "retired",
            Self::Rejected => "rejected",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A move that the life of a policy does not have: a bug of the caller or of
/// the records it restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy {policy} cannot go from {from} to {to}")]
pub struct IllegalMove {
    /// Digest.
    pub policy: String,
    /// Where it is.
    pub from: State,
    /// Where it was to go.
    pub to: State,
}

/// One step of one policy's life. Journalled before it takes effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// `sha256:<hex>` of the component.
    pub policy: String,
    /// From.
    pub from: State,
    /// To.
    pub to: State,
    /// ms since the epoch.
    pub at_ms: u64,
    /// Why, for people.
    pub reason: String,
}

impl Transition {
    /// The step, if it is one.
    ///
    /// # Errors
    /// [`State::can_move_to`] says no.
    pub fn new(
        policy: &str,
        from: State,
        to: State,
        at_ms: u64,
        reason: &str,
    ) -> Result<Self, IllegalMove> {
        let policy = policy.to_owned();
        if !from.can_move_to(to) {
            return Err(IllegalMove { policy, from, to });
        }
        Ok(Self {
            policy,
            from,
            to,
            at_ms,
            reason: reason.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_as_drawn() {
        use State::{
            Active, Compiled, Conformant, Previous, Rejected, Retired, Uploaded, Validated,
        };
        let allowed = [
            (Uploaded, Validated),
            (Uploaded, Rejected),
            (Validated, Compiled),
            (Validated, Rejected),
            (Compiled, Conformant),
            (Compiled, Rejected),
            (Conformant, Active),
            (Active, Previous),
            (Active, Retired),
            (Previous, Active),
            (Previous, Retired),
            (Retired, Active),
        ];
        for from in State::ALL {
            for to in State::ALL {
                let expected = allowed.contains(&(from, to));
                assert_eq!(from.can_move_to(to), expected, "{from} to {to}");
                let step = Transition::new("sha256:00", from, to, 1, "test");
                assert_eq!(step.is_ok(), expected, "{from} to {to}");
            }
        }
    }

    #[test]
    fn only_what_passed_the_laws_reaches_activation() {
        for state in State::ALL {
            let leads_to_active = state.can_move_to(State::Active);
            assert!(!leads_to_active || state.is_usable(), "{state}");
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
    }
}
