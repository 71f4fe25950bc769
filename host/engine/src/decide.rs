//! One pod, one decision: refresh what is remembered of its signature, take
//! the best row, choose devices, bind, write down why.

use std::sync::Arc;

use model::decision::FilterCounts;
use model::{Candidate, Decision, Outcome, Reason, Rejection};

use crate::cache::{Entry, Signature};
use crate::effect::{Effect, Key, Output};
use crate::engine::Engine;
use crate::nodes::{SLOTS, slots_of};
use crate::place::place;
use crate::pods::Allocation;
use crate::score::{Tally, World, refresh};
use crate::set::{NO_TOTAL, ScoringSet};

impl Engine {
    /// Decides what is next: who enters, then the pod or gang that has waited
    /// longest at the highest priority, then who has to yield. `false` when
    /// nothing can be decided now.
    pub fn decide_next(&mut self, out: &mut Output) -> bool {
        if self.follow_up(out) || self.admit_next(out) {
            return true;
        }
        match (self.queue.head_key(), self.gangs.head_key()) {
            (None, None) => self.preempt_next(out),
            (Some(pod), Some(gang)) if gang < pod => self.decide_gang(out),
            (None, Some(_)) => self.decide_gang(out),
            (Some(_), _) => self.decide_pod(out),
        }
    }

    fn decide_pod(&mut self, out: &mut Output) -> bool {
        let Some((class, slot)) = self.queue.head() else {
            return false;
        };
        let pod = self.pods.get(slot);
        let signature = Signature {
            class,
            generation: self.classes.generation(class),
            priority: pod.spec.priority,
            app: if self.set.reads_peers() { pod.app } else { 0 },
        };
        let mut tally = Tally::default();
        self.sync_context(&mut tally);
        let mut entry = self.cache.take(&signature);
        let world = World {
            nodes: &self.nodes,
            classes: &self.classes,
            peers: &self.peers,
        };
        refresh(
            &world,
            &mut self.set,
            &mut self.scratch,
            &mut entry,
            &signature,
            self.epoch,
            &mut tally,
        );
        let mut top = std::mem::take(&mut self.scratch.top);
        entry.top(&mut top);
        let devices = top.first().map(|row| {
            place(
                &world,
                &mut self.set,
                &mut self.scratch,
                &signature,
                *row,
                &mut tally,
            )
        });
        let mut decision = self.record(slot, &entry, &top, tally);
        match (top.first(), devices) {
            (Some(row), Some(devices)) => self.bind(slot, *row, devices, &mut decision, out),
            _ => self.park(slot, class, &entry, &mut decision),
        }
        self.scratch.top = top;
        self.cache.put(signature, entry, self.config.cache_bytes);
        let tripped = self.tripped.take();
        out.decisions.push(decision);
        if let Some(fault) = tripped {
            self.revert(fault, out);
        }
        true
    }

    /// The row and devices that a pod would get now, or why none.
    pub(crate) fn look(&mut self, slot: u32) -> Result<(u32, u16), Reason> {
        let pod = self.pods.get(slot);
        let class = pod.class;
        let signature = Signature {
            class,
            generation: self.classes.generation(class),
            priority: pod.spec.priority,
            app: if self.set.reads_peers() { pod.app } else { 0 },
        };
        let mut tally = Tally::default();
        self.sync_context(&mut tally);
        let mut entry = self.cache.take(&signature);
        let world = World {
            nodes: &self.nodes,
            classes: &self.classes,
            peers: &self.peers,
        };
        let set = &mut self.set;
        refresh(
            &world,
            set,
            &mut self.scratch,
            &mut entry,
            &signature,
            self.epoch,
            &mut tally,
        );
        let mut top = std::mem::take(&mut self.scratch.top);
        entry.top(&mut top);
        let best = top.first().copied();
        self.scratch.top = top;
        let found = best.map(|row| {
            let devices = place(&world, set, &mut self.scratch, &signature, row, &mut tally);
            (row, devices)
        });
        let reason = self.reason(class, &entry);
        self.cache.put(signature, entry, self.config.cache_bytes);
        found.ok_or(reason)
    }

    /// Gives the set the context as it is now; a new one voids the cache.
    pub(crate) fn sync_context(&mut self, tally: &mut Tally) {
        let context = Arc::clone(self.context.current(&self.nodes));
        if context.version != self.context_seen {
            self.context_seen = context.version;
            self.epoch += 1;
        }
        for m in &mut self.set.members {
            m.policy.begin_decision();
            if m.context != context.version {
                m.context = context.version;
                if let Err(fault) = m.policy.set_context(&context) {
                    tally.fault(m, "set-context", &fault);
                }
            }
        }
    }

    /// The decision without its outcome.
    pub(crate) fn record(
        &mut self,
        slot: u32,
        entry: &Entry,
        top: &[u32],
        tally: Tally,
    ) -> Decision {
        if tally.tripped {
            self.tripped = tally.faults.last().cloned();
        }
        let candidates = top.iter().map(|row| self.candidate(entry, *row)).collect();
        let several = self.set.members.len() > 1 && self.config.leave_one_out;
        let without = if several && !top.is_empty() {
            (0..self.set.members.len())
                .map(|i| self.winner_without(entry, i))
                .collect()
        } else {
            Vec::new()
        };
        let seq = self.next_seq;
        self.next_seq += 1;
        self.pods.get_mut(slot).last_decision = Some(seq);
        Decision {
            seq,
            time_ms: self.now_ms,
            pod: Arc::clone(&self.pods.get(slot).name),
            set_revision: self.set.spec.revision,
            outcome: Outcome::Unschedulable {
                reason: Reason::PendingEvaluation,
            },
            filter: FilterCounts(*entry.counts()),
            candidates,
            without,
            faults: tally.faults,
            rows_scored: tally.rows_scored,
            fuel: tally.fuel,
        }
    }

