//! The parts of the score, each 0 to 100 000.

use crate::MAX;

/// Shares are counted in millionths, so that squares fit 64 bits.
const ONE: i64 = 1_000_000;

/// Use of one resource after the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dimension {
    used: i64,
    cap: i64,
}

impl Dimension {
    /// The node does not have it, or the pod does not ask for it.
    pub(crate) const ABSENT: Self = Self { used: 0, cap: 0 };

    #[inline]
    pub(crate) fn after(free: i32, cap: i32, request: i64) -> Self {
        let cap = i64::from(cap);
        let used = (cap - i64::from(free) + request).clamp(0, cap.max(0));
        Self { used, cap }
    }
}

/// Falls with the application's pods in the zone: 1, 1/2 at `half`, never 0, so
/// that it still tells 100 from 101. kube-scheduler stretches between the best
/// and the worst zone, which a single row does not know; the order is the same.
#[inline]
pub(crate) fn zone(zone: i32, peers: i32, half: i64) -> i64 {
    if zone < 0 {
        return 0;
    }
    MAX * half / (half + i64::from(peers.max(0)))
}

/// 1 without peers, else 0.5 / peers (Fenzo).
#[inline]
pub(crate) fn node(peers: i32) -> i64 {
    if peers <= 0 {
        MAX
    } else {
        MAX / 2 / i64::from(peers)
    }
}

/// Mean free share (kube-scheduler's LeastAllocated).
#[inline]
pub(crate) fn free(dimensions: &[Dimension; 3]) -> i64 {
    let (mut sum, mut count) = (0, 0);
    for d in dimensions {
        if d.cap > 0 {
            sum += (d.cap - d.used) * MAX / d.cap;
            count += 1;
        }
    }
    if count == 0 { 0 } else { sum / count }
}

/// 1 - standard deviation of the used shares (kube-scheduler's
/// BalancedAllocation).
#[inline]
pub(crate) fn balance(dimensions: &[Dimension; 3]) -> i64 {
    let (mut sum, mut squares, mut count) = (0, 0, 0);
    for d in dimensions {
        if d.cap > 0 {
            let share = d.used * ONE / d.cap;
            sum += share;
            squares += share * share;
            count += 1;
        }
    }
    if count == 0 {
        return 0;
    }
    let deviation = (count * squares - sum * sum).isqrt() / count;
    (ONE - deviation) * MAX / ONE
}
