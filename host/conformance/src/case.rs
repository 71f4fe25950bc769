//! The cases beside the WIT, as they are written.

pub(crate) mod admission;
pub(crate) mod preemption;

use serde::Deserialize;

use crate::law::Law;

const SCORING: &str = include_str!("../../../wit/v0.1.0/conformance/scoring.toml");
const AUTOSCALING: &str = include_str!("../../../wit/v0.1.0/conformance/autoscaling.toml");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ScoringCases {
    pub(crate) cluster: Vec<Cluster>,
    pub(crate) pod: Vec<Pod>,
    pub(crate) case: Vec<ScoringCase>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) seed: u64,
    #[serde(default)]
    pub(crate) shapes: Vec<Shape>,
    #[serde(default)]
    pub(crate) nodes: Vec<Nodes>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Shape {
    pub(crate) cpu: i32,
    pub(crate) memory: i32,
    #[serde(default)]
    pub(crate) gpus: u32,
    #[serde(default)]
    pub(crate) gpu_milli: u32,
    #[serde(default)]
    pub(crate) gpu_models: Vec<String>,
    pub(crate) count: u64,
}

/// A group of machines of one kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Nodes {
    pub(crate) count: u32,
    pub(crate) cpu: i32,
    pub(crate) memory: i32,
    #[serde(default)]
    pub(crate) disk: i32,
    #[serde(default)]
    pub(crate) network: i32,
    #[serde(default)]
    pub(crate) gpus: u32,
    #[serde(default)]
    pub(crate) gpu_model: String,
    #[serde(default)]
    pub(crate) gpu_memory: i32,
    #[serde(default)]
    pub(crate) wiring: Wiring,
    /// Zones and racks of the group; 0 for unknown.
    #[serde(default)]
    pub(crate) zones: u32,
    #[serde(default)]
    pub(crate) racks: u32,
    #[serde(default)]
    pub(crate) price: i32,
    /// Devices out of order on each machine, at most.
    #[serde(default)]
    pub(crate) unhealthy: u32,
    pub(crate) r#use: Use,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wiring {
    #[default]
    Unknown,
    Pcie,
    Pairs,
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Use {
    Empty,
    Same,
    Mixed,
    Full,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) cpu: i32,
    pub(crate) memory: i32,
    pub(crate) disk: i32,
    pub(crate) network: i32,
    pub(crate) gpus: u32,
    pub(crate) gpu_milli: u32,
    pub(crate) gpu_memory: i32,
    pub(crate) gpu_models: Vec<String>,
    pub(crate) priority: i32,
    pub(crate) app: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ScoringCase {
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) pods: Vec<String>,
    /// Codes of laws; empty for all.
    #[serde(default)]
    pub(crate) laws: Vec<String>,
}

impl ScoringCase {
    pub(crate) fn is_for(&self, law: Law) -> bool {
        self.laws.is_empty() || self.laws.iter().any(|code| code == law.code())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct AutoscalingCases {
    pub(crate) case: Vec<AutoscalingCase>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct AutoscalingCase {
    pub(crate) name: String,
    /// 9 October 2025, a Thursday morning.
    #[serde(default = "now")]
    pub(crate) now: u64,
    #[serde(default = "minute")]
    pub(crate) step: u64,
    #[serde(default = "one")]
    pub(crate) min: u32,
    #[serde(default = "hundred")]
    pub(crate) max: u32,
    #[serde(default = "capacity")]
    pub(crate) capacity: f64,
    #[serde(default = "utilization")]
    pub(crate) target_utilization: u32,
    #[serde(default = "minute")]
    pub(crate) start_up: u64,
    #[serde(default = "one")]
    pub(crate) ready: u32,
    #[serde(default)]
    pub(crate) starting: u32,
    #[serde(default = "one")]
    pub(crate) reactive: u32,
    pub(crate) series: Series,
    #[serde(default)]
    pub(crate) calendar: Vec<CalendarEntry>,
}

fn now() -> u64 {
    1_760_000_000_000
}
fn minute() -> u64 {
    60_000
}
fn one() -> u32 {
    1
}
fn hundred() -> u32 {
    100
}
fn capacity() -> f64 {
    100.0
}
fn utilization() -> u32 {
    700
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Series {
    pub(crate) kind: SeriesKind,
    #[serde(default)]
    pub(crate) samples: usize,
    #[serde(default)]
    pub(crate) base: f64,
    #[serde(default)]
    pub(crate) amplitude: f64,
    #[serde(default)]
    pub(crate) period: usize,
    #[serde(default)]
    pub(crate) missing_every: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SeriesKind {
    Empty,
    Constant,
    Wave,
    Ramp,
    Missing,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct CalendarEntry {
    pub(crate) name: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    #[serde(default)]
    pub(crate) load: Option<f64>,
    #[serde(default)]
    pub(crate) multiplier: Option<u32>,
}

/// # Panics
/// If the files in the repository are wrong, which this crate's tests show.
pub(crate) fn scoring() -> ScoringCases {
    toml::from_str(SCORING).unwrap_or_else(|e| panic!("wit/v0.1.0/conformance/scoring.toml: {e}"))
}

/// # Panics
/// As [`scoring`].
pub(crate) fn autoscaling() -> AutoscalingCases {
    toml::from_str(AUTOSCALING)
        .unwrap_or_else(|e| panic!("wit/v0.1.0/conformance/autoscaling.toml: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_cases_exists() {
        let cases = scoring();
        for case in &cases.case {
            assert!(cases.cluster.iter().any(|c| c.name == case.cluster));
            for pod in &case.pods {
                assert!(cases.pod.iter().any(|p| p.name == *pod), "{pod}");
            }
            for law in &case.laws {
                assert!(Law::parse(law).is_some(), "{law}");
            }
        }
    }

    #[test]
    fn the_autoscaling_cases_are_such_as_a_host_would_ask() {
        for case in autoscaling().case {
            assert!(case.min <= case.max && case.max > 0, "{}", case.name);
            assert!(case.capacity > 0.0 && case.step >= 1_000, "{}", case.name);
            let entries = &case.calendar;
            assert!(entries.iter().all(|e| e.start < e.end), "{}", case.name);
        }
    }
}
