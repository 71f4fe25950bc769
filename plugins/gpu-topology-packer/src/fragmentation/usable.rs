//! How much of a node's free GPU share the expected pods can use, and how much of that a placement
//! takes away.
//!
//! For one shape of `gpus` devices with `d` milli each, a node that can host it offers the share of
//! the devices with at least `d` free; filled up with the shape ([`Mode::Fill`]) it also holds
//! `min(slots, cpu / cpu of the shape)` pods. The devices enter only through three numbers a `d`
//! ([`Terms`]), and the CPU only where it is short. So the shapes are laid out by `d`, then `gpus`,
//! then CPU, with running sums: a group of shapes costs a few steps unless the node's CPU ends
//! inside it, and all candidate devices share the walk.
//!
//! Everything is exact: divisions by a known number are multiplications with a rounded-up reciprocal
//! wide enough for the range (tests go over all of it).

mod filled;

use std::ops::Range;

use super::{MAX_GPUS, Mode, Shape, WHOLE};
use filled::{Filled, Item, Reciprocal};

/// What is left of a node besides its devices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Milli-cores, below 2^31.
    pub(super) cpu: u32,
    /// MiB.
    pub(super) memory: i64,
}

/// The healthy devices of a node with anything free, some of those with equal free share together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Levels {
    /// The first level are the entirely free devices.
    free: [u32; MAX_GPUS + 1],
    count: [u32; MAX_GPUS + 1],
    len: usize,
    highest: u32,
}

impl Levels {
    pub(super) fn new() -> Self {
        let mut free = [0; MAX_GPUS + 1];
        free[0] = WHOLE as u32;
        Self {
            free,
            count: [0; MAX_GPUS + 1],
            len: 1,
            highest: 0,
        }
    }

    /// Counts one more of at most [`MAX_GPUS`] devices; returns the number of its level.
    #[inline]
    pub(super) fn add(&mut self, free: u32) -> usize {
        let known = self.free[..self.len].iter().position(|&f| f == free);
        let level = known.unwrap_or_else(|| {
            self.free[self.len] = free;
            self.len += 1;
            self.len - 1
        });
        self.highest = self.highest.max(free);
        self.count[level] += 1;
        level
    }

    /// Free milli of the devices of each level.
    pub(super) fn values(&self) -> &[u32] {
        &self.free[..self.len]
    }
}

/// `count` devices with `from` milli free that have `to` afterwards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Move {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) count: u32,
}

/// Sizes looked at together, so that the compiler uses vectors.
const LANES: usize = 4;

/// What the devices offer pods that want `d` milli of a device, for some `d`.
#[derive(Clone, Copy, Debug, Default)]
struct Terms {
    /// Devices with at least `d` free.
    able: [u32; LANES],
    /// Free milli on those.
    usable: [u32; LANES],
    /// How often `d` fits, device by device.
    slots: [u32; LANES],
}

impl Terms {
    #[inline]
    fn of(sizes: &Sizes, levels: &Levels) -> Self {
        let mut terms = Self::default();
        for (free, count) in levels.free.iter().zip(&levels.count).take(levels.len) {
            let level = Self::of_devices(sizes, *free, *count);
            for i in 0..LANES {
                terms.able[i] += level.able[i];
                terms.usable[i] += level.usable[i];
                terms.slots[i] += level.slots[i];
            }
        }
        terms
    }

    #[inline]
    fn of_devices(sizes: &Sizes, free: u32, count: u32) -> Self {
        let mut terms = Self::default();
        for i in 0..LANES {
            terms.able[i] = if free >= sizes.milli[i] { count } else { 0 };
            terms.usable[i] = terms.able[i] * free;
            terms.slots[i] = sizes.slots(i, free) * count;
        }
        terms
    }

    #[inline]
    fn after(mut self, sizes: &Sizes, change: Move) -> Self {
        let gone = Self::of_devices(sizes, change.from, change.count);
        let new = Self::of_devices(sizes, change.to, change.count);
        for i in 0..LANES {
            self.able[i] = self.able[i] + new.able[i] - gone.able[i];
            self.usable[i] = self.usable[i] + new.usable[i] - gone.usable[i];
            self.slots[i] = self.slots[i] + new.slots[i] - gone.slots[i];
        }
        self
    }
}

/// [`LANES`] sizes, ascending: a size is what a shape wants of each device.
#[derive(Clone, Debug)]
struct Sizes {
    /// More than a device has where there is no size.
    milli: [u32; LANES],
    /// `ceil(2^20 / milli)`, 0 where there is no size.
    reciprocal: [u32; LANES],
    /// In the view's groups.
    groups: [Range<usize>; LANES],
    len: usize,
}

