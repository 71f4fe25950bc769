//! The quota cycle: the heads of all lines at once, put in order, then ruled on
//! one after the other.
//!
//! The order is the first policy's that has an opinion, else the built-in: who
//! stays within the own quota before who borrows, then by dominant share after
//! entry, priority, age and id. The rulings are, a head, the first policy's that
//! does not abstain, else the built-in. Each is checked when its turn comes,
//! against everything that entered before it; what a policy may not do, the
//! built-in rules on instead. So no answer of a policy can overdraw a quota.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use model::decision::FaultNote;
use model::plan::{AdmissionOutcome, AdmissionRecord};
use model::{PolicyFault, Reason};

use super::door::bad;
use super::line::Standing;
use super::ruling::{Decided, Owed, Turn, Unfit, native};
use super::set::{Call, Gate};
use crate::effect::{Key, Output};
use crate::engine::Engine;
use crate::port::admission::{Cycle, HEADS_PER_CYCLE, Head, Ruling, SortKey};
use crate::quota::{Usage, demand_rows};

/// Most elements of one sort key: more would be data, not an order.
const SORT_KEY_MAX: usize = 16;

// One call sees all heads; the bound of queues and that of a call agree.
const _: () = assert!(model::quota::QUEUES_MAX <= HEADS_PER_CYCLE);

/// What the policies said in one cycle.
#[derive(Default)]
struct Advice {
    /// A ruling a head, and whose it is; the built-in rules where there is none.
    rulings: Vec<Option<(usize, Ruling)>>,
    calls: Vec<Call>,
    fuel: u64,
    /// What each member was shown, and what it let in since.
    usage: Vec<Option<Usage>>,
}

impl Engine {
    /// A pod whose quota does not pay yet.
    pub(crate) fn wait_for_quota(&mut self, slot: u32) {
        let pod = self.pods.get(slot);
        let (Some(queue), Some(id)) = (&pod.queue, &pod.spec.job) else {
            return;
        };
        let priority = self.pods.jobs.get(id).map(|j| j.spec.template.priority);
        let priority = priority.unwrap_or(pod.spec.priority);
        let lines = &mut self.admission.lines;
        lines.insert((id, queue), priority, (pod.arrival, slot));
        lines.stir_line(queue);
    }

    /// The reverse.
    pub(crate) fn stop_waiting_for_quota(&mut self, slot: u32) {
        if self.unlist(slot)
            && let Some(queue) = &self.pods.get(slot).queue
        {
            self.admission.lines.stir_line(queue);
        }
    }

    fn unlist(&mut self, slot: u32) -> bool {
        let pod = self.pods.get(slot);
        let place = (pod.arrival, slot);
        let job = pod.spec.job.as_ref();
        job.is_some_and(|id| self.admission.lines.remove(id, place))
    }

    /// Its quota pays for these pods of a job from now on.
    pub(crate) fn admit_job(&mut self, job: &str, slots: &[u32], out: &mut Output) {
        let mut entered = 0;
        for slot in slots {
            if self.pods.get(*slot).admitted {
                continue;
            }
            self.unlist(*slot);
            let pod = self.pods.get_mut(*slot);
            pod.admitted = true;
            pod.reason = Reason::PendingEvaluation;
            out.changed.push(Key::Pod(Arc::clone(&pod.name)));
            self.charge_quota(*slot, 1);
            self.enqueue(*slot);
            entered += 1;
        }
        let Some(of) = self.pods.jobs.get_mut(job).filter(|_| entered > 0) else {
            return;
        };
        of.attempts += 1;
        let queue = Arc::from(of.spec.meta.queue.as_str());
        out.changed.push(Key::Job(Arc::from(job)));
        let outcome = AdmissionOutcome::Admitted(entered);
        out.admissions.push(self.ruled(job, queue, outcome));
    }

    /// Gives back what a pod's quota paid for it; the caller then puts it where
    /// it waits.
    pub(crate) fn unadmit(&mut self, slot: u32, out: &mut Output) {
        let pod = self.pods.get(slot);
        if pod.queue.is_none() || !pod.admitted {
            return;
        }
        out.changed.push(Key::Pod(Arc::clone(&pod.name)));
        self.charge_quota(slot, -1);
        self.quota_freed(slot);
        self.pods.get_mut(slot).admitted = false;
    }

    /// The pod gave its quota back: whoever draws on the same tree may enter.
    pub(crate) fn quota_freed(&mut self, slot: u32) {
        let (quotas, pod) = (&self.quotas, self.pods.get(slot));
        let root = |queue: &str| {
            let node = quotas.queue_state(queue)?.node?;
            Some(quotas.tree().root(node))
        };
        if let Some(freed) = pod.queue.as_deref().and_then(root) {
            let lines = &mut self.admission.lines;
            lines.stir_lines(|queue| root(queue) == Some(freed));
        }
    }

