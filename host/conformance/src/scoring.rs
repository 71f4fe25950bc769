//! The laws of the scoring kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::port::{Column, Context, ScoringPolicy};
use engine::{REFUSE, SCORE_MAX};
use model::decision::ABSTAIN;
use model::{PolicyFault, PolicyKind};

use crate::FAULTS_MAX;
use crate::case::{self, ScoringCase};
use crate::describe;
use crate::law::Law;
use crate::order::orders;
use crate::report::{Book, Broken, Report};
use crate::table::{Question, Table, other_context};

/// Makes a fresh, configured instance. The text is its settings; settings it
/// does not accept end in [`PolicyFault::Refused`].
pub type MakeScoring<'a> = dyn FnMut(&str) -> Result<Box<dyn ScoringPolicy>, PolicyFault> + 'a;

/// Rows asked one by one in the batch-split law.
const SINGLES: usize = 16;

/// Rows of one part in the batch-split law: not a multiple of any block size.
const PART_ROWS: usize = 613;

/// Rows on which devices are placed, per case and pod.
const PLACED: usize = 8;

/// Rows explained, per case and pod.
const EXPLAINED: usize = 16;

/// Laws that compare answers; without one answer to compare they say nothing.
const COMPARING: [Law; 5] = [
    Law::Statelessness,
    Law::BatchSplit,
    Law::RowPermutation,
    Law::EqualRows,
    Law::ContextReplay,
];

/// Puts a scoring policy through every law on every case.
pub fn check_scoring(make: &mut MakeScoring<'_>) -> Report {
    let mut book = Book::default();
    let mut start = |s: &str| make(s).map(|p| p.description().clone());
    let introduced = describe::introduce(PolicyKind::Scoring, &mut start, &mut book);
    let Some((description, settings)) = introduced else {
        return book.report();
    };
    let mut kit = Kit {
        make,
        settings,
        columns: description.columns,
        book,
        faults: 0,
    };
    let cases = case::scoring();
    let find = |name: &str| cases.cluster.iter().find(|c| c.name == name);
    for case in &cases.case {
        let Some(cluster) = find(&case.cluster) else {
            continue; // A test of `case` shows that every name exists.
        };
        let table = Table::new(cluster);
        let pods = case
            .pods
            .iter()
            .filter_map(|name| cases.pod.iter().find(|p| p.name == *name));
        let questions: Vec<_> = pods.map(|pod| table.ask(&case.name, pod)).collect();
        for i in 0..questions.len() {
            kit.question(case, &questions, i);
        }
    }
    kit.book.report()
}

struct Kit<'a, 'm> {
    make: &'a mut MakeScoring<'m>,
    settings: String,
    columns: Vec<Column>,
    book: Book,
    faults: u32,
}

