//! The laws of the preemption kind.

mod plan;
mod question;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use engine::port::Column;
use engine::port::preemption::{Plan, PreemptionPolicy, Proposal};
use model::{PolicyFault, PolicyKind};

use crate::FAULTS_MAX;
use crate::case::preemption::{Outcome, preemption};
use crate::describe;
use crate::law::Law;
use crate::order::orders;
use crate::report::{Book, Broken, Report};
use crate::table::other_context;
use question::Question;

/// Makes a fresh, configured instance. The text is its settings; settings it
/// does not accept end in [`PolicyFault::Refused`].
pub type MakePreemption<'a> =
    dyn FnMut(&str) -> Result<Box<dyn PreemptionPolicy>, PolicyFault> + 'a;

/// Other questions put to an instance before the one under test.
const DISTRACTIONS: usize = 8;

/// Rows and running pods from which a question is large. Such a one shows the
/// budget, and is not asked in between others, since that would only take long.
const LARGE: (usize, usize) = (1_000, 4_000);

/// Laws that compare answers; without one answer to compare they say nothing.
const COMPARING: [Law; 4] = [
    Law::Statelessness,
    Law::ContextReplay,
    Law::RowPermutation,
    Law::RunningOrder,
];

/// Puts a preemption policy through every law on every case.
pub fn check_preemption(make: &mut MakePreemption<'_>) -> Report {
    let mut book = Book::default();
    let mut start = |s: &str| make(s).map(|p| p.description().clone());
    let introduced = describe::introduce(PolicyKind::Preemption, &mut start, &mut book);
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
    let cases = preemption();
    let questions: Vec<Question> = cases.case.iter().map(Question::new).collect();
    for i in 0..questions.len() {
        kit.question(&questions, i);
    }
    kit.book.report()
}

impl Question {
    fn is_large(&self) -> bool {
        self.rows.len() >= LARGE.0 && self.running.len() >= LARGE.1
    }

    fn is_for(&self, law: Law) -> bool {
        self.laws.is_empty() || self.laws.contains(&law)
    }
}

struct Kit<'a, 'm> {
    make: &'a mut MakePreemption<'m>,
    settings: String,
    columns: Vec<Column>,
    book: Book,
    faults: u32,
}

impl Kit<'_, '_> {
    fn question(&mut self, all: &[Question], i: usize) {
        let q = &all[i];
        if self.faults >= FAULTS_MAX {
            let why = "too many faults before it";
            self.book.skip(Law::Answer, &q.name, why);
            return;
        }
        let (said, fuel) = match self.ask_fresh(q) {
            Ok(first) => first,
            Err(fault) => {
                self.faults += u32::from(!matches!(fault, PolicyFault::BadAnswer { .. }));
                self.book.fault(&q.name, fault);
                return;
            }
        };
        self.book.fuel(fuel);
        self.book.note(Law::Answer, &q.name, Ok(()));
        if q.is_large() {
            self.book.within_budget(&q.name, fuel);
        }
        let same = self.determinism(q, &said, fuel);
        let same = self.book.note(Law::Determinism, &q.name, same);
        for law in COMPARING.into_iter().filter(|law| q.is_for(*law)) {
            if !same {
                let why = "two fresh instances already disagree";
                self.book.skip(law, &q.name, why);
                continue;
            }
            let result = match law {
                Law::Statelessness => self.statelessness(all, i, &said),
                Law::ContextReplay => self.context_replay(q, &said),
                Law::RowPermutation if q.rows.len() > 1 => self.row_permutation(q, &said),
                Law::RunningOrder if q.running.len() > 1 => self.running_order(q, &said),
                _ => continue,
            };
            self.book.note(law, &q.name, result);
        }
        let mut legal = true;
        if let Proposal::Plan(plan) = &said {
            let lowered = q.lower(&self.columns);
            let slots = q.request(&lowered).rows.slots;
            for (law, result) in plan::check(q, slots, plan) {
                legal &= result.is_ok();
                let result = result.map_err(Broken::from);
                self.book.note(law, &q.name, result);
            }
            if legal && same && q.preemptor.nominated.is_some() {
                let result = self.nomination(q, plan);
                self.book.note(Law::Nomination, &q.name, result);
            }
        }
        // An illegal plan has been named already.
        if legal && !q.expect.is_empty() {
            let result = expectation(q, &said).map_err(Broken::from);
            self.book.note(Law::Expectation, &q.name, result);
        }
    }

