//! A component behind the engine's scoring port.

use std::sync::Arc;
use std::time::Instant;

use engine::port::{Context, Cost, Description, PodRow, Rows, ScoringPolicy};
use model::PolicyFault;
use model::event::Mode;
use model::scaling::Part;

use crate::answer;
use crate::audit;
use crate::bindings::scoring::ScoringPolicy as World;
use crate::bindings::scoring::exports::loadmaster::policy::scoring as wit;
use crate::bindings::scoring::loadmaster::policy::types;
use crate::fault::Given;
use crate::guest::Guest;
use crate::limits::{AUDIT_ROWS_MAX, EXPLAIN_ROWS_PER_CALL, MESSAGE_BYTES_MAX, RunLimits};
use crate::log::escape;
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
}

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
            chunk: Vec::new(),
        };
        policy.guest = Some(policy.fresh()?);
        Ok(policy)
    }

    /// An instance that has been given settings and context, and nothing else.
    fn fresh(&self) -> Result<Guest<World>, PolicyFault> {
        let mut guest = self.prepared.start(&self.limits, |linked, store| {
            let Linked::Scoring(pre) = linked else {
                // `Prepared::scoring` checked the kind.
                return Err(wasmtime::Error::msg("not a scoring policy"));
            };
            pre.instantiate(store)
        })?;
        let given = self.setup();
        let (accepted, _) = guest.call(given, |world, store| {
            world
                .loadmaster_policy_scoring()
                .call_configure(store, &self.settings)
        })?;
        accepted.map_err(refused)?;
        if let Some(context) = &self.context {
            set_context(&mut guest, given, context)?;
        }
        Ok(guest)
    }

    fn setup(&self) -> Given {
        Given {
            fuel: self.limits.fuel_setup,
            wall_ms: self.limits.setup_wall_ms,
        }
    }

    /// Asks the reused instance, replacing it first if the last one is gone.
    /// Any error, in the call or in `check`, ends the instance.
    fn ask<R>(
        &mut self,
        ask: impl FnOnce(&mut Guest<World>, &RunLimits) -> Result<R, PolicyFault>,
    ) -> Result<R, PolicyFault> {
        let mut guest = match self.guest.take() {
            Some(guest) => guest,
            None => self.fresh()?,
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
        let few = head(
            rows,
            rows.count.min(AUDIT_ROWS_MAX),
            self.strips(rows.slots),
        );
        let rows = Rows {
            count: rows.count.min(AUDIT_ROWS_MAX),
            slots: rows.slots,
            data: &few,
        };
        let limits = self.limits;
        let (reused, _) = self.ask(|guest, _| score_once(guest, &limits, pod, rows, u64::MAX))?;
        self.compare(pod, rows, &reused)
    }

    /// Compares what the reused instance said for the first of `rows` with what
    /// a fresh one says. On the thread that asked, so that the same journal finds
    /// the same divergence at the same decision; few rows, so that it is cheap.
    fn audit(&mut self, pod: &PodRow, rows: Rows<'_>, said: &[i32]) -> Result<(), PolicyFault> {
        let count = rows.count.min(AUDIT_ROWS_MAX);
        let few = head(rows, count, self.strips(rows.slots));
        let rows = Rows {
            count,
            slots: rows.slots,
            data: &few,
        };
        self.compare(pod, rows, &said[..count as usize])
    }

    fn compare(&mut self, pod: &PodRow, rows: Rows<'_>, said: &[i32]) -> Result<(), PolicyFault> {
        let limits = self.limits;
        let fresh = self
            .fresh()
            .and_then(|mut guest| score_once(&mut guest, &limits, pod, rows, u64::MAX))
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
        let given = self.setup();
        match self.guest.take() {
            Some(mut guest) => {
                guest.begin_decision();
                set_context(&mut guest, given, context)?;
                self.guest = Some(guest);
            }
            None => self.guest = Some(self.fresh()?),
        }
        Ok(())
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
        let first = out.len();
        let mut chunk = std::mem::take(&mut self.chunk);
        let cost = self.ask(|guest, limits| {
            if rows.count <= limits.chunk_rows {
                let (scores, fuel) = score_once(guest, limits, pod, rows, u64::MAX)?;
                out.extend_from_slice(&scores);
                return Ok(Cost { fuel });
            }
            score_in_chunks(guest, limits, pod, rows, strips, &mut chunk, out)
        });
        self.chunk = chunk;
        let cost = cost?;
        let every = self.limits.audit_every;
        if every > 0 && self.asked.is_multiple_of(every) {
            // A policy that remembers is wrong about all its rows.
            self.audit(pod, rows, &out[first..])
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
        self.ask(|guest, limits| {
            let given = Given {
                fuel: limits.fuel_for_rows(1, row.slots),
                wall_ms: limits.call_wall_ms,
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
        let explained = self.ask(|guest, limits| {
            let mut all = Vec::with_capacity(rows.count as usize);
            for first in (0..rows.count).step_by(EXPLAIN_ROWS_PER_CALL as usize) {
                let few = gather(rows, first, EXPLAIN_ROWS_PER_CALL, strips, &mut chunk);
                explain_once(guest, limits, pod, few, &mut all)?;
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
    wall_ms_left: u64,
) -> Result<(Vec<i32>, u64), PolicyFault> {
    let given = Given {
        fuel: limits.fuel_for_rows(rows.count, rows.slots),
        wall_ms: limits.call_wall_ms.min(wall_ms_left),
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
fn score_in_chunks(
    guest: &mut Guest<World>,
    limits: &RunLimits,
    pod: &PodRow,
    rows: Rows<'_>,
    strips: usize,
    chunk: &mut Vec<i32>,
    out: &mut Vec<i32>,
) -> Result<Cost, PolicyFault> {
    let started = Instant::now();
    let mut fuel = 0;
    for first in (0..rows.count).step_by(limits.chunk_rows as usize) {
        let spent = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let left = limits.pass_wall_ms.saturating_sub(spent);
        if left == 0 {
            return Err(PolicyFault::WallTimeout {
                limit_ms: limits.pass_wall_ms,
            });
        }
        let some = gather(rows, first, limits.chunk_rows, strips, chunk);
        let (scores, burnt) = score_once(guest, limits, pod, some, left)?;
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
    all: &mut Vec<Vec<Part>>,
) -> Result<(), PolicyFault> {
    let (scores, _) = score_once(guest, limits, pod, rows, u64::MAX)?;
    let given = Given {
        fuel: limits.fuel_for_rows(rows.count, rows.slots),
        wall_ms: limits.call_wall_ms,
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
    let gpu_models: Vec<_> = context
        .gpu_models
        .iter()
        .map(|m| types::GpuModel {
            name: &m.name,
            devices: m.devices,
            memory: m.memory,
        })
        .collect();
    let shapes: Vec<_> = context
        .shapes
        .iter()
        .map(|s| types::ShapeClass {
            cpu: s.cpu,
            memory: s.memory,
            gpu_count: s.gpu_count,
            gpu_milli: s.gpu_milli,
            gpu_models: s.gpu_models,
            count: s.count,
        })
        .collect();
    let node_shapes: Vec<_> = context
        .node_shapes
        .iter()
        .map(|s| types::NodeShape {
            cpu: s.cpu,
            memory: s.memory,
            gpus: s.gpus,
            gpu_model: s.gpu_model,
            nodes: s.nodes,
        })
        .collect();
    let wirings: Vec<_> = context
        .wirings
        .iter()
        .map(|w| types::Wiring {
            gpus: w.gpus,
            links: &w.links,
            numa: &w.numa,
        })
        .collect();
    let lowered = types::Context {
        version: context.version,
        mode: match context.mode {
            Mode::Normal => types::Mode::Normal,
            Mode::Evacuation => types::Mode::Evacuation,
            Mode::Incident => types::Mode::Incident,
            Mode::Maintenance => types::Mode::Maintenance,
        },
        nodes: context.nodes,
        gpu_models: &gpu_models,
        shapes: &shapes,
        node_shapes: &node_shapes,
        wirings: &wirings,
    };
    let (accepted, _) = guest.call(given, |world, store| {
        world
            .loadmaster_policy_scoring()
            .call_set_context(store, lowered)
    })?;
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
