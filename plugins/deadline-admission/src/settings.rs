//! What an operator can set.

use loadmaster_sdk::settings::Settings as Reader;

/// Settings of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Thousandths by which an expected run time is multiplied.
    pub(crate) safety: u64,
    /// From admission to progress.
    pub(crate) start_up_ms: u64,
    /// Jobs have one role.
    pub(crate) single_role: bool,
    /// With less slack than this, a job that cannot be planned holds others back.
    pub(crate) hold_back_ms: u64,
}

impl Settings {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut r = Reader::parse(text)?;
        let ms = |seconds: i64| seconds as u64 * 1_000;
        let settings = Self {
            safety: r.integer("safety", 1_000..=10_000, 1_200)? as u64,
            start_up_ms: ms(r.integer("start-up", 0..=86_400, 0)?),
            single_role: r.boolean("single-role", false)?,
            hold_back_ms: ms(r.integer("hold-back", 0..=604_800, 900)?),
        };
        r.finish()?;
        Ok(settings)
    }
}
