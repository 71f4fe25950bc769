//! Which devices of one node: exact search over device sets.
//!
//! At most 16 GPUs a node, so a set is a bit mask and a table over all masks of
//! the free devices is small. Two objectives, both exact:
//!
//! * [`Objective::Partition`]: split *all* free devices into sets of the wanted
//!   size so that the sum over all sets is largest, then take the best set of
//!   that split. Compatible with NVIDIA's best-effort allocator, which lists
//!   every split; the table over masks gives the same answer without listing
//!   millions of them.
//! * [`Objective::Maximin`]: the set with the fastest slowest link, because that
//!   is the speed of a collective; among those the one that does least damage to
//!   what is left.
//!
//! `partition` and `maximin` hold one objective each, this file what they share.

mod maximin;
mod partition;

use loadmaster_sdk::scoring::Wiring;

/// Most devices of one node, as in the contract.
pub const GPUS_MAX: usize = 16;

/// Largest encoded link, far above 18 NVLinks on one board: sums over all pairs
/// of 16 devices then stay far below 2^31.
const LINK_MAX: i32 = 10_000;

/// What a set of devices should be best at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// Best split of all free devices; good when pods of the same size follow.
    Partition,
    /// Fastest slowest link, then least damage; good for collectives.
    Maximin,
}

/// A chosen set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Bit i: device i.
    pub devices: u16,
    /// Sum of the links inside the set.
    pub links: i32,
    /// The slowest link inside the set, see [`Links::class`]. 0 for one device.
    pub class: i32,
}

/// The wiring of one kind of node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    gpus: usize,
    link: [[i32; GPUS_MAX]; GPUS_MAX],
    numa: [i32; GPUS_MAX],
    /// All pairs alike, as behind NVSwitch: no set is better than another.
    uniform: bool,
    /// Fastest slowest link by size and free mask, for up to
    /// [`TABLE_GPUS_MAX`] devices: see [`Links::reach`].
    reach: Vec<[i32; TABLE_GPUS_MAX + 1]>,
}

/// Wirings up to this size get a table of 256 masks at `set_context`; 65 536
/// masks a wiring would be megabytes, so larger ones are searched when asked.
const TABLE_GPUS_MAX: usize = 8;

impl Links {
    /// The wiring of the contract; none if it does not describe a machine.
    #[must_use]
    pub fn new(wiring: &Wiring) -> Option<Self> {
        let gpus = wiring.gpus as usize;
        let possible = |link: &i32| (0..=LINK_MAX).contains(link);
        if gpus > GPUS_MAX
            || wiring.links.len() != gpus * gpus
            || wiring.numa.len() != gpus
            || !wiring.links.iter().all(possible)
        {
            return None;
        }
        let mut link = [[0; GPUS_MAX]; GPUS_MAX];
        let mut numa = [-1; GPUS_MAX];
        for a in 0..gpus {
            link[a][..gpus].copy_from_slice(&wiring.links[a * gpus..][..gpus]);
            numa[a] = wiring.numa[a];
        }
        let first = if gpus > 1 { link[0][1] } else { 0 };
        let uniform = (0..gpus).all(|a| (0..gpus).all(|b| a == b || link[a][b] == first));
        let mut links = Self {
            gpus,
            link,
            numa,
            uniform,
            reach: Vec::new(),
        };
        if gpus <= TABLE_GPUS_MAX {
            links.reach = links.reach_table();
        }
        Some(links)
    }

    /// Devices.
    #[must_use]
    pub fn gpus(&self) -> usize {
        self.gpus
    }

    /// Whether anything is known that could make one set better than another.
    #[must_use]
    pub fn is_uniform(&self) -> bool {
        self.uniform
    }

    /// How fast two devices talk: 100 × NVLinks if they have any, else the PCIe
    /// level. A pair with NVLink never uses its PCIe path for collectives.
    #[must_use]
    pub fn class(&self, a: usize, b: usize) -> i32 {
        let link = self.link[a][b];
        if link >= 100 { link / 100 * 100 } else { link }
    }

    /// The best set of `count` devices among the free ones.
    #[must_use]
    pub fn choose(&self, objective: Objective, free: u16, count: usize) -> Option<Choice> {
        let free = free & self.all();
        if count == 0 || free.count_ones() < count as u32 {
            return None;
        }
        match objective {
            // Every split is alike, so the first in order is the answer.
            Objective::Partition if self.uniform => Some(self.choice(lowest(free, count))),
            Objective::Partition => self.best_partition(free, 0, count).map(|p| p.choice),
            Objective::Maximin => self.best_maximin(free, count),
        }
    }

