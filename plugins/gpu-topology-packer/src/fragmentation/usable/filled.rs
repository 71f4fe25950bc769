//! A node filled up with one group of shapes.

use super::Room;

/// One shape of a group; ascending CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) cpu: u32,
    pub(super) by_cpu: Reciprocal,
    pub(super) memory: i64,
    pub(super) weight: i64,
    /// Of this item and those before it.
    pub(super) weight_so_far: i64,
    pub(super) memory_so_far: i64,
}

/// Division of numbers below 2^31 by a fixed one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reciprocal {
    factor: u64,
    shift: u32,
}

impl Reciprocal {
    /// `divisor` is not 0 and below 2^31. With `2^b >= divisor` the factor is `2^(31+b) / divisor`
    /// rounded up: less than 2^32 + 1, and less than `divisor <= 2^b` parts too large.
    pub(super) fn new(divisor: u32) -> Self {
        let shift = 31 + divisor.next_power_of_two().trailing_zeros();
        Self {
            factor: (1u64 << shift).div_ceil(u64::from(divisor)),
            shift,
        }
    }

    #[inline]
    pub(super) fn divide(self, n: u32) -> u32 {
        ((u64::from(n) * self.factor) >> self.shift) as u32
    }
}

/// A group on a node: weight of the hosted shapes, and pods that fit, times weight.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filled {
    pub(super) weight: i64,
    pub(super) pods: i64,
    /// Weight of the shapes whose pods the devices limit: with one pod less on the devices, `pods` is
    /// less by this.
    pub(super) limited: i64,
}

impl Filled {
    /// `items` filled into the room, at most `most` pods for the devices.
    #[inline]
    pub(super) fn new(items: &[Item], room: Room, most: u32) -> Self {
        let mut hosted = items;
        if items.last().is_some_and(|i| i.cpu > room.cpu) {
            hosted = &items[..items.partition_point(|i| i.cpu <= room.cpu)];
        }
        let Some(last) = hosted.last() else {
            return Self::default();
        };
        if last.memory_so_far > room.memory {
            return Self::by_item(hosted, room, most);
        }
        let weight = last.weight_so_far;
        let mut pods = weight * i64::from(most);
        let enough = u64::from(room.cpu);
        while let [rest @ .., item] = hosted
            && u64::from(item.cpu) * u64::from(most) > enough
        {
            pods -= item.weight * i64::from(most - item.by_cpu.divide(room.cpu));
            hosted = rest;
        }
        Self {
            weight,
            pods,
            limited: hosted.last().map_or(0, |i| i.weight_so_far),
        }
    }

    /// The same where memory is too short for some, which running sums cannot see.
    #[cold]
    fn by_item(items: &[Item], room: Room, most: u32) -> Self {
        let mut filled = Self::default();
        for item in items.iter().filter(|i| i.memory <= room.memory) {
            filled.weight += item.weight;
            if u64::from(item.cpu) * u64::from(most) > u64::from(room.cpu) {
                filled.pods += item.weight * i64::from(item.by_cpu.divide(room.cpu));
            } else {
                filled.pods += item.weight * i64::from(most);
                filled.limited += item.weight;
            }
        }
        filled
    }
}
