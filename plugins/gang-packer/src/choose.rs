//! Which domain, and the plan for it.

use std::cmp::Reverse;

use loadmaster_sdk::log::{self, Level};
use loadmaster_sdk::preemption::{
    Action, Answer, Case, Cluster, Constraint, Losses, Placement, Plan, Rate, Units, Victim,
    move_away, move_targets, notice,
};

use crate::Tuning;
use crate::gang::{Effort, Role, Search, minimum, roles};
use crate::hunt::{Hunt, Key};
use crate::order::Levels;
use crate::place::{Put, fill, place};
use crate::room::Room;

/// Milliseconds of a second.
const SECOND: u64 = 1_000;

/// Percent of a whole.
const PERCENT: i128 = 100;

/// One gang in one cluster.
pub(crate) struct Packing<'p, 'a> {
    case: &'p Case<'a>,
    tuning: &'p Tuning,
    cluster: Cluster<'a>,
    roles: Vec<Role<'a>>,
    levels: Levels,
    /// Rows of each domain, ordered by stable id.
    rows: Vec<Vec<u32>>,
    search: Search,
}

/// A domain with its victims and what they cost.
struct Candidate {
    domain: usize,
    units: Vec<u32>,
    key: Key,
}

impl<'p, 'a> Packing<'p, 'a> {
    pub(crate) fn new(case: &'p Case<'a>, tuning: &'p Tuning) -> Self {
        let cluster = case.cluster();
        let domains = &case.request.domains;
        let sorted = |rows: &Vec<u32>| {
            let mut rows = rows.clone();
            rows.sort_unstable_by_key(|row| cluster.id(*row as usize));
            rows
        };
        Self {
            rows: domains.iter().map(|d| sorted(&d.rows)).collect(),
            levels: Levels::new(domains, cluster.len()),
            roles: roles(case),
            search: Search::new(tuning.search_looks),
            case,
            tuning,
            cluster,
        }
    }

    pub(crate) fn answer(mut self) -> Answer {
        let answer = self.find();
        if self.search.stopped() && matches!(answer, Answer::Plan(_)) {
            log::write(
                Level::Info,
                "a search ended at its limit: a cheaper plan may exist",
            );
        }
        answer
    }

    fn find(&mut self) -> Answer {
        if self.roles.is_empty() || self.rows.is_empty() {
            return Answer::None("no demand or no domain to place it in".to_owned());
        }
        match self.without_victims() {
            Some(plan) => Answer::Plan(plan),
            None if self.case.request.running.id.is_empty() => Answer::None(self.why(None)),
            None => self.with_victims(),
        }
    }

    /// Domains to look at, in rounds: a later round counts only if the earlier
    /// ones gave nothing.
    fn rounds(&self) -> Vec<Vec<usize>> {
        let level = self.case.request.preemptor.level;
        let domains = &self.case.request.domains;
        let near = |d: &usize| domains[*d].level <= level;
        let all = 0..domains.len();
        match self.case.request.preemptor.constraint {
            Constraint::Preferred => {
                let (near, far) = all.partition(near);
                vec![near, far]
            }
            // The host sends no other domains; were there any, they would not do.
            Constraint::Required => vec![all.filter(near).collect()],
            Constraint::None => vec![all.collect()],
        }
    }

    // === nobody has to go ===

    fn without_victims(&mut self) -> Option<Plan> {
        let everywhere: Vec<u32> = (0..self.cluster.len() as u32).collect();
        let room = Room::new(&self.cluster, &self.roles, &everywhere);
        let min = minimum(&self.roles);
        let full: Vec<u32> = self.roles.iter().map(|r| r.count).collect();
        let sums: Vec<Vec<u64>> = self.rows.iter().map(|rows| room.sums(rows)).collect();
        for round in self.rounds() {
            for need in [&full, &min] {
                for domain in self.by_fit(&round, &sums, need) {
                    if let Some(plan) = self.plan(domain, need, &[], None) {
                        return Some(plan);
                    }
                }
                if min == full {
                    break;
                }
            }
        }
        None
    }

    /// Domains with room for each role, lowest level first, then the smallest.
    /// If not everybody fits, those that hold most.
    fn by_fit(&self, round: &[usize], sums: &[Vec<u64>], need: &[u32]) -> Vec<usize> {
        let domains = &self.case.request.domains;
        let mut fit = round.to_vec();
        fit.retain(|d| sums[*d].iter().zip(need).all(|(s, n)| *s >= u64::from(*n)));
        fit.sort_by_cached_key(|d| {
            let members = self.roles.iter().zip(&sums[*d]);
            let held: u64 = members.map(|(r, s)| (*s).min(r.count.into())).sum();
            (Reverse(held), domains[*d].level, sums[*d].clone(), *d)
        });
        fit
    }

