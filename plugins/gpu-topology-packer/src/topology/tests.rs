//! Vectors: NVIDIA's best-effort tests on a DGX-1V, exhaustive lists, and the
//! link counts of that machine.

use super::partition::Partition;
use super::*;
use loadmaster_sdk::testing::DGX1;

fn wired(links: &[i32], numa: &[i32]) -> Links {
    let wiring = Wiring {
        gpus: numa.len() as u32,
        links: links.to_vec(),
        numa: numa.to_vec(),
    };
    Links::new(&wiring).expect("a machine")
}

fn dgx1() -> Links {
    wired(&DGX1, &[0, 0, 0, 0, 1, 1, 1, 1])
}

fn mask(devices: &[usize]) -> u16 {
    devices.iter().fold(0, |mask, d| mask | 1 << d)
}

fn list(mask: u16) -> Vec<usize> {
    bits(mask).collect()
}

/// Some pseudo-random machine; wiring values as real ones.
fn machine(gpus: usize, seed: u64) -> Links {
    let mut state = seed;
    let mut links = vec![0; gpus * gpus];
    for a in 0..gpus {
        for b in a + 1..gpus {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let value = [10, 20, 30, 50, 110, 130, 210, 250][(state >> 60) as usize % 8];
            links[a * gpus + b] = value;
            links[b * gpus + a] = value;
        }
    }
    let numa: Vec<i32> = (0..gpus as i32).map(|g| g / 4).collect();
    wired(&links, &numa)
}

#[test]
fn best_effort_vectors() {
    let all = &[0, 1, 2, 3, 4, 5, 6, 7][..];
    type Vector<'a> = (&'a [usize], &'a [usize], usize, &'a [usize], i32, i32);
    let vectors: &[Vector<'_>] = &[
        (&[0, 2, 4, 5], &[], 2, &[4, 5], 150, 280),
        (&[0, 4, 5, 6], &[], 2, &[5, 6], 230, 440),
        (&[0, 1, 3], &[], 2, &[0, 3], 230, 230),
        (&[0, 1, 4], &[], 2, &[0, 4], 210, 210),
        (all, &[4], 1, &[4], 0, 0),
        (all, &[4], 2, &[4, 7], 230, 920),
        (all, &[4], 4, &[4, 5, 6, 7], 1120, 2240),
        (all, &[0, 2, 4, 6], 4, &[0, 2, 4, 6], 600, 1200),
        (all, &[], 2, &[0, 3], 230, 920),
        (all, &[], 3, &[0, 2, 3], 610, 1430),
        (all, &[], 4, &[0, 1, 2, 3], 1120, 2240),
        (&all[1..], &[], 2, &[2, 3], 250, 710),
        (&all[1..], &[], 4, &[4, 5, 6, 7], 1120, 1730),
        (all, &[], 1, &[0], 0, 0),
    ];
    let links = dgx1();
    for (free, required, count, set, sum, total) in vectors {
        let found = links
            .best_partition(mask(free), mask(required), *count)
            .unwrap();
        assert_eq!(
            (list(found.choice.devices), found.choice.links, found.total),
            (set.to_vec(), *sum, *total),
            "free {free:?} required {required:?} count {count}"
        );
    }
    // Errors of the upstream tests: no answer.
    for (free, required, count) in [
        (mask(&all[1..]), mask(&[0, 1, 2, 3]), 4),
        (mask(all), 0, 0),
        (mask(&[0, 1]), 0, 3),
        (mask(all), mask(&[0, 1]), 1),
    ] {
        assert_eq!(links.best_partition(free, required, count), None);
    }
}

/// Lists every split in the upstream order, as upstream does.
fn brute_partition(links: &Links, free: u16, required: u16, count: usize) -> Option<Partition> {
    fn walk(left: u16, count: usize, sets: &mut Vec<u16>, visit: &mut impl FnMut(&[u16])) {
        if left == 0 {
            visit(sets);
            return;
        }
        let low = left & left.wrapping_neg();
        let short = left.count_ones() as usize % count;
        let mut firsts = Vec::new();
        each_set(left & !low, low, count - 1, &mut |set| firsts.push(set));
        if short > 0 {
            each_set(left & !low, low, short - 1, &mut |set| firsts.push(set));
        }
        let padded = |set: u16| {
            let mut devices = list(set);
            devices.resize(count, usize::MAX);
            devices
        };
        firsts.sort_by_key(|set| padded(*set));
        for set in firsts {
            sets.push(set);
            walk(left & !set, count, sets, visit);
            sets.pop();
        }
    }
    let mut best: Option<(i32, Vec<u16>)> = None;
    let full = |set: u16| set.count_ones() as usize == count && set & required == required;
    walk(free, count, &mut Vec::new(), &mut |sets| {
        let total = sets.iter().map(|s| links.sum(*s)).sum();
        if sets.iter().any(|s| full(*s)) && best.as_ref().is_none_or(|(t, _)| total > *t) {
            best = Some((total, sets.to_vec()));
        }
    });
    let (total, sets) = best?;
    let mut taken: Option<u16> = None;
    for set in sets.into_iter().filter(|s| full(*s)) {
        if taken.is_none_or(|t| links.sum(set) > links.sum(t)) {
            taken = Some(set);
        }
    }
    taken.map(|set| Partition {
        choice: links.choice(set),
        total,
    })
}

