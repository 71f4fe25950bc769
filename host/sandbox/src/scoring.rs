//! A component behind the engine's scoring port.

use std::sync::Arc;

use engine::port::{Context, Cost, Description, PodRow, Rows, ScoringPolicy};
use model::PolicyFault;
use model::scaling::Part;

use crate::answer;
use crate::audit;
use crate::bindings::scoring::ScoringPolicy as World;
use crate::bindings::scoring::exports::loadmaster::policy::scoring as wit;
use crate::bindings::scoring::loadmaster::policy::types;
use crate::fault::Given;
use crate::guest::{Clock, Guest};
use crate::limits::{AUDIT_ROWS_MAX, EXPLAIN_ROWS_PER_CALL, MESSAGE_BYTES_MAX, RunLimits};
use crate::log::escape;
use crate::lower::lower_context;
use crate::prepared::{Linked, Prepared};

/// One scoring policy with its settings. The instance inside is reused between
/// calls and replaced after any fault; nothing it remembers may show.
pub struct WasmScoring {
    prepared: Arc<Prepared>,
    settings: String,
    limits: RunLimits,
    context: Option<Arc<Context>>,
    guest: Option<Guest<World>>,
    /// Columns of one value a row, and of one value a row and slot.
    node_columns: usize,
    device_columns: usize,
    /// Questions asked, for the audit.
    asked: u64,
    /// One chunk of a cold pass, gathered.
    chunk: Vec<i32>,
    /// Guard of the decision in progress, once it has asked about many rows.
    decision: Option<Clock>,
}

/// Rows from which a question is part of a cold pass, whose calls are guarded
/// together. Below it the hot path reads no clock.
const COLD_ROWS: u32 = 256;

impl std::fmt::Debug for WasmScoring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmScoring")
            .field("policy", self.prepared.id())
            .field("alive", &self.guest.is_some())
            .finish_non_exhaustive()
    }
}

impl WasmScoring {
    pub(crate) fn start(
        prepared: &Arc<Prepared>,
        settings: &str,
        limits: RunLimits,
    ) -> Result<Self, PolicyFault> {
        let columns = &prepared.description().columns;
        let device_columns = columns.iter().filter(|c| c.is_per_gpu()).count();
        let mut policy = Self {
            prepared: Arc::clone(prepared),
            settings: settings.to_owned(),
            limits,
            context: None,
            guest: None,
            node_columns: columns.len() - device_columns,
            device_columns,
            asked: 0,
            decision: None,
            chunk: Vec::new(),
        };
        policy.guest = Some(policy.fresh(Clock::single(&limits))?);
        Ok(policy)
    }

    /// An instance that has been given settings and context, and nothing else.
    fn fresh(&self, clock: Clock) -> Result<Guest<World>, PolicyFault> {
        let mut guest = self.prepared.start(&self.limits, clock, |linked, store| {
            let Linked::Scoring(pre) = linked else {
                // `Prepared::scoring` checked the kind.
                return Err(wasmtime::Error::msg("not a scoring policy"));
            };
            pre.instantiate(store)
        })?;
        let (accepted, _) = guest.call(self.setup(clock)?, |world, store| {
            world
                .loadmaster_policy_scoring()
                .call_configure(store, &self.settings)
        })?;
        accepted.map_err(refused)?;
        if let Some(context) = &self.context {
            set_context(&mut guest, self.setup(clock)?, context)?;
        }
        Ok(guest)
    }

    fn setup(&self, clock: Clock) -> Result<Given, PolicyFault> {
        Ok(Given {
            fuel: self.limits.fuel_setup,
            wall_ms: clock.left(self.limits.setup_wall_ms)?,
        })
    }

    /// The guard of the next question. The clock is read only if more than one
    /// call may be needed.
    fn clock(&self, many_calls: bool) -> Clock {
        if many_calls || self.guest.is_none() {
            Clock::running(&self.limits)
        } else {
            Clock::single(&self.limits)
        }
    }

    /// Asks the reused instance, replacing it first if the last one is gone.
    /// Any error, in the call or in `check`, ends the instance.
    fn ask<R>(
        &mut self,
        clock: Clock,
        ask: impl FnOnce(&mut Guest<World>, &RunLimits) -> Result<R, PolicyFault>,
    ) -> Result<R, PolicyFault> {
        let mut guest = match self.guest.take() {
            Some(guest) => guest,
            None => self.fresh(clock)?,
        };
        guest.begin_decision();
        let answer = ask(&mut guest, &self.limits)?;
        self.guest = Some(guest);
        Ok(answer)
    }

    /// Number of runs of `count` values in a batch.
    fn strips(&self, slots: u32) -> usize {
        self.node_columns + self.device_columns * slots as usize
    }

    /// Repeats a question on a fresh instance and compares. Also for a caller
    /// that wants to know now.
    ///
    /// # Errors
    /// [`PolicyFault::StatefulDivergence`], or the fault of the reused instance.
    pub fn audit_now(&mut self, pod: &PodRow, rows: Rows<'_>) -> Result<(), PolicyFault> {
        let count = rows.count.min(AUDIT_ROWS_MAX);
        let few = head(rows, count, self.strips(rows.slots));
        let rows = Rows {
            count,
            data: &few,
            ..rows
        };
        let clock = self.clock(true);
        let (reused, _) = self.ask(clock, |guest, limits| {
            score_once(guest, limits, pod, rows, clock)
        })?;
        self.compare(pod, rows, &reused, clock)
    }

