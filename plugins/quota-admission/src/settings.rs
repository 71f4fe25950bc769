//! What an operator can set.

use loadmaster_sdk::settings::Settings as Reader;

/// Who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Within quota first, then the smallest share.
    Fair,
    /// Priority, then age.
    Priority,
    /// Age.
    Fifo,
}

/// What becomes of a job that fits only in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partial {
    /// The host decides: it knows the roles.
    Leave,
    /// Every job has one role.
    SingleRole,
    /// It waits.
    Off,
}

/// Settings of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) order: Order,
    pub(crate) partial: Partial,
    /// What is free stays so for a job that reclaims.
    pub(crate) reserve: bool,
}

impl Settings {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut r = Reader::parse(text)?;
        let settings = Self {
            order: r.choice(
                "order",
                &[
                    ("fair", Order::Fair),
                    ("priority", Order::Priority),
                    ("fifo", Order::Fifo),
                ],
            )?,
            partial: r.choice(
                "partial",
                &[
                    ("leave", Partial::Leave),
                    ("single-role", Partial::SingleRole),
                    ("off", Partial::Off),
                ],
            )?,
            reserve: r.boolean("reserve", true)?,
        };
        r.finish()?;
        Ok(settings)
    }
}