    // === somebody has to ===

    fn with_victims(&mut self) -> Answer {
        let rate = Rate {
            core_milli: self.tuning.core_milli,
        };
        let losses = Losses::new(self.case, rate);
        let units = Units::new(self.case, &losses);
        let most = self.room_without(&units);
        let min = minimum(&self.roles);
        let sums: Vec<Vec<u64>> = self.rows.iter().map(|rows| most.sums(rows)).collect();
        for round in self.rounds() {
            let fit = self.by_fit(&round, &sums, &min);
            let mut found: Vec<Candidate> = Vec::new();
            for (at, &domain) in fit.iter().enumerate() {
                // With one zone the whole cluster is the same question again.
                let same = |d: &usize| self.rows[*d] == self.rows[domain];
                if fit[..at].iter().any(same) {
                    continue;
                }
                let victims = Hunt {
                    cluster: &mut self.cluster,
                    units: &units,
                    budgets: &self.case.request.budgets,
                    roles: &self.roles,
                    need: &min,
                    search: &mut self.search,
                    moving: self.case.request.action == Action::Consolidate,
                }
                .victims(&self.rows[domain]);
                if let Some((units, key)) = victims {
                    found.push(Candidate { domain, units, key });
                }
            }
            self.rank(&mut found);
            for candidate in found {
                let plan = self.plan(candidate.domain, &min, &candidate.units, Some(&units));
                if let Some(plan) = plan {
                    return Answer::Plan(plan);
                }
            }
        }
        Answer::None(self.why(Some((&units, &sums))))
    }

    /// Room if everybody who may be taken were gone.
    fn room_without(&mut self, units: &Units) -> Room {
        let mark = self.cluster.fork();
        for unit in 0..units.len() as u32 {
            for victim in units.members(unit) {
                self.cluster.evict(*victim as usize);
            }
        }
        let everywhere: Vec<u32> = (0..self.cluster.len() as u32).collect();
        let room = Room::new(&self.cluster, &self.roles, &everywhere);
        self.cluster.rollback(mark);
        room
    }

    /// Cheapest first; the domain of an earlier attempt leads unless another is
    /// better by the margin: victims that are already leaving should not leave
    /// for nothing.
    fn rank(&self, found: &mut Vec<Candidate>) {
        let domains = &self.case.request.domains;
        found.sort_by_key(|c| (c.key, domains[c.domain].level, c.domain));
        let nominated = self.case.request.preemptor.nominated;
        let nominated = nominated.and_then(|n| self.rows.get(n as usize));
        let at = found
            .iter()
            .position(|c| Some(&self.rows[c.domain]) == nominated);
        let Some(at) = at.filter(|at| *at > 0) else {
            return;
        };
        let (best, held) = (found[0].key, found[at].key);
        let kept = PERCENT - i128::from(self.tuning.margin_percent);
        let better = best.0 < held.0 || i128::from(best.1) * PERCENT < i128::from(held.1) * kept;
        if !better {
            let held = found.remove(at);
            found.insert(0, held);
        }
    }

    // === the plan ===

    /// Places the gang in a domain with these units gone. None if that fails; the
    /// cluster is then as before.
    fn plan(
        &mut self,
        domain: usize,
        need: &[u32],
        gone: &[u32],
        units: Option<&Units>,
    ) -> Option<Plan> {
        let mark = self.cluster.fork();
        let mut plan = self.try_plan(domain, need, gone, units);
        self.cluster.rollback(mark);
        if let Some(plan) = &mut plan {
            let ids = |row: u32| self.cluster.id(row as usize);
            let order = |p: &Placement| (p.role, ids(p.row), p.slots.clone());
            plan.placements.sort_by_cached_key(order);
            plan.victims.sort_by_key(|v| v.id);
            plan.moves.sort_by_key(|m| m.id);
        }
        plan
    }

