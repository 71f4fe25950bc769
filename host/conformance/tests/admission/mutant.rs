//! A small admission policy, and what can be wrong with it.

use std::sync::atomic::{AtomicI64, Ordering};

use engine::port::admission::{
    AdmissionPolicy, Change, Cycle, Finding, Head, Patch, Review, Ruling, Shortage, SortKey,
    Validation, Verdict,
};
use engine::port::{Column, Cost, Description};
use model::{JobKind, PolicyFault};

/// What is wrong with a policy. `Nothing` is the sound one they derive from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Nothing,
    Abstains,
    ReadsColumns,
    AcceptsAnySettings,
    OneKeyTooFew,
    OneRulingTooMany,
    KeysTooLong,
    DeniesWithoutFinding,
    TrapsOnNoHeads,
    TrapsOnNoRoles,
    OutOfFuelAtFullSize,
    RandomKeys,
    FuelFromAddress,
    CountsReviews,
    MutatesByLastVerdict,
    OrdersByLastRulings,
    FindsWithoutCode,
    FindsWithoutMessage,
    FindsInNoField,
    RejectsWithoutCode,
    PatchesId,
    PatchesUnknownRole,
    PatchesToNonsense,
    GivesNoReason,
    AppendsToLabel,
    AddsToPriority,
    TakesTurns,
    JudgesFirstLabel,
    CopiesLastLabel,
    KeysByPosition,
    BreaksTiesByPosition,
    ShortAtNoNode,
    ShortOfNonsense,
    ShortByNothing,
    AdmitsTooMany,
    AdmitsTooFew,
    AdmitsOneOfTwoRoles,
    AdmitsAll,
    BorrowsWhatIsLent,
    WaitsWhenRich,
}

pub struct Mutant {
    wrong: Wrong,
    description: Description,
    reviews: u64,
    admitted: i64,
    denied: bool,
}

/// Shared by all instances, like a random source or an address would be.
static AMBIENT: AtomicI64 = AtomicI64::new(0);

const FULL_SIZE: usize = 1_000;

impl Mutant {
    pub fn make(wrong: Wrong, settings: &str) -> Result<Self, PolicyFault> {
        if settings != "{}" && wrong != Wrong::AcceptsAnySettings {
            return Err(PolicyFault::Refused {
                message: "unknown settings".to_owned(),
            });
        }
        Ok(Self {
            wrong,
            description: Description {
                name: "mutant".to_owned(),
                version: "1.2.3".to_owned(),
                summary: "Owned jobs enter within their own quota.".to_owned(),
                settings_schema: r#"{"type":"object","additionalProperties":false}"#.to_owned(),
                columns: match wrong {
                    Wrong::ReadsColumns => vec![Column::Row],
                    _ => Vec::new(),
                },
            },
            reviews: 0,
            admitted: 0,
            denied: false,
        })
    }

    fn cost(&self) -> Cost {
        let fuel = match self.wrong {
            Wrong::FuelFromAddress => AMBIENT.fetch_add(1, Ordering::Relaxed).unsigned_abs(),
            _ => 1_000,
        };
        Cost { fuel }
    }

    fn finding(&self, field: &str) -> Finding {
        let mut finding = Finding {
            code: "OwnerMissing".to_owned(),
            field: field.to_owned(),
            message: "add the label `owner`".to_owned(),
        };
        match self.wrong {
            Wrong::FindsWithoutCode => finding.code = String::new(),
            Wrong::FindsWithoutMessage => finding.message = " ".to_owned(),
            Wrong::FindsInNoField => finding.field = "owner".to_owned(),
            _ => {}
        }
        finding
    }

