//! The arithmetic of one row, exact in 64-bit integers.

use loadmaster_sdk::scoring::{BLOCK_ROWS, GPU_WHOLE, SCORE_MAX};

/// What is packed. The discriminant is the index into every array of three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    Cpu,
    Memory,
    Gpu,
}

impl Resource {
    pub(crate) const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Gpu];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Gpu => "gpu",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "milli-cores",
            Self::Memory => "MiB",
            Self::Gpu => "milli-GPU",
        }
    }
}

/// Free and allocatable amounts of one node before the pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    pub(crate) free: [i32; 3],
    pub(crate) cap: [i32; 3],
}

/// One pod's scoring function.
#[derive(Debug)]
pub(crate) enum Kernel {
    Headroom(Headroom),
    Usage(Usage),
}

impl Kernel {
    pub(crate) fn points(&self, left: &Left) -> i64 {
        match self {
            Self::Headroom(kernel) => kernel.points(&left.free),
            Self::Usage(kernel) => kernel.points(&left.free, &left.cap),
        }
    }

    /// What one resource adds to the score (or takes from it) before rounding.
    pub(crate) fn contribution(&self, left: &Left, resource: Resource) -> i64 {
        let i = resource as usize;
        match self {
            Self::Headroom(kernel) => -(kernel.term(left.free[i], i) * MAX / kernel.full),
            Self::Usage(kernel) => kernel.term(left, i),
        }
    }
}

const MAX: i64 = SCORE_MAX as i64;

/// Largest denominator: numerators are at most four of it, and times 100 000
/// points they must stay below 2^63.
const FULL_MAX: i128 = 1 << 40;

/// `full - sum(coefficient x (free - offset))`, cut to steps. The score falls
/// with what is left, against constants instead of the best and worst row: the
/// contract knows no other rows, and only the order matters.
#[derive(Debug)]
pub(crate) struct Headroom {
    /// Numerator of a node with nothing left.
    full: i64,
    coefficient: [i64; 3],
    /// Largest amount that counts: more of it is 0 points in any case, and the
    /// product must not overflow.
    ceiling: [i64; 3],
    offset: [i64; 3],
    step: i64,
}

impl Headroom {
    /// `1 - sum(weight x (free - request) / scale)`: the openb BestFit.
    pub(crate) fn after(
        weights: &[i64; 3],
        scales: &[i64; 3],
        requests: &[i64; 3],
        step: i64,
    ) -> Self {
        let ones = [1i128; 3];
        let scales = scales.map(i128::from);
        Self::new(weights, &ones, &scales, *requests, step)
    }

    /// `1 - sum(weight x free / scale x request / scale)`: the openb DotProd.
    pub(crate) fn aligned(
        weights: &[i64; 3],
        scales: &[i64; 3],
        requests: &[i64; 3],
        step: i64,
    ) -> Self {
        let requests = requests.map(i128::from);
        let squares = scales.map(|s| i128::from(s) * i128::from(s));
        Self::new(weights, &requests, &squares, [0; 3], step)
    }

    fn new(
        weights: &[i64; 3],
        numerators: &[i128; 3],
        denominators: &[i128; 3],
        offset: [i64; 3],
        step: i64,
    ) -> Self {
        let total: i128 = weights.iter().map(|w| i128::from(*w)).sum();
        // Exact over the common multiple where that is small enough, as it is
        // for the published constants; else rounded to 2^-40.
        let mut common: i128 = 1;
        for i in 0..3 {
            if weights[i] != 0 && common <= FULL_MAX {
                common = common / gcd(common, denominators[i]) * denominators[i];
            }
        }
        let full = if total * common <= FULL_MAX {
            total * common
        } else {
            FULL_MAX
        };
        let mut coefficient = [0; 3];
        let mut ceiling = [0; 3];
        for i in 0..3 {
            let exact = i128::from(weights[i]) * numerators[i] * full;
            // More than `full` a unit is 0 points at one unit already.
            let c = (exact / (total * denominators[i])).min(full);
            coefficient[i] = c as i64;
            ceiling[i] = if c > 0 {
                (full / c) as i64 + 1
            } else {
                i64::from(i32::MAX)
            };
        }
        Self {
            full: full as i64,
            coefficient,
            ceiling,
            offset,
            step,
        }
    }

