//! What becomes of the head of a line: the host's own ruling, and the check of
//! a policy's. Nothing here changes anything.

use std::sync::Arc;

use model::JobSpec;
use model::admission::Finding;
use model::plan::QuotaShortage;
use model::quota::{Amounts, QuotaResource};

use super::line::{Key, Standing};
use crate::engine::Engine;
use crate::port::admission::{Ruling, Shortage};
use crate::quota::{Quotas, Usage};

/// Pods of a job that wait for quota, by role; a job that is no gang has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// Waiting, by role.
    pub(super) waiting: Vec<u32>,
    /// Of them, those without which none can enter.
    pub(super) min: Vec<u32>,
    /// What one pod of each role needs.
    pub(super) unit: Vec<Amounts>,
    pub(super) demand: Amounts,
    pub(super) min_demand: Amounts,
}

impl Shape {
    fn new(waiting: Vec<u32>, mut min: Vec<u32>, unit: Vec<Amounts>) -> Self {
        if min.iter().all(|n| *n == 0)
            && let Some(role) = waiting.iter().position(|n| *n > 0)
        {
            min[role] = 1;
        }
        let mut shape = Self {
            waiting,
            min,
            unit,
            demand: Amounts::default(),
            min_demand: Amounts::default(),
        };
        shape.demand = shape.amounts(&shape.waiting);
        shape.min_demand = shape.amounts(&shape.min);
        shape
    }

    /// What so many pods of each role need.
    pub(super) fn amounts(&self, counts: &[u32]) -> Amounts {
        let mut sum = Amounts::default();
        for (unit, count) in self.unit.iter().zip(counts) {
            sum.add(unit, i64::from(*count));
        }
        sum
    }
}

/// A job whose turn it is.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) key: Key,
    pub(super) queue: Arc<str>,
    /// The first of its line; the others only slip past one.
    pub(super) head: bool,
    pub(super) shape: Shape,
}

impl Turn {
    pub(super) fn job(&self) -> &Arc<str> {
        &self.key.2
    }
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decided {
    /// Pods a role that enter.
    Enter(Vec<u32>),
    /// It stays, and why.
    Stay(Standing),
}

/// Guarantees that others use, by root of the tree: until their owners have them
/// back, nobody in that tree may borrow more of what is short. Without this,
/// what is given back would be lent again before its owner's next turn.
#[derive(Debug, Clone, Default)]
pub(super) struct Owed(Vec<(u32, QuotaResource)>);

impl Owed {
    /// Somebody in the queue waits for these.
    pub(super) fn add(&mut self, quotas: &Quotas, queue: &str, shortages: &[QuotaShortage]) {
        let node = quotas.queue_state(queue).and_then(|q| q.node);
        let root = node.map(|node| quotas.tree().root(node));
        self.0.extend(root.into_iter().flat_map(|root| {
            let resources = shortages.iter().map(|s| s.resource);
            resources.map(move |r| (root, r))
        }));
    }

    /// What the queue would have to borrow of what is owed to others.
    fn borrowed(&self, quotas: &Quotas, queue: &str, amounts: &Amounts) -> Vec<QuotaShortage> {
        let node = quotas.queue_state(queue).and_then(|q| q.node);
        let (Some(node), false) = (node, self.0.is_empty()) else {
            return Vec::new();
        };
        let (tree, root) = (quotas.tree(), quotas.tree().root(node));
        let borrowed = tree.borrowed(quotas.usage(), node, amounts);
        let wanted = QuotaResource::ALL.into_iter().filter(|r| {
            amounts.get(*r) > 0 && borrowed.get(*r) > 0 && self.0.contains(&(root, *r))
        });
        let short = wanted.map(|resource| QuotaShortage {
            quota: Arc::clone(&tree.names[node as usize]),
            resource,
            by: borrowed.get(resource),
        });
        short.collect()
    }

    pub(super) fn lets(&self, quotas: &Quotas, queue: &str, amounts: &Amounts) -> bool {
        quotas.fits(queue, amounts) && self.borrowed(quotas, queue, amounts).is_empty()
    }
}

/// Why a policy's ruling is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It breaks a rule.
    Bad(String),
    /// It was right as far as the policy could know, but somebody else entered
    /// since, or waits for what is his.
    Overtaken,
}

