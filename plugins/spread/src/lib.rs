//! Spreads an application's pods over zones and nodes, and load over nodes.
//!
//! `part` holds the arithmetic of each part of the score, this file weighs them.

mod part;

use loadmaster_sdk::devices;
use loadmaster_sdk::scoring::{self, *};
use part::Dimension;

/// The spreading policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    zone_weight: i64,
    node_weight: i64,
    free_weight: i64,
    balance_weight: i64,
    zone_half: i64,
    max_per_node: i32,
}

const MAX: i64 = SCORE_MAX as i64;

/// Points of each part, not weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Points {
    zone: i64,
    node: i64,
    free: i64,
    balance: i64,
}

impl Spread {
    #[inline]
    fn points(&self, pod: &Pod, node: Node<'_>) -> Points {
        let dimensions = [
            Dimension::after(node.cpu_free(), node.cpu_cap(), pod.cpu.into()),
            Dimension::after(node.memory_free(), node.memory_cap(), pod.memory.into()),
            // As upstream: extended resources count only for pods that ask.
            if pod.gpu_count > 0 {
                let cap = node.gpu_count() * GPU_WHOLE;
                Dimension::after(node.gpu_free(), cap, pod.gpu_request())
            } else {
                Dimension::ABSENT
            },
        ];
        Points {
            zone: part::zone(node.zone(), node.peers_in_zone(), self.zone_half),
            node: part::node(node.peers_on_node()),
            free: part::free(&dimensions),
            balance: if self.balance_weight > 0 {
                part::balance(&dimensions)
            } else {
                0
            },
        }
    }

    fn total_weight(&self) -> i64 {
        self.zone_weight + self.node_weight + self.free_weight + self.balance_weight
    }

    fn full(&self, node: Node<'_>) -> bool {
        self.max_per_node > 0 && node.peers_on_node() >= self.max_per_node
    }
}

impl ScoringPolicy for Spread {
    fn describe() -> Description {
        Description::new("spread", env!("CARGO_PKG_VERSION"))
            .summary("Spreads an application's pods over zones and nodes, and load over nodes.")
            .settings_schema(include_str!("../settings.schema.json"))
            .reads(&[
                Column::CpuFree,
                Column::CpuCap,
                Column::MemoryFree,
                Column::MemoryCap,
                Column::GpuFree,
                Column::GpuCount,
                Column::Zone,
                Column::PeersOnNode,
                Column::PeersInZone,
                Column::GpuMilliFree,
                Column::GpuMemoryFree,
            ])
    }

    fn configure(settings: &str) -> Result<Self, String> {
        let mut s = Settings::parse(settings)?;
        let policy = Self {
            zone_weight: s.integer("zone-weight", 0..=1_000, 100)?,
            node_weight: s.integer("node-weight", 0..=1_000, 100)?,
            free_weight: s.integer("free-weight", 0..=1_000, 10)?,
            balance_weight: s.integer("balance-weight", 0..=1_000, 1)?,
            zone_half: s.integer("zone-half", 1..=100_000, 10)?,
            max_per_node: s.integer("max-per-node", 0..=100_000, 0)? as i32,
        };
        s.finish()?;
        if policy.total_weight() == 0 {
            return Err(
                "`zone-weight`, `node-weight`, `free-weight` and `balance-weight` are all 0"
                    .to_owned(),
            );
        }
        Ok(policy)
    }

    #[inline]
    fn score(&self, pod: &Pod, node: Node<'_>) -> Score {
        if self.full(node) {
            return Score::REFUSE;
        }
        let p = self.points(pod, node);
        let sum = p.zone * self.zone_weight
            + p.node * self.node_weight
            + p.free * self.free_weight
            + p.balance * self.balance_weight;
        Score::points(sum / self.total_weight())
    }

    fn place(&self, pod: &Pod, node: Node<'_>) -> Option<DeviceSet> {
        devices::emptiest(pod, node)
    }

    fn explain(&self, pod: &Pod, node: Node<'_>) -> Vec<Part> {
        let score = i64::from(self.score(pod, node).value());
        if self.full(node) {
            let text = format!(
                "{} pods of the application run here, the limit is {}",
                node.peers_on_node(),
                self.max_per_node
            );
            return vec![scoring::part("max-per-node", score, &text)];
        }
        let p = self.points(pod, node);
        let share = |points: i64, weight: i64| points * weight / self.total_weight();
        let peers = format!("{} pods of the application", node.peers_on_node());
        let zone = match node.zone() {
            -1 => "the node has no zone".to_owned(),
            _ => format!("{} pods of the application", node.peers_in_zone()),
        };
        let mut parts = vec![
            scoring::part("zone", share(p.zone, self.zone_weight), &zone),
            scoring::part("node", share(p.node, self.node_weight), &peers),
            scoring::part("free", share(p.free, self.free_weight), "share left after"),
            scoring::part(
                "balance",
                share(p.balance, self.balance_weight),
                "evenness of use",
            ),
        ];
        let rounding = score - parts.iter().map(|p| p.value).sum::<i64>();
        if rounding != 0 {
            parts.push(scoring::part("rounding", rounding, ""));
        }
        parts
    }
}

loadmaster_sdk::export_scoring!(Spread);

#[cfg(test)]
mod tests;
