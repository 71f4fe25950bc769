//! A small preemption policy, and what can be wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::port::preemption::{
    Action, MAY_KILL, NONE, Placement, Plan, PreemptRequest, PreemptionPolicy, Proposal, Victim,
};
use engine::port::{Column, Context, Cost, Description, PodRow};
use model::PolicyFault;

use crate::state::State;

/// What is wrong with a policy. `Nothing` is the sound one they derive from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Nothing,
    Abstains,
    BadName,
    AcceptsAnySettings,
    TrapsOnNoRows,
    OutOfFuelAtFullSize,
    RandomHold,
    FuelFromAddress,
    CountsCalls,
    KeepsNewestContext,
    TakesProtected,
    TakesStrangers,
    TakesTwice,
    SplitsGroups,
    OverdrawsBudgets,
    PlacesOutside,
    PlacesTooFew,
    PlacesTooMany,
    PlacesOnOneDevice,
    PlacesOnNoRow,
    IgnoresModels,
    UsesBrokenDevices,
    OverbooksCpu,
    OverbooksDevices,
    TakesEverybody,
    FirstRowWins,
    FirstVictimStays,
    ForgetsNomination,
    NeverPlaces,
}

pub struct Mutant {
    wrong: Wrong,
    description: Description,
    calls: u64,
    version: u64,
    nodes: u32,
    context: Arc<Context>,
}

/// Shared by all instances, like a random source or an address would be.
static AMBIENT: AtomicU64 = AtomicU64::new(0);

const FULL_SIZE: usize = 20_000;

/// What the state below reads, in its order.
pub const COLUMNS: [Column; 8] = [
    Column::Row,
    Column::GpuModel,
    Column::CpuFree,
    Column::MemoryFree,
    Column::DiskFree,
    Column::NetworkFree,
    Column::GpuMilliFree,
    Column::GpuMemoryFree,
];

impl Mutant {
    pub fn make(wrong: Wrong, settings: &str) -> Result<Self, PolicyFault> {
        if settings != "{}" && wrong != Wrong::AcceptsAnySettings {
            return Err(PolicyFault::Refused {
                message: "unknown settings".to_owned(),
            });
        }
        let name = match wrong {
            Wrong::BadName => "-",
            _ => "mutant",
        };
        Ok(Self {
            wrong,
            description: Description {
                name: name.to_owned(),
                version: "1.2.3".to_owned(),
                summary: "The first domain that can be cleared.".to_owned(),
                settings_schema: r#"{"type":"object","additionalProperties":false}"#.to_owned(),
                columns: COLUMNS.to_vec(),
            },
            calls: 0,
            version: 0,
            nodes: 0,
            context: Arc::default(),
        })
    }

    /// Running work that is taken together, by its smallest id.
    fn units(&self, r: &PreemptRequest<'_>) -> Vec<Vec<usize>> {
        let mut units: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
        for i in 0..r.running.len() {
            let key = match r.running.group[i] {
                group if group != NONE && self.wrong != Wrong::SplitsGroups => (0, group),
                _ => (1, r.running.id[i]),
            };
            units.entry(key).or_default().push(i);
        }
        let may = |i: &usize| {
            self.wrong == Wrong::TakesProtected || r.running.allowed[*i] & MAY_KILL != 0
        };
        let mut left: Vec<u32> = r.budgets.iter().map(|b| b.allowed).collect();
        let mut pays = |members: &Vec<usize>| {
            let before = left.clone();
            for i in members {
                let budget = r.running.budget[*i];
                if budget == NONE || self.wrong == Wrong::OverdrawsBudgets {
                    continue;
                }
                match &mut left[budget as usize] {
                    0 => {
                        left = before;
                        return false;
                    }
                    more => *more -= 1,
                }
            }
            true
        };
        let mut units: Vec<Vec<usize>> = units
            .into_values()
            .filter(|members| members.iter().all(may) && pays(members))
            .collect();
        if self.wrong != Wrong::FirstVictimStays {
            let first = |m: &Vec<usize>| m.iter().map(|i| r.running.id[*i]).min();
            units.sort_by_key(first);
        } else {
            units.sort();
        }
        units
    }

    fn fits(&self, state: &State<'_>, pod: &PodRow, row: usize) -> Option<Vec<u32>> {
        let model = state.model(row);
        let wanted = pod.gpu_models;
        let accepts = wanted == 0 || model >= 0 && wanted & 1 << model != 0;
        if pod.gpu_count > 0 && !accepts && self.wrong != Wrong::IgnoresModels {
            return None;
        }
        if !state.has(row, pod, self.wrong == Wrong::OverbooksCpu) {
            return None;
        }
        let count = pod.gpu_count as usize;
        let takes = |slot: &usize| match state.device(row, *slot) {
            (-1, _) => self.wrong == Wrong::UsesBrokenDevices,
            _ if self.wrong == Wrong::OverbooksDevices => true,
            (milli, memory) => milli >= pod.gpu_milli as i32 && memory >= pod.gpu_memory,
        };
        let mut slots: Vec<u32> = (0..state.slots)
            .filter(takes)
            .take(count)
            .map(|s| s as u32)
            .collect();
        if slots.len() < count {
            return None;
        }
        if self.wrong == Wrong::PlacesOnOneDevice && count > 1 {
            let first = slots[0];
            slots.fill(first);
        }
        Some(slots)
    }