#[test]
fn partition_equals_the_full_list() {
    for links in [dgx1(), machine(8, 3), machine(8, 17)] {
        for free in 1..=255u16 {
            for count in 1..=free.count_ones() as usize {
                let brute = brute_partition(&links, free, 0, count);
                assert_eq!(
                    links.best_partition(free, 0, count),
                    brute,
                    "{free:b} {count}"
                );
                assert_eq!(
                    links.choose(Objective::Partition, free, count),
                    brute.map(|p| p.choice)
                );
            }
        }
    }
    let links = dgx1();
    for required in 1..=255u16 {
        for count in required.count_ones() as usize..=8 {
            assert_eq!(
                links.best_partition(255, required, count),
                brute_partition(&links, 255, required, count),
                "required {required:b} {count}"
            );
        }
    }
}

#[test]
fn maximin_vectors() {
    let links = dgx1();
    let choose = |free: &[usize], count| {
        let choice = links.choose(Objective::Maximin, mask(free), count);
        choice.map(|c| (list(c.devices), c.links, c.class)).unwrap()
    };
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    assert_eq!(choose(&all, 2), (vec![0, 3], 230, 200));
    assert_eq!(choose(&[0, 2, 4, 5], 2), (vec![0, 4], 210, 200));
    assert_eq!(choose(&[0, 1, 2, 3, 7], 1).0, [7]);
    assert_eq!(choose(&[0, 1, 4], 1).0, [1]);
    assert_eq!(choose(&all, 4), (vec![0, 1, 2, 3], 1120, 100));
    assert_eq!(links.choose(Objective::Maximin, 0b11, 3), None);
}

/// The whole ordering again, computed without tables.
fn brute_maximin(links: &Links, free: u16, count: usize) -> Option<Choice> {
    fn cliques(links: &Links, mask: u16) -> i32 {
        let mut best = 0;
        each_set(mask, 0, 4, &mut |set| {
            if links.slowest(set) >= 100 {
                best = best.max(1 + cliques(links, mask & !set));
            }
        });
        best
    }
    let pairs = |mask: u16| brute_partition(links, mask, 0, 2).map_or(0, |p| p.total);
    let mut sets = Vec::new();
    each_set(free, 0, count, &mut |set| sets.push(set));
    let key = |set: u16| {
        let rest = free & !set;
        let numa: std::collections::BTreeSet<i32> = bits(set).map(|d| links.numa[d]).collect();
        (
            links.slowest(set),
            cliques(links, rest),
            pairs(rest),
            links.sum(set),
            -(numa.len() as i32),
        )
    };
    // each_set lists in order, so the first of the largest is the lowest.
    sets.sort_by_key(|set| std::cmp::Reverse(key(*set)));
    sets.first().map(|set| links.choice(*set))
}

#[test]
fn maximin_equals_the_full_list() {
    for links in [dgx1(), machine(8, 3), machine(7, 5)] {
        for free in 1..=links.all() {
            for count in 1..=free.count_ones() as usize {
                assert_eq!(
                    links.choose(Objective::Maximin, free, count),
                    brute_maximin(&links, free, count),
                    "{free:b} {count}"
                );
            }
        }
    }
}

#[test]
fn reach_is_the_best_slowest_link() {
    for links in [dgx1(), machine(8, 9), machine(6, 2)] {
        for free in 1..=links.all() {
            for count in 2..=free.count_ones() as usize {
                let mut best = 0;
                each_set(free, 0, count, &mut |set| {
                    best = best.max(links.slowest(set))
                });
                assert_eq!(links.reach(free, count), best);
                assert_eq!(links.search_reach(free, count), best);
            }
        }
    }
}

