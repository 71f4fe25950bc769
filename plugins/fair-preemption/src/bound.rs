//! The least that victims on one row can cost, without trying any.
//!
//! For each thing that is short, victims are taken by what they lose for each
//! unit of it, the last one in part, and at least one as a whole. No set can do
//! it for less, so a row whose bound is no better than the best so far needs no
//! look.

use loadmaster_sdk::preemption::{Cluster, Pod, Units};

/// What a unit gives on the row, and what taking it loses.
#[derive(Debug, Clone, Copy, Default)]
struct Offer {
    cpu: i64,
    memory: i64,
    devices: i64,
    loss: i64,
    victims: u32,
}

/// Reused between rows.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    offers: Vec<Offer>,
}

impl Bound {
    /// Least loss, and least number of victims; none if even all of them would
    /// not make room.
    pub(crate) fn least(
        &mut self,
        cluster: &Cluster<'_>,
        units: &Units,
        pod: &Pod,
        row: u32,
        list: &[u32],
        loss: impl Fn(u32) -> i64,
    ) -> Option<(i64, u32)> {
        let at = row as usize;
        let free = cluster.free(at);
        if pod.disk > free.disk.max(0) || pod.network > free.network.max(0) {
            return None;
        }
        if pod.gpu_count > 0 && !cluster.model_fits(pod, at) {
            return None;
        }
        self.offers.clear();
        for &unit in list {
            let whole = units.unit(unit);
            let mut offer = Offer {
                loss: loss(unit),
                victims: whole.victims,
                ..Offer::default()
            };
            for &victim in units.members(unit) {
                if cluster.row_of(victim as usize) == Some(at) {
                    let (cpu, memory, slots) = cluster.held(victim as usize);
                    offer.cpu += i64::from(cpu.max(0));
                    offer.memory += i64::from(memory.max(0));
                    offer.devices += i64::from(slots.len() as u32);
                }
            }
            self.offers.push(offer);
        }
        let usable = match pod.gpu_count {
            0 => 0,
            _ => cluster.usable(pod, at).count_ones(),
        };
        let short = |want: i32, free: i32| match want {
            ..=0 => 0,
            want => i64::from(want) - i64::from(free),
        };
        let devices = i64::from(pod.gpu_count) - i64::from(usable);
        let mut least = (0, 0);
        for (short, of) in [
            (short(pod.cpu, free.cpu), (|o| o.cpu) as fn(&Offer) -> i64),
            (short(pod.memory, free.memory), |o| o.memory),
            (devices, |o| o.devices),
        ] {
            if short > 0 {
                let (loss, victims) = self.cover(short, of)?;
                least = (least.0.max(loss), least.1.max(victims));
            }
        }
        Some(least)
    }

    /// Least loss and least victims that cover what is short of one thing.
    fn cover(&mut self, short: i64, of: fn(&Offer) -> i64) -> Option<(i64, u32)> {
        let total: i64 = self.offers.iter().map(of).sum();
        if total < short {
            return None;
        }
        let product = |a: i64, b: i64| i128::from(a) * i128::from(b);
        self.offers
            .sort_unstable_by(|a, b| product(a.loss, of(b)).cmp(&product(b.loss, of(a))));
        let giving = self.offers.iter().filter(|o| of(o) > 0);
        let one = giving.map(|o| o.loss).min().unwrap_or(0);
        let (mut left, mut loss) = (short, 0i64);
        for offer in &self.offers {
            let gives = of(offer);
            if gives >= left {
                loss += (product(offer.loss, left) / i128::from(gives.max(1))) as i64;
                break;
            }
            left -= gives;
            loss = loss.saturating_add(offer.loss);
        }
        let loss = loss.max(one);
        // Fewest victims: nobody gives more than who gives most.
        let each = |o: &Offer| divide_up(of(o), i64::from(o.victims.max(1)));
        let most = self.offers.iter().map(each).max().unwrap_or(1).max(1);
        Some((
            loss,
            u32::try_from(divide_up(short, most)).unwrap_or(u32::MAX),
        ))
    }
}

/// Both are positive.
fn divide_up(a: i64, b: i64) -> i64 {
    (a + b - 1) / b
}
