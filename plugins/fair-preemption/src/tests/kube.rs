//! `ranking: kube` against kube-scheduler's algorithm, written down once more
//! over plain lists.

use std::cmp::Reverse;

use loadmaster_sdk::testing::Work;

use super::*;

/// Nodes A {5, 5}, B {10}, C {5, later}: A and C have the lower highest priority,
/// C the smaller sum.
#[test]
fn the_published_vector() {
    let world = World::default()
        .machine("a", 8_000, 2)
        .machine("a", 8_000, 2)
        .machine("a", 8_000, 2)
        .work(0, 0b01, 5)
        .work(0, 0b10, 5)
        .work(1, 0b11, 10)
        .work(2, 0b11, 5)
        .with(|w| w.started = 50)
        .role(urgent(gpu_pod(0, 0, 2)), 1, 1);
    let plan = plan_with(&world, KUBE);
    assert_eq!(victims(&plan), [3]);
    assert_eq!(plan.cost, [0, 5, 5 + (1 << 31), 1, -50]);
}

/// One step of the ranking at a time; the first node loses each.
#[test]
fn each_step_of_the_ranking_decides_in_its_turn() {
    let base = || {
        World::default()
            .machine("a", 8_000, 2)
            .machine("a", 8_000, 2)
            .role(urgent(gpu_pod(0, 0, 2)), 1, 1)
    };
    let budget = |world: World| World {
        budgets: vec![Budget {
            name: "none".to_owned(),
            allowed: 0,
        }],
        ..world
    };
    // Budgets come before priority.
    let world = budget(base())
        .work(0, 0b11, 1)
        .with(|w| w.budget = 0)
        .work(1, 0b11, 50);
    assert_eq!(victims(&plan_with(&world, KUBE)), [1]);
    // The highest priority before the sum.
    let world = base().work(0, 0b11, 6).work(1, 0b01, 5).work(1, 0b10, 5);
    assert_eq!(victims(&plan_with(&world, KUBE)), [1, 2]);
    // The sum before the start.
    let world = base()
        .work(0, 0b01, 5)
        .work(0, 0b10, 4)
        .work(1, 0b01, 5)
        .work(1, 0b10, 3);
    assert_eq!(victims(&plan_with(&world, KUBE)), [2, 3]);
    // The latest of the earliest starts.
    let world = base()
        .work(0, 0b11, 5)
        .with(|w| w.started = 10)
        .work(1, 0b11, 5)
        .with(|w| w.started = 20);
    assert_eq!(victims(&plan_with(&world, KUBE)), [1]);
    // All alike: the first.
    let world = base().work(0, 0b11, 5).work(1, 0b11, 5);
    assert_eq!(victims(&plan_with(&world, KUBE)), [0]);
}

#[test]
fn who_is_older_stays_and_protected_work_never_goes() {
    let world = World::default()
        .machine("a", 8_000, 3)
        .work(0, 0b001, 5)
        .with(|w| w.started = 20)
        .work(0, 0b010, 5)
        .with(|w| w.started = 10)
        .work(0, 0b100, 1)
        .with(|w| w.allowed = 0)
        .role(urgent(gpu_pod(0, 0, 1)), 1, 1);
    assert_eq!(victims(&plan_with(&world, KUBE)), [0]);
}

#[test]
fn a_plan_that_overdraws_a_budget_is_not_made() {
    let mut world = World {
        budgets: vec![Budget {
            name: "none".to_owned(),
            allowed: 0,
        }],
        ..World::default()
    }
    .machine("a", 8_000, 2)
    .work(0, 0b11, 1)
    .with(|w| w.budget = 0)
    .role(urgent(gpu_pod(0, 0, 1)), 1, 1);
    match ask_with(&world, KUBE) {
        Answer::None(why) => assert_eq!(why, "every node would overdraw a disruption budget"),
        other => panic!("{other:?}"),
    }
    world.budgets[0].allowed = 1;
    assert_eq!(victims(&plan_with(&world, KUBE)), [0]);
}

// === the algorithm once more ===

struct Node<'w> {
    cpu: i32,
    gpus: Vec<i32>,
    pods: Vec<&'w Work>,
}

