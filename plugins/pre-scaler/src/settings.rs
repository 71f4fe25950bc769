//! What an operator can set. Utilisations are relative to the workload's own
//! target, so that one value suits all workloads.

use loadmaster_sdk::settings::Settings as Reader;

use crate::forecast;

/// Settings of the policy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Use the forecast at all.
    pub(crate) predictive: bool,
    /// Never below the reactive answer of the host.
    pub(crate) strict: bool,
    /// Reactive target while the forecast is trusted, share of the target.
    pub(crate) trusted_target: f64,
    /// Target of the expected load over the lead window, share of the target.
    pub(crate) expected_target: f64,
    /// Reactive target after a surprise, share of the target.
    pub(crate) surprise_target: f64,
    /// A step this many margins above its forecast is a surprise.
    pub(crate) surprise_margins: f64,
    pub(crate) surprise_steps: usize,
    /// Shortest lead before an event; the start-up time if longer.
    pub(crate) lead_ms: u64,
    /// How long an event's floor stays after its end.
    pub(crate) cooldown_ms: u64,
    /// Oldest acceptable end of the history; two steps are always allowed.
    pub(crate) stale_ms: u64,
    /// Share of a lost forecast's floor that goes every minute, percent.
    pub(crate) release_percent: u32,
    pub(crate) forecast: forecast::Settings,
}

/// Longest time that can be set, s.
const DAY_S: i64 = 86_400;

impl Settings {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut r = Reader::parse(text)?;
        let thousandths = |value: i64| value as f64 / 1000.0;
        let ms = |seconds: i64| seconds as u64 * 1000;
        let settings = Self {
            predictive: r.boolean("predictive", true)?,
            strict: r.boolean("strict", false)?,
            trusted_target: thousandths(r.integer("trusted-target", 500..=2_000, 1_286)?),
            expected_target: thousandths(r.integer("expected-target", 500..=2_000, 1_057)?),
            surprise_target: thousandths(r.integer("surprise-target", 100..=2_000, 857)?),
            surprise_margins: thousandths(r.integer("surprise-margins", 500..=100_000, 3_000)?),
            surprise_steps: r.integer("surprise-steps", 0..=60, 5)? as usize,
            lead_ms: ms(r.integer("lead", 0..=DAY_S, 900)?),
            cooldown_ms: ms(r.integer("cooldown", 0..=DAY_S, 0)?),
            stale_ms: ms(r.integer("stale", 0..=DAY_S, 300)?),
            release_percent: r.integer("release-percent", 1..=100, 10)? as u32,
            forecast: forecast::Settings {
                quantile: thousandths(r.integer("quantile", 500..=999, 930)?),
                ..forecast::Settings::default()
            },
        };
        r.finish()?;
        Ok(settings)
    }
}