    // === instances and calls ===

    fn fresh(&mut self, q: &Question) -> Result<Box<dyn PreemptionPolicy>, PolicyFault> {
        let mut policy = (self.make)(&self.settings)?;
        policy.set_context(&q.context)?;
        Ok(policy)
    }

    fn ask(
        &self,
        policy: &mut dyn PreemptionPolicy,
        q: &Question,
    ) -> Result<(Proposal, u64), PolicyFault> {
        let lowered = q.lower(&self.columns);
        let (said, cost) = policy.propose(&q.request(&lowered))?;
        Ok((said, cost.fuel))
    }

    fn ask_fresh(&mut self, q: &Question) -> Result<(Proposal, u64), PolicyFault> {
        let mut policy = self.fresh(q)?;
        self.ask(&mut *policy, q)
    }

    // === laws ===

    fn determinism(&mut self, q: &Question, first: &Proposal, fuel: u64) -> Result<(), Broken> {
        let (said, again) = self.ask_fresh(q)?;
        same(first, &said, "the first", "a second instance")?;
        if again == fuel {
            Ok(())
        } else {
            Err(Broken::Law(format!(
                "the same call burnt {fuel} and then {again} fuel"
            )))
        }
    }

    fn statelessness(
        &mut self,
        all: &[Question],
        i: usize,
        first: &Proposal,
    ) -> Result<(), Broken> {
        let after = i + 1..all.len();
        let others: [Vec<usize>; 2] = [
            after.clone().chain(0..i).collect(),
            (0..i).rev().chain(after.rev()).collect(),
        ];
        for order in others {
            let mut used = self.fresh(&all[i])?;
            let small = order.into_iter().filter(|o| !all[*o].is_large());
            for other in small.take(DISTRACTIONS) {
                // The answers of others have been looked at, or will be.
                used.set_context(&all[other].context)?;
                let _ = self.ask(&mut *used, &all[other]);
            }
            used.set_context(&all[i].context)?;
            for _ in 0..2 {
                let (again, _) = self.ask(&mut *used, &all[i])?;
                same(first, &again, "a fresh", "a used instance")?;
            }
        }
        Ok(())
    }

    fn context_replay(&mut self, q: &Question, first: &Proposal) -> Result<(), Broken> {
        let mut policy = self.fresh(q)?;
        policy.set_context(&other_context(&q.context))?;
        self.ask(&mut *policy, q)?;
        policy.set_context(&q.context)?;
        let (again, _) = self.ask(&mut *policy, q)?;
        Ok(same(
            first,
            &again,
            "the context alone",
            "it after another",
        )?)
    }

    fn row_permutation(&mut self, q: &Question, first: &Proposal) -> Result<(), Broken> {
        let one = Names::new(q, first);
        for order in orders(q.rows.len()) {
            let moved = q.with_rows(&order);
            let (again, _) = self.ask_fresh(&moved)?;
            one.same(&Names::new(&moved, &again), "rows")?;
        }
        Ok(())
    }

    fn running_order(&mut self, q: &Question, first: &Proposal) -> Result<(), Broken> {
        let one = Names::new(q, first);
        for order in orders(q.running.len()) {
            let moved = q.with_running(&order);
            let (again, _) = self.ask_fresh(&moved)?;
            one.same(&Names::new(&moved, &again), "running work")?;
        }
        Ok(())
    }

