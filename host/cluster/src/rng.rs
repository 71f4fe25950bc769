//! Seeded pseudo-random numbers that are the same on every machine and in
//! every release: xoshiro256** (Blackman and Vigna, 2018), its state filled
//! from the seed by splitmix64, as its authors recommend.
//!
//! Our own, because a dependency may change its streams between versions, and
//! a published `--seed 42` must keep meaning the same workload.

/// A stream of pseudo-random numbers. Not for secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut s = seed;
        Self {
            state: std::array::from_fn(|_| splitmix64(&mut s)),
        }
    }

    /// A stream of its own for a part of the work, so that drawing more
    /// numbers in one part does not change another.
    #[must_use]
    pub fn fork(seed: u64, part: &str) -> Self {
        // FNV-1a: stable, and short names need nothing better.
        let hash = part.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self::new(seed ^ hash)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound`, without bias (Lemire's rejection); 0 when
    /// `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let mut wide = u128::from(self.next_u64()) * u128::from(bound);
        if (wide as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (wide as u64) < threshold {
                wide = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        (wide >> 64) as u64
    }

    /// An index below `len`, 0 when `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Index of a weight, drawn in proportion; 0 when all are 0.
    pub fn weighted(&mut self, weights: impl Iterator<Item = u64> + Clone) -> usize {
        let total = weights.clone().sum();
        let mut left = self.below(total);
        for (index, weight) in weights.enumerate() {
            if left < weight {
                return index;
            }
            left -= weight;
        }
        0
    }

    /// Puts `items` in random order (Fisher–Yates, from the last).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.index(last + 1);
            items.swap(last, other);
        }
    }
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_gives_the_published_stream() {
        // First outputs for seed 1234567, as in the reference implementation.
        let mut state = 1_234_567;
        let first: Vec<u64> = (0..3).map(|_| splitmix64(&mut state)).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn xoshiro_gives_the_published_stream() {
        // First outputs of xoshiro256** for the state 1, 2, 3, 4.
        let mut rng = Rng {
            state: [1, 2, 3, 4],
        };
        let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(first, [11_520, 0, 1_509_978_240, 1_215_971_899_390_074_240]);
    }

    #[test]
    fn bounds_hold_and_every_value_comes_up() {
        let mut rng = Rng::new(7);
        let mut seen = [0u32; 6];
        for _ in 0..6_000 {
            seen[rng.index(6)] += 1;
            let unit = rng.unit();
            assert!((0.0..1.0).contains(&unit));
        }
        assert!(seen.iter().all(|n| (850..1150).contains(n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        assert_eq!(rng.weighted([0, 0].into_iter()), 0);
        assert_eq!(rng.weighted([0, 3, 0].into_iter()), 1);
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_repeats() {
        let mut a: Vec<u32> = (0..100).collect();
        Rng::new(1).shuffle(&mut a);
        let mut b: Vec<u32> = (0..100).collect();
        Rng::new(1).shuffle(&mut b);
        assert_eq!(a, b);
        assert_ne!(a, (0..100).collect::<Vec<_>>());
        b.sort_unstable();
        assert_eq!(b, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn parts_have_streams_of_their_own() {
        assert_ne!(
            Rng::fork(1, "nodes").next_u64(),
            Rng::fork(1, "pods").next_u64()
        );
        assert_eq!(Rng::fork(1, "pods"), Rng::fork(1, "pods"));
    }
}