    fn try_plan(
        &mut self,
        domain: usize,
        need: &[u32],
        gone: &[u32],
        units: Option<&Units>,
    ) -> Option<Plan> {
        let victims: Vec<u32> = match units {
            Some(units) => gone
                .iter()
                .flat_map(|u| units.members(*u))
                .copied()
                .collect(),
            None => Vec::new(),
        };
        for victim in &victims {
            self.cluster.evict(*victim as usize);
        }
        let level = self.case.request.domains[domain].level;
        let rows = &self.rows[domain];
        let room = Room::new(&self.cluster, &self.roles, rows);
        let wanted = need.first().copied().unwrap_or(0);
        let order = self
            .levels
            .order(&self.cluster, rows, level, wanted.into(), &room.lead());
        let mut puts = Vec::new();
        let placed = place(
            &mut self.cluster,
            &self.roles,
            need,
            &order,
            (&mut self.search, Effort::Plan),
            &mut puts,
        );
        if !placed {
            return None;
        }
        let moving = self.case.request.action == Action::Consolidate;
        let moves = if moving {
            let targets = move_targets(&self.cluster);
            move_away(self.case, &mut self.cluster, &victims, &targets)?
        } else {
            Vec::new()
        };
        let more = self.roles.iter().zip(need).map(|(r, n)| r.count - n);
        let more: Vec<u32> = more.collect();
        fill(&mut self.cluster, &self.roles, &more, &order, &mut puts);
        let key = units.map(|units| self.key(gone, units, moving));
        let cost = match key {
            Some((priority, loss, victims)) => {
                vec![priority.into(), loss, victims.into(), level.into()]
            }
            None => vec![level.into()],
        };
        let longest = victims.iter().map(|v| notice(self.case, *v as usize)).max();
        Some(Plan {
            domain: domain as u32,
            placements: puts.iter().map(|put| self.placement(put)).collect(),
            hold: self.tuning.hold_seconds * SECOND + u64::from(longest.unwrap_or(0)),
            victims: match moving {
                true => Vec::new(),
                false => victims.iter().map(|v| self.victim(*v, domain)).collect(),
            },
            moves,
            cost,
        })
    }

    fn key(&self, gone: &[u32], units: &Units, moving: bool) -> Key {
        gone.iter().fold((i32::MIN, 0, 0), |key, u| {
            let unit = units.unit(*u);
            let loss = if moving { unit.milli } else { unit.loss };
            (
                key.0.max(if moving { 0 } else { unit.priority }),
                i64::saturating_add(key.1, loss),
                key.2 + unit.victims,
            )
        })
    }

    fn placement(&self, put: &Put) -> Placement {
        Placement {
            role: self.roles[put.role].demand,
            row: put.row,
            slots: put.devices.iter().collect(),
        }
    }

    fn victim(&self, victim: u32, domain: usize) -> Victim {
        let request = self.case.request;
        let v = victim as usize;
        let domain = &request.domains[domain].name;
        let reason = match request.action {
            Action::Reclaim => {
                let owner = request.queues.get(request.running.owner[v] as usize);
                let owner = owner.map_or("its owner", |q| q.name.as_str());
                format!("{owner} is over its share; room for a gang in {domain}")
            }
            _ => format!(
                "priority {} yields to {}; room for a gang in {domain}",
                request.running.priority[v],
                self.case.priority()
            ),
        };
        Victim {
            id: request.running.id[v],
            grace: notice(self.case, v),
            reason,
        }
    }

    /// Why there is no plan, with the domain that comes closest.
    fn why(&self, preemptible: Option<(&Units, &[Vec<u64>])>) -> String {
        let request = self.case.request;
        let own;
        let sums = match preemptible {
            Some((_, sums)) => sums,
            None => {
                let everywhere: Vec<u32> = (0..self.cluster.len() as u32).collect();
                let room = Room::new(&self.cluster, &self.roles, &everywhere);
                own = self.rows.iter().map(|r| room.sums(r)).collect::<Vec<_>>();
                &own
            }
        };
        let held = |d: usize| -> u64 {
            let members = self.roles.iter().zip(&sums[d]);
            members.map(|(r, s)| (*s).min(r.min.into())).sum()
        };
        let permitted = self.rounds().into_iter().flatten();
        let best = permitted.max_by_key(|d| (held(*d), Reverse(*d)));
        let Some(best) = best else {
            return "no domain satisfies the constraint".to_owned();
        };
        let wanted: u64 = self.roles.iter().map(|r| u64::from(r.min)).sum();
        let gone = match preemptible {
            Some((units, _)) => format!(" with all {} units of work gone", units.len()),
            None => String::new(),
        };
        let stopped = if self.search.stopped() {
            "; the search ended at its limit, so a plan may exist"
        } else {
            ""
        };
        format!(
            "no domain holds the gang{gone}: best is {} with room for {} of {wanted} pods, each role on its own{stopped}",
            request.domains[best].name,
            held(best),
        )
    }
}