    /// The fastest slowest link any `count` of the free devices can have.
    #[must_use]
    pub fn reach(&self, free: u16, count: usize) -> i32 {
        let free = free & self.all();
        if count < 2 || free.count_ones() < count as u32 {
            return 0;
        }
        if self.uniform {
            return self.class(0, 1);
        }
        match self.reach.get(usize::from(free)) {
            Some(by_count) => by_count[count],
            None => self.search_reach(free, count),
        }
    }

    fn all(&self) -> u16 {
        mask_of(self.gpus)
    }

    fn choice(&self, devices: u16) -> Choice {
        Choice {
            devices,
            links: self.sum(devices),
            class: self.slowest(devices),
        }
    }

    fn sum(&self, set: u16) -> i32 {
        pairs(set).map(|(a, b)| self.link[a][b]).sum()
    }

    fn slowest(&self, set: u16) -> i32 {
        let classes = pairs(set).map(|(a, b)| self.class(a, b));
        classes.min().unwrap_or(0)
    }

    fn reach_table(&self) -> Vec<[i32; TABLE_GPUS_MAX + 1]> {
        let mut table = vec![[0; TABLE_GPUS_MAX + 1]; 1 << self.gpus];
        for mask in 1..table.len() {
            let size = mask.count_ones() as usize;
            let mut row = [0; TABLE_GPUS_MAX + 1];
            row[size] = self.slowest(mask as u16);
            // A smaller set leaves out at least one device.
            for device in bits(mask as u16) {
                let without = table[mask & !(1 << device)];
                for count in 2..size {
                    row[count] = row[count].max(without[count]);
                }
            }
            table[mask] = row;
        }
        table
    }

    fn search_reach(&self, free: u16, count: usize) -> i32 {
        let mut classes: Vec<i32> = pairs(free).map(|(a, b)| self.class(a, b)).collect();
        classes.sort_unstable_by(|a, b| b.cmp(a));
        classes.dedup();
        let found = classes.into_iter().find(|class| {
            let near = self.neighbours(|c| c >= *class);
            has_clique(&near, free, count)
        });
        found.unwrap_or(0)
    }

    /// For each device the others whose link class satisfies `good`.
    fn neighbours(&self, good: impl Fn(i32) -> bool) -> [u16; GPUS_MAX] {
        let mut near = [0; GPUS_MAX];
        for (a, b) in pairs(self.all()) {
            if good(self.class(a, b)) {
                near[a] |= 1 << b;
                near[b] |= 1 << a;
            }
        }
        near
    }
}

/// The name people know a link class by, as `nvidia-smi topo -m` prints it.
#[must_use]
pub fn class_name(class: i32) -> String {
    match class {
        100.. => format!("NV{}", class / 100),
        60.. => "same board".to_owned(),
        50.. => "PIX".to_owned(),
        40.. => "PXB".to_owned(),
        30.. => "PHB".to_owned(),
        20.. => "NODE".to_owned(),
        10.. => "SYS".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Whether `count` of the candidates are all neighbours of each other.
fn has_clique(near: &[u16; GPUS_MAX], candidates: u16, count: usize) -> bool {
    if count == 0 {
        return true;
    }
    let mut rest = candidates;
    while rest.count_ones() >= count as u32 {
        let device = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        if has_clique(near, rest & near[device], count - 1) {
            return true;
        }
    }
    false
}

fn mask_of(gpus: usize) -> u16 {
    ((1u32 << gpus) - 1) as u16
}

/// The `count` lowest devices of a mask.
fn lowest(mask: u16, count: usize) -> u16 {
    bits(mask).take(count).fold(0, |set, bit| set | 1 << bit)
}

/// Positions of the set bits, ascending.
fn bits(mut mask: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            bit
        })
    })
}

/// Pairs of devices of a set, smaller one first.
fn pairs(set: u16) -> impl Iterator<Item = (usize, usize)> {
    bits(set).flat_map(move |a| bits(set & !((2u32 << a) - 1) as u16).map(move |b| (a, b)))
}

/// Whether `a` comes before `b` in the order of their ascending device lists, a
/// missing device counting as larger than any.
fn comes_first(a: u16, b: u16) -> bool {
    let different = a ^ b;
    different != 0 && a & (different & different.wrapping_neg()) != 0
}

/// Calls `visit` with every set of `count` devices of `from` that contains all of
/// `set`, in the order of their lists.
fn each_set(from: u16, set: u16, count: usize, visit: &mut impl FnMut(u16)) {
    if count == 0 {
        visit(set);
        return;
    }
    let mut rest = from;
    while rest.count_ones() >= count as u32 {
        let device = rest & rest.wrapping_neg();
        rest &= rest - 1;
        each_set(rest, set | device, count - 1, visit);
    }
}

#[cfg(test)]
mod tests;
