//! The laws of the admission kind.

mod asked;
mod laws;
mod patch;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use engine::port::admission::{
    AdmissionPolicy, HEADS_PER_CYCLE, Patch, Review, Ruling, SortKey, Validation,
};
use model::{PolicyFault, PolicyKind};

use crate::FAULTS_MAX;
use crate::case::admission::{AdmissionCases, admission};
use crate::describe;
use crate::law::Law;
use crate::order::orders;
use crate::report::{Book, Broken, Report};
use asked::AskedCycle;

/// Makes a fresh, configured instance. The text is its settings; settings it
/// does not accept end in [`PolicyFault::Refused`].
pub type MakeAdmission<'a> = dyn FnMut(&str) -> Result<Box<dyn AdmissionPolicy>, PolicyFault> + 'a;

/// Other questions put to an instance before the one under test.
const DISTRACTIONS: usize = 8;

/// Heads of a cycle at full size. Such a cycle shows the budget, and is not asked
/// in between others, since that would only take long.
const FULL_SIZE: usize = 1_000;

/// Heads of a cycle that are asked alone.
const ALONE: usize = 8;

const _: () = assert!(FULL_SIZE <= HEADS_PER_CYCLE);

/// Puts an admission policy through every law on every case.
pub fn check_admission(make: &mut MakeAdmission<'_>) -> Report {
    let mut book = Book::default();
    let mut start = |s: &str| make(s).map(|p| p.description().clone());
    let introduced = describe::introduce(PolicyKind::Admission, &mut start, &mut book);
    let Some((_, settings)) = introduced else {
        return book.report();
    };
    let mut kit = Kit {
        make,
        settings,
        book,
        faults: 0,
    };
    let questions = questions(&admission());
    for i in 0..questions.len() {
        kit.question(&questions, i);
    }
    kit.book.report()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Validate,
    Mutate,
    Order,
    Admit,
}

/// What a call is about.
#[derive(Debug, Clone)]
enum About {
    Review(Rc<Review>),
    Cycle(Rc<AskedCycle>),
}

/// A call on a case.
#[derive(Debug, Clone)]
struct Question {
    name: String,
    call: Call,
    about: About,
    /// Laws that the case is for; empty for all.
    laws: Vec<Law>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Validation(Validation),
    Patches(Vec<Patch>),
    Keys(Vec<SortKey>),
    Rulings(Vec<Ruling>),
}

/// Two calls a case.
fn questions(cases: &AdmissionCases) -> Vec<Question> {
    let mut questions = Vec::new();
    for case in &cases.review {
        let Some(review) = asked::review(cases, case) else {
            continue; // A test of `case` shows that every name exists.
        };
        let about = About::Review(Rc::new(review));
        for (call, verb) in [(Call::Validate, "validate"), (Call::Mutate, "mutate")] {
            questions.push(Question {
                name: format!("{verb} {}", case.name),
                call,
                about: about.clone(),
                laws: Vec::new(),
            });
        }
    }
    for case in &cases.cycle {
        let Some(cycle) = asked::cycle(cases, case) else {
            continue;
        };
        let about = About::Cycle(Rc::new(cycle));
        for (call, verb) in [(Call::Order, "order"), (Call::Admit, "admit")] {
            questions.push(Question {
                name: format!("{verb} {}", case.name),
                call,
                about: about.clone(),
                laws: case.laws.iter().filter_map(|c| Law::parse(c)).collect(),
            });
        }
    }
    questions
}

impl Question {
    fn is_for(&self, law: Law) -> bool {
        self.laws.is_empty() || self.laws.contains(&law)
    }

    fn full_size(&self) -> bool {
        matches!(&self.about, About::Cycle(asked) if asked.cycle.heads.len() >= FULL_SIZE)
    }

    fn about(&self, about: About) -> Self {
        Self {
            about,
            ..self.clone()
        }
    }
}

