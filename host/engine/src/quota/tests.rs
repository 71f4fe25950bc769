use super::*;
use model::quota::{QUOTA_WEIGHT_ONE, QuotaLine, Tier};

/// Seeds of the generated tests; a failure prints its own.
const SEEDS: u64 = 400;

/// Small, seeded, and the same everywhere (xorshift64*).
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }

    fn amount(&mut self, n: u64) -> i64 {
        self.below(n) as i64
    }
}

const GPU: QuotaResource = QuotaResource::Gpu;

fn gpu(amount: i64) -> Amounts {
    Amounts([0, 0, 0, 0, amount])
}

fn spec(name: &str, parent: Option<&str>, nominal: Option<i64>) -> QuotaSpec {
    let line = |nominal| QuotaLine {
        resource: GPU,
        nominal,
        borrowing_limit: None,
        lending_limit: None,
    };
    QuotaSpec {
        name: name.to_owned(),
        parent: parent.map(str::to_owned),
        weight: QUOTA_WEIGHT_ONE,
        tier: Tier::Flex,
        lines: nominal.map(line).into_iter().collect(),
    }
}

/// A tree with a queue of the same name on every node.
fn quotas(specs: &[QuotaSpec]) -> Quotas {
    let mut quotas = Quotas::default();
    for spec in specs {
        quotas.restore_quota(spec.clone());
    }
    for spec in specs {
        quotas.restore_queue(QueueSpec {
            name: spec.name.clone(),
            quota: spec.name.clone(),
            suspended: false,
        });
    }
    assert_eq!(quotas.check(), Ok(()));
    quotas
}

fn cohort(lends: Option<i64>) -> Quotas {
    let mut b = spec("b", Some("all"), Some(10));
    b.lines[0].lending_limit = lends;
    quotas(&[spec("all", None, None), spec("a", Some("all"), Some(10)), b])
}

fn room(quotas: &Quotas, name: &str) -> Option<i64> {
    let node = quotas.tree.node(name).expect(name);
    quotas.tree.room(&quotas.usage, node, GPU)
}

fn text(shortages: &[QuotaShortage]) -> Vec<String> {
    let line = |s: &QuotaShortage| format!("{} {} {}", s.quota, s.resource.name(), s.by);
    shortages.iter().map(line).collect()
}

#[test]
fn two_equal_members_of_a_cohort() {
    let mut q = cohort(None);
    q.charge("a", &gpu(15), 1);
    q.charge("b", &gpu(5), 1);
    assert_eq!((room(&q, "a"), room(&q, "b")), (Some(0), Some(0)));
    assert!(!q.fits("b", &gpu(5)) && q.would_fit_if_reclaimed("b", &gpu(5)));
    assert!(
        !q.would_fit_if_reclaimed("b", &gpu(6)),
        "only its own comes back"
    );
    assert!(!q.would_fit_if_reclaimed("a", &gpu(1)));
    assert_eq!(text(&q.shortages("b", &gpu(5))), ["all gpu 5"]);
    assert_eq!((q.borrowed("a"), q.borrowed("b")), (gpu(5), gpu(0)));
    assert_eq!((q.share("a"), q.share("b")), (1_500, 500));
    assert!(q.borrows("a") && q.within_guarantee("b"));
    let a = q.tree.node("a").expect("a");
    let none = Amounts::default();
    assert_eq!(q.tree.dominant_share(&q.usage, a, &none), 250, "5 of 20");
    // What is reclaimed is free for its owner.
    q.charge("a", &gpu(5), -1);
    assert!(q.fits("b", &gpu(5)) && !q.fits("b", &gpu(6)));
}

#[test]
fn a_lending_limit_keeps_the_rest_at_home() {
    let mut q = cohort(Some(2));
    assert_eq!((room(&q, "a"), room(&q, "b")), (Some(12), Some(20)));
    q.charge("a", &gpu(12), 1);
    assert_eq!((room(&q, "a"), room(&q, "b")), (Some(0), Some(8)));
    assert_eq!(text(&q.shortages("a", &gpu(1))), ["all gpu 1"]);
    q.charge("b", &gpu(8), 1);
    assert!(q.would_fit_if_reclaimed("b", &gpu(2)));
    assert_eq!(q.used_below(0), &gpu(20));
}

#[test]
fn a_borrowing_limit_binds_at_its_node() {
    let mut a = spec("a", Some("all"), Some(10));
    a.lines[0].borrowing_limit = Some(3);
    let b = spec("b", Some("all"), Some(10));
    let mut q = quotas(&[spec("all", None, None), a, b]);
    assert_eq!(room(&q, "a"), Some(13));
    assert_eq!(q.max_ever("a")[GPU as usize], Some(13));
    assert!(q.possible("a", &gpu(13)) && !q.possible("a", &gpu(14)));
    assert_eq!(text(&q.shortages("a", &gpu(14))), ["a gpu 1"]);
    assert_eq!(text(&q.shortages("a", &gpu(22))), ["a gpu 9", "all gpu 2"]);
    q.charge("b", &gpu(20), 1);
    assert!(q.would_fit_if_reclaimed("a", &gpu(10)));
}

