//! Test vectors of Kueue's topology-aware scheduling, and small cases against a
//! search that tries everything.

use std::collections::{BTreeMap, BTreeSet};

use model::gang::{Level, Slice};
use model::{Event, GpuRequest, GpuSpec, NodeSpec, PodSpec, Resources};

use crate::effect::Output;
use crate::engine::{Config, Engine};
use crate::nodes::slots_of;
use crate::port::preemption::{Constraint, Domain, LEVEL_CLUSTER};
use crate::whatif::WhatIf;

use super::{GangPlace, RoleWish, Wish, place};

/// A node: CPU in cores, shares left on each GPU in thousandths, rack, block.
#[derive(Debug, Clone)]
struct Machine {
    cores: i64,
    gpus: Vec<i32>,
    rack: u32,
    block: u32,
}

/// A role: cores, GPUs, share of each, min, count.
#[derive(Debug, Clone, Copy)]
struct Role {
    cores: i64,
    gpus: u32,
    milli: u32,
    min: u32,
    count: u32,
}

fn spec(name: String, cores: i64, gpus: u32, milli: u32) -> PodSpec {
    PodSpec {
        name,
        app: "a".to_owned(),
        requests: Resources {
            cpu_milli: cores * 1_000,
            ..Resources::default()
        },
        gpu: match (gpus, milli) {
            (0, _) => GpuRequest::default(),
            (_, 1_000) => GpuRequest::whole(gpus),
            _ => GpuRequest::share(milli),
        },
        ..PodSpec::default()
    }
}

fn cluster(machines: &[Machine]) -> Engine {
    let mut engine = Engine::new(Config::default());
    let mut out = Output::default();
    for (i, m) in machines.iter().enumerate() {
        let node = NodeSpec {
            name: format!("n{i}"),
            capacity: Resources {
                cpu_milli: m.cores * 1_000,
                memory_mib: 1_000,
                ..Resources::default()
            },
            gpus: vec![
                GpuSpec {
                    model: "A".to_owned(),
                    memory_mib: 16_384,
                    healthy: true,
                };
                m.gpus.len()
            ],
            rack: Some(format!("r{}", m.rack)),
            block: Some(format!("b{}", m.block)),
            ..NodeSpec::default()
        };
        engine
            .step(0, Event::NodePut(Box::new(node)), &mut out)
            .unwrap();
    }
    engine
}

fn domains(machines: &[Machine], level: u32, constraint: Constraint) -> Vec<Domain> {
    let top = match constraint {
        Constraint::Required => level,
        _ => LEVEL_CLUSTER,
    };
    let mut list = Vec::new();
    for (l, key) in [
        (1, (|m: &Machine| m.rack) as fn(&Machine) -> u32),
        (2, |m| m.block),
    ] {
        let mut groups = BTreeMap::<u32, Vec<u32>>::new();
        for (i, m) in machines.iter().enumerate() {
            groups.entry(key(m)).or_default().push(i as u32);
        }
        list.extend(groups.into_iter().map(|(name, rows)| Domain {
            level: l,
            name: name.to_string(),
            rows,
        }));
    }
    list.push(Domain {
        level: LEVEL_CLUSTER,
        name: "cluster".to_owned(),
        rows: (0..machines.len() as u32).collect(),
    });
    list.retain(|d| d.level <= top);
    list
}

type Answer = Option<(Domain, Vec<GangPlace>)>;

fn ask(
    machines: &[Machine],
    roles: &[Role],
    constraint: Constraint,
    level: u32,
    slice: Option<Slice>,
) -> Answer {
    let mut engine = cluster(machines);
    let used = fill(&mut engine, machines);
    let wishes: Vec<RoleWish> = roles
        .iter()
        .map(|r| RoleWish {
            class: engine
                .classes
                .join(&spec("x".to_owned(), r.cores, r.gpus, r.milli)),
            min: r.min,
            count: r.count,
        })
        .collect();
    let rows: Vec<u32> = (0..machines.len() as u32).collect();
    let eligible: Vec<Vec<bool>> = roles
        .iter()
        .map(|r| {
            machines
                .iter()
                .map(|m| m.gpus.len() >= r.gpus as usize)
                .collect()
        })
        .collect();
    let wish = Wish {
        roles: &wishes,
        constraint,
        level,
        slice,
        rows: &rows,
        eligible: &eligible,
    };
    let list = domains(machines, level, constraint);
    let mut state = WhatIf::new(&engine.nodes, &engine.classes);
    for (class, row, devices) in used {
        assert!(state.place_on(class, row, devices));
    }
    let (index, places) = place(&mut state, &wish, &list)?;
    Some((list[index].clone(), places))
}

