//! Common ways to pick devices on a node that is already chosen.
//!
//! All of them look at devices with room for the pod only, break ties by the
//! lowest slot, and need [`Column::GpuMilliFree`](crate::Column::GpuMilliFree)
//! and [`Column::GpuMemoryFree`](crate::Column::GpuMemoryFree).

use crate::scoring::{DeviceSet, Gpu, Node, Pod};

/// The devices with the smallest key; none if too few have room.
///
/// For a pod that wants whole devices every candidate is entirely free, so that
/// a key of free share alone takes the first ones.
#[must_use]
pub fn smallest_by<K: Ord>(
    pod: &Pod,
    node: Node<'_>,
    mut key: impl FnMut(Gpu<'_>) -> K,
) -> Option<DeviceSet> {
    let mut candidates: Vec<(K, usize)> = node
        .gpus()
        .filter(|gpu| pod.fits(*gpu))
        .map(|gpu| (key(gpu), gpu.slot()))
        .collect();
    let wanted = pod.gpu_count as usize;
    if candidates.len() < wanted {
        return None;
    }
    candidates.sort();
    Some(candidates[..wanted].iter().map(|(_, slot)| *slot).collect())
}

/// The fullest devices that still have room: leaves large holes whole.
#[must_use]
pub fn tightest(pod: &Pod, node: Node<'_>) -> Option<DeviceSet> {
    smallest_by(pod, node, |gpu| gpu.milli_free())
}

/// The emptiest devices: neighbours disturb each other least.
#[must_use]
pub fn emptiest(pod: &Pod, node: Node<'_>) -> Option<DeviceSet> {
    smallest_by(pod, node, |gpu| {
        std::cmp::Reverse((gpu.milli_free(), gpu.memory_free()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Column;
    use crate::testing::{TestCluster, gpu_pod, share_pod};
    use crate::view::Rows;

    fn pick(choose: fn(&Pod, Node<'_>) -> Option<DeviceSet>, pod: &Pod) -> Option<Vec<u32>> {
        let cluster = TestCluster::new()
            .node("a")
            .gpus("A100", 5)
            .gpu_used(0, 400)
            .gpu_used(1, 700)
            .gpu_unhealthy(3)
            .done();
        let columns = [Column::GpuMilliFree, Column::GpuMemoryFree];
        let data = cluster.lay_out(&columns, &[0], 5);
        let rows = Rows::new(&columns, 1, 5, &data);
        choose(pod, rows.node(0)).map(|set| set.iter().collect())
    }

    #[test]
    fn tightest_and_emptiest() {
        assert_eq!(pick(tightest, &share_pod(0, 0, 300)), Some(vec![1]));
        assert_eq!(pick(tightest, &share_pod(0, 0, 301)), Some(vec![0]));
        assert_eq!(pick(emptiest, &share_pod(0, 0, 300)), Some(vec![2]));
        assert_eq!(pick(tightest, &gpu_pod(0, 0, 2)), Some(vec![2, 4]));
        assert_eq!(pick(tightest, &gpu_pod(0, 0, 3)), None);
    }

    #[test]
    fn memory_counts() {
        let pod = Pod {
            gpu_memory: 90_000,
            ..share_pod(0, 0, 100)
        };
        assert_eq!(pick(tightest, &pod), None);
    }
}
