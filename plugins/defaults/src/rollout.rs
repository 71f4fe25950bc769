//! Which namespaces a rule has reached.
//!
//! Every namespace has a bucket for each rule's id, by hash. A rule reaches the
//! buckets below its percentage, so raising it only adds namespaces. The hash is
//! written out here, because it must be the same in every version and on every
//! machine; changing it would move running rollouts.

use crate::settings::Rule;

/// Buckets of a rollout.
pub(crate) const BUCKETS: u64 = 100;

/// Between id and namespace: no byte of UTF-8, so that no two pairs run together.
const SEPARATOR: u8 = 0xff;

/// FNV-1a, 64 bits.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The last step of MurmurHash3. FNV alone fills buckets by names that differ in
/// their last letters only half to nearly twice as full as they should be.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// The bucket of a namespace for a rule's id, below [`BUCKETS`]. The version is
/// left out: a new version reaches the same namespaces first.
pub(crate) fn bucket(id: &str, namespace: &str) -> u64 {
    let hash = fnv1a(id.bytes().chain([SEPARATOR]).chain(namespace.bytes()));
    ((mix(hash) >> 32) * BUCKETS) >> 32
}

/// The bucket, if the rule is the newest version of its id that has reached the
/// namespace.
pub(crate) fn reached(rules: &[Rule], rule: &Rule, namespace: &str) -> Option<u64> {
    if rule.rollout == 0 {
        return None;
    }
    let bucket = bucket(&rule.id, namespace);
    let newer = |r: &Rule| r.id == rule.id && r.version > rule.version && bucket < r.rollout;
    (bucket < rule.rollout && !rules.iter().any(newer)).then_some(bucket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // From the authors' test vectors.
        assert_eq!(fnv1a("".bytes()), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a".bytes()), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a("foobar".bytes()), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn buckets_never_move() {
        // Computed apart from this code. If one of these changes, so do the
        // namespaces of every rollout that is under way.
        for (id, namespace, expect) in [
            ("limits", "default", 88),
            ("limits", "vision", 95),
            ("limits", "pay-eu", 92),
            ("shm", "default", 45),
            ("a", "", 23),
            ("", "", 10),
            ("ab", "c", 48),
            ("a", "bc", 18),
            ("limits", "größe", 52),
        ] {
            assert_eq!(bucket(id, namespace), expect, "{id} {namespace}");
        }
    }

    #[test]
    fn buckets_are_filled_evenly() {
        let mut counts = [0u32; BUCKETS as usize];
        for i in 0..100_000 {
            counts[bucket("limits", &format!("ns-{i}")) as usize] += 1;
        }
        // 1,000 each; the deviation of fair dice is 32.
        let (min, max) = (counts.iter().min(), counts.iter().max());
        assert!(min > Some(&870) && max < Some(&1_130), "{min:?} {max:?}");
    }
}