    /// The minimum of every role, on the rows of the domain in order of their
    /// ids.
    fn place(
        &self,
        r: &PreemptRequest<'_>,
        state: &mut State<'_>,
        domain: usize,
    ) -> Option<Vec<Placement>> {
        let mut rows: Vec<usize> = r.domains[domain].rows.iter().map(|r| *r as usize).collect();
        match self.wrong {
            Wrong::FirstRowWins => {}
            Wrong::PlacesOutside => {
                rows = (0..r.rows.count as usize).collect();
                rows.sort_by_key(|row| std::cmp::Reverse(state.id(*row)));
            }
            _ => rows.sort_by_key(|row| state.id(*row)),
        }
        let mut placements = Vec::new();
        for (role, demand) in r.preemptor.demands.iter().enumerate() {
            for _ in 0..demand.min {
                let found = rows.iter().find_map(|row| {
                    let slots = self.fits(state, &demand.pod, *row)?;
                    Some((*row, slots))
                });
                let (row, slots) = found?;
                state.put(row, &demand.pod, &slots);
                placements.push(Placement {
                    role: role as u32,
                    row: row as u32,
                    slots,
                });
            }
        }
        Some(placements)
    }

    fn clear(&self, r: &PreemptRequest<'_>, domain: usize, touch: bool) -> Option<Plan> {
        let mut state = State::new(r, &self.context);
        let mut units = match touch {
            true => self.units(r),
            false => Vec::new(),
        };
        for i in units.iter().flatten() {
            state.evict(*i);
        }
        let mut placements = self.place(r, &mut state, domain)?;
        if self.wrong != Wrong::TakesEverybody {
            units.retain(|members| !state.put_back(members));
        }
        let mut victims: Vec<Victim> = units
            .iter()
            .flatten()
            .map(|i| Victim {
                id: r.running.id[*i],
                grace: r.running.grace[*i],
                reason: "in the way".to_owned(),
            })
            .collect();
        match self.wrong {
            Wrong::TakesStrangers => victims.push(Victim {
                id: 1 << 20,
                grace: 0,
                reason: String::new(),
            }),
            Wrong::TakesTwice if !victims.is_empty() => victims.push(victims[0].clone()),
            Wrong::PlacesTooFew => drop(placements.pop()),
            Wrong::PlacesTooMany => {
                let most = r.preemptor.demands[0].count as usize;
                placements = vec![placements[0].clone(); most + 1];
            }
            Wrong::PlacesOnNoRow => placements[0].row = r.rows.count,
            _ => {}
        }
        Some(Plan {
            domain: domain as u32,
            cost: vec![victims.len() as i64],
            victims,
            moves: Vec::new(),
            placements,
            hold: match self.wrong {
                Wrong::RandomHold => AMBIENT.fetch_add(1, Ordering::Relaxed),
                Wrong::CountsCalls => self.calls,
                Wrong::KeepsNewestContext => u64::from(self.nodes),
                _ => 1_000,
            },
        })
    }

    fn answer(&self, r: &PreemptRequest<'_>) -> Proposal {
        let nominated = r.preemptor.nominated.map(|n| n as usize);
        let mut domains: Vec<usize> = (0..r.domains.len()).collect();
        if self.wrong != Wrong::ForgetsNomination {
            domains.sort_by_key(|d| Some(*d) != nominated);
        }
        let touch = r.action != Action::Consolidate;
        let free = domains.iter().find_map(|d| self.clear(r, *d, false));
        let plan = free.or_else(|| {
            let mut domains = domains.iter().filter(|_| touch);
            domains.find_map(|d| self.clear(r, *d, true))
        });
        match plan {
            Some(plan) if self.wrong != Wrong::NeverPlaces => Proposal::Plan(plan),
            _ => Proposal::None("no domain can be cleared".to_owned()),
        }
    }
}

impl PreemptionPolicy for Mutant {
    fn description(&self) -> &Description {
        &self.description
    }

    fn set_context(&mut self, context: &Arc<Context>) -> Result<(), PolicyFault> {
        self.context = Arc::clone(context);
        if context.version > self.version {
            self.version = context.version;
            self.nodes = context.nodes;
        }
        Ok(())
    }

    fn propose(&mut self, r: &PreemptRequest<'_>) -> Result<(Proposal, Cost), PolicyFault> {
        self.calls += 1;
        if self.wrong == Wrong::TrapsOnNoRows && r.rows.count == 0 {
            return Err(PolicyFault::Trap {
                message: "index out of bounds".to_owned(),
            });
        }
        if self.wrong == Wrong::OutOfFuelAtFullSize && r.running.len() >= FULL_SIZE {
            return Err(PolicyFault::OutOfFuel { limit: 1 });
        }
        let fuel = match self.wrong {
            Wrong::FuelFromAddress => AMBIENT.fetch_add(1, Ordering::Relaxed),
            _ => 1_000,
        };
        let said = match self.wrong {
            Wrong::Abstains => Proposal::Abstain,
            _ => self.answer(r),
        };
        Ok((said, Cost { fuel }))
    }
}
