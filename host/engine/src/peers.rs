//! How many pods of an application run where: the derived columns.

use std::collections::HashMap;

/// Counts by application. Kept for every application, whether or not a policy
/// reads them now, so that a swap needs no recount.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    nodes: HashMap<(u32, u32), i32>,
    /// Per application, counts by zone id, one place further: the first is for
    /// nodes without a zone.
    zones: HashMap<u32, Vec<i32>>,
}

impl Peers {
    pub(crate) fn on_node(&self, app: u32, row: u32) -> i32 {
        self.nodes.get(&(app, row)).copied().unwrap_or(0)
    }

    pub(crate) fn in_zone(&self, app: u32, zone: i32) -> i32 {
        if zone < 0 {
            return 0;
        }
        self.zone_counts(app)
            .get(zone as usize)
            .copied()
            .unwrap_or(0)
    }

    /// Counts of one application by zone id; zones past the end hold none.
    pub(crate) fn zone_counts(&self, app: u32) -> &[i32] {
        self.zones.get(&app).map_or(&[], |counts| &counts[1..])
    }

    /// Pods of one application that run or have a place.
    pub(crate) fn running(&self, app: u32) -> u32 {
        let counts = self.zones.get(&app).into_iter().flatten();
        counts.map(|n| u32::try_from(*n).unwrap_or(0)).sum()
    }

    pub(crate) fn add(&mut self, app: u32, row: u32, zone: i32, by: i32) {
        let count = self.nodes.entry((app, row)).or_insert(0);
        *count += by;
        if *count == 0 {
            self.nodes.remove(&(app, row));
        }
        let place = (zone + 1).max(0) as usize;
        let counts = self.zones.entry(app).or_insert_with(|| vec![0]);
        if counts.len() <= place {
            counts.resize(place + 1, 0);
        }
        counts[place] += by;
        if counts.iter().all(|c| *c == 0) {
            self.zones.remove(&app);
        }
    }
}
