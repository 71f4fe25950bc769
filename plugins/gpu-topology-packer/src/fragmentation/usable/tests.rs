use super::*;

#[test]
fn devices_are_divided_exactly_over_the_whole_range() {
    for milli in 1..=1000 {
        let mut sizes = Sizes::new();
        sizes.push(milli, 0);
        for free in 0..=1000 {
            assert_eq!(sizes.slots(0, free), free / milli, "{free} / {milli}");
        }
    }
    for gpus in 1..=MAX_GPUS as u32 {
        let mut view = View::default();
        view.push(1, gpus);
        for slots in 0..=MAX_GPUS as u32 * 1000 {
            assert_eq!(view.groups[0].pods(slots), slots / gpus, "{slots} / {gpus}");
        }
    }
}

/// Where a rounded reciprocal could fail: around every multiple near the ends of
/// the range, for all small divisors, those around powers of two, and others.
#[test]
fn cpu_is_divided_exactly() {
    const MAX: u32 = i32::MAX as u32;
    let near_powers = (1..31).flat_map(|b| (1u32 << b) - 1..=(1 << b) + 1);
    let spread = (0..20_000u32).map(|i| i.wrapping_mul(2_654_435_761) & MAX);
    let divisors = (1..=20_000).chain(near_powers).chain(spread).chain([MAX]);
    for divisor in divisors.filter(|d| (1..=MAX).contains(d)) {
        let by = Reciprocal::new(divisor);
        let last = MAX / divisor;
        let multiples = [0, 1, 2, last / 2, last - last.min(1), last];
        for m in multiples.into_iter().filter(|m| *m <= last) {
            let n = m * divisor;
            for n in [n.saturating_sub(1), n, (n + 1).min(MAX), MAX] {
                assert_eq!(by.divide(n), n / divisor, "{n} / {divisor}");
            }
        }
    }
}