impl Engine {
    /// What waits of a job.
    pub(super) fn shape_of(&self, id: &str) -> Option<Shape> {
        let waiting = self.admission.lines.job(id)?;
        let job = self.pods.jobs.get(id)?;
        let (_, first) = waiting.pods.first()?;
        if job.spec.gang.is_none() {
            let unit = vec![self.amounts_of(*first)];
            let count = vec![waiting.pods.len() as u32];
            return Some(Shape::new(count, vec![1], unit));
        }
        let roles = job.spec.gang.as_ref().map_or(0, |g| g.roles.len());
        let (mut count, mut held) = (vec![0; roles], vec![0; roles]);
        let mut unit = vec![Amounts::default(); roles];
        for slot in &job.pods {
            let pod = self.pods.get(*slot);
            let Some(role) = Self::role_of(&job.spec, &pod.name) else {
                continue;
            };
            if waiting.pods.contains(&(pod.arrival, *slot)) {
                count[role] += 1;
                unit[role] = self.amounts_of(*slot);
            } else {
                held[role] += 1;
            }
        }
        let specs = job.spec.gang.iter().flat_map(|g| &g.roles);
        let min = specs.enumerate().map(|(i, role)| {
            // Members that have finished are not waited for.
            let done = role.count.saturating_sub(count[i] + held[i]);
            role.min.saturating_sub(held[i] + done).min(count[i])
        });
        let min = min.collect();
        // Without a role none of its pods could enter.
        let any = count.iter().any(|n| *n > 0);
        any.then(|| Shape::new(count, min, unit))
    }

    /// The pods that enter: of each role those that came first.
    pub(super) fn pick(&self, id: &str, counts: &[u32]) -> Vec<u32> {
        let (Some(waiting), Some(job)) = (self.admission.lines.job(id), self.pods.jobs.get(id))
        else {
            return Vec::new();
        };
        let mut left = counts.to_vec();
        let slots = waiting.pods.iter().map(|(_, slot)| *slot);
        let picked = slots.filter(|slot| {
            let role = match job.spec.gang {
                None => Some(0),
                Some(_) => Self::role_of(&job.spec, &self.pods.get(*slot).name),
            };
            match role.and_then(|role| left.get_mut(role)) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    true
                }
                _ => false,
            }
        });
        picked.collect()
    }

    /// Checks a policy's ruling. `usage` is what the policy was shown, with what
    /// it let in since. `None`: it abstains.
    pub(super) fn check_ruling(
        &self,
        turn: &Turn,
        ruling: &Ruling,
        usage: &Usage,
        owed: &Owed,
    ) -> Result<Option<Decided>, Unfit> {
        let bad = |text: String| Unfit::Bad(format!("ruling for job {:?}: {text}", turn.job()));
        let (quotas, shape) = (&self.quotas, &turn.shape);
        let enter = |counts: &[u32]| {
            let amounts = shape.amounts(counts);
            if !fits_in(quotas, usage, &turn.queue, &amounts) {
                return Err(bad(
                    "it is let in, but the quota does not suffice".to_owned()
                ));
            }
            match owed.lets(quotas, &turn.queue, &amounts) {
                true => Ok(Some(Decided::Enter(counts.to_vec()))),
                false => Err(Unfit::Overtaken),
            }
        };
        match ruling {
            Ruling::Abstain => Ok(None),
            Ruling::Admit => enter(&shape.waiting),
            Ruling::AdmitPartial(counts) => {
                if counts.len() != shape.waiting.len() {
                    return Err(bad(format!(
                        "counts for {} roles, it has {}",
                        counts.len(),
                        shape.waiting.len()
                    )));
                }
                let allowed = counts.iter().zip(&shape.min).zip(&shape.waiting);
                let outside = |((n, min), max): &((&u32, &u32), &u32)| n < min || n > max;
                if let Some(((n, min), max)) = allowed.into_iter().find(outside) {
                    return Err(bad(format!(
                        "{n} pods of a role, allowed are {min} to {max}"
                    )));
                }
                enter(counts)
            }
            Ruling::Wait(list) => {
                let named = self.named(list).map_err(bad)?;
                let named = match named.is_empty() {
                    true => quotas.shortages(&turn.queue, &shape.min_demand),
                    false => named,
                };
                Ok(Some(Decided::Stay(Standing::Waiting(named))))
            }
            Ruling::Reclaim(list) => {
                let named = self.named(list).map_err(bad)?;
                if fits_in(quotas, usage, &turn.queue, &shape.min_demand) {
                    return Err(bad("it reclaims, but it fits".to_owned()));
                }
                if !entitled_in(quotas, usage, &turn.queue, &shape.min_demand) {
                    let text = "it reclaims, but what is missing is not its own to reclaim";
                    return Err(bad(text.to_owned()));
                }
                let short = quotas.shortages(&turn.queue, &shape.min_demand);
                let entitled = quotas.would_fit_if_reclaimed(&turn.queue, &shape.min_demand);
                if short.is_empty() || !entitled {
                    return Err(Unfit::Overtaken);
                }
                let named = if named.is_empty() { short } else { named };
                Ok(Some(Decided::Stay(Standing::Reclaiming(named))))
            }
            Ruling::Reject(finding) => Ok(Some(Decided::Stay(Standing::Rejected(finding.clone())))),
        }
    }

    /// Shortages with names instead of indices.
    fn named(&self, list: &[Shortage]) -> Result<Vec<QuotaShortage>, String> {
        let names = &self.quotas.tree().names;
        let most = names.len() * QuotaResource::COUNT;
        if list.len() > most {
            return Err(format!("{} shortages, at most {most}", list.len()));
        }
        let named = list.iter().map(|s| {
            let quota = names.get(s.node as usize);
            let quota = quota.ok_or_else(|| format!("there is no quota node {}", s.node))?;
            let resource = QuotaResource::parse(&s.resource);
            let resource =
                resource.ok_or_else(|| format!("there is no resource {:?}", s.resource))?;
            if s.by <= 0 {
                return Err(format!("short by {}, expected more than 0", s.by));
            }
            Ok(QuotaShortage {
                quota: Arc::clone(quota),
                resource,
                by: s.by,
            })
        });
        named.collect()
    }
}

