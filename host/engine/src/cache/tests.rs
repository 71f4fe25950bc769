use super::*;

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The block maxima and the top list against a plain sort, over random updates.
#[test]
fn top_equals_a_sort_of_everything() {
    let (mut entry, mut rng) = (Entry::default(), 7);
    let rows = 1_000;
    entry.reset(rows, 1, 1);
    let mut out = Vec::new();
    for round in 0..2_000 {
        for _ in 0..=xorshift(&mut rng) % 5 {
            let row = (xorshift(&mut rng) % rows as u64) as u32;
            // Few distinct values, so that ties are common.
            match xorshift(&mut rng) % 8 {
                0 => entry.set_result(row, Some(Rejection::Cpu)),
                1 => entry.set_result(row, None),
                v => {
                    entry.set_result(row, Some(Rejection::Fits));
                    entry.set_total(row, v as i64 * 10);
                }
            }
        }
        entry.settle();
        entry.top(&mut out);
        let mut all: Vec<u32> = (0..rows as u32)
            .filter(|r| entry.total(*r) != NO_TOTAL)
            .collect();
        all.sort_by_key(|r| (std::cmp::Reverse(entry.total(*r)), *r));
        all.truncate(CANDIDATES_KEPT);
        assert_eq!(out, all, "round {round}");
        let known = (0..rows as u32).filter(|r| entry.result(*r).is_some());
        assert_eq!(known.count() as u32, entry.counts().iter().sum::<u32>());
    }
}

#[test]
fn least_recently_used_goes_first() {
    let mut cache = ScoreCache::default();
    let sig = |class| Signature {
        class,
        generation: 0,
        priority: 0,
        app: 0,
    };
    let entry = || {
        let mut e = Box::<Entry>::default();
        e.reset(1_000, 1, 1);
        e
    };
    let limit = 2 * entry().bytes();
    for class in [1, 2] {
        cache.put(sig(class), entry(), limit);
    }
    let first = cache.take(&sig(1));
    cache.put(sig(1), first, limit);
    cache.put(sig(3), entry(), limit);
    assert_eq!(cache.len(), 2);
    assert_eq!(cache.take(&sig(2)).rows(), 0, "2 was used longest ago");
    assert_eq!(cache.take(&sig(1)).rows(), 1_000);
}