impl Sizes {
    fn new() -> Self {
        Self {
            milli: [u32::MAX; LANES],
            reciprocal: [0; LANES],
            groups: [const { 0..0 }; LANES],
            len: 0,
        }
    }

    fn push(&mut self, milli: u32, group: usize) {
        self.milli[self.len] = milli;
        self.reciprocal[self.len] = (1u32 << 20).div_ceil(milli);
        self.groups[self.len] = group..group;
        self.len += 1;
    }

    /// `free / milli` for up to 1023: the reciprocal is less than `milli <= 2^10` parts of 2^20 too
    /// large, so the product stays below the next multiple.
    #[inline]
    fn slots(&self, lane: usize, free: u32) -> u32 {
        (free * self.reciprocal[lane]) >> 20
    }
}

/// Shapes that also want the same number of devices.
#[derive(Clone, Debug)]
struct Group {
    gpus: u32,
    /// `ceil(2^18 / gpus)`.
    reciprocal: u32,
    /// Milli of all devices of one pod.
    request: i64,
    /// Most CPU and memory that a shape of the group wants.
    cpu_max: u32,
    memory_max: i64,
    weight: i64,
    /// In the view's items.
    items: Range<usize>,
}

impl Group {
    /// `slots / gpus` for up to 16 devices with 1000 slots each.
    #[inline]
    fn pods(&self, slots: u32) -> u32 {
        (slots * self.reciprocal) >> 18
    }

    /// Whether all shapes of the group have CPU and memory for as many pods as the devices can hold,
    /// which is one at least.
    #[inline]
    fn is_ample(&self, slots: u32, room: Room) -> bool {
        let wanted = u64::from(self.cpu_max) * u64::from(self.pods(slots));
        wanted <= u64::from(room.cpu) && self.memory_max <= room.memory
    }
}

/// The expected shapes that accept one model of GPU, laid out for one walk.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    mode: Option<Mode>,
    /// Ascending.
    sizes: Vec<Sizes>,
    /// Of one size, ascending by devices.
    groups: Vec<Group>,
    items: Vec<Item>,
}