/// The host's own ruling: all of it, else as much as fits, else what others
/// borrowed of its guarantee, else wait. Never what cannot ever fit.
pub(super) fn native(quotas: &Quotas, queue: &str, shape: &Shape, owed: &Owed) -> Decided {
    let need = &shape.min_demand;
    if !quotas.possible(queue, need) {
        return Decided::Stay(Standing::Rejected(too_large(quotas, queue, need)));
    }
    if owed.lets(quotas, queue, &shape.demand) {
        return Decided::Enter(shape.waiting.clone());
    }
    if owed.lets(quotas, queue, need) {
        return Decided::Enter(most(quotas, queue, shape, owed));
    }
    let short = quotas.shortages(queue, need);
    if short.is_empty() {
        let owed = owed.borrowed(quotas, queue, need);
        return Decided::Stay(Standing::Waiting(owed));
    }
    Decided::Stay(match quotas.would_fit_if_reclaimed(queue, need) {
        true => Standing::Reclaiming(short),
        false => Standing::Waiting(short),
    })
}

/// The minimum, and then as many of each role in turn as fit.
fn most(quotas: &Quotas, queue: &str, shape: &Shape, owed: &Owed) -> Vec<u32> {
    let mut counts = shape.min.clone();
    for role in 0..counts.len() {
        let (mut low, mut high) = (counts[role], shape.waiting[role]);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            counts[role] = middle;
            match owed.lets(quotas, queue, &shape.amounts(&counts)) {
                true => low = middle,
                false => high = middle - 1,
            }
        }
        counts[role] = low;
    }
    counts
}

fn too_large(quotas: &Quotas, queue: &str, need: &Amounts) -> Finding {
    let ever = quotas.max_ever(queue);
    let over = QuotaResource::ALL.into_iter().filter_map(|r| {
        let most = ever[r as usize].filter(|most| need.get(r) > *most)?;
        let (name, need) = (r.name(), need.get(r));
        Some(format!(
            "it needs {need} {name}, and can never have more than {most}"
        ))
    });
    Finding {
        code: "ExceedsQuota".to_owned(),
        field: "/queue".to_owned(),
        message: format!("queue {queue:?}: {}", over.collect::<Vec<_>>().join("; ")),
    }
}

fn fits_in(quotas: &Quotas, usage: &Usage, queue: &str, amounts: &Amounts) -> bool {
    let node = quotas.queue_state(queue).and_then(|q| q.node);
    node.is_some_and(|node| quotas.tree().fits(usage, node, amounts))
}

fn entitled_in(quotas: &Quotas, usage: &Usage, queue: &str, amounts: &Amounts) -> bool {
    let node = quotas.queue_state(queue).and_then(|q| q.node);
    node.is_some_and(|node| quotas.tree().entitled(usage, node, amounts))
}

/// What a job that has not been submitted would meet.
pub(super) fn shape_of_spec(job: &JobSpec) -> Shape {
    let amounts = |pod: &model::PodSpec| Amounts::of(&pod.requests, pod.gpu.total_milli());
    let (count, min, unit) = match &job.gang {
        None => (vec![job.replicas], vec![1], vec![amounts(&job.template)]),
        Some(gang) => (
            gang.roles.iter().map(|r| r.count).collect(),
            gang.roles.iter().map(|r| r.min).collect(),
            gang.roles.iter().map(|r| amounts(&r.template)).collect(),
        ),
    };
    Shape::new(count, min, unit)
}
