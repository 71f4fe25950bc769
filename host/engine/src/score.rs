//! Bringing one signature's remembered rows up to date: filter the rows that
//! changed, ask each policy about those that still fit, combine.

use model::decision::{ABSTAIN, FaultNote};
use model::{PolicyFault, Rejection};

use crate::builtin::binpack::BuiltinBinpack;
use crate::cache::{Entry, Signature};
use crate::class::Classes;
use crate::filter::{Filter, MatchMemo};
use crate::lower::Lowered;
use crate::nodes::{Nodes, to_s32};
use crate::peers::Peers;
use crate::port::{Cost, PodRow, ScoringPolicy};
use crate::set::{ActiveMember, REFUSE, SCORE_MAX, ScoringSet};

/// Rows of one call. A cold pass of a large cluster is several calls, so that
/// a policy that runs out of budget keeps what it finished.
pub const ROWS_PER_CALL: usize = 512;

/// Fuel of one decision over all its calls. Measured at 6 to 7 million a
/// millisecond, this is some 75 ms: what is left of a cold pass after it is
/// scored by the built-in, so that no policy can hold a decision up for longer
/// than 100 ms. Fuel and not time, because a replay must stop at the same row.
pub const DECISION_FUEL_MAX: u64 = 500_000_000;

/// What the decision reads but does not own.
pub(crate) struct World<'a> {
    pub(crate) nodes: &'a Nodes,
    pub(crate) classes: &'a Classes,
    pub(crate) peers: &'a Peers,
}

/// Buffers used again for every decision.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) lowered: Lowered,
    memo: MatchMemo,
    marks: Vec<u32>,
    mark: u32,
    rows: Vec<u32>,
    fits: Vec<u32>,
    answers: Vec<i32>,
    pub(crate) slots: Vec<u32>,
    pub(crate) top: Vec<u32>,
    builtin: BuiltinBinpack,
}

/// What a decision cost and which policies failed in it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rows_scored: u32,
    pub(crate) fuel: u64,
    pub(crate) faults: Vec<FaultNote>,
    /// A breaker tripped: the set goes once this decision is made.
    pub(crate) tripped: bool,
}

impl Tally {
    pub(crate) fn fault(&mut self, m: &mut ActiveMember, call: &'static str, fault: &PolicyFault) {
        self.tripped |= m.breaker.fault();
        self.faults.push(FaultNote {
            policy: m.member.policy.clone(),
            call,
            code: fault.code(),
            message: fault.to_string(),
        });
    }
}

impl Scratch {
    /// Forgets what was remembered by id of a selector or of tolerations.
    pub(crate) fn forget_matches(&mut self) {
        self.memo = MatchMemo::default();
    }

    pub(crate) fn check_row(&mut self, filter: &Filter<'_>, row: u32) -> Rejection {
        filter.check(&mut self.memo, row)
    }
}

/// The pod as policies see it.
pub(crate) fn pod_row(world: &World<'_>, signature: &Signature, models: u64) -> PodRow {
    let class = world.classes.get(signature.class);
    PodRow {
        cpu: to_s32(class.requests.cpu_milli),
        memory: to_s32(class.requests.memory_mib),
        disk: to_s32(class.requests.disk_mib),
        network: to_s32(class.requests.network_mbps),
        gpu_count: class.gpu.count,
        gpu_milli: class.gpu.milli,
        gpu_memory: to_s32(class.gpu.memory_mib),
        gpu_models: models,
        priority: signature.priority,
        app: signature.app,
    }
}

/// Makes `entry` true for the cluster as it is now.
pub(crate) fn refresh(
    world: &World<'_>,
    set: &mut ScoringSet,
    scratch: &mut Scratch,
    entry: &mut Entry,
    signature: &Signature,
    epoch: u64,
    tally: &mut Tally,
) {
    let nodes = world.nodes;
    let filter = Filter::new(nodes, world.classes, signature.class);
    let pod = pod_row(world, signature, filter.models);
    collect_rows(world, set, scratch, entry, signature, epoch);
    let mut rows = std::mem::take(&mut scratch.rows);
    scratch.fits.clear();
    for row in &rows {
        let result = nodes
            .spec(*row)
            .is_some()
            .then(|| filter.check(&mut scratch.memo, *row));
        entry.set_result(*row, result);
        if result == Some(Rejection::Fits) {
            scratch.fits.push(*row);
        }
    }
    let fits = std::mem::take(&mut scratch.fits);
    for chunk in fits.chunks(ROWS_PER_CALL) {
        for i in 0..set.members.len() {
            score_chunk(
                world,
                &mut set.members[i],
                scratch,
                entry,
                i,
                &pod,
                chunk,
                tally,
            );
        }
        combine(set, entry, chunk);
    }
    entry.settle();
    entry.seen = nodes.now();
    rows.clear();
    scratch.rows = rows;
    scratch.fits = fits;
}