    /// One admission cycle, if something changed since the last that could let
    /// somebody in. `false` when nobody entered.
    pub(crate) fn admit_next(&mut self, out: &mut Output) -> bool {
        if !self.admission.lines.begin() {
            return false;
        }
        loop {
            let turns = self.turns(out);
            if turns.is_empty() {
                self.admission.lines.end();
                return false;
            }
            if self.cycle(turns, out) {
                return true;
            }
        }
    }

    /// Of every line that is not suspended, its head; of one whose head was left,
    /// the next job that its quota could pay for.
    fn turns(&mut self, out: &mut Output) -> Vec<Turn> {
        let owed = self.owed();
        let mut turns = Vec::new();
        for queue in self.admission.lines.queues() {
            if self.quotas.queue(&queue).is_none_or(|q| q.suspended) {
                continue;
            }
            while let Some((key, head)) = self.admission.lines.next(&queue) {
                let job = self.admission.lines.job(&key.2);
                let known = job.filter(|job| job.standing != Standing::New);
                let least = known.and_then(|job| job.least).filter(|_| !head);
                if least.is_some_and(|least| !owed.lets(&self.quotas, &queue, &least)) {
                    continue;
                }
                let Some(shape) = self.shape_of(&key.2) else {
                    self.admission.lines.leave(&queue, &key);
                    continue;
                };
                let turn = Turn {
                    key,
                    queue: Arc::clone(&queue),
                    head,
                    shape,
                };
                let need = &turn.shape.min_demand;
                if head || owed.lets(&self.quotas, &queue, need) {
                    turns.push(turn);
                    break;
                }
                if self.is_plain(&turn) {
                    let least = turn.shape.min_demand;
                    self.admission.lines.set_least(turn.job(), least);
                }
                self.pass_over(&turn, &owed, out);
            }
        }
        turns
    }

    /// Whether the least that could enter depends on its waiting pods alone.
    fn is_plain(&self, turn: &Turn) -> bool {
        let job = self.pods.jobs.get(&**turn.job());
        let waiting = turn.shape.waiting.iter().sum::<u32>() as usize;
        job.is_some_and(|j| j.spec.gang.is_none() || j.pods.len() == waiting)
    }

    /// Guarantees that heads are waiting for.
    fn owed(&self) -> Owed {
        let mut owed = Owed::default();
        for id in self.admission.lines.reclaiming() {
            if let Some(job) = self.admission.lines.job(id)
                && let Standing::Reclaiming(short) = &job.standing
            {
                owed.add(&self.quotas, &job.queue, short);
            }
        }
        owed
    }

    /// A newcomer behind its head that does not fit is told so, once.
    fn pass_over(&mut self, turn: &Turn, owed: &Owed, out: &mut Output) {
        let job = self.admission.lines.job(turn.job());
        if job.is_none_or(|job| job.standing != Standing::New) {
            return;
        }
        let decided = match native(&self.quotas, &turn.queue, &turn.shape, owed) {
            Decided::Stay(Standing::Reclaiming(short)) => Decided::Stay(Standing::Waiting(short)),
            decided => decided,
        };
        self.follow(turn, decided, false, out);
    }

    /// Rules on these jobs. `false` when none of them entered.
    fn cycle(&mut self, mut turns: Vec<Turn>, out: &mut Output) -> bool {
        self.sort(&mut turns);
        let mut advice = self.advice(&mut turns);
        let mut owed = self.owed();
        for turn in turns.iter().filter(|turn| turn.head) {
            let alone = native(&self.quotas, &turn.queue, &turn.shape, &Owed::default());
            if let Decided::Stay(Standing::Reclaiming(short)) = alone {
                owed.add(&self.quotas, &turn.queue, &short);
            }
        }
        let mut entered = false;
        let first = out.admissions.len();
        for (i, turn) in turns.iter().enumerate() {
            let advised = advice.rulings.get(i).and_then(Option::as_ref);
            let advised = advised.map(|(member, ruling)| (*member, ruling.clone()));
            let mut fault = None;
            let mut by_policy = false;
            let decided = advised.and_then(|(member, ruling)| {
                let usage = advice.usage[member].as_mut()?;
                match self.check_ruling(turn, &ruling, usage, &owed) {
                    Ok(decided) => {
                        if let Some(Decided::Enter(counts)) = &decided
                            && let Some(node) = self.quotas.queue_state(&turn.queue)?.node
                        {
                            let amounts = turn.shape.amounts(counts);
                            self.quotas.tree().charge(usage, node, &amounts, 1);
                        }
                        by_policy = true;
                        decided
                    }
                    Err(Unfit::Overtaken) => None,
                    Err(Unfit::Bad(text)) => {
                        fault = Some((member, text));
                        None
                    }
                }
            });
            let decided =
                decided.unwrap_or_else(|| native(&self.quotas, &turn.queue, &turn.shape, &owed));
            let note = fault.map(|(member, text)| advice.blame(self, member, text));
            let at = out.admissions.len();
            entered |= self.follow(turn, decided, by_policy, out);
            if let (Some(note), Some(record)) = (note, out.admissions.get_mut(at)) {
                record.faults.push(note);
            }
        }
        if let Some(record) = out.admissions.get_mut(first) {
            record.fuel = advice.fuel;
        }
        self.settle(Gate::Cycle, &advice.calls, out);
        entered
    }