/// Work that leaves on each device just the share that the machine says.
fn fill(engine: &mut Engine, machines: &[Machine]) -> Vec<(u32, u32, u16)> {
    let mut used = Vec::new();
    for (row, m) in machines.iter().enumerate() {
        for (s, left) in m.gpus.iter().enumerate() {
            if *left < 1_000 {
                let share = (1_000 - left) as u32;
                let class = engine.classes.join(&spec("u".to_owned(), 0, 1, share));
                used.push((class, row as u32, 1 << s));
            }
        }
    }
    used
}

fn racks(nodes: &[(u32, u32)]) -> Vec<Machine> {
    nodes
        .iter()
        .flat_map(|(rack, free)| {
            (0..*free).map(|_| Machine {
                cores: 1,
                gpus: Vec::new(),
                rack: *rack,
                block: 0,
            })
        })
        .collect()
}

const ONE_CORE: Role = Role {
    cores: 1,
    gpus: 0,
    milli: 0,
    min: 0,
    count: 0,
};

fn by_rack(machines: &[Machine], answer: &Answer) -> (u32, BTreeMap<u32, u32>) {
    let (domain, places) = answer.as_ref().unwrap();
    let mut counts = BTreeMap::new();
    for p in places {
        *counts.entry(machines[p.index as usize].rack).or_insert(0) += 1;
    }
    (domain.level, counts)
}

#[test]
fn the_smallest_domain_that_fits_is_taken_and_the_last_child_is_the_best_fit() {
    let machines = racks(&[(1, 5), (2, 4), (3, 3)]);
    let need = |n| Role {
        min: n,
        count: n,
        ..ONE_CORE
    };
    let rack = |n, constraint| {
        let answer = ask(&machines, &[need(n)], constraint, 1, None);
        answer.is_some().then(|| by_rack(&machines, &answer))
    };
    let one = |rack, n| BTreeMap::from([(rack, n)]);
    assert_eq!(rack(3, Constraint::Required), Some((1, one(3, 3))));
    assert_eq!(rack(4, Constraint::Required), Some((1, one(2, 4))));
    assert_eq!(rack(6, Constraint::Required), None);
    let split = BTreeMap::from([(1, 5), (3, 1)]);
    assert_eq!(rack(6, Constraint::Preferred), Some((2, split)));
    assert_eq!(rack(13, Constraint::Preferred), None);
}

#[test]
fn slices_stay_together_and_no_rack_holds_part_of_one() {
    let machines = racks(&[(1, 5), (2, 4), (3, 3)]);
    let need = |n| Role {
        min: n,
        count: n,
        ..ONE_CORE
    };
    let slice = Some(Slice {
        size: 2,
        level: Level::Rack,
    });
    let answer = ask(&machines, &[need(10)], Constraint::Required, 2, slice);
    let counts = BTreeMap::from([(1, 4), (2, 4), (3, 2)]);
    assert_eq!(by_rack(&machines, &answer), (2, counts));
    assert!(ask(&machines, &[need(12)], Constraint::Required, 2, slice).is_none());
}

#[test]
fn an_elastic_gang_gets_what_is_there_beyond_its_minimum() {
    let machines = racks(&[(1, 5), (2, 4), (3, 3)]);
    let role = Role {
        min: 4,
        count: 8,
        ..ONE_CORE
    };
    let answer = ask(&machines, &[role], Constraint::Required, 1, None);
    assert_eq!(by_rack(&machines, &answer), (1, BTreeMap::from([(2, 4)])));
    // More in one rack would not be all: the smallest that starts it is taken,
    // and filled.
    let role = Role { min: 5, ..role };
    let answer = ask(&machines, &[role], Constraint::Required, 1, None);
    assert_eq!(by_rack(&machines, &answer), (1, BTreeMap::from([(1, 5)])));
}