/// Fills `scratch.rows` with the rows to look at again.
fn collect_rows(
    world: &World<'_>,
    set: &ScoringSet,
    scratch: &mut Scratch,
    entry: &mut Entry,
    signature: &Signature,
    epoch: u64,
) {
    let nodes = world.nodes;
    let total = nodes.rows() as usize;
    scratch.rows.clear();
    let changed = (entry.epoch == epoch && !entry.tainted)
        .then(|| nodes.changed_since(entry.seen))
        .flatten();
    let zone_counts = if set.reads_zone_peers() {
        world.peers.zone_counts(signature.app)
    } else {
        &[]
    };
    match changed {
        // Reading half the log costs as much as reading all rows.
        Some(changed) if changed.len() <= total / 2 => {
            entry.grow(total);
            if scratch.marks.len() < total || scratch.mark == u32::MAX {
                scratch.marks.clear();
                scratch.marks.resize(total, 0);
                scratch.mark = 0;
            }
            scratch.mark += 1;
            let (marks, mark) = (&mut scratch.marks, scratch.mark);
            let rows = &mut scratch.rows;
            let mut visit = |row: u32| {
                let seen = &mut marks[row as usize];
                if *seen != mark {
                    *seen = mark;
                    rows.push(row);
                }
            };
            changed.iter().copied().for_each(&mut visit);
            let zones = zone_counts.len().max(entry.zones_seen.len());
            for zone in 0..zones {
                let now = zone_counts.get(zone).copied().unwrap_or(0);
                if now != entry.zones_seen.get(zone).copied().unwrap_or(0) {
                    nodes.zone_rows[zone].iter().copied().for_each(&mut visit);
                }
            }
        }
        _ => {
            entry.reset(total, set.members.len(), epoch);
            scratch.rows.extend(0..total as u32);
        }
    }
    entry.zones_seen.clear();
    entry.zones_seen.extend_from_slice(zone_counts);
}

/// One member's opinion of some rows, checked; the built-in answers for what
/// is missing.
#[expect(clippy::too_many_arguments, reason = "parts of one loop body")]
fn score_chunk(
    world: &World<'_>,
    m: &mut ActiveMember,
    scratch: &mut Scratch,
    entry: &mut Entry,
    index: usize,
    pod: &PodRow,
    rows: &[u32],
    tally: &mut Tally,
) {
    let wants_gpu = pod.gpu_count > 0;
    let answers = &mut scratch.answers;
    answers.clear();
    let columns = &m.policy.description().columns;
    let lowered = scratch
        .lowered
        .fill(world.nodes, world.peers, pod.app, columns, rows, wants_gpu);
    // Who failed in this decision is not asked again in it.
    let failed = tally.faults.iter().any(|f| f.policy == m.member.policy);
    let result = if failed {
        Err(None)
    } else if tally.fuel >= DECISION_FUEL_MAX {
        Err(Some(PolicyFault::OutOfFuel {
            limit: DECISION_FUEL_MAX,
        }))
    } else {
        let answer = m.policy.score(pod, lowered, answers);
        answer
            .and_then(|cost| check_scores(answers, rows.len()).map(|()| cost))
            .map_err(Some)
    };
    match result {
        Ok(Cost { fuel }) => {
            m.breaker.ok();
            tally.fuel += fuel;
        }
        Err(fault) => {
            if let Some(PolicyFault::OutOfFuel { limit }) = fault {
                tally.fuel += limit;
            }
            // Rows finished before the fault count, if they are legal.
            let legal = answers
                .iter()
                .take(rows.len())
                .take_while(|s| is_legal(**s))
                .count();
            answers.truncate(legal);
            entry.tainted = true;
            if let Some(fault) = fault {
                tally.fault(m, "score", &fault);
            }
            let builtin = &mut scratch.builtin;
            let columns = builtin.description().columns.clone();
            let rest = scratch.lowered.fill(
                world.nodes,
                world.peers,
                pod.app,
                &columns,
                &rows[legal..],
                wants_gpu,
            );
            // The built-in never faults; if it did, the row would abstain.
            let _ = builtin.score(pod, rest, answers);
            answers.resize(rows.len(), ABSTAIN);
        }
    }
    tally.rows_scored += rows.len() as u32;
    let column = &mut entry.scores[index];
    for (row, score) in rows.iter().zip(answers.iter()) {
        column[*row as usize] = *score;
    }
}

fn is_legal(score: i32) -> bool {
    (REFUSE..=SCORE_MAX).contains(&score) || score == ABSTAIN
}

fn check_scores(answers: &[i32], rows: usize) -> Result<(), PolicyFault> {
    if answers.len() != rows {
        return Err(PolicyFault::BadAnswer {
            detail: format!("{} scores for {rows} rows", answers.len()),
        });
    }
    match answers.iter().position(|s| !is_legal(*s)) {
        Some(row) => Err(PolicyFault::BadAnswer {
            detail: format!(
                "score {} of row {row} is not in 0..={SCORE_MAX}, {REFUSE} or abstain",
                answers[row]
            ),
        }),
        None => Ok(()),
    }
}

fn combine(set: &ScoringSet, entry: &mut Entry, rows: &[u32]) {
    for row in rows {
        let r = *row as usize;
        let refused = (0..set.members.len()).any(|i| entry.scores[i][r] == REFUSE);
        if refused {
            entry.set_result(*row, Some(Rejection::Policy));
        } else {
            let total = set.total(|i| entry.scores[i][r], None);
            entry.set_total(*row, total);
        }
    }
}
