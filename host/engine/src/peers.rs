//! How many pods of an application run where: the derived columns.

use std::collections::HashMap;

/// Counts by application. Kept for every application, whether or not a policy
/// reads them now, so that a swap needs no recount.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    nodes: HashMap<(u32, u32), i32>,
    /// Per application, counts by zone id.
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
        self.zones.get(&app).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn add(&mut self, app: u32, row: u32, zone: i32, by: i32) {
        let count = self.nodes.entry((app, row)).or_insert(0);
        *count += by;
        if *count == 0 {
            self.nodes.remove(&(app, row));
        }
        if zone >= 0 {
            let zone = zone as usize;
            let counts = self.zones.entry(app).or_default();
            if counts.len() <= zone {
                counts.resize(zone + 1, 0);
            }
            counts[zone] += by;
            if counts.iter().all(|c| *c == 0) {
                self.zones.remove(&app);
            }
        }
    }
}