#[test]
fn the_search_finds_what_the_greedy_way_misses() {
    // Greedy puts the first big pod on the smallest child that holds both, the
    // large machine, which the other role needs.
    let machine = |cores, gpus: usize| Machine {
        cores,
        gpus: vec![1_000; gpus],
        rack: 0,
        block: 0,
    };
    let machines = [machine(4, 2), machine(16, 2)];
    let gpu = Role {
        cores: 1,
        gpus: 2,
        milli: 1_000,
        min: 1,
        count: 1,
    };
    let cpu = Role {
        cores: 15,
        gpus: 1,
        milli: 1_000,
        min: 1,
        count: 1,
    };
    for roles in [[gpu, cpu], [cpu, gpu]] {
        let (_, places) = ask(&machines, &roles, Constraint::None, 0, None).unwrap();
        valid(&machines, &roles, None, &places).unwrap();
    }
    // Shares: half a device each on devices with 500 and 800 left; the 800 must
    // not be taken by who fits on 500.
    let machines = [Machine {
        cores: 8,
        gpus: vec![500, 800],
        rack: 0,
        block: 0,
    }];
    let share = |milli| Role {
        cores: 1,
        gpus: 1,
        milli,
        min: 1,
        count: 1,
    };
    let roles = [share(400), share(500), share(400)];
    let (_, places) = ask(&machines, &roles, Constraint::None, 0, None).unwrap();
    valid(&machines, &roles, None, &places).unwrap();
}

/// Checks an answer without the state it came from.
fn valid(
    machines: &[Machine],
    roles: &[Role],
    slice: Option<Slice>,
    places: &[GangPlace],
) -> Result<(), String> {
    let mut left = machines.to_vec();
    let mut in_rack = BTreeMap::<(usize, u32), u32>::new();
    let mut counts = vec![0; roles.len()];
    for p in places {
        let (role, m) = (roles[p.role], &mut left[p.index as usize]);
        m.cores -= role.cores;
        if m.cores < 0 || p.devices.count_ones() != role.gpus {
            return Err(format!("{p:?} has no room"));
        }
        for s in slots_of(p.devices) {
            m.gpus[s] -= role.milli as i32;
            if m.gpus[s] < 0 {
                return Err(format!("{p:?} takes a device twice"));
            }
        }
        counts[p.role] += 1;
        *in_rack
            .entry((p.role, machines[p.index as usize].rack))
            .or_insert(0) += 1;
    }
    for (count, role) in counts.iter().zip(roles) {
        if *count < role.min || *count > role.count {
            return Err(format!("{counts:?} placed of {roles:?}"));
        }
    }
    let whole = |n: &u32| slice.is_none_or(|s| n.is_multiple_of(s.size));
    in_rack
        .values()
        .all(whole)
        .then_some(())
        .ok_or_else(|| "a slice is split".to_owned())
}

/// Whether all pods of the counts fit on the machines, by trying everything.
fn possible(machines: &[Machine], roles: &[Role], counts: &[u32], slice: Option<Slice>) -> bool {
    type Left = Vec<(i64, Vec<i32>)>;
    type Seen = BTreeSet<(usize, Left, Vec<(usize, u32)>)>;
    #[expect(clippy::too_many_arguments, reason = "the state of a plain recursion")]
    fn go(
        machines: &[Machine],
        pods: &[usize],
        roles: &[Role],
        done: usize,
        left: &mut Left,
        at: &mut Vec<usize>,
        slice: Option<Slice>,
        seen: &mut Seen,
    ) -> bool {
        let Some(role) = pods.get(done).copied() else {
            let mut in_rack = BTreeMap::<(usize, u32), u32>::new();
            for (pod, m) in at.iter().enumerate() {
                *in_rack.entry((pods[pod], machines[*m].rack)).or_insert(0) += 1;
            }
            return in_rack
                .values()
                .all(|n| slice.is_none_or(|s| n.is_multiple_of(s.size)));
        };
        let racks: Vec<(usize, u32)> = if slice.is_some() {
            let mut racks: Vec<(usize, u32)> = at
                .iter()
                .enumerate()
                .map(|(pod, m)| (pods[pod], machines[*m].rack))
                .collect();
            racks.sort_unstable();
            racks
        } else {
            Vec::new()
        };
        if !seen.insert((done, left.clone(), racks)) {
            return false;
        }
        let r = roles[role];
        for m in 0..left.len() {
            if left[m].0 < r.cores {
                continue;
            }
            let slots = left[m].1.len();
            for mask in 0u32..1 << slots {
                let ok = |s: &usize| left[m].1[*s] >= r.milli as i32;
                let chosen: Vec<usize> = (0..slots).filter(|s| mask & 1 << s != 0).collect();
                if mask.count_ones() != r.gpus || !chosen.iter().all(ok) {
                    continue;
                }
                left[m].0 -= r.cores;
                chosen.iter().for_each(|s| left[m].1[*s] -= r.milli as i32);
                at.push(m);
                let found = go(machines, pods, roles, done + 1, left, at, slice, seen);
                at.pop();
                left[m].0 += r.cores;
                chosen.iter().for_each(|s| left[m].1[*s] += r.milli as i32);
                if found {
                    return true;
                }
            }
        }
        false
    }
    let pods: Vec<usize> = counts
        .iter()
        .enumerate()
        .flat_map(|(role, n)| vec![role; *n as usize])
        .collect();
    let mut left: Left = machines.iter().map(|m| (m.cores, m.gpus.clone())).collect();
    let mut seen = BTreeSet::new();
    go(
        machines,
        &pods,
        roles,
        0,
        &mut left,
        &mut Vec::new(),
        slice,
        &mut seen,
    )
}

