//! What would have happened: the same input, the first policy throughout.

use std::sync::Arc;

use engine::{Config, Engine, Output, ScoringSet};
use model::{Decision, Event, NodeSpec};

use super::world::{Arrived, Pods};

/// A second cluster in memory that gets every arrival and no swap.
pub(super) struct Ghost {
    engine: Engine,
    out: Output,
    pub(super) pods: Pods,
    /// Decisions that were the same as the real ones.
    pub(super) same: u64,
    /// Decisions compared.
    pub(super) compared: u64,
}

impl Ghost {
    pub(super) fn new(nodes: &[NodeSpec], set: ScoringSet, now_ms: u64) -> anyhow::Result<Self> {
        let config = Config {
            leave_one_out: false,
            ..Config::default()
        };
        let mut engine = Engine::new(config);
        drop(engine.install_scoring(set));
        let mut out = Output::default();
        for node in nodes {
            engine.step(now_ms, Event::NodePut(Box::new(node.clone())), &mut out)?;
        }
        out.clear();
        Ok(Self {
            engine,
            out,
            pods: Pods::default(),
            same: 0,
            compared: 0,
        })
    }

    /// One step of time with what arrives in it.
    pub(super) fn step(
        &mut self,
        now_ms: u64,
        arrived: &[Arrived],
        patience_ms: u64,
    ) -> anyhow::Result<()> {
        self.out.clear();
        for event in self.pods.ending(now_ms) {
            self.engine.step(now_ms, event, &mut self.out)?;
        }
        if !arrived.is_empty() {
            for pod in arrived {
                self.pods.arrived(pod, now_ms, patience_ms);
            }
            let pods = arrived.iter().map(|a| a.pod.clone()).collect();
            self.engine
                .step(now_ms, Event::PodsSubmit(pods), &mut self.out)?;
        }
        self.engine.step(now_ms, Event::Tick, &mut self.out)?;
        for decision in &self.out.decisions {
            self.pods.decided(decision, now_ms);
        }
        Ok(())
    }

    /// Counts how many of the last step's decisions are those of the host.
    pub(super) fn compare(&mut self, real: &[Arc<Decision>]) {
        let ghost = &self.out.decisions;
        self.compared += real.len().max(ghost.len()) as u64;
        let same =
            std::iter::zip(real, ghost).filter(|(r, g)| r.pod == g.pod && r.outcome == g.outcome);
        self.same += same.count() as u64;
    }

    /// Share of GPU in use.
    pub(super) fn allocated(&self) -> f64 {
        let (gpus, used) = self.engine.gpu_usage();
        used as f64 / (f64::from(gpus) * 1000.0).max(1.0)
    }
}
