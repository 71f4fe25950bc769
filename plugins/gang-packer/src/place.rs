//! Places all roles on given rows, nodes and devices together.
//!
//! First as they come, in the given order of rows. If that fails, by backtracking
//! over members, rows and devices. Equal members are placed in the order of rows,
//! and a row that offers exactly what a failed one offered is skipped, so that
//! nothing is tried twice under another name.

use loadmaster_sdk::preemption::{Cluster, DeviceSet};

use crate::gang::{Effort, Role, Search};

/// Most members for which backtracking is tried: it goes one call deeper with
/// each, and a guest's stack ends.
const BACKTRACK_MEMBERS_MAX: u32 = 512;

/// One member on its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Put {
    /// Index into the roles.
    pub(crate) role: usize,
    pub(crate) row: u32,
    pub(crate) devices: DeviceSet,
}

/// Places `need[i]` members of role i. If it succeeds the cluster holds them and
/// `out` lists them; otherwise both are as before.
pub(crate) fn place(
    cluster: &mut Cluster<'_>,
    roles: &[Role<'_>],
    need: &[u32],
    rows: &[u32],
    (search, effort): (&mut Search, Effort),
    out: &mut Vec<Put>,
) -> bool {
    let (mark, before) = (cluster.fork(), out.len());
    if as_they_come(cluster, roles, need, rows, out) {
        return true;
    }
    cluster.rollback(mark);
    out.truncate(before);
    let members: u32 = need.iter().sum();
    // One role is exact as it comes: equal members on rows of their own.
    let kinds = need.iter().filter(|n| **n > 0).count();
    if kinds < 2 || members > BACKTRACK_MEMBERS_MAX {
        return false;
    }
    search.begin(effort);
    let mut placer = Placer {
        cluster,
        roles,
        need,
        rows,
        search,
        out,
    };
    if placer.role(0) {
        return true;
    }
    cluster.rollback(mark);
    out.truncate(before);
    false
}

/// Places up to `limit` members of each role wherever there is room, in order.
pub(crate) fn fill(
    cluster: &mut Cluster<'_>,
    roles: &[Role<'_>],
    limit: &[u32],
    rows: &[u32],
    out: &mut Vec<Put>,
) {
    for (role, &limit) in limit.iter().enumerate() {
        put_role(cluster, roles, role, limit, rows, out);
    }
}

fn as_they_come(
    cluster: &mut Cluster<'_>,
    roles: &[Role<'_>],
    need: &[u32],
    rows: &[u32],
    out: &mut Vec<Put>,
) -> bool {
    (0..roles.len()).all(|role| put_role(cluster, roles, role, need[role], rows, out) == 0)
}

/// Returns how many did not fit.
fn put_role(
    cluster: &mut Cluster<'_>,
    roles: &[Role<'_>],
    role: usize,
    need: u32,
    rows: &[u32],
    out: &mut Vec<Put>,
) -> u32 {
    let mut left = need;
    for &row in rows {
        while left > 0 {
            let Some(devices) = cluster.try_place(roles[role].pod, row as usize) else {
                break;
            };
            out.push(Put { role, row, devices });
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    left
}

struct Placer<'c, 'a> {
    cluster: &'c mut Cluster<'a>,
    roles: &'c [Role<'c>],
    need: &'c [u32],
    rows: &'c [u32],
    search: &'c mut Search,
    out: &'c mut Vec<Put>,
}

impl Placer<'_, '_> {
    /// Places this role and all after it.
    fn role(&mut self, role: usize) -> bool {
        let mut later = role..self.roles.len();
        let count = later.len();
        if !later.all(|r| self.enough(r, self.need[r], 0)) {
            return false;
        }
        match count {
            0 => true,
            1 => {
                put_role(
                    self.cluster,
                    self.roles,
                    role,
                    self.need[role],
                    self.rows,
                    self.out,
                ) == 0
            }
            _ => self.member(role, self.need[role], 0),
        }
    }

    /// Whether the rows from `from` on have room for `left` members of a role on
    /// their own.
    fn enough(&mut self, role: usize, left: u32, from: usize) -> bool {
        let mut room = 0;
        for row in &self.rows[from..] {
            if room >= left {
                return true;
            }
            if !self.search.look(1) {
                return false;
            }
            room += self
                .cluster
                .room(self.roles[role].pod, *row as usize, left - room);
        }
        room >= left
    }

    /// Places `left` members of a role on the rows from `from` on.
    fn member(&mut self, role: usize, left: u32, from: usize) -> bool {
        if left == 0 {
            return self.role(role + 1);
        }
        if !self.enough(role, left, from) {
            return false;
        }
        let pod = self.roles[role].pod;
        let mut failed: Vec<usize> = Vec::new();
        for at in from..self.rows.len() {
            let row = self.rows[at] as usize;
            if !self.search.look(1 + failed.len()) {
                return false;
            }
            if !self.cluster.fits(pod, row) || failed.iter().any(|f| self.cluster.alike(*f, row)) {
                continue;
            }
            for devices in self.choices(role, row) {
                let mark = self.cluster.fork();
                self.cluster.place_on(pod, row, devices);
                self.out.push(Put {
                    role,
                    row: row as u32,
                    devices,
                });
                if self.member(role, left - 1, at) {
                    return true;
                }
                self.out.pop();
                self.cluster.rollback(mark);
            }
            failed.push(row);
        }
        false
    }

    /// Device sets that lead to different states: whole devices of one node are
    /// alike to whoever comes later, shares differ by what they leave.
    fn choices(&mut self, role: usize, row: usize) -> Vec<DeviceSet> {
        let pod = self.roles[role].pod;
        if !pod.is_share() {
            return vec![self.cluster.choose(pod, row)];
        }
        let usable = DeviceSet::from_mask(self.cluster.usable(pod, row));
        let mut slots: Vec<((i32, i32), usize)> = usable
            .iter()
            .map(|slot| (self.cluster.device(row, slot as usize), slot as usize))
            .collect();
        slots.sort_unstable();
        slots.dedup_by_key(|(device, _)| *device);
        slots
            .iter()
            .map(|(_, s)| [*s].into_iter().collect())
            .collect()
    }
}