/// Small, seeded, and the same everywhere (xorshift64*).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

fn random_role(rng: &mut Rng, sliced: bool) -> Role {
    let (gpus, milli) = match rng.below(4) {
        0 => (0, 0),
        1 => (1, [300, 400, 500, 700][rng.below(4) as usize]),
        _ => (1 + rng.below(2) as u32, 1_000),
    };
    let step = if sliced { 2 } else { 1 };
    let count = step * (1 + rng.below(4 / u64::from(step)) as u32);
    let min = step * (1 + rng.below(u64::from(count / step)) as u32);
    Role {
        cores: 1 + rng.below(4) as i64,
        gpus,
        milli,
        min,
        count,
    }
}

#[test]
fn it_finds_a_place_exactly_when_there_is_one_and_in_the_nearest_level() {
    let (mut found, mut none) = (0, 0);
    for seed in 0..600 {
        let mut rng = Rng(seed * 2 + 1);
        let machines: Vec<Machine> = (0..2 + rng.below(5))
            .map(|_| {
                let rack = rng.below(3) as u32;
                Machine {
                    cores: 2 + rng.below(8) as i64,
                    gpus: (0..rng.below(4))
                        .map(|_| [1_000, 1_000, 600, 500, 0][rng.below(5) as usize])
                        .collect(),
                    rack,
                    block: rack / 2,
                }
            })
            .collect();
        let slice = (rng.below(4) == 0).then_some(Slice {
            size: 2,
            level: Level::Rack,
        });
        let roles: Vec<Role> = (0..1 + rng.below(3))
            .map(|_| random_role(&mut rng, slice.is_some()))
            .collect();
        let (constraint, level) = match rng.below(3) {
            0 => (Constraint::None, 0),
            1 => (Constraint::Preferred, 1 + rng.below(2) as u32),
            _ => (
                Constraint::Required,
                if slice.is_some() {
                    2
                } else {
                    1 + rng.below(2) as u32
                },
            ),
        };
        let most: Vec<u32> = roles.iter().map(|r| r.count).collect();
        let least: Vec<u32> = roles.iter().map(|r| r.min).collect();
        let list = domains(&machines, level, constraint);
        let nearest = |counts: &[u32], from: u32, to: u32| {
            let fits = |d: &&Domain| {
                let inside: Vec<Machine> = d
                    .rows
                    .iter()
                    .map(|i| machines[*i as usize].clone())
                    .collect();
                possible(&inside, &roles, counts, slice)
            };
            let levels = list.iter().filter(|d| d.level >= from && d.level <= to);
            levels.clone().filter(fits).map(|d| d.level).min()
        };
        let near = match constraint {
            Constraint::None => LEVEL_CLUSTER,
            _ => level,
        };
        let expected = nearest(&most, 0, near)
            .or_else(|| nearest(&least, 0, near))
            .or_else(|| nearest(&most, near + 1, LEVEL_CLUSTER))
            .or_else(|| nearest(&least, near + 1, LEVEL_CLUSTER));
        let answer = ask(&machines, &roles, constraint, level, slice);
        let got = answer.as_ref().map(|(d, _)| d.level);
        assert_eq!(
            got, expected,
            "seed {seed}: {machines:?} {roles:?} {slice:?}"
        );
        if let Some((domain, places)) = answer {
            found += 1;
            valid(&machines, &roles, slice, &places).unwrap();
            assert!(places.iter().all(|p| domain.rows.contains(&p.index)));
        } else {
            none += 1;
        }
    }
    assert!(found > 100 && none > 100, "{found} found, {none} not");
}