    /// Within the own guarantee, and only while nobody uses another's.
    fn rule(&self, cycle: &Cycle, head: &Head, entered: &mut [i64]) -> Ruling {
        let node = head.node as usize;
        let leaf = |i: usize| cycle.nodes.iter().all(|n| n.parent != Some(i as u32));
        let over = |i: usize| cycle.nodes[i].lines.iter().any(|l| l.used > l.nominal);
        let honest = self.wrong != Wrong::BorrowsWhatIsLent;
        let lent = honest && (0..cycle.nodes.len()).any(|i| leaf(i) && over(i));
        let mut short = Vec::new();
        for demand in &head.demand {
            let lines = cycle.nodes[node].lines.iter();
            let line = lines.clone().find(|l| l.resource == demand.resource);
            let left = line.map_or(0, |l| l.nominal - l.used) - entered[node];
            if left < demand.amount || lent {
                short.push(Shortage {
                    node: head.node,
                    resource: demand.resource.to_owned(),
                    by: (demand.amount - left).max(1),
                });
            }
        }
        let rich = cycle.nodes.iter().flat_map(|n| &n.lines);
        let rich = rich
            .filter(|l| l.resource == "gpu")
            .any(|l| l.nominal > 20_000);
        if short.is_empty() && !(rich && self.wrong == Wrong::WaitsWhenRich) {
            // One sum for all resources: too careful, never too generous.
            entered[node] += head.demand.iter().map(|d| d.amount).sum::<i64>();
            return Ruling::Admit;
        }
        let elastic = head.demand != head.min_demand;
        for s in &mut short {
            match self.wrong {
                Wrong::ShortAtNoNode => s.node = 1_000,
                Wrong::ShortOfNonsense => s.resource = "luck".to_owned(),
                Wrong::ShortByNothing => s.by = 0,
                _ => {}
            }
        }
        match self.wrong {
            Wrong::AdmitsTooMany if head.job == "elastic" => Ruling::AdmitPartial(vec![13]),
            Wrong::AdmitsTooFew if head.job == "elastic" => Ruling::AdmitPartial(vec![2]),
            Wrong::AdmitsOneOfTwoRoles if head.job == "elastic-gang" && elastic => {
                Ruling::AdmitPartial(vec![8])
            }
            Wrong::AdmitsAll => Ruling::Admit,
            Wrong::RejectsWithoutCode => Ruling::Reject(Finding {
                code: String::new(),
                field: "/queue".to_owned(),
                message: "no".to_owned(),
            }),
            _ => Ruling::Wait(short),
        }
    }
}

fn trap(message: &str) -> PolicyFault {
    PolicyFault::Trap {
        message: message.to_owned(),
    }
}

fn patch(field: &str, change: Change) -> Patch {
    Patch {
        field: field.to_owned(),
        change,
        reason: "jobs end".to_owned(),
    }
}

impl AdmissionPolicy for Mutant {
    fn description(&self) -> &Description {
        &self.description
    }

    fn validate(&mut self, review: &Review) -> Result<(Validation, Cost), PolicyFault> {
        self.reviews += 1;
        if self.wrong == Wrong::TrapsOnNoRoles && review.object.roles.is_empty() {
            return Err(trap("index out of bounds"));
        }
        let labels = &review.object.labels;
        let owned = match self.wrong {
            Wrong::JudgesFirstLabel => labels.first().is_some_and(|(k, _)| k == "owner"),
            Wrong::CountsReviews => !self.reviews.is_multiple_of(3),
            _ => labels.iter().any(|(k, _)| k == "owner"),
        };
        self.denied = !owned;
        let verdict = match self.wrong {
            Wrong::Abstains => Verdict::Abstain,
            _ if owned => Verdict::Allow,
            Wrong::DeniesWithoutFinding => Verdict::Deny(Vec::new()),
            _ => Verdict::Deny(vec![self.finding("/labels/owner")]),
        };
        let warnings = Vec::new();
        Ok((Validation { verdict, warnings }, self.cost()))
    }

