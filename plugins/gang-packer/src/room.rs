//! How many members of each role the rows of a domain have room for.

use loadmaster_sdk::preemption::Cluster;

use crate::gang::Role;

/// Members counted on one row at most: for pods that ask for nothing, and so
/// that sums over all rows stay far from overflow.
const ROW_MEMBERS_MAX: u32 = 1 << 20;

/// Room by row and role, with totals.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    roles: usize,
    by_row: Vec<u32>,
    totals: Vec<u64>,
    counted: Vec<bool>,
}

impl Room {
    /// Counts these rows.
    pub(crate) fn new(cluster: &Cluster<'_>, roles: &[Role<'_>], rows: &[u32]) -> Self {
        let mut room = Self {
            roles: roles.len(),
            by_row: vec![0; cluster.len() * roles.len()],
            totals: vec![0; roles.len()],
            counted: vec![false; cluster.len()],
        };
        for &row in rows {
            room.counted[row as usize] = true;
            room.refresh(cluster, roles, row as usize);
        }
        room
    }

    /// Counts one row again; rows of other domains are left out.
    pub(crate) fn refresh(&mut self, cluster: &Cluster<'_>, roles: &[Role<'_>], row: usize) {
        if !self.counted[row] {
            return;
        }
        for (i, role) in roles.iter().enumerate() {
            let room = cluster.room(role.pod, row, ROW_MEMBERS_MAX);
            let known = &mut self.by_row[row * self.roles + i];
            self.totals[i] = self.totals[i] - u64::from(*known) + u64::from(room);
            *known = room;
        }
    }

    pub(crate) fn at(&self, row: usize, role: usize) -> u32 {
        self.by_row[row * self.roles + role]
    }

    pub(crate) fn total(&self, role: usize) -> u64 {
        self.totals[role]
    }

    /// Whether each role has room on its own. Exact if there is only one.
    pub(crate) fn holds(&self, need: &[u32]) -> bool {
        self.totals
            .iter()
            .zip(need)
            .all(|(t, n)| *t >= u64::from(*n))
    }

    /// Room for the largest role, by row.
    pub(crate) fn lead(&self) -> Vec<u32> {
        let rows = self.by_row.chunks(self.roles);
        rows.map(|r| r.first().copied().unwrap_or(0)).collect()
    }

    /// Sums of another set of rows, from what is known of each row.
    pub(crate) fn sums(&self, rows: &[u32]) -> Vec<u64> {
        let mut sums = vec![0; self.roles];
        for &row in rows {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum += u64::from(self.at(row as usize, i));
            }
        }
        sums
    }
}
