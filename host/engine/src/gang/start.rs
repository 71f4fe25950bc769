//! Places for all, then everybody is bound in one step.

use std::sync::Arc;

use model::{Decision, FilterCounts, Outcome, Reason};

use crate::effect::{Effect, Key, Output};
use crate::engine::Engine;
use crate::nodes::slots_of;
use crate::pods::Allocation;

use super::{Gangs, Stage};

impl Engine {
    /// Decides the gang at the head.
    pub(crate) fn decide_gang(&mut self, out: &mut Output) -> bool {
        let Some((_, gang)) = self.gangs.ready.first().cloned() else {
            return false;
        };
        if let Some(job) = self.pods.jobs.get_mut(&*gang) {
            job.attempts += 1;
            out.changed.push(Key::Job(Arc::clone(&gang)));
        }
        let stage = self
            .gangs
            .lines
            .get(&gang)
            .map_or(Stage::Gathering, |l| l.stage);
        if stage == Stage::Grow {
            self.grow_gang(&gang, out);
            return true;
        }
        match self.place_gang(&gang, out) {
            Ok(places) if self.is_whole(&gang, &places) => self.start_gang(&gang, &places, out),
            Ok(places) => {
                let why = format!("the answer places {} pods and starts no gang", places.len());
                self.park_gang(&gang, Reason::HostDegraded, why, out);
            }
            Err((reason, why)) => self.park_gang(&gang, reason, why, out),
        }
        true
    }

    /// Whether these are different waiting members, and enough of every role:
    /// the last look before something is bound that can only be bound as a whole.
    fn is_whole(&self, gang: &str, places: &[(u32, Allocation)]) -> bool {
        let Some(job) = self.pods.jobs.get(gang) else {
            return false;
        };
        let (Some(standing), Some(line)) = (self.standing(gang), self.gangs.lines.get(gang)) else {
            return false;
        };
        let mut placed = vec![0; standing.need.len()];
        let mut seen = std::collections::BTreeSet::new();
        for (slot, _) in places {
            let pod = self.pods.get(*slot);
            let role = Self::role_of(&job.spec, &pod.name);
            match role {
                Some(role)
                    if line.members.contains(&(pod.arrival, *slot)) && seen.insert(*slot) =>
                {
                    placed[role] += 1;
                }
                _ => return false,
            }
        }
        !places.is_empty() && placed.iter().zip(&standing.need).all(|(n, need)| n >= need)
    }

    fn start_gang(&mut self, gang: &Arc<str>, places: &[(u32, Allocation)], out: &mut Output) {
        for (slot, at) in places {
            self.start_member(*slot, *at, out);
        }
        if let Some(job) = self.pods.jobs.get_mut(&**gang) {
            job.started_ms = Some(self.now_ms);
        }
        if let Some(line) = self.gangs.lines.get_mut(gang) {
            line.failures = 0;
            line.why.clear();
        }
        self.gangs.look_at(gang);
    }

    fn start_member(&mut self, slot: u32, at: Allocation, out: &mut Output) {
        self.stop_waiting_for_gang(slot);
        let seq = self.next_seq;
        self.next_seq += 1;
        self.occupy(
            slot,
            Allocation {
                since_ms: self.now_ms,
                decision: seq,
                ..at
            },
        );
        let pod = self.pods.get_mut(slot);
        pod.last_decision = Some(seq);
        let name = Arc::clone(&pod.name);
        let node = Arc::clone(&self.nodes.names[at.row as usize]);
        let devices: Vec<u8> = slots_of(at.devices).map(|s| s as u8).collect();
        out.decisions.push(Decision {
            outcome: Outcome::Bound {
                row: at.row,
                node: Arc::clone(&node),
                devices: devices.clone(),
                margin: 0,
            },
            ..self.gang_decision(seq, &name)
        });
        out.changed.push(Key::Pod(Arc::clone(&name)));
        out.effects.push(Effect::Bind {
            pod: name,
            node,
            devices,
        });
    }

    /// A decision about a gang compares domains and not nodes: no counts, no
    /// candidates.
    fn gang_decision(&self, seq: u64, pod: &Arc<str>) -> Decision {
        Decision {
            seq,
            time_ms: self.now_ms,
            pod: Arc::clone(pod),
            set_revision: self.set.spec.revision,
            outcome: Outcome::Unschedulable {
                reason: Reason::PendingEvaluation,
            },
            filter: FilterCounts::default(),
            candidates: Vec::new(),
            without: Vec::new(),
            faults: Vec::new(),
            rows_scored: 0,
            fuel: 0,
        }
    }

    /// Nobody starts; the first member carries the decision.
    fn park_gang(&mut self, gang: &Arc<str>, reason: Reason, why: String, out: &mut Output) {
        let seq = self.next_seq;
        let first = self.park_members(gang, reason, why);
        let Some(slot) = first else { return };
        self.next_seq += 1;
        let pod = self.pods.get_mut(slot);
        pod.last_decision = Some(seq);
        let name = Arc::clone(&pod.name);
        out.decisions.push(Decision {
            outcome: Outcome::Unschedulable { reason },
            ..self.gang_decision(seq, &name)
        });
        out.changed.push(Key::Pod(name));
    }

    /// Parks a gang with this reason for all who wait; returns the first.
    pub(super) fn park_members(
        &mut self,
        gang: &Arc<str>,
        reason: Reason,
        why: String,
    ) -> Option<u32> {
        Gangs::park(&mut self.gangs, gang, self.now_ms, why);
        let line = self.gangs.lines.get(gang)?;
        for (_, slot) in &line.members {
            self.pods.get_mut(*slot).reason = reason;
        }
        line.members.first().map(|(_, slot)| *slot)
    }
}