struct Kit<'a, 'm> {
    make: &'a mut MakeAdmission<'m>,
    settings: String,
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
        if q.full_size() {
            self.book.within_budget(&q.name, fuel);
        }
        let same = self.determinism(q, &said, fuel);
        let same = self.book.note(Law::Determinism, &q.name, same);
        if q.is_for(Law::Statelessness) {
            if same {
                let result = self.statelessness(all, i, &said);
                self.book.note(Law::Statelessness, &q.name, result);
            } else {
                let why = "two fresh instances already disagree";
                self.book.skip(Law::Statelessness, &q.name, why);
            }
        }
        match (&q.about, said) {
            (About::Review(review), Said::Validation(said)) => {
                let result = laws::findings(&said).map_err(Broken::from);
                self.book.note(Law::Findings, &q.name, result);
                if same && review.object.labels.len() > 1 {
                    let result = self.findings_by_label_order(q, review, said);
                    self.book.note(Law::LabelOrder, &q.name, result);
                }
            }
            (About::Review(review), Said::Patches(said)) => {
                self.patches(q, review, &said, same);
            }
            (About::Cycle(asked), Said::Keys(keys))
                if same && q.is_for(Law::HeadOrder) && keys.len() > 1 =>
            {
                let result = self.head_order(q, asked, &keys);
                self.book.note(Law::HeadOrder, &q.name, result);
            }
            (About::Cycle(asked), Said::Rulings(rulings)) => {
                self.rulings(q, asked, &rulings, same);
            }
            _ => {}
        }
    }

    fn patches(&mut self, q: &Question, review: &Review, said: &[Patch], same: bool) {
        let after = match patch::apply(&review.object, said) {
            Ok(after) => after,
            Err(why) => {
                self.book.note(Law::Patches, &q.name, Err(why.into()));
                let why = "its patches cannot be applied";
                self.book.skip(Law::Idempotence, &q.name, why);
                return;
            }
        };
        self.book.note(Law::Patches, &q.name, Ok(()));
        if !same {
            return;
        }
        let again = Review {
            object: after,
            ..review.clone()
        };
        let result = self.idempotence(q, said, again);
        self.book.note(Law::Idempotence, &q.name, result);
        if review.object.labels.len() > 1 {
            let result = self.patches_by_label_order(q, review, said);
            self.book.note(Law::LabelOrder, &q.name, result);
        }
    }

    fn rulings(&mut self, q: &Question, asked: &AskedCycle, rulings: &[Ruling], same: bool) {
        let result = laws::rulings(asked, rulings).map_err(Broken::from);
        self.book.note(Law::Rulings, &q.name, result);
        let result = laws::rejections(asked, rulings).map_err(Broken::from);
        if asked.cycle.heads.is_empty() {
            return;
        }
        self.book.note(Law::Findings, &q.name, result);
        if asked.known.iter().any(|k| !k.expect.is_empty()) {
            let result = laws::expectation(asked, rulings).map_err(Broken::from);
            self.book.note(Law::Expectation, &q.name, result);
        }
        if same && q.is_for(Law::Monotonicity) {
            let result = self.monotonicity(q, asked);
            self.book.note(Law::Monotonicity, &q.name, result);
        }
    }

    // === instances and calls ===

    fn fresh(&mut self) -> Result<Box<dyn AdmissionPolicy>, PolicyFault> {
        (self.make)(&self.settings)
    }

    fn ask_fresh(&mut self, q: &Question) -> Result<(Said, u64), PolicyFault> {
        ask(&mut *self.fresh()?, q)
    }

    // === laws ===

    fn determinism(&mut self, q: &Question, first: &Said, fuel: u64) -> Result<(), Broken> {
        let (said, again) = self.ask_fresh(q)?;
        laws::same(first, &said, "the first", "a second instance")?;
        if again == fuel {
            Ok(())
        } else {
            Err(Broken::Law(format!(
                "the same call burnt {fuel} and then {again} fuel"
            )))
        }
    }

    fn statelessness(&mut self, all: &[Question], i: usize, first: &Said) -> Result<(), Broken> {
        let before = (0..i).rev();
        let after = i + 1..all.len();
        let others: [Vec<usize>; 2] = [
            after.clone().chain(0..i).collect(),
            before.chain(after.rev()).collect(),
        ];
        for order in others {
            let mut used = self.fresh()?;
            let small = order.into_iter().filter(|o| !all[*o].full_size());
            for other in small.take(DISTRACTIONS) {
                // The answers of others have been looked at, or will be.
                let _ = ask(&mut *used, &all[other]);
            }
            for _ in 0..2 {
                let (again, _) = ask(&mut *used, &all[i])?;
                laws::same(first, &again, "a fresh", "a used instance")?;
            }
        }
        Ok(())
    }

    fn findings_by_label_order(
        &mut self,
        q: &Question,
        review: &Review,
        said: Validation,
    ) -> Result<(), Broken> {
        let other = About::Review(Rc::new(laws::other_labels(review)));
        let (again, _) = self.ask_fresh(&q.about(other))?;
        let Said::Validation(again) = again else {
            return Ok(());
        };
        // Which finding is told first is nobody's business.
        let (a, b) = (laws::sorted(said), laws::sorted(again));
        let (a, b) = (Said::Validation(a), Said::Validation(b));
        Ok(laws::same(&a, &b, "one order", "another order of labels")?)
    }

    fn patches_by_label_order(
        &mut self,
        q: &Question,
        review: &Review,
        said: &[Patch],
    ) -> Result<(), Broken> {
        let other = laws::other_labels(review);
        let about = About::Review(Rc::new(other.clone()));
        let (again, _) = self.ask_fresh(&q.about(about))?;
        let Said::Patches(again) = again else {
            return Ok(());
        };
        let mut a = patch::apply(&review.object, said)?;
        let mut b = patch::apply(&other.object, &again)?;
        a.labels.sort_unstable();
        b.labels.sort_unstable();
        match laws::difference(&a, &b) {
            None => Ok(()),
            Some(what) => Err(Broken::Law(format!(
                "another order of labels leads to another {what}"
            ))),
        }
    }

    fn idempotence(&mut self, q: &Question, said: &[Patch], again: Review) -> Result<(), Broken> {
        let after = again.object.clone();
        let applied = patch::apply(&after, said)?;
        if let Some(what) = laws::difference(&after, &applied) {
            let detail = format!("applied to their own result, the patches change {what}");
            return Err(Broken::Law(detail));
        }
        let (more, _) = self.ask_fresh(&q.about(About::Review(Rc::new(again))))?;
        let Said::Patches(more) = more else {
            return Ok(());
        };
        let further = patch::apply(&after, &more)?;
        match laws::difference(&after, &further) {
            None => Ok(()),
            Some(what) => {
                let detail = format!("asked again about the result, it changes {what}");
                Err(Broken::Law(detail))
            }
        }
    }

    fn head_order(
        &mut self,
        q: &Question,
        asked: &AskedCycle,
        keys: &[SortKey],
    ) -> Result<(), Broken> {
        for order in orders(keys.len()) {
            let other = About::Cycle(Rc::new(asked.reordered(&order)));
            let (Said::Keys(moved), _) = self.ask_fresh(&q.about(other))? else {
                continue;
            };
            for (key, head) in moved.iter().zip(order) {
                if *key != keys[head] {
                    return Err(Broken::Law(format!(
                        "head {}: key {:?} in one order, {key:?} in another",
                        asked.cycle.heads[head].job, keys[head]
                    )));
                }
            }
        }
        Ok(())
    }

    fn monotonicity(&mut self, q: &Question, asked: &AskedCycle) -> Result<(), Broken> {
        let step = asked.cycle.heads.len().div_ceil(ALONE).max(1);
        for head in (0..asked.cycle.heads.len()).step_by(step) {
            // Alone, because more quota may let in somebody who comes before.
            let alone = asked.alone(head);
            let richer = alone.richer();
            let mut ruling = |about: AskedCycle| {
                let q = q.about(About::Cycle(Rc::new(about)));
                Ok(match self.ask_fresh(&q)? {
                    (Said::Rulings(rulings), _) => rulings.into_iter().next(),
                    _ => None,
                })
            };
            let (Some(before), Some(after)) = (
                ruling(alone).map_err(|f: PolicyFault| Broken::from(f))?,
                ruling(richer).map_err(|f: PolicyFault| Broken::from(f))?,
            ) else {
                continue;
            };
            if laws::enters(&before) && laws::stays(&after) {
                return Err(Broken::Law(format!(
                    "head {}: {} alone, and {} with more quota",
                    asked.cycle.heads[head].job,
                    laws::word(&before),
                    laws::word(&after)
                )));
            }
        }
        Ok(())
    }
}

fn ask(policy: &mut dyn AdmissionPolicy, q: &Question) -> Result<(Said, u64), PolicyFault> {
    let (said, cost) = match (q.call, &q.about) {
        (Call::Validate, About::Review(review)) => {
            let (said, cost) = policy.validate(review)?;
            (Said::Validation(said), cost)
        }
        (_, About::Review(review)) => {
            let (said, cost) = policy.mutate(review)?;
            (Said::Patches(said), cost)
        }
        (Call::Order, About::Cycle(asked)) => {
            let (said, cost) = policy.order(&asked.cycle)?;
            (Said::Keys(said), cost)
        }
        (_, About::Cycle(asked)) => {
            let (said, cost) = policy.admit(&asked.cycle)?;
            (Said::Rulings(said), cost)
        }
    };
    laws::form(q, &said)?;
    Ok((said, cost.fuel))
}
