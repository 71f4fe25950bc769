//! Which devices on the chosen node: the first policy of the set that has an
//! opinion, checked, else the built-in.

use model::PolicyFault;
use model::quantity::GPU_MILLI;

use crate::cache::Signature;
use crate::filter::Filter;
use crate::nodes::{SLOTS, slots_of};
use crate::score::{Scratch, Tally, World, pod_row};
use crate::set::ScoringSet;

/// Devices for the pod on `row`, which passed the filter. Zero for a pod
/// without GPU.
pub(crate) fn place(
    world: &World<'_>,
    set: &mut ScoringSet,
    scratch: &mut Scratch,
    signature: &Signature,
    row: u32,
    tally: &mut Tally,
) -> u16 {
    let filter = Filter::new(world.nodes, world.classes, signature.class);
    let count = filter.class.gpu.count;
    if count == 0 {
        return 0;
    }
    let usable = filter.usable(row);
    if usable.count_ones() == count {
        // No choice, no call.
        return usable;
    }
    let pod = pod_row(world, signature, filter.models);
    for m in &mut set.members {
        // Who failed in this decision is not asked again in it: the built-in
        // answers, and an easy call cannot wash the failure away.
        if tally.faults.iter().any(|f| f.policy == m.member.policy) {
            continue;
        }
        let columns = &m.policy.description().columns;
        let lowered =
            scratch
                .lowered
                .fill(world.nodes, world.peers, pod.app, columns, &[row], true);
        scratch.slots.clear();
        let answer = m.policy.place(&pod, lowered, &mut scratch.slots);
        let checked = answer.and_then(|(chosen, cost)| {
            tally.fuel += cost.fuel;
            if chosen {
                check_slots(&scratch.slots, usable, count).map(Some)
            } else {
                Ok(None)
            }
        });
        match checked {
            Ok(Some(mask)) => {
                m.breaker.ok();
                return mask;
            }
            Ok(None) => m.breaker.ok(),
            Err(fault) => {
                tally.fault(m, "place", &fault);
                break;
            }
        }
    }
    builtin(world, row, usable, count)
}

fn check_slots(slots: &[u32], usable: u16, count: u32) -> Result<u16, PolicyFault> {
    let mut mask = 0u16;
    for slot in slots {
        let bit = if *slot < SLOTS as u32 {
            1u16 << slot
        } else {
            0
        };
        if bit & usable == 0 {
            return Err(PolicyFault::BadAnswer {
                detail: format!("device {slot} cannot be used"),
            });
        }
        if mask & bit != 0 {
            return Err(PolicyFault::BadAnswer {
                detail: format!("device {slot} was chosen twice"),
            });
        }
        mask |= bit;
    }
    if mask.count_ones() != count {
        return Err(PolicyFault::BadAnswer {
            detail: format!("{} devices chosen, {count} wanted", mask.count_ones()),
        });
    }
    Ok(mask)
}

/// A share goes on the fullest device that still has room, so that whole ones
/// stay whole; whole devices are taken in slot order.
fn builtin(world: &World<'_>, row: u32, usable: u16, count: u32) -> u16 {
    let at = row as usize * SLOTS;
    let free = &world.nodes.gpu_milli_free[at..at + SLOTS];
    let mut slots: Vec<usize> = slots_of(usable).collect();
    slots.sort_by_key(|s| (free[*s].min(GPU_MILLI as i32), *s));
    slots
        .into_iter()
        .take(count as usize)
        .fold(0, |mask, s| mask | 1 << s)
}