    /// Another domain than the nominated one has to cost less.
    fn nomination(&mut self, q: &Question, plan: &Plan) -> Result<(), Broken> {
        let Some(held) = q.preemptor.nominated.filter(|n| *n != plan.domain) else {
            return Ok(());
        };
        let (Proposal::Plan(there), _) = self.ask_fresh(&q.only(held))? else {
            return Ok(()); // Nothing to hold on to any more.
        };
        let price = |p: &Plan| (p.cost.clone(), p.victims.len() + p.moves.len());
        if price(plan) < price(&there) {
            return Ok(());
        }
        Err(Broken::Law(format!(
            "domain {} for {:?}, and the nominated {} would cost {:?}",
            q.domains[plan.domain as usize].name,
            plan.cost,
            q.domains[held as usize].name,
            there.cost
        )))
    }
}

/// An answer without indices.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    word: &'static str,
    domain: String,
    victims: BTreeSet<u32>,
    moves: BTreeSet<u32>,
}

impl Names {
    fn new(q: &Question, said: &Proposal) -> Self {
        let mut names = Self {
            word: word(said),
            domain: String::new(),
            victims: BTreeSet::new(),
            moves: BTreeSet::new(),
        };
        if let Proposal::Plan(plan) = said {
            let domain = q.domains.get(plan.domain as usize);
            names.domain = domain.map_or_else(String::new, |d| format!("{} {}", d.level, d.name));
            names.victims = plan.victims.iter().map(|v| v.id).collect();
            names.moves = plan.moves.iter().map(|m| m.id).collect();
        }
        names
    }

    fn same(&self, other: &Self, what: &str) -> Result<(), String> {
        let differ =
            |a: String, b: String| Err(format!("{a} in one order of the {what}, {b} in another"));
        if self.word != other.word {
            return differ(self.word.to_owned(), other.word.to_owned());
        }
        if self.domain != other.domain {
            return differ(self.domain.clone(), other.domain.clone());
        }
        if self.victims != other.victims {
            return differ(
                format!("victims {:?}", self.victims),
                format!("{:?}", other.victims),
            );
        }
        match self.moves == other.moves {
            true => Ok(()),
            false => differ(
                format!("moves of {:?}", self.moves),
                format!("{:?}", other.moves),
            ),
        }
    }
}

fn word(said: &Proposal) -> &'static str {
    match said {
        Proposal::Plan(_) => "a plan",
        Proposal::None(_) => "none",
        Proposal::Abstain => "abstain",
    }
}

fn expectation(q: &Question, said: &Proposal) -> Result<(), String> {
    let outcome = match said {
        Proposal::Abstain => return Ok(()),
        Proposal::None(_) => vec![Outcome::None],
        Proposal::Plan(p) if p.victims.is_empty() && p.moves.is_empty() => {
            vec![Outcome::Placement, Outcome::Plan]
        }
        Proposal::Plan(_) => vec![Outcome::Plan],
    };
    if outcome.iter().any(|o| q.expect.contains(o)) {
        return Ok(());
    }
    let said = match said {
        Proposal::None(why) => format!("none ({why})"),
        Proposal::Plan(p) => format!(
            "a plan with {} victims and {} moves",
            p.victims.len(),
            p.moves.len()
        ),
        Proposal::Abstain => "abstain".to_owned(),
    };
    Err(format!("{said}, but the case leaves only {:?}", q.expect))
}

fn same(a: &Proposal, b: &Proposal, one: &str, two: &str) -> Result<(), String> {
    let (Proposal::Plan(x), Proposal::Plan(y)) = (a, b) else {
        // The words of a refusal are part of the answer.
        return match a == b {
            true => Ok(()),
            false => Err(format!("{} and {} from {one} and {two}", word(a), word(b))),
        };
    };
    let parts = [
        ("domains", x.domain != y.domain),
        ("victims", x.victims != y.victims),
        ("moves", x.moves != y.moves),
        ("placements", x.placements != y.placements),
        ("costs", x.cost != y.cost),
        ("holds", x.hold != y.hold),
    ];
    match parts.iter().find(|(_, differ)| *differ) {
        None => Ok(()),
        Some((what, _)) => Err(format!("different {what} from {one} and {two}")),
    }
}
