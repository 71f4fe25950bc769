//! What fits on a row now.

use super::{Cluster, Fit};
use crate::scoring::{GPU_WHOLE, Pod};

impl Cluster<'_> {
    /// Whether one more pod fits on a row.
    #[must_use]
    #[inline]
    pub fn fits(&self, pod: &Pod, row: usize) -> bool {
        if !fits_beside(pod, self.free[row]) {
            return false;
        }
        if pod.gpu_count == 0 {
            return true;
        }
        if pod.gpu_milli >= GPU_WHOLE as u32 && self.whole[row] < pod.gpu_count {
            return false;
        }
        self.model_fits(pod, row) && self.usable(pod, row).count_ones() >= pod.gpu_count
    }

    /// How many pods like this fit on a row together, counted up to `most`.
    /// Exact: equal pods do not get into each other's way.
    #[must_use]
    pub fn room(&self, pod: &Pod, row: usize, most: u32) -> u32 {
        let free = self.free[row];
        let mut room = most;
        for (free, want) in [
            (free.cpu, pod.cpu),
            (free.memory, pod.memory),
            (free.disk, pod.disk),
            (free.network, pod.network),
        ] {
            if want > 0 {
                room = room.min((free.max(0) / want) as u32);
            }
        }
        if pod.gpu_count == 0 || room == 0 {
            return room;
        }
        if !self.model_fits(pod, row) {
            return 0;
        }
        if !pod.is_share() {
            return room.min(self.usable(pod, row).count_ones() / pod.gpu_count);
        }
        let gpus = &self.gpus[row * self.slots..][..self.slots];
        let share = (pod.gpu_milli as i32).max(1);
        let shares = gpus.iter().map(|gpu| {
            let by_milli = (gpu.milli.max(0) / share) as u32;
            match pod.gpu_memory {
                ..=0 => by_milli,
                memory => by_milli.min((gpu.memory.max(0) / memory) as u32),
            }
        });
        room.min(shares.sum())
    }

    /// Whether the pod accepts the model of the row's devices.
    #[must_use]
    #[inline]
    pub fn model_fits(&self, pod: &Pod, row: usize) -> bool {
        let model = self.models[row];
        pod.gpu_models == 0 || ((0..64).contains(&model) && pod.gpu_models >> model & 1 == 1)
    }

    /// Devices with room for one share of the pod, as a bit set.
    #[must_use]
    #[inline]
    pub fn usable(&self, pod: &Pod, row: usize) -> u64 {
        let gpus = &self.gpus[row * self.slots..][..self.slots];
        let (milli, memory) = (pod.gpu_milli as i32, pod.gpu_memory);
        gpus.iter().enumerate().fold(0, |mask, (slot, gpu)| {
            mask | u64::from(gpu.milli >= milli && gpu.memory >= memory) << slot
        })
    }
}

#[inline]
fn fits_beside(pod: &Pod, free: Fit) -> bool {
    let enough = |free: i32, want: i32| want <= 0 || free >= want;
    enough(free.cpu, pod.cpu)
        && enough(free.memory, pod.memory)
        && enough(free.disk, pod.disk)
        && enough(free.network, pod.network)
}