    fn candidate(&self, entry: &Entry, row: u32) -> Candidate {
        let mut scores = model::decision::Scores::new();
        for column in &entry.scores {
            scores.push(column[row as usize]);
        }
        Candidate {
            row,
            node: Arc::clone(&self.nodes.names[row as usize]),
            total: entry.total(row),
            scores,
        }
    }

    fn winner_without(&self, entry: &Entry, member: usize) -> Option<Arc<str>> {
        let total = |row: u32| {
            let score = |i: usize| entry.scores[i][row as usize];
            self.set.total(score, Some(member))
        };
        (0..entry.rows())
            .filter(|row| entry.total(*row) != NO_TOTAL)
            .max_by_key(|row| (total(*row), std::cmp::Reverse(*row)))
            .map(|row| Arc::clone(&self.nodes.names[row as usize]))
    }

    pub(crate) fn bind(
        &mut self,
        slot: u32,
        row: u32,
        devices: u16,
        decision: &mut Decision,
        out: &mut Output,
    ) {
        let pod = self.pods.get(slot);
        let (class, name) = (pod.class, Arc::clone(&pod.name));
        self.queue
            .remove(class, pod.spec.priority, pod.arrival, slot);
        self.queue.succeeded(class);
        let device_memory = slots_of(devices)
            .map(|s| self.nodes.gpu_memory_free[row as usize * SLOTS + s])
            .max()
            .unwrap_or(0);
        let per_device = self.classes.get(class).per_device(device_memory).into();
        self.occupy(
            slot,
            Allocation {
                row,
                devices,
                per_device,
                since_ms: self.now_ms,
                decision: decision.seq,
            },
        );
        let margin = match decision.candidates.as_slice() {
            [first, second, ..] => first.total - second.total,
            _ => 0,
        };
        let devices: Vec<u8> = slots_of(devices).map(|s| s as u8).collect();
        let node = Arc::clone(&self.nodes.names[row as usize]);
        decision.outcome = Outcome::Bound {
            row,
            node: Arc::clone(&node),
            devices: devices.clone(),
            margin,
        };
        out.changed.push(Key::Pod(Arc::clone(&name)));
        out.effects.push(Effect::Bind {
            pod: name,
            node,
            devices,
        });
    }

    fn park(&mut self, slot: u32, class: u32, entry: &Entry, decision: &mut Decision) {
        let reason = self.reason(class, entry);
        self.pods.get_mut(slot).reason = reason;
        if entry.counts()[Rejection::Policy as usize] > 0 {
            self.queue.set_aside(class, slot, self.now_ms);
        } else {
            self.queue.park(class, self.now_ms);
            self.preemption.notice();
        }
        decision.outcome = Outcome::Unschedulable { reason };
    }

    /// Why nothing fits, by precedence.
    fn reason(&self, class: u32, entry: &Entry) -> Reason {
        let count = |r: Rejection| entry.counts()[r as usize];
        let nodes = self.nodes.live();
        let permanent: u32 = Rejection::ALL
            .into_iter()
            .filter(|r| r.is_permanent())
            .map(count)
            .sum();
        if nodes > 0 && permanent == nodes {
            return Reason::Infeasible;
        }
        let full = [
            Rejection::Cpu,
            Rejection::Memory,
            Rejection::Disk,
            Rejection::Network,
            Rejection::Gpu,
            Rejection::GpuFragmented,
        ];
        if count(Rejection::Policy) > 0 && full.into_iter().all(|r| count(r) == 0) {
            return Reason::DeniedByPolicy;
        }
        if count(Rejection::GpuFragmented) > 0 || self.scattered(class, entry) {
            return Reason::FragmentedTopology;
        }
        Reason::WaitingForCapacity
    }

    /// Whether the devices that are free on nodes that lack only devices would
    /// be enough if they were on one node.
    fn scattered(&self, class: u32, entry: &Entry) -> bool {
        let need = self.classes.get(class).gpu.total_milli();
        let free: i64 = (0..entry.rows())
            .filter(|row| entry.result(*row) == Some(Rejection::Gpu))
            .map(|row| i64::from(self.nodes.gpu_free[row as usize]))
            .sum();
        need > 0 && free >= need
    }

    /// Takes a set out that a breaker tripped on, for the one before it if that
    /// is another, else for the built-in.
    pub(crate) fn revert(&mut self, fault: model::decision::FaultNote, out: &mut Output) {
        let from = self.set.spec.revision;
        let to = match self.previous.take() {
            Some(previous) if previous.members.iter().all(|m| m.breaker.total() == 0) => previous,
            _ => ScoringSet::builtin(0),
        };
        let revision = to.spec.revision;
        self.set = to;
        self.rules_changed();
        out.effects.push(Effect::SetReverted {
            kind: model::PolicyKind::Scoring,
            policy: fault.policy,
            from,
            to: revision,
            fault: format!("{}: {}", fault.code, fault.message),
        });
    }
}