impl Node<'_> {
    fn fits(&self, pod: &Pod) -> bool {
        let mut gpus = self.gpus.clone();
        let mut cpu = self.cpu;
        for work in &self.pods {
            cpu -= work.cpu;
            for (slot, free) in gpus.iter_mut().enumerate() {
                *free -= if work.slots >> slot & 1 == 1 {
                    work.milli
                } else {
                    0
                };
            }
        }
        let usable = gpus.iter().filter(|g| **g >= pod.gpu_milli as i32).count();
        cpu >= pod.cpu && (pod.gpu_count == 0 || usable >= pod.gpu_count as usize)
    }
}

type Ranked = (usize, i32, i64, usize, Reverse<u64>, usize, Vec<u32>);

/// `selectVictimsOnNode` on each node and `pickOneNodeForPreemption`, in order of
/// preference.
fn oracle(world: &World) -> Vec<Ranked> {
    let pod = &world.demands[0].pod;
    let mut ranked = Vec::new();
    for (at, machine) in world.machines.iter().enumerate() {
        let here = world.work.iter().filter(|w| w.machine == at);
        let (mut potential, stay): (Vec<&Work>, Vec<&Work>) =
            here.partition(|w| w.priority < pod.priority && w.allowed & 1 == 1);
        let mut node = Node {
            cpu: machine.cpu,
            gpus: vec![1_000; machine.gpus],
            pods: stay,
        };
        if potential.is_empty() || !node.fits(pod) {
            continue;
        }
        potential.sort_by_key(|w| (Reverse(w.priority), w.started, w.id));
        let mut allowed: Vec<i64> = world.budgets.iter().map(|b| b.allowed.into()).collect();
        let (mut violating, mut fine) = (Vec::new(), Vec::new());
        for work in potential {
            let over = match allowed.get_mut(work.budget as usize) {
                Some(left) => {
                    *left -= 1;
                    *left < 0
                }
                None => false,
            };
            if over { &mut violating } else { &mut fine }.push(work);
        }
        let (mut victims, mut violations): (Vec<&Work>, usize) = (Vec::new(), 0);
        let first = violating.len();
        for (i, work) in violating.into_iter().chain(fine).enumerate() {
            node.pods.push(work);
            if !node.fits(pod) {
                node.pods.pop();
                victims.push(work);
                violations += usize::from(i < first);
            }
        }
        let highest = victims
            .iter()
            .map(|w| w.priority)
            .max()
            .expect("some victim");
        let earliest = victims.iter().filter(|w| w.priority == highest);
        let mut ids: Vec<u32> = victims.iter().map(|w| w.id).collect();
        ids.sort_unstable();
        ranked.push((
            violations,
            highest,
            victims
                .iter()
                .map(|w| i64::from(w.priority) + (1 << 31))
                .sum(),
            victims.len(),
            Reverse(earliest.map(|w| w.started).min().expect("some victim")),
            at,
            ids,
        ));
    }
    ranked.sort();
    ranked
}

#[test]
fn agrees_with_the_algorithm_on_generated_clusters() {
    let (mut same, mut refused) = (0, 0);
    for seed in 0..3_000 {
        let world = crowded(seed, 12, &[NONE]);
        let answer = ask_with(&world, KUBE);
        if matches!(&answer, Answer::Plan(plan) if plan.victims.is_empty()) {
            // kube-scheduler would have bound it before.
            plan_with(&world, KUBE);
            continue;
        }
        let ranked = oracle(&world);
        let legal = ranked.iter().find(|node| {
            world.budgets.iter().enumerate().all(|(b, budget)| {
                let taken = world.work.iter().filter(|w| node.6.contains(&w.id));
                taken.filter(|w| w.budget == b as u32).count() <= budget.allowed as usize
            })
        });
        match (answer, legal) {
            (Answer::Plan(_), Some(node)) => {
                let found = plan_with(&world, KUBE);
                assert_eq!(victims(&found), node.6, "seed {seed}");
                assert_eq!(found.placements[0].row as usize, node.5, "seed {seed}");
                same += 1;
            }
            (Answer::None(_), None) => refused += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(
        same > 500 && refused > 100,
        "{same} plans, {refused} without"
    );
}