    /// Compares what the reused instance said for the first of `rows` with what
    /// a fresh one says. On the thread that asked, so that the same journal finds
    /// the same divergence at the same decision; few rows, so that it is cheap.
    fn audit(
        &mut self,
        pod: &PodRow,
        rows: Rows<'_>,
        said: &[i32],
        clock: Clock,
    ) -> Result<(), PolicyFault> {
        let count = rows.count.min(AUDIT_ROWS_MAX);
        let few = head(rows, count, self.strips(rows.slots));
        let rows = Rows {
            count,
            data: &few,
            ..rows
        };
        self.compare(pod, rows, &said[..count as usize], clock)
    }

    fn compare(
        &mut self,
        pod: &PodRow,
        rows: Rows<'_>,
        said: &[i32],
        clock: Clock,
    ) -> Result<(), PolicyFault> {
        let fresh = self
            .fresh(clock)
            .and_then(|mut guest| score_once(&mut guest, &self.limits, pod, rows, clock))
            .map(|(scores, _)| scores);
        let verdict = audit::compare(said, fresh);
        if verdict.is_err() {
            self.guest = None;
        }
        verdict
    }
}

impl ScoringPolicy for WasmScoring {
    fn description(&self) -> &Description {
        self.prepared.description()
    }

    fn set_context(&mut self, context: &Arc<Context>) -> Result<(), PolicyFault> {
        self.context = Some(Arc::clone(context));
        let clock = self.clock(true);
        match self.guest.take() {
            Some(mut guest) => {
                guest.begin_decision();
                set_context(&mut guest, self.setup(clock)?, context)?;
                self.guest = Some(guest);
            }
            // Starting one gives it the context.
            None => self.guest = Some(self.fresh(clock)?),
        }
        Ok(())
    }

    fn begin_decision(&mut self) {
        self.decision = None;
    }

    fn score(
        &mut self,
        pod: &PodRow,
        rows: Rows<'_>,
        out: &mut Vec<i32>,
    ) -> Result<Cost, PolicyFault> {
        let strips = self.strips(rows.slots);
        debug_assert_eq!(rows.data.len(), strips * rows.count as usize, "layout");
        self.asked += 1;
        let every = self.limits.audit_every;
        let audited = every > 0 && self.asked.is_multiple_of(every);
        let chunked = rows.count > self.limits.chunk_rows;
        let clock = if rows.count >= COLD_ROWS {
            let limits = &self.limits;
            *self.decision.get_or_insert_with(|| Clock::running(limits))
        } else {
            self.clock(audited || chunked)
        };
        let first = out.len();
        let mut chunk = std::mem::take(&mut self.chunk);
        let cost = self.ask(clock, |guest, limits| {
            if chunked {
                return score_in_chunks(guest, limits, pod, rows, strips, clock, &mut chunk, out);
            }
            let (scores, fuel) = score_once(guest, limits, pod, rows, clock)?;
            out.extend_from_slice(&scores);
            Ok(Cost { fuel })
        });
        self.chunk = chunk;
        let cost = cost?;
        if audited {
            // A policy that remembers is wrong about all its rows.
            self.audit(pod, rows, &out[first..], clock)
                .inspect_err(|_| out.truncate(first))?;
        }
        Ok(cost)
    }

    fn place(
        &mut self,
        pod: &PodRow,
        row: Rows<'_>,
        out: &mut Vec<u32>,
    ) -> Result<(bool, Cost), PolicyFault> {
        let clock = self.clock(false);
        self.ask(clock, |guest, limits| {
            let given = Given {
                fuel: limits.fuel_for_rows(1, row.slots),
                wall_ms: clock.left(limits.call_wall_ms)?,
            };
            let (chosen, fuel) = guest.call(given, |world, store| {
                world
                    .loadmaster_policy_scoring()
                    .call_place(store, lower_pod(pod), lower_rows(row))
            })?;
            let placed = chosen.is_some();
            if let Some(chosen) = chosen {
                answer::slots(&chosen, pod.gpu_count, row.slots)?;
                out.extend_from_slice(&chosen);
            }
            Ok((placed, Cost { fuel }))
        })
    }

    fn explain(&mut self, pod: &PodRow, rows: Rows<'_>) -> Result<Vec<Vec<Part>>, PolicyFault> {
        let strips = self.strips(rows.slots);
        let mut chunk = std::mem::take(&mut self.chunk);
        let clock = self.clock(true);
        let explained = self.ask(clock, |guest, limits| {
            let mut all = Vec::with_capacity(rows.count as usize);
            for first in (0..rows.count).step_by(EXPLAIN_ROWS_PER_CALL as usize) {
                let few = gather(rows, first, EXPLAIN_ROWS_PER_CALL, strips, &mut chunk);
                explain_once(guest, limits, pod, few, clock, &mut all)?;
            }
            Ok(all)
        });
        self.chunk = chunk;
        explained
    }
}