impl Kit<'_, '_> {
    fn question(&mut self, case: &ScoringCase, all: &[Question<'_>], i: usize) {
        let q = &all[i];
        if self.faults >= FAULTS_MAX {
            self.book
                .skip(Law::Answer, &q.name, "too many faults before it");
            return;
        }
        let answer = self.answer(q);
        let scores = match answer {
            Ok((scores, fuel)) => {
                self.book.fuel(fuel);
                self.book.note(Law::Answer, &q.name, Ok(()));
                (scores, fuel)
            }
            Err(fault) => {
                self.faults += u32::from(!matches!(fault, PolicyFault::BadAnswer { .. }));
                self.book.note(Law::Answer, &q.name, Err(fault.into()));
                return;
            }
        };
        let same = self.determinism(q, &scores);
        let same = self.book.note(Law::Determinism, &q.name, same);
        let scores = scores.0;
        for law in COMPARING {
            if !case.is_for(law) {
                continue;
            }
            if !same {
                self.book
                    .skip(law, &q.name, "two fresh instances already disagree");
                continue;
            }
            let result = match law {
                Law::Statelessness => self.statelessness(all, i, &scores),
                Law::BatchSplit => self.batch_split(q, &scores),
                Law::RowPermutation => self.row_permutation(q, &scores),
                Law::EqualRows => self.equal_rows(q, &scores),
                _ => self.context_replay(q, &scores),
            };
            self.book.note(law, &q.name, result);
        }
        if case.is_for(Law::Place) && q.pod.gpu_count > 0 {
            let result = self.place(q);
            self.book.note(Law::Place, &q.name, result);
        }
        if case.is_for(Law::Explain) {
            let result = self.explain(q);
            self.book.note(Law::Explain, &q.name, result);
        }
    }

    // === instances and calls ===

    fn fresh(&mut self, context: &Arc<Context>) -> Result<Box<dyn ScoringPolicy>, PolicyFault> {
        let mut policy = (self.make)(&self.settings)?;
        policy.set_context(context)?;
        Ok(policy)
    }

    fn score(
        &self,
        policy: &mut dyn ScoringPolicy,
        q: &Question<'_>,
        rows: &[u32],
    ) -> Result<(Vec<i32>, u64), PolicyFault> {
        let batch = q.lower(&self.columns, rows);
        let mut out = Vec::new();
        let cost = policy.score(&q.pod, batch.rows(), &mut out)?;
        legal(&out, rows.len())?;
        Ok((out, cost.fuel))
    }

    fn score_fresh(&mut self, q: &Question<'_>, rows: &[u32]) -> Result<Vec<i32>, PolicyFault> {
        let mut policy = self.fresh(&q.table.context)?;
        self.score(&mut *policy, q, rows).map(|(scores, _)| scores)
    }

    fn place_one(
        &self,
        policy: &mut dyn ScoringPolicy,
        q: &Question<'_>,
        row: u32,
    ) -> Result<Option<Vec<u32>>, PolicyFault> {
        let batch = q.lower(&self.columns, &[row]);
        let mut slots = Vec::new();
        let (chosen, _) = policy.place(&q.pod, batch.rows(), &mut slots)?;
        Ok(chosen.then_some(slots))
    }

    // === laws ===

    fn answer(&mut self, q: &Question<'_>) -> Result<(Vec<i32>, u64), PolicyFault> {
        let mut policy = self.fresh(&q.table.context)?;
        self.score(&mut *policy, q, &q.fits)
    }

    fn determinism(&mut self, q: &Question<'_>, first: &(Vec<i32>, u64)) -> Result<(), Broken> {
        let mut policy = self.fresh(&q.table.context)?;
        let (scores, fuel) = self.score(&mut *policy, q, &q.fits)?;
        compare(&q.fits, &first.0, &scores, "the first", "a second instance")?;
        if fuel == first.1 {
            Ok(())
        } else {
            Err(Broken::Law(format!(
                "the same call burnt {} and then {fuel} fuel",
                first.1
            )))
        }
    }

    fn statelessness(
        &mut self,
        all: &[Question<'_>],
        i: usize,
        scores: &[i32],
    ) -> Result<(), Broken> {
        let q = &all[i];
        let row = q.fits.first().copied().filter(|_| q.pod.gpu_count > 0);
        let mut fresh = self.fresh(&q.table.context)?;
        let placed = match row {
            Some(row) => self.place_one(&mut *fresh, q, row)?,
            None => None,
        };
        let forward: Vec<usize> = (0..all.len()).collect();
        let backward: Vec<usize> = (0..all.len()).rev().collect();
        for order in [forward, backward] {
            let mut used = self.fresh(&q.table.context)?;
            for other in &order {
                self.distract(&mut *used, &all[*other]);
            }
            for _ in 0..2 {
                let (again, _) = self.score(&mut *used, q, &q.fits)?;
                compare(&q.fits, scores, &again, "a fresh", "a used instance")?;
            }
            if let Some(row) = row {
                let again = self.place_one(&mut *used, q, row)?;
                if again != placed {
                    return Err(Broken::Law(format!(
                        "row {row}: a fresh instance places {placed:?}, a used one {again:?}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Asks without looking at the answers: they have cases of their own.
    fn distract(&self, policy: &mut dyn ScoringPolicy, q: &Question<'_>) {
        let few = &q.fits[..q.fits.len().min(EXPLAINED)];
        let _ = self.score(policy, q, few);
        if let (Some(row), true) = (few.last(), q.pod.gpu_count > 0) {
            let _ = self.place_one(policy, q, *row);
        }
        let batch = q.lower(&self.columns, few);
        let _ = policy.explain(&q.pod, batch.rows());
    }

    fn batch_split(&mut self, q: &Question<'_>, scores: &[i32]) -> Result<(), Broken> {
        let rows = &q.fits;
        if rows.len() < 2 {
            return Err(Broken::NotRun("fewer than two rows".to_owned()));
        }
        let half = rows.len() / 2 + 1;
        let third = rows.len().div_ceil(3);
        for size in [half, third, PART_ROWS] {
            let mut parts = Vec::with_capacity(rows.len());
            for part in rows.chunks(size) {
                parts.extend(self.score_fresh(q, part)?);
            }
            compare(
                rows,
                scores,
                &parts,
                "one call",
                &format!("calls of {size}"),
            )?;
        }
        for (i, row) in rows.iter().enumerate().take(SINGLES) {
            let alone = self.score_fresh(q, &[*row])?;
            compare(&[*row], &scores[i..=i], &alone, "one call", "a call of 1")?;
        }
        Ok(())
    }

    fn row_permutation(&mut self, q: &Question<'_>, scores: &[i32]) -> Result<(), Broken> {
        let n = q.fits.len();
        if n < 2 {
            return Err(Broken::NotRun("fewer than two rows".to_owned()));
        }
        for order in orders(n) {
            let rows: Vec<u32> = order.iter().map(|i| q.fits[*i]).collect();
            let moved = self.score_fresh(q, &rows)?;
            let mut back = vec![0; n];
            for (at, i) in order.iter().enumerate() {
                back[*i] = moved[at];
            }
            compare(&q.fits, scores, &back, "one order", "another order")?;
        }
        Ok(())
    }

    fn equal_rows(&mut self, q: &Question<'_>, scores: &[i32]) -> Result<(), Broken> {
        let mut seen = BTreeMap::<Vec<i32>, (u32, i32)>::new();
        let mut pairs = 0;
        for (row, score) in q.fits.iter().zip(scores) {
            let batch = q.lower(&self.columns, &[*row]);
            let look = batch.rows().data.to_vec();
            match seen.get(&look) {
                None => {
                    seen.insert(look, (*row, *score));
                }
                Some((twin, other)) if other != score => {
                    return Err(Broken::Law(format!(
                        "rows {twin} and {row} have the same columns and the scores {other} and {score}"
                    )));
                }
                Some(_) => pairs += 1,
            }
        }
        if pairs > 0 {
            Ok(())
        } else {
            Err(Broken::NotRun("no two rows look alike to it".to_owned()))
        }
    }

    fn context_replay(&mut self, q: &Question<'_>, scores: &[i32]) -> Result<(), Broken> {
        let here = &q.table.context;
        let mut policy = self.fresh(here)?;
        policy.set_context(&other_context(here))?;
        self.score(&mut *policy, q, &q.fits)?;
        for _ in 0..2 {
            policy.set_context(here)?;
            let (again, _) = self.score(&mut *policy, q, &q.fits)?;
            compare(
                &q.fits,
                scores,
                &again,
                "the context alone",
                "it after another",
            )?;
        }
        Ok(())
    }

    fn place(&mut self, q: &Question<'_>) -> Result<(), Broken> {
        if q.fits.is_empty() {
            return Err(Broken::NotRun("no row could run the pod".to_owned()));
        }
        let mut policy = self.fresh(&q.table.context)?;
        let step = q.fits.len().div_ceil(PLACED);
        for row in q.fits.iter().step_by(step) {
            let placed = self.place_one(&mut *policy, q, *row)?;
            let mut fresh = self.fresh(&q.table.context)?;
            let again = self.place_one(&mut *fresh, q, *row)?;
            if placed != again {
                return Err(Broken::Law(format!(
                    "row {row}: {placed:?} once, {again:?} on another instance"
                )));
            }
            let Some(slots) = placed else {
                continue; // Abstains: the next policy or the host places.
            };
            let usable = q.table.usable(&q.pod, *row);
            if slots.len() != q.pod.gpu_count as usize {
                return Err(Broken::Law(format!(
                    "row {row}: {} devices placed, the pod asks for {}",
                    slots.len(),
                    q.pod.gpu_count
                )));
            }
            for (i, slot) in slots.iter().enumerate() {
                if slots[..i].contains(slot) {
                    return Err(Broken::Law(format!("row {row}: device {slot} twice")));
                }
                if !usable.contains(slot) {
                    return Err(Broken::Law(format!(
                        "row {row}: device {slot} cannot take the pod; {usable:?} can"
                    )));
                }
            }
        }
        Ok(())
    }

    fn explain(&mut self, q: &Question<'_>) -> Result<(), Broken> {
        let rows = &q.fits[..q.fits.len().min(EXPLAINED)];
        let mut policy = self.fresh(&q.table.context)?;
        // The scores of just these rows: whether a larger call gives the same is
        // the law of batch-split.
        let (scores, _) = self.score(&mut *policy, q, rows)?;
        let batch = q.lower(&self.columns, rows);
        let explained = policy.explain(&q.pod, batch.rows())?;
        if explained.len() != rows.len() {
            return Err(Broken::Law(format!(
                "{} explanations for {} rows",
                explained.len(),
                rows.len()
            )));
        }
        for ((row, parts), score) in rows.iter().zip(&explained).zip(&scores) {
            let sum: i128 = parts.iter().map(|p| i128::from(p.value)).sum();
            // A refusal or an abstention is no sum.
            if *score >= 0 && sum != i128::from(*score) {
                return Err(Broken::Law(format!(
                    "row {row}: the parts add up to {sum}, the score is {score}"
                )));
            }
        }
        Ok(())
    }
}

fn legal(scores: &[i32], rows: usize) -> Result<(), PolicyFault> {
    if scores.len() != rows {
        return Err(PolicyFault::BadAnswer {
            detail: format!("{} scores for {rows} rows", scores.len()),
        });
    }
    let legal = |s: &i32| (0..=SCORE_MAX).contains(s) || *s == REFUSE || *s == ABSTAIN;
    match scores.iter().position(|s| !legal(s)) {
        None => Ok(()),
        Some(at) => Err(PolicyFault::BadAnswer {
            detail: format!(
                "score {} is not 0 to {SCORE_MAX}, {REFUSE} or {ABSTAIN}",
                scores[at]
            ),
        }),
    }
}

fn compare(rows: &[u32], a: &[i32], b: &[i32], one: &str, two: &str) -> Result<(), Broken> {
    match (0..rows.len()).find(|i| a[*i] != b[*i]) {
        None => Ok(()),
        Some(i) => Err(Broken::Law(format!(
            "row {}: {} from {one}, {} from {two}",
            rows[i], a[i], b[i]
        ))),
    }
}