    fn mutate(&mut self, review: &Review) -> Result<(Vec<Patch>, Cost), PolicyFault> {
        self.reviews += 1;
        let object = &review.object;
        let text = |value: &str| format!("{value:?}");
        let label = |key: &str| object.labels.iter().find(|(k, _)| k == key);
        let mut patches = match object.kind {
            JobKind::Batch => vec![patch("/runtime-limit", Change::Add("3600000".to_owned()))],
            JobKind::Service => Vec::new(),
        };
        match self.wrong {
            Wrong::Abstains => patches.clear(),
            Wrong::PatchesId => patches.push(patch("/id", Change::Set(text("mine")))),
            Wrong::PatchesUnknownRole => {
                patches.push(patch("/roles/nobody/cpu", Change::Set("1".to_owned())));
            }
            Wrong::PatchesToNonsense => {
                patches.push(patch("/priority", Change::Set(text("high"))));
            }
            Wrong::GivesNoReason => patches.iter_mut().for_each(|p| p.reason.clear()),
            Wrong::AppendsToLabel => {
                if let Some((_, owner)) = label("owner") {
                    let value = text(&format!("{owner}!"));
                    patches.push(patch("/labels/owner", Change::Set(value)));
                }
            }
            Wrong::AddsToPriority => {
                let more = object.priority.saturating_add(1).to_string();
                patches.push(patch("/priority", Change::Set(more)));
            }
            // Applied again it changes nothing, but asked again it does.
            Wrong::TakesTurns => {
                let other = if object.tier == "a" { "b" } else { "a" };
                patches.push(patch("/tier", Change::Set(text(other))));
            }
            Wrong::CopiesLastLabel => {
                if let Some((key, _)) = object.labels.last() {
                    patches.push(patch("/tier", Change::Set(text(key))));
                }
            }
            Wrong::MutatesByLastVerdict if self.denied => {
                patches.push(patch("/priority", Change::Set("-1".to_owned())));
            }
            _ => {}
        }
        Ok((patches, self.cost()))
    }

    fn order(&mut self, cycle: &Cycle) -> Result<(Vec<SortKey>, Cost), PolicyFault> {
        let heads = cycle.heads.len();
        if self.wrong == Wrong::TrapsOnNoHeads && heads == 0 {
            return Err(trap("attempt to divide by zero"));
        }
        if self.wrong == Wrong::OutOfFuelAtFullSize && heads >= FULL_SIZE {
            return Err(PolicyFault::OutOfFuel { limit: 1 });
        }
        let key = |(at, head): (usize, &Head)| {
            let mut key = vec![-i64::from(head.priority), head.created as i64];
            match self.wrong {
                Wrong::Abstains => key.clear(),
                Wrong::KeysTooLong => key.resize(17, 0),
                Wrong::RandomKeys => key.push(AMBIENT.fetch_add(1, Ordering::Relaxed)),
                Wrong::OrdersByLastRulings => key.push(self.admitted),
                Wrong::KeysByPosition => key.insert(0, at as i64),
                Wrong::BreaksTiesByPosition => key.push(at as i64),
                _ => {}
            }
            key
        };
        let mut keys: Vec<SortKey> = cycle.heads.iter().enumerate().map(key).collect();
        if self.wrong == Wrong::OneKeyTooFew {
            keys.pop();
        }
        Ok((keys, self.cost()))
    }

    fn admit(&mut self, cycle: &Cycle) -> Result<(Vec<Ruling>, Cost), PolicyFault> {
        if self.wrong == Wrong::Abstains {
            return Ok((vec![Ruling::Abstain; cycle.heads.len()], self.cost()));
        }
        let mut entered = vec![0; cycle.nodes.len()];
        let heads = cycle.heads.iter();
        let rulings = heads.map(|head| self.rule(cycle, head, &mut entered));
        let mut rulings: Vec<Ruling> = rulings.collect();
        self.admitted += rulings.iter().filter(|r| **r == Ruling::Admit).count() as i64;
        if self.wrong == Wrong::OneRulingTooMany {
            rulings.push(Ruling::Abstain);
        }
        Ok((rulings, self.cost()))
    }
}