// === calls ===

fn score_once(
    guest: &mut Guest<World>,
    limits: &RunLimits,
    pod: &PodRow,
    rows: Rows<'_>,
    clock: Clock,
) -> Result<(Vec<i32>, u64), PolicyFault> {
    let given = Given {
        fuel: limits.fuel_for_rows(rows.count, rows.slots),
        wall_ms: clock.left(limits.call_wall_ms)?,
    };
    let (scores, fuel) = guest.call(given, |world, store| {
        world
            .loadmaster_policy_scoring()
            .call_score(store, lower_pod(pod), lower_rows(rows))
    })?;
    answer::scores(&scores, rows.count)?;
    Ok((scores, fuel))
}

/// A cold pass. Chunks that were finished stay in `out` whatever the next does.
#[expect(clippy::too_many_arguments, reason = "the parts of one borrowed self")]
fn score_in_chunks(
    guest: &mut Guest<World>,
    limits: &RunLimits,
    pod: &PodRow,
    rows: Rows<'_>,
    strips: usize,
    clock: Clock,
    chunk: &mut Vec<i32>,
    out: &mut Vec<i32>,
) -> Result<Cost, PolicyFault> {
    let mut fuel = 0;
    for first in (0..rows.count).step_by(limits.chunk_rows as usize) {
        let some = gather(rows, first, limits.chunk_rows, strips, chunk);
        let (scores, burnt) = score_once(guest, limits, pod, some, clock)?;
        out.extend_from_slice(&scores);
        fuel += burnt;
    }
    Ok(Cost { fuel })
}

fn explain_once(
    guest: &mut Guest<World>,
    limits: &RunLimits,
    pod: &PodRow,
    rows: Rows<'_>,
    clock: Clock,
    all: &mut Vec<Vec<Part>>,
) -> Result<(), PolicyFault> {
    let (scores, _) = score_once(guest, limits, pod, rows, clock)?;
    let given = Given {
        fuel: limits.fuel_for_rows(rows.count, rows.slots),
        wall_ms: clock.left(limits.call_wall_ms)?,
    };
    let (explained, _) = guest.call(given, |world, store| {
        world
            .loadmaster_policy_scoring()
            .call_explain(store, lower_pod(pod), lower_rows(rows))
    })?;
    if explained.len() != scores.len() {
        return Err(PolicyFault::BadAnswer {
            detail: format!("{} explanations for {} rows", explained.len(), rows.count),
        });
    }
    for (given, score) in explained.into_iter().zip(scores) {
        let parts = answer::parts(given.into_iter().map(|p| (p.name, p.value, p.text)))?;
        answer::sum(&parts, score, all.len())?;
        all.push(parts);
    }
    Ok(())
}

fn set_context(
    guest: &mut Guest<World>,
    given: Given,
    context: &Context,
) -> Result<(), PolicyFault> {
    let (accepted, _) = lower_context!(types, context, |lowered| guest.call(
        given,
        |world, store| world
            .loadmaster_policy_scoring()
            .call_set_context(store, lowered)
    ))?;
    accepted.map_err(refused)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
pub(crate) fn refused(message: String) -> PolicyFault {
    PolicyFault::Refused {
        message: escape(&message, MESSAGE_BYTES_MAX).0,
    }
}

// === columns ===

fn lower_pod(pod: &PodRow) -> wit::Pod {
    wit::Pod {
        cpu: pod.cpu,
        memory: pod.memory,
        disk: pod.disk,
        network: pod.network,
        gpu_count: pod.gpu_count,
        gpu_milli: pod.gpu_milli,
        gpu_memory: pod.gpu_memory,
        gpu_models: pod.gpu_models,
        priority: pod.priority,
        app: pod.app,
    }
}

fn lower_rows(rows: Rows<'_>) -> wit::Rows<'_> {
    wit::Rows {
        count: rows.count,
        slots: rows.slots,
        data: rows.data,
    }
}

/// `len` rows from `first`, or those that are left. A batch is `strips` runs of
/// `count` values (a column, or one slot of a device column), so a part of it is
/// the same part of every run.
fn gather<'c>(
    rows: Rows<'_>,
    first: u32,
    len: u32,
    strips: usize,
    chunk: &'c mut Vec<i32>,
) -> Rows<'c> {
    let count = len.min(rows.count - first);
    let (from, n) = (first as usize, count as usize);
    chunk.clear();
    chunk.reserve(strips * n);
    for strip in rows.data.chunks_exact(rows.count.max(1) as usize) {
        chunk.extend_from_slice(&strip[from..from + n]);
    }
    debug_assert_eq!(chunk.len(), strips * n, "layout");
    Rows {
        count,
        slots: rows.slots,
        data: chunk,
    }
}

/// The values of the first `count` rows.
fn head(rows: Rows<'_>, count: u32, strips: usize) -> Vec<i32> {
    let mut few = Vec::new();
    gather(rows, 0, count, strips, &mut few);
    few
}