#[test]
fn a_critical_guarantee_is_not_lent() {
    let mut c = spec("c", Some("all"), Some(10));
    c.tier = Tier::Critical;
    let mut q = quotas(&[spec("all", None, None), spec("f", Some("all"), Some(4)), c]);
    assert_eq!((room(&q, "f"), room(&q, "c")), (Some(4), Some(14)));
    q.charge("f", &gpu(4), 1);
    assert!(q.fits("c", &gpu(10)) && !q.fits("c", &gpu(11)));
    // A cohort that is overdrawn does not eat into it either.
    q.charge("f", &gpu(20), 1);
    assert!(q.fits("c", &gpu(10)) && !q.fits("c", &gpu(11)));
}

#[test]
fn a_leaf_without_a_line_draws_on_its_cohort() {
    let mut q = quotas(&[spec("all", None, Some(6)), spec("a", Some("all"), None)]);
    assert_eq!(room(&q, "a"), Some(6));
    assert_eq!(q.share("a"), 0);
    q.charge("a", &gpu(4), 1);
    assert_eq!(q.borrowed("a"), gpu(4), "it has nothing of its own");
    assert_eq!(q.share("a"), u32::MAX);
    // Nobody limits memory.
    let memory = Amounts([0, i64::MAX, 0, 0, 2]);
    assert!(q.fits("a", &memory) && q.shortages("a", &memory).is_empty());
    assert_eq!(q.max_ever("a")[QuotaResource::Memory as usize], None);
}

#[test]
fn a_cohort_reclaims_as_a_whole() {
    let mut q = quotas(&[
        spec("all", None, None),
        spec("x", Some("all"), Some(10)),
        spec("x1", Some("x"), Some(0)),
        spec("y", Some("all"), Some(10)),
    ]);
    q.charge("y", &gpu(20), 1);
    assert_eq!(text(&q.shortages("x1", &gpu(4))), ["all gpu 4"]);
    assert!(q.would_fit_if_reclaimed("x1", &gpu(10)));
    assert!(!q.would_fit_if_reclaimed("x1", &gpu(11)));
}

#[test]
fn usage_above_a_limit_stops_entry_and_nothing_else() {
    let mut q = cohort(None);
    q.charge("a", &gpu(15), 1);
    q.restore_quota(spec("a", Some("all"), Some(3)));
    assert_eq!(q.queue_state("a").map(|s| s.used), Some(gpu(15)));
    assert_eq!((room(&q, "a"), room(&q, "b")), (Some(0), Some(0)));
    assert!(q.would_fit_if_reclaimed("b", &gpu(10)));
}

#[test]
fn rows_carry_every_limited_resource() {
    let mut q = cohort(None);
    q.charge("a", &gpu(15), 1);
    let rows = q.rows();
    let show = |r: &QuotaRow| {
        let lines = r.lines.iter().map(|l| (l.resource, l.nominal, l.used));
        (r.name.clone(), r.parent, lines.collect::<Vec<_>>())
    };
    let shown: Vec<_> = rows.iter().map(show).collect();
    // The root has no line: with one, every node below would be limited by it.
    assert_eq!(shown[0], ("all".into(), None, vec![]));
    assert_eq!(shown[1], ("a".into(), Some(0), vec![("gpu", 10, 15)]));
}

#[test]
fn a_restore_says_what_is_missing() {
    let mut q = Quotas::default();
    q.restore_quota(spec("a", Some("all"), None));
    assert!(
        q.check()
            .unwrap_err()
            .contains("\"all\", which is not there")
    );
    q.restore_quota(spec("all", Some("a"), None));
    assert!(q.check().unwrap_err().contains("its own ancestor"));
    q.restore_quota(spec("all", None, None));
    assert_eq!(q.check(), Ok(()));
    q.restore_queue(QueueSpec {
        name: "q".into(),
        quota: "b".into(),
        suspended: false,
    });
    assert!(q.check().unwrap_err().contains("draws on \"b\""));
}

// === Generated trees against the published formulas ===