    /// Does what was decided about one job. Whether some of it entered.
    fn follow(&mut self, turn: &Turn, decided: Decided, by_policy: bool, out: &mut Output) -> bool {
        let job = turn.job();
        let standing = match decided {
            Decided::Enter(counts) => {
                let slots = self.pick(job, &counts);
                self.admit_job(job, &slots, out);
                return true;
            }
            Decided::Stay(standing) => standing,
        };
        // Who can never enter is not the head that others wait behind.
        if !matches!(standing, Standing::Rejected(_)) {
            self.admission.lines.leave(&turn.queue, &turn.key);
        }
        if by_policy && self.quotas.fits(&turn.queue, &turn.shape.min_demand) {
            self.admission.lines.retry(self.now_ms);
        }
        if turn.head && matches!(standing, Standing::Reclaiming(_)) {
            self.preemption.notice();
            self.admission.lines.reclaim(job);
        }
        let before = self.admission.lines.job(job).map(|w| &w.standing);
        if before.is_none_or(|before| !before.is_like(&standing)) {
            let outcome = match &standing {
                Standing::New => return false,
                Standing::Waiting(short) => AdmissionOutcome::Waiting(short.clone()),
                Standing::Reclaiming(short) => AdmissionOutcome::Reclaiming(short.clone()),
                Standing::Rejected(finding) => AdmissionOutcome::Rejected(finding.clone()),
            };
            let record = self.ruled(job, Arc::clone(&turn.queue), outcome);
            out.admissions.push(record);
        }
        self.admission.lines.set_standing(job, standing);
        false
    }

    fn ruled(&self, job: &str, queue: Arc<str>, outcome: AdmissionOutcome) -> AdmissionRecord {
        AdmissionRecord {
            time_ms: self.now_ms,
            job: Arc::from(job),
            queue,
            set_revision: self.admission_set().spec.revision,
            outcome,
            patches: Vec::new(),
            warnings: Vec::new(),
            faults: Vec::new(),
            fuel: 0,
        }
    }

    /// The built-in order.
    fn sort(&self, turns: &mut [Turn]) {
        let (quotas, tree) = (&self.quotas, self.quotas.tree());
        turns.sort_by_cached_key(|turn| {
            let demand = &turn.shape.demand;
            let node = quotas.queue_state(&turn.queue).and_then(|q| q.node);
            let (borrows, share) = node.map_or((true, i64::MAX), |node| {
                let borrowed = tree.borrowed(quotas.usage(), node, demand);
                let share = tree.dominant_share(quotas.usage(), node, demand);
                (!borrowed.is_zero(), share)
            });
            let created = self.pods.jobs.get(&**turn.job()).map(|j| j.submitted_ms);
            let priority: Reverse<i32> = turn.key.0;
            (borrows, share, priority, created, Arc::clone(turn.job()))
        });
    }