/// k, subsets, links min / sum / max, sets with NVLink between all pairs, best sets.
#[test]
fn dgx1_link_counts() {
    let links = dgx1();
    let nvlinks = |set: u16| pairs(set).map(|(a, b)| links.link[a][b] / 100).sum::<i32>();
    let rows = [
        (2, 28, 0, 0.857, 2, 16),
        (3, 56, 1, 2.571, 5, 8),
        (4, 70, 2, 5.143, 9, 2),
        (5, 56, 7, 8.57, 11, 0),
        (6, 28, 12, 12.86, 14, 0),
    ];
    for (count, subsets, min, mean, max, meshes) in rows {
        let mut sets = Vec::new();
        each_set(255, 0, count, &mut |set| sets.push(set));
        let counts: Vec<i32> = sets.iter().map(|s| nvlinks(*s)).collect();
        let sum: i32 = counts.iter().sum();
        assert_eq!(sets.len(), subsets);
        assert_eq!(counts.iter().min(), Some(&min), "{count}");
        assert_eq!(counts.iter().max(), Some(&max), "{count}");
        assert!((f64::from(sum) / subsets as f64 - mean).abs() < 0.006);
        let full = sets.iter().filter(|s| links.slowest(**s) >= 100).count();
        assert_eq!(full, meshes);
        let best: Vec<u16> = sets.into_iter().filter(|s| nvlinks(*s) == max).collect();
        let expected: &[&[usize]] = match count {
            2 => &[
                &[0, 3],
                &[0, 4],
                &[1, 2],
                &[1, 5],
                &[2, 3],
                &[4, 7],
                &[5, 6],
                &[6, 7],
            ],
            3 => &[&[0, 2, 3], &[1, 2, 3], &[4, 6, 7], &[5, 6, 7]],
            4 => &[&[0, 1, 2, 3], &[4, 5, 6, 7]],
            _ => {
                assert_eq!(best.len(), if count == 5 { 4 } else { 8 });
                continue;
            }
        };
        let lists: Vec<Vec<usize>> = best.iter().map(|s| list(*s)).collect();
        assert_eq!(lists, expected);
        // An empty machine gives the best of it, whatever the objective.
        for objective in [Objective::Partition, Objective::Maximin] {
            let set = links.choose(objective, 255, count).unwrap().devices;
            assert!(
                best.contains(&set),
                "{objective:?} {count}: {:?}",
                list(set)
            );
        }
    }
}

#[test]
fn two_quads_then_nothing() {
    let links = dgx1();
    for objective in [Objective::Partition, Objective::Maximin] {
        let first = links.choose(objective, 255, 4).unwrap();
        let second = links.choose(objective, 255 & !first.devices, 4).unwrap();
        assert_eq!((first.links, second.links), (1120, 1120));
        assert_eq!(links.choose(objective, 0, 4), None);
    }
}

#[test]
fn behind_a_switch_numa_then_lowest() {
    let gpus = 8;
    let links: Vec<i32> = (0..64)
        .map(|i| if i / gpus == i % gpus { 0 } else { 1800 })
        .collect();
    let machine = wired(&links, &[0, 0, 1, 1, 0, 0, 1, 1]);
    assert!(machine.is_uniform());
    let choose = |objective, free: &[usize], count| {
        list(
            machine
                .choose(objective, mask(free), count)
                .unwrap()
                .devices,
        )
    };
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    assert_eq!(choose(Objective::Maximin, &all, 4), [0, 1, 4, 5]);
    assert_eq!(choose(Objective::Maximin, &[1, 2, 3, 6], 2), [2, 3]);
    assert_eq!(choose(Objective::Partition, &all, 4), [0, 1, 2, 3]);
    let brute = brute_partition(&machine, 0b1101_1011, 0, 4).unwrap();
    assert_eq!(
        machine.choose(Objective::Partition, 0b1101_1011, 4),
        Some(brute.choice)
    );
}

#[test]
fn sixteen_devices_are_searched_in_full() {
    let links = machine(16, 11);
    for count in 1..=16 {
        for objective in [Objective::Partition, Objective::Maximin] {
            let choice = links.choose(objective, u16::MAX, count).unwrap();
            assert_eq!(choice.devices.count_ones() as usize, count);
            if objective == Objective::Maximin && count > 1 {
                assert_eq!(choice.class, links.reach(u16::MAX, count));
            }
        }
    }
}

#[test]
fn nonsense_is_no_machine() {
    let wiring = |gpus: u32, links: usize, numa: usize| Wiring {
        gpus,
        links: vec![0; links],
        numa: vec![0; numa],
    };
    assert!(Links::new(&wiring(2, 4, 2)).is_some());
    assert!(Links::new(&wiring(0, 0, 0)).is_some());
    for bad in [wiring(17, 289, 17), wiring(2, 3, 2), wiring(2, 4, 1)] {
        assert!(Links::new(&bad).is_none());
    }
}