/// Up to 9 nodes over 2 resources, children before or after their parents.
fn tree(rng: &mut Rng) -> Vec<QuotaSpec> {
    let count = 1 + rng.below(9);
    let mut specs: Vec<QuotaSpec> = Vec::new();
    for i in 0..count {
        let parent = match i > 0 && rng.below(5) > 0 {
            true => Some(format!("n{}", rng.below(i))),
            false => None,
        };
        let mut lines = Vec::new();
        for resource in [QuotaResource::Cpu, GPU] {
            if rng.below(4) == 0 {
                continue;
            }
            let mut limit = |n| (rng.below(3) == 0).then(|| rng.amount(n));
            let (borrowing_limit, lending_limit) = (limit(12), limit(12));
            lines.push(QuotaLine {
                resource,
                nominal: rng.amount(20),
                borrowing_limit,
                lending_limit,
            });
        }
        specs.push(QuotaSpec {
            name: format!("n{i}"),
            parent,
            weight: rng.below(3) as u32 * 500,
            tier: match rng.below(4) {
                0 => Tier::Critical,
                _ => Tier::Flex,
            },
            lines,
        });
    }
    specs
}

fn shuffled(rng: &mut Rng, specs: &[QuotaSpec]) -> Vec<QuotaSpec> {
    let mut specs = specs.to_vec();
    for i in (1..specs.len()).rev() {
        specs.swap(i, rng.below(i as u64 + 1) as usize);
    }
    specs
}

fn some(rng: &mut Rng) -> Amounts {
    Amounts([rng.amount(8), 0, 0, 0, rng.amount(8)])
}

/// The formulas as they stand, by recursion, for one resource.
struct Naive<'a> {
    specs: &'a [QuotaSpec],
    own: &'a BTreeMap<String, Amounts>,
    r: QuotaResource,
}

impl Naive<'_> {
    fn line(&self, s: &QuotaSpec) -> Option<QuotaLine> {
        s.lines.iter().find(|l| l.resource == self.r).copied()
    }

    fn parent(&self, s: &QuotaSpec) -> Option<&QuotaSpec> {
        let parent = s.parent.as_ref()?;
        self.specs.iter().find(|p| p.name == *parent)
    }

    fn children(&self, s: &QuotaSpec) -> impl Iterator<Item = &QuotaSpec> {
        self.specs
            .iter()
            .filter(|c| c.parent.as_ref() == Some(&s.name))
    }

    fn limited(&self, s: &QuotaSpec) -> bool {
        self.line(s).is_some() || self.parent(s).is_some_and(|p| self.limited(p))
    }

    fn subtree(&self, s: &QuotaSpec) -> i64 {
        let lent = |c| self.subtree(c) - self.local(c);
        self.line(s).map_or(0, |l| l.nominal) + self.children(s).map(lent).sum::<i64>()
    }

    fn local(&self, s: &QuotaSpec) -> i64 {
        let lending = match s.tier {
            Tier::Critical => Some(0),
            Tier::Flex => self.line(s).and_then(|l| l.lending_limit),
        };
        lending.map_or(0, |most| (self.subtree(s) - most).max(0))
    }

    fn usage(&self, s: &QuotaSpec) -> i64 {
        let own = match self.limited(s) {
            true => self.own.get(&s.name).map_or(0, |a| a.get(self.r)),
            false => 0,
        };
        let up = |c| (self.usage(c) - self.local(c)).max(0);
        own + self.children(s).map(up).sum::<i64>()
    }

    fn available(&self, s: &QuotaSpec) -> i64 {
        let Some(parent) = self.parent(s) else {
            return (self.subtree(s) - self.usage(s)).max(0);
        };
        let mut above = self.available(parent);
        if let Some(limit) = self.line(s).and_then(|l| l.borrowing_limit) {
            let stored = self.subtree(s) - self.local(s);
            let used = (self.usage(s) - self.local(s)).max(0);
            above = above.min(stored - used + limit).max(0);
        }
        (self.local(s) - self.usage(s)).max(0) + above
    }

    fn all(&self, s: &QuotaSpec) -> i64 {
        let own = self.own.get(&s.name).map_or(0, |a| a.get(self.r));
        own + self.children(s).map(|c| self.all(c)).sum::<i64>()
    }
}

/// Admits and releases at random, only what fits; calls `check` now and then.
fn history(
    seed: u64,
    mut check: impl FnMut(&mut Rng, &[QuotaSpec], &Quotas, &BTreeMap<String, Amounts>),
) {
    let mut rng = Rng::new(seed);
    let specs = tree(&mut rng);
    let mut q = quotas(&shuffled(&mut rng, &specs));
    let mut own: BTreeMap<String, Amounts> = BTreeMap::new();
    let mut held: Vec<(String, Amounts)> = Vec::new();
    for step in 0..60 {
        let (name, need) = (
            format!("n{}", rng.below(specs.len() as u64)),
            some(&mut rng),
        );
        if rng.below(3) > 0 && q.fits(&name, &need) {
            q.charge(&name, &need, 1);
            own.entry(name.clone()).or_default().add(&need, 1);
            held.push((name, need));
        } else if !held.is_empty() {
            let (name, need) = held.swap_remove(rng.below(held.len() as u64) as usize);
            q.charge(&name, &need, -1);
            own.entry(name).or_default().add(&need, -1);
        }
        if step % 6 == 0 {
            check(&mut rng, &specs, &q, &own);
        }
    }
}

