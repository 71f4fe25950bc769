//! The cluster as columns, and which of its rows changed.

use std::collections::BTreeMap;

use engine::Engine;
use engine::view::NodeView;
use model::LinkMatrix;
use serde::Serialize;
use utoipa::ToSchema;

/// How nodes of one kind are wired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Island {
    /// Device slots joined by NVLink, directly or over others.
    pub islands: Vec<Vec<u8>>,
    /// NUMA node of each slot.
    pub numa: Vec<i8>,
}

/// What changes only with a node's description: one entry a node, in order of
/// rows. An index of -1 stands for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fixed {
    /// Row id.
    pub row: Vec<u32>,
    /// Name.
    pub name: Vec<String>,
    /// Index of the zone.
    pub zone: Vec<i32>,
    /// Index of the rack.
    pub rack: Vec<i32>,
    /// Index of the GPU model.
    pub model: Vec<i32>,
    /// Index of the wiring.
    pub wiring: Vec<i32>,
    /// Milli-cores.
    pub cpu_milli: Vec<i64>,
    /// MiB.
    pub memory_mib: Vec<i64>,
    #[serde(skip)]
    pub(super) gpus: Vec<usize>,
    #[serde(skip)]
    pub(super) names: Tables,
}

/// What the indices of [`Fixed`] stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tables {
    pub(super) zones: Vec<String>,
    pub(super) racks: Vec<String>,
    pub(super) models: Vec<String>,
    links: Vec<LinkMatrix>,
    pub(super) wirings: Vec<Island>,
}

/// What decisions change: one entry for each of `row`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Now {
    /// Row id.
    pub row: Vec<u32>,
    /// 0 in service, 1 cordoned, 2 failed.
    pub state: Vec<u8>,
    /// Pods running.
    pub pods: Vec<u32>,
    /// Milli-cores.
    pub cpu_milli_free: Vec<i64>,
    /// MiB.
    pub memory_mib_free: Vec<i64>,
    /// Free milli-GPU of each device in slot order, -1 when unhealthy.
    pub gpu_milli_free: Vec<Vec<i32>>,
}

fn index(list: &mut Vec<String>, known: &mut BTreeMap<String, i32>, text: Option<&str>) -> i32 {
    let Some(text) = text else { return -1 };
    if let Some(at) = known.get(text) {
        return *at;
    }
    let at = list.len() as i32;
    list.push(text.to_owned());
    known.insert(text.to_owned(), at);
    at
}

fn model_of<'a>(node: &NodeView<'a>) -> Option<&'a str> {
    node.spec.gpus.first().map(|g| g.model.as_str())
}

/// Slots that NVLink joins, each list ascending.
fn islands(links: &LinkMatrix) -> Vec<Vec<u8>> {
    let gpus = links.gpus();
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut seen = vec![false; gpus];
    for first in 0..gpus {
        let mut island = Vec::new();
        let mut open = vec![first];
        while let Some(slot) = open.pop() {
            if std::mem::replace(&mut seen[slot], true) {
                continue;
            }
            island.push(slot as u8);
            open.extend((0..gpus).filter(|o| !seen[*o] && links.nvlinks(slot, *o) > 0));
        }
        if island.len() > 1 {
            island.sort_unstable();
            found.push(island);
        }
    }
    found
}

impl Fixed {
    /// Describes the nodes of an engine.
    #[must_use]
    pub fn of(engine: &Engine) -> Self {
        let mut fixed = Self::default();
        let mut tables = Tables::default();
        let (mut zones, mut racks, mut models) = Default::default();
        for node in engine.nodes() {
            let spec = node.spec;
            fixed.row.push(node.row);
            fixed.name.push(spec.name.clone());
            fixed
                .zone
                .push(index(&mut tables.zones, &mut zones, spec.zone.as_deref()));
            fixed
                .rack
                .push(index(&mut tables.racks, &mut racks, spec.rack.as_deref()));
            fixed
                .model
                .push(index(&mut tables.models, &mut models, model_of(&node)));
            fixed.wiring.push(tables.wiring(spec.links.as_ref()));
            fixed.cpu_milli.push(spec.capacity.cpu_milli);
            fixed.memory_mib.push(spec.capacity.memory_mib);
            fixed.gpus.push(spec.gpus.len());
        }
        fixed.names = tables;
        fixed
    }

    /// Whether the node at this place is still the one described.
    fn describes(&self, at: usize, node: &NodeView<'_>) -> bool {
        let spec = node.spec;
        let text = |list: &[String], index: i32, now: Option<&str>| {
            usize::try_from(index).ok().map(|i| list[i].as_str()) == now
        };
        let wiring = usize::try_from(self.wiring[at]).ok();
        self.row[at] == node.row
            && self.name[at] == spec.name
            && self.gpus[at] == spec.gpus.len()
            && self.cpu_milli[at] == spec.capacity.cpu_milli
            && self.memory_mib[at] == spec.capacity.memory_mib
            && text(&self.names.zones, self.zone[at], spec.zone.as_deref())
            && text(&self.names.racks, self.rack[at], spec.rack.as_deref())
            && text(&self.names.models, self.model[at], model_of(node))
            && wiring.map(|w| &self.names.links[w]) == spec.links.as_ref()
    }
}

impl Tables {
    /// Few kinds of machine exist: a scan is quicker than a hash of the matrix.
    fn wiring(&mut self, links: Option<&LinkMatrix>) -> i32 {
        let Some(links) = links else { return -1 };
        if let Some(at) = self.links.iter().position(|l| l == links) {
            return at as i32;
        }
        self.wirings.push(Island {
            islands: islands(links),
            numa: links.numa().to_vec(),
        });
        self.links.push(links.clone());
        self.links.len() as i32 - 1
    }
}

impl Now {
    /// The present state, and whether `fixed` still describes the nodes.
    #[must_use]
    pub fn of(engine: &Engine, fixed: &Fixed) -> (Self, bool) {
        let mut now = Self::default();
        let mut same = true;
        for (at, node) in engine.nodes().enumerate() {
            same = same && at < fixed.row.len() && fixed.describes(at, &node);
            now.row.push(node.row);
            now.state.push(match (node.failed, node.spec.cordoned) {
                (true, _) => 2,
                (false, true) => 1,
                (false, false) => 0,
            });
            now.pods.push(node.pods.len() as u32);
            now.cpu_milli_free.push(node.free.cpu_milli);
            now.memory_mib_free.push(node.free.memory_mib);
            now.gpu_milli_free.push(node.gpu_milli_free.to_vec());
        }
        let same = same && now.row.len() == fixed.row.len();
        (now, same)
    }

    /// Rows that differ from `before`, which has the same nodes.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut changed = Self::default();
        for at in 0..self.row.len() {
            let same = self.state[at] == before.state[at]
                && self.pods[at] == before.pods[at]
                && self.cpu_milli_free[at] == before.cpu_milli_free[at]
                && self.memory_mib_free[at] == before.memory_mib_free[at]
                && self.gpu_milli_free[at] == before.gpu_milli_free[at];
            if !same {
                changed.row.push(self.row[at]);
                changed.state.push(self.state[at]);
                changed.pods.push(self.pods[at]);
                changed.cpu_milli_free.push(self.cpu_milli_free[at]);
                changed.memory_mib_free.push(self.memory_mib_free[at]);
                changed.gpu_milli_free.push(self.gpu_milli_free[at].clone());
            }
        }
        changed
    }
}
