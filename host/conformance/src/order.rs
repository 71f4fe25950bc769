//! Other orders of the same things.

/// Back to front, and every k-th for a k without common divisor.
pub(crate) fn orders(n: usize) -> [Vec<usize>; 2] {
    let step = (n / 2..n).find(|k| gcd(*k, n) == 1).unwrap_or(1);
    [
        (0..n).rev().collect(),
        (0..n).map(|i| i * step % n).collect(),
    ]
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_everything_once() {
        for n in [0, 1, 2, 3, 10, 64, 1_000] {
            for mut order in orders(n) {
                order.sort_unstable();
                assert_eq!(order, (0..n).collect::<Vec<_>>());
            }
        }
    }
}
