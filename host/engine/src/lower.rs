//! Rows as a policy asked for them: the declared columns, for just these rows,
//! one after the other in one buffer (layout in `wit/v0.1.0/scoring.wit`).

use crate::nodes::{Nodes, SLOTS};
use crate::peers::Peers;
use crate::port::{Column, Rows};

/// A buffer used again for every call.
#[derive(Debug, Default)]
pub(crate) struct Lowered {
    data: Vec<i32>,
    count: u32,
    slots: u32,
}

impl Lowered {
    /// Fills the buffer. `slots` is 0 for pods without GPU.
    pub(crate) fn fill(
        &mut self,
        nodes: &Nodes,
        peers: &Peers,
        app: u32,
        columns: &[Column],
        rows: &[u32],
        wants_gpu: bool,
    ) -> Rows<'_> {
        self.count = rows.len() as u32;
        self.slots = if wants_gpu {
            slots_needed(nodes, rows)
        } else {
            0
        };
        self.data.clear();
        for column in columns {
            self.push(nodes, peers, app, *column, rows);
        }
        Rows {
            count: self.count,
            slots: self.slots,
            data: &self.data,
        }
    }

    fn push(&mut self, nodes: &Nodes, peers: &Peers, app: u32, column: Column, rows: &[u32]) {
        let data = &mut self.data;
        let mut node = |values: &[i32]| data.extend(rows.iter().map(|r| values[*r as usize]));
        match column {
            Column::CpuFree => node(&nodes.cpu_free),
            Column::MemoryFree => node(&nodes.memory_free),
            Column::DiskFree => node(&nodes.disk_free),
            Column::NetworkFree => node(&nodes.network_free),
            Column::Pods => node(&nodes.pods),
            Column::GpuCount => node(&nodes.gpu_count),
            Column::GpuFree => node(&nodes.gpu_free),
            Column::GpuWhole => node(&nodes.gpu_whole),
            Column::GpuModel => node(&nodes.gpu_model),
            Column::Wiring => node(&nodes.wiring),
            Column::Zone => node(&nodes.zone),
            Column::Rack => node(&nodes.rack),
            Column::Price => node(&nodes.price),
            Column::CpuCap => node(&nodes.cpu_cap),
            Column::MemoryCap => node(&nodes.memory_cap),
            Column::DiskCap => node(&nodes.disk_cap),
            Column::NetworkCap => node(&nodes.network_cap),
            Column::Row => data.extend(rows.iter().map(|r| *r as i32)),
            Column::PeersOnNode => data.extend(rows.iter().map(|r| peers.on_node(app, *r))),
            Column::PeersInZone => data.extend(
                rows.iter()
                    .map(|r| peers.in_zone(app, nodes.zone[*r as usize])),
            ),
            Column::GpuMilliFree => self.push_devices(&nodes.gpu_milli_free, rows),
            Column::GpuMemoryFree => self.push_devices(&nodes.gpu_memory_free, rows),
            Column::GpuNuma => self.push_devices(&nodes.gpu_numa, rows),
        }
    }

    fn push_devices(&mut self, values: &[i32], rows: &[u32]) {
        for s in 0..self.slots as usize {
            self.data
                .extend(rows.iter().map(|r| values[*r as usize * SLOTS + s]));
        }
    }
}

fn slots_needed(nodes: &Nodes, rows: &[u32]) -> u32 {
    rows.iter()
        .map(|r| nodes.device_slots[*r as usize])
        .max()
        .unwrap_or(0)
        .into()
}