#[test]
fn it_agrees_with_the_formulas_as_published() {
    let mut seen = [0; 3];
    for seed in 0..SEEDS {
        history(seed, |rng, specs, q, own| {
            for s in specs {
                let node = q.tree.node(&s.name).expect("it is there");
                for r in [QuotaResource::Cpu, GPU] {
                    let naive = Naive { specs, own, r };
                    assert_eq!(q.used_below(node).get(r), naive.all(s), "seed {seed}");
                    if !naive.limited(s) {
                        assert_eq!(q.tree.room(&q.usage, node, r), None, "seed {seed}");
                        continue;
                    }
                    let usage = q.usage.charged(node, r);
                    assert_eq!(usage, naive.usage(s), "seed {seed} {}", s.name);
                    let room = q.tree.room(&q.usage, node, r);
                    assert_eq!(room, Some(naive.available(s)), "seed {seed} {}", s.name);
                    let mut need = Amounts::default();
                    need.0[r as usize] = rng.amount(30);
                    let fits = q.fits(&s.name, &need);
                    assert_eq!(fits, Some(need.get(r)) <= room, "seed {seed} {}", s.name);
                    assert_eq!(fits, q.shortages(&s.name, &need).is_empty(), "seed {seed}");
                    // Whoever is entitled and does not fit has borrowers to ask.
                    let entitled = q.would_fit_if_reclaimed(&s.name, &need);
                    seen[usize::from(fits) + usize::from(!fits && entitled) * 2] += 1;
                    assert!(!fits || q.possible(&s.name, &need), "seed {seed}");
                    if entitled && !fits {
                        assert!(q.queue_names().any(|n| q.borrows(n)), "seed {seed}");
                        assert!(q.possible(&s.name, &need), "seed {seed} {}", s.name);
                    }
                }
            }
        });
    }
    assert!(seen.iter().all(|n| *n > 200), "{seen:?}");
}

#[test]
fn counting_anew_gives_the_usage_kept_pod_by_pod() {
    for seed in 0..SEEDS {
        history(seed, |_, _, q, _| {
            let mut again = Quotas::default();
            for spec in q.nodes.values().rev() {
                again.restore_quota(spec.clone());
            }
            again.queues.clone_from(&q.queues);
            again.rebuild();
            assert_eq!(
                (&again.usage, &again.used),
                (&q.usage, &q.used),
                "seed {seed}"
            );
        });
    }
}

#[test]
fn a_critical_guarantee_is_always_available() {
    let mut seen = 0;
    for seed in 0..SEEDS {
        history(seed, |_, specs, q, own| {
            for s in specs.iter().filter(|s| s.tier == Tier::Critical) {
                for r in [QuotaResource::Cpu, GPU] {
                    let naive = Naive { specs, own, r };
                    // Its own nominal; what its children put in is theirs to use.
                    let childless = naive.children(s).next().is_none();
                    let (Some(line), true) = (naive.line(s), childless) else {
                        continue;
                    };
                    let used = own.get(&s.name).map_or(0, |a| a.get(r));
                    let mut rest = Amounts::default();
                    rest.0[r as usize] = (line.nominal - used).max(0);
                    assert!(q.fits(&s.name, &rest), "seed {seed} {}", s.name);
                    seen += 1;
                }
            }
        });
    }
    assert!(seen > 1_000, "{seen}");
}

#[test]
fn more_nominal_never_lets_less_in() {
    for seed in 0..SEEDS {
        history(seed, |rng, specs, q, _| {
            let mut more = specs.to_vec();
            let at = rng.below(more.len() as u64) as usize;
            let Some(line) = more[at].lines.first_mut() else {
                return;
            };
            line.nominal += 1 + rng.amount(9);
            let mut richer = quotas(&more);
            for (name, queue) in &q.queues {
                richer.charge(name, &queue.used, 1);
            }
            for s in specs {
                let need = some(rng);
                let before = q.fits(&s.name, &need);
                assert!(
                    !before || richer.fits(&s.name, &need),
                    "seed {seed} {}",
                    s.name
                );
            }
        });
    }
}

#[test]
fn the_order_of_nodes_does_not_matter() {
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let specs = tree(&mut rng);
        let (mut a, mut b) = (quotas(&specs), quotas(&shuffled(&mut rng, &specs)));
        for s in &specs {
            let need = some(&mut rng);
            a.charge(&s.name, &need, 1);
            b.charge(&s.name, &need, 1);
        }
        assert_eq!(
            (&a.tree.names, &a.usage),
            (&b.tree.names, &b.usage),
            "seed {seed}"
        );
        assert_eq!(a.rows(), b.rows(), "seed {seed}");
    }
}