    /// Asks the policies for the order, brings the heads into it, and asks for
    /// rulings.
    fn advice(&mut self, turns: &mut Vec<Turn>) -> Advice {
        let mut advice = Advice::default();
        let members = self.admission.members.asked(Gate::Cycle);
        if members.is_empty() {
            return advice;
        }
        let mut cycle = Cycle {
            now: self.now_ms,
            mode: self.mode(),
            nodes: self.quotas.rows(),
            heads: turns.iter().map(|turn| self.head(turn)).collect(),
        };
        for member in &members {
            let policy = &mut self.admission.members.set.members[*member].policy;
            let answer = policy.order(&cycle).and_then(|(keys, cost)| {
                advice.fuel += cost.fuel;
                check_keys(&keys, turns.len())?;
                Ok(keys)
            });
            let keys = match answer {
                Ok(keys) => {
                    advice.calls.push((*member, "order", Ok(())));
                    keys
                }
                Err(fault) => {
                    advice.calls.push((*member, "order", Err(fault)));
                    continue;
                }
            };
            if keys.iter().any(|key| !key.is_empty()) {
                reorder(turns, &mut cycle.heads, keys);
                break;
            }
        }
        advice.usage = vec![None; self.admission.members.set.members.len()];
        advice.rulings = vec![None; turns.len()];
        for member in members {
            if advice.rulings.iter().all(Option::is_some) {
                break;
            }
            let policy = &mut self.admission.members.set.members[member].policy;
            let answer = policy.admit(&cycle).and_then(|(rulings, cost)| {
                advice.fuel += cost.fuel;
                match rulings.len() == turns.len() {
                    true => Ok(rulings),
                    false => Err(bad(format!(
                        "{} rulings for {} heads",
                        rulings.len(),
                        turns.len()
                    ))),
                }
            });
            match answer {
                Ok(rulings) => {
                    advice.calls.push((member, "admit", Ok(())));
                    advice.usage[member] = Some(self.quotas.usage().clone());
                    for (slot, ruling) in advice.rulings.iter_mut().zip(rulings) {
                        if slot.is_none() && ruling != Ruling::Abstain {
                            *slot = Some((member, ruling));
                        }
                    }
                }
                Err(fault) => advice.calls.push((member, "admit", Err(fault))),
            }
        }
        advice
    }

    /// A job as policies see it.
    fn head(&self, turn: &Turn) -> Head {
        let id = turn.job();
        let (mut attained, mut served, mut since) = (0u64, 0u64, self.now_ms);
        let job = self.pods.jobs.get(&**id);
        for slot in job.iter().flat_map(|j| &j.pods) {
            let pod = self.pods.get(*slot);
            let run = pod
                .at
                .map_or(0, |at| self.now_ms.saturating_sub(at.since_ms));
            let run = pod.progress.served_ms.saturating_add(run);
            let gpu_milli = pod.spec.gpu.total_milli().unsigned_abs();
            attained = attained.saturating_add(run.saturating_mul(gpu_milli) / 1_000);
            served = served.max(pod.progress.served_ms);
            if !pod.admitted {
                since = since.min(pod.submitted_ms);
            }
        }
        let spec = job.map(|j| &j.spec);
        let meta = spec.map(|s| &s.meta);
        let node = self.quotas.queue_state(&turn.queue).and_then(|q| q.node);
        Head {
            job: id.to_string(),
            queue: turn.queue.to_string(),
            node: node.unwrap_or(0),
            priority: spec.map_or(0, |s| s.template.priority),
            created: job.map_or(0, |j| j.submitted_ms),
            waited: self.now_ms.saturating_sub(since),
            attempts: job.map_or(0, |j| j.attempts),
            deadline: meta.and_then(|m| m.deadline_ms),
            expected_runtime: meta
                .and_then(|m| m.expected_runtime_ms)
                .map(|ms| ms.saturating_sub(served)),
            attained,
            demand: demand_rows(&turn.shape.demand),
            min_demand: demand_rows(&turn.shape.min_demand),
        }
    }
}

impl Advice {
    /// A ruling that broke a rule turns the call that gave it into a fault; the
    /// first is the one that is named.
    fn blame(&mut self, engine: &Engine, member: usize, text: String) -> FaultNote {
        let fault = bad(text);
        let note = engine.admission.members.note(member, "admit", &fault);
        let call = self
            .calls
            .iter_mut()
            .find(|c| c.0 == member && c.1 == "admit");
        if let Some((.., result @ Ok(()))) = call {
            *result = Err(fault);
        }
        note
    }
}

fn check_keys(keys: &[SortKey], heads: usize) -> Result<(), PolicyFault> {
    if keys.len() != heads {
        return Err(bad(format!("{} sort keys for {heads} heads", keys.len())));
    }
    match keys.iter().map(Vec::len).max() {
        Some(longest) if longest > SORT_KEY_MAX => Err(bad(format!(
            "a sort key of {longest} elements, at most {SORT_KEY_MAX}"
        ))),
        _ => Ok(()),
    }
}

/// By key, those without one last; equal keys stay in the built-in order.
fn reorder(turns: &mut Vec<Turn>, heads: &mut Vec<Head>, keys: Vec<SortKey>) {
    let place = |a: &SortKey, b: &SortKey| -> Ordering {
        a.is_empty().cmp(&b.is_empty()).then_with(|| a.cmp(b))
    };
    let rows = std::mem::take(turns).into_iter().zip(std::mem::take(heads));
    let mut rows: Vec<_> = keys.into_iter().zip(rows).collect();
    rows.sort_by(|(a, _), (b, _)| place(a, b));
    (*turns, *heads) = rows.into_iter().map(|(_, row)| row).unzip();
}