impl View {
    /// Of the shapes given, those a device can ever serve.
    pub(super) fn new<'a>(mode: Mode, shapes: impl Iterator<Item = &'a Shape>) -> Self {
        let servable = |s: &&Shape| {
            (1..=WHOLE).contains(&s.request.gpu_milli)
                && (1..=MAX_GPUS as u32).contains(&s.request.gpus)
                && s.request.cpu <= i64::from(i32::MAX)
                && s.weight > 0
        };
        // The published score knows no memory.
        let memory = |s: &Shape| match mode {
            Mode::Published => 0,
            Mode::Fill => s.request.memory,
        };
        let mut shapes: Vec<_> = shapes
            .filter(servable)
            .map(|s| {
                let r = s.request;
                (
                    r.gpu_milli as u32,
                    r.gpus,
                    r.cpu.max(0) as u32,
                    memory(s),
                    s.weight,
                )
            })
            .collect();
        shapes.sort_unstable();
        let mut view = Self {
            mode: Some(mode),
            ..Self::default()
        };
        for (milli, gpus, cpu, memory, weight) in shapes {
            view.push(milli, gpus);
            view.push_item(cpu, memory, weight);
        }
        view
    }

    /// Starts a size and a group where the shapes before were others.
    fn push(&mut self, milli: u32, gpus: u32) {
        let group = self.groups.len();
        let last = self.sizes.last().map(|s| s.milli[s.len - 1]);
        let new_size = last != Some(milli);
        if new_size {
            if self.sizes.last().is_none_or(|s| s.len == LANES) {
                self.sizes.push(Sizes::new());
            }
            if let Some(sizes) = self.sizes.last_mut() {
                sizes.push(milli, group);
            }
        }
        if new_size || self.groups.last().is_none_or(|g| g.gpus != gpus) {
            self.groups.push(Group {
                gpus,
                reciprocal: (1u32 << 18).div_ceil(gpus),
                request: i64::from(milli * gpus),
                cpu_max: 0,
                memory_max: 0,
                weight: 0,
                items: self.items.len()..self.items.len(),
            });
        }
        if let Some(sizes) = self.sizes.last_mut() {
            sizes.groups[sizes.len - 1].end = self.groups.len();
        }
    }

    fn push_item(&mut self, cpu: u32, memory: i64, weight: i64) {
        let Some(group) = self.groups.last_mut() else {
            return;
        };
        group.cpu_max = cpu;
        group.memory_max = group.memory_max.max(memory);
        group.weight += weight;
        let items = &mut self.items[group.items.clone()];
        if let Some(same) = items
            .last_mut()
            .filter(|i| (i.cpu, i.memory) == (cpu, memory))
        {
            same.weight += weight;
            same.weight_so_far = group.weight;
            return;
        }
        self.items.push(Item {
            cpu,
            by_cpu: Reciprocal::new(cpu.max(1)),
            memory,
            weight,
            weight_so_far: group.weight,
            memory_so_far: group.memory_max,
        });
        group.items.end = self.items.len();
    }

    /// Adds to `lost` how much less the expected pods can use, times their weight, once the room has
    /// shrunk from `before` to `after` and devices have changed. One element of `lost` a change, or
    /// a single one for all changes together.
    pub(super) fn add_lost(
        &self,
        levels: &Levels,
        (before, after): (Room, Room),
        changes: &[Move],
        lost: &mut [i64],
    ) {
        let fill = self.mode == Some(Mode::Fill);
        let mut then = [Terms::default(); MAX_GPUS];
        let then = &mut then[..lost.len().min(MAX_GPUS)];
        for sizes in &self.sizes {
            if sizes.milli[0] > levels.highest {
                return; // no device serves these sizes or larger ones
            }
            let now = Terms::of(sizes, levels);
            let most = match (&mut *then, changes) {
                ([all], changes) => {
                    *all = changes.iter().fold(now, |t, c| t.after(sizes, *c));
                    all.slots
                }
                (each, changes) => {
                    let mut most = [0; LANES];
                    for (t, change) in each.iter_mut().zip(changes) {
                        *t = now.after(sizes, *change);
                        for (most, slots) in most.iter_mut().zip(t.slots) {
                            *most = slots.max(*most);
                        }
                    }
                    most
                }
            };
            for (lane, most) in most.into_iter().enumerate() {
                if now.able[lane] == 0 {
                    break;
                }
                let slots = (now.slots[lane], most);
                for group in &self.groups[sizes.groups[lane].clone()] {
                    if now.able[lane] < group.gpus {
                        break;
                    }
                    let worth = match fill {
                        true if group.is_ample(slots.0, after) => {
                            if changes.is_empty() {
                                continue;
                            }
                            Worth::of_ample(group, now.usable[lane], slots.0)
                        }
                        true => self.filled(group, (before, after), now.usable[lane], slots),
                        false => self.published(group, (before, after), now.usable[lane]),
                    };
                    for (lost, then) in lost.iter_mut().zip(&*then) {
                        *lost += worth.before;
                        if then.able[lane] >= group.gpus {
                            let pods = group.pods(then.slots[lane]);
                            *lost -= worth.after(then.usable[lane], pods);
                        }
                    }
                }
            }
        }
    }

    fn published(&self, group: &Group, (before, after): (Room, Room), usable: u32) -> Worth {
        let items = &self.items[group.items.clone()];
        let weight = |room: Room| {
            if group.cpu_max <= room.cpu {
                return group.weight;
            }
            let hosted = items.partition_point(|i| i.cpu <= room.cpu);
            items[..hosted].last().map_or(0, |i| i.weight_so_far)
        };
        Worth {
            before: weight(before) * i64::from(usable),
            usable: weight(after),
            pods: 0,
            fixed: 0,
        }
    }

    /// `slots` are those before and the most of any choice.
    fn filled(
        &self,
        group: &Group,
        (before, after): (Room, Room),
        usable: u32,
        slots: (u32, u32),
    ) -> Worth {
        let items = &self.items[group.items.clone()];
        let (now, most) = (group.pods(slots.0), group.pods(slots.1));
        let before = Filled::new(items, before, now);
        let after = Filled::new(items, after, most);
        Worth {
            before: i64::from(usable) * before.weight + group.request * before.pods,
            usable: after.weight,
            // Taking a share from one device or another leaves numbers of pods that differ by one at
            // most, and one pod less costs what `limited` says.
            pods: group.request * after.limited,
            fixed: group.request * (after.pods - after.limited * i64::from(most)),
        }
    }
}

/// What a group can use on a node, times weight: before, and for each choice as a sum over what the
/// choice leaves.
#[derive(Clone, Copy, Debug)]
struct Worth {
    before: i64,
    /// For each milli on devices that can serve the group.
    usable: i64,
    /// For each pod that the devices can hold.
    pods: i64,
    fixed: i64,
}

impl Worth {
    /// Only the devices limit, before and after.
    #[inline]
    fn of_ample(group: &Group, usable: u32, slots: u32) -> Self {
        let pods = group.weight * group.request;
        Self {
            before: group.weight * i64::from(usable) + pods * i64::from(group.pods(slots)),
            usable: group.weight,
            pods,
            fixed: 0,
        }
    }

    #[inline]
    fn after(self, usable: u32, pods: u32) -> i64 {
        self.usable * i64::from(usable) + self.pods * i64::from(pods) + self.fixed
    }
}

#[cfg(test)]
mod tests;