    #[inline]
    fn term(&self, free: i32, i: usize) -> i64 {
        let left = (i64::from(free) - self.offset[i]).clamp(0, self.ceiling[i]);
        left * self.coefficient[i]
    }

    #[inline]
    fn points(&self, free: &[i32; 3]) -> i64 {
        let mut numerator = self.full;
        for (i, free) in free.iter().enumerate() {
            numerator -= self.term(*free, i);
        }
        // Both roundings in one division: floor(floor(x) / s) = floor(x / s).
        numerator.max(0) * MAX / (self.full * self.step) * self.step
    }

    pub(crate) fn score_columns(&self, free: [&[i32]; 3], out: &mut Vec<i32>) {
        let [cpu, memory, gpu] = free;
        let blocks = cpu
            .chunks(BLOCK_ROWS)
            .zip(memory.chunks(BLOCK_ROWS))
            .zip(gpu.chunks(BLOCK_ROWS));
        for ((cpu, memory), gpu) in blocks {
            let rows = cpu.iter().zip(memory).zip(gpu);
            out.extend(rows.map(|((c, m), g)| self.points(&[*c, *m, *g]) as i32));
        }
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Weighted mean of the used shares after the pod: kube-scheduler's
/// MostAllocated. Resources a node does not have do not count.
#[derive(Debug)]
pub(crate) struct Usage {
    weights: [i64; 3],
    requests: [i64; 3],
    step: i64,
}

impl Usage {
    pub(crate) fn new(weights: &[i64; 3], requests: &[i64; 3], step: i64) -> Self {
        let mut weights = *weights;
        // As upstream: extended resources count only for pods that ask.
        if requests[Resource::Gpu as usize] == 0 {
            weights[Resource::Gpu as usize] = 0;
        }
        Self {
            weights,
            requests: *requests,
            step,
        }
    }

    #[inline]
    fn weight(&self, cap: i32, i: usize) -> i64 {
        if cap > 0 { self.weights[i] } else { 0 }
    }

    #[inline]
    fn used(&self, free: i32, cap: i32, i: usize) -> i64 {
        let cap = i64::from(cap);
        (cap - i64::from(free) + self.requests[i]).clamp(0, cap)
    }

    #[inline]
    fn points(&self, free: &[i32; 3], cap: &[i32; 3]) -> i64 {
        let (mut sum, mut total) = (0, 0);
        for i in 0..3 {
            let weight = self.weight(cap[i], i);
            if weight > 0 {
                sum += weight * (self.used(free[i], cap[i], i) * MAX / i64::from(cap[i]));
                total += weight;
            }
        }
        if total == 0 {
            return 0;
        }
        sum / (total * self.step) * self.step
    }

    fn term(&self, left: &Left, i: usize) -> i64 {
        let total: i64 = (0..3).map(|j| self.weight(left.cap[j], j)).sum();
        let weight = self.weight(left.cap[i], i);
        if weight == 0 {
            return 0;
        }
        weight * (self.used(left.free[i], left.cap[i], i) * MAX / i64::from(left.cap[i])) / total
    }

    pub(crate) fn score_columns(&self, free: [&[i32]; 3], cap: [&[i32]; 3], out: &mut Vec<i32>) {
        let rows = 0..free[0].len();
        out.extend(rows.map(|r| {
            let free = [free[0][r], free[1][r], free[2][r]];
            let cap = [cap[0][r], cap[1][r], cap[2][r] * GPU_WHOLE];
            self.points(&free, &cap) as i32
        }));
    }
}
