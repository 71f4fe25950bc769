//! Where a gang may run, all-or-nothing.

use crate::trace::philly::ClusterSpec;

/// Free GPUs of the cluster while one pass fills it.
#[derive(Debug)]
pub(super) struct Free {
    per_node: u32,
    nodes: Vec<u32>,
    total: u32,
    /// Whether only the total counts: Tiresias does not look at nodes.
    count_only: bool,
}

impl Free {
    pub(super) fn new(cluster: &ClusterSpec, count_only: bool) -> Self {
        Self {
            per_node: cluster.gpus_per_node,
            nodes: vec![cluster.gpus_per_node; cluster.nodes as usize],
            total: cluster.gpus(),
            count_only,
        }
    }

    /// Empties the cluster before a pass.
    pub(super) fn reset(&mut self) {
        self.nodes.fill(self.per_node);
        self.total = self.per_node * self.nodes.len() as u32;
    }

    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// Takes `gpus`, or takes nothing and says so.
    ///
    /// Up to one node's worth goes to the first node with room. More takes
    /// whole free nodes and then, for the rest, the first other node with room.
    pub(super) fn take(&mut self, gpus: u32) -> bool {
        if gpus > self.total {
            return false;
        }
        if !self.count_only && !self.take_nodes(gpus) {
            return false;
        }
        self.total -= gpus;
        true
    }

    fn take_nodes(&mut self, gpus: u32) -> bool {
        let per_node = self.per_node;
        if gpus <= per_node {
            return match self.nodes.iter_mut().find(|free| **free >= gpus) {
                Some(free) => {
                    *free -= gpus;
                    true
                }
                None => false,
            };
        }
        let whole = (gpus / per_node) as usize;
        let rest = gpus % per_node;
        let taken: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n] == per_node)
            .take(whole)
            .collect();
        if taken.len() < whole {
            return false;
        }
        if rest > 0 {
            let other = (0..self.nodes.len())
                .find(|n| self.nodes[*n] >= rest && taken.binary_search(n).is_err());
            match other {
                Some(n) => self.nodes[n] -= rest,
                None => return false,
            }
        }
        for n in taken {
            self.nodes[n] = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterSpec = ClusterSpec {
        nodes: 3,
        gpus_per_node: 8,
    };

    #[test]
    fn small_gangs_take_the_first_node_with_room() {
        let mut free = Free::new(&CLUSTER, false);
        assert!(free.take(6));
        assert!(free.take(4));
        assert!(free.take(2));
        assert_eq!(free.nodes, [0, 4, 8]);
        assert!(free.take(8));
        assert!(!free.take(8));
        assert_eq!(free.total(), 4);
    }

    #[test]
    fn large_gangs_take_whole_nodes_and_a_rest_elsewhere() {
        let mut free = Free::new(&CLUSTER, false);
        assert!(free.take(2));
        assert!(free.take(12));
        assert_eq!(free.nodes, [2, 0, 8]);
        // 14 GPUs are not to be had although 10 are free on two nodes.
        assert!(!free.take(14));
        assert_eq!(free.nodes, [2, 0, 8]);
        assert_eq!(free.total(), 10);
        free.reset();
        assert!(free.take(24));
        assert_eq!(free.total(), 0);
    }

    #[test]
    fn counting_ignores_nodes() {
        let mut free = Free::new(&CLUSTER, true);
        assert!(free.take(5) && free.take(5) && free.take(5) && free.take(9));
        assert!(!free.take(1));
    }
}
