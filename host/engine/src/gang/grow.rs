//! One more member of an elastic gang that runs: chosen like a single pod, by
//! the scoring policies, among the rows of the gang's own domain.

use std::sync::Arc;

use model::gang::Level;
use model::{Outcome, Reason};

use crate::cache::Signature;
use crate::effect::Output;
use crate::engine::Engine;
use crate::place::place;
use crate::score::{Tally, World, refresh};
use crate::set::NO_TOTAL;

use super::Gangs;

impl Engine {
    /// Id of the place at a level that a row belongs to, -1 for none.
    pub(crate) fn place_of(&self, level: Level, row: u32) -> i32 {
        match level {
            Level::Node => row as i32,
            Level::Rack => self.nodes.rack[row as usize],
            Level::Block => self.nodes.block[row as usize],
            Level::Zone => self.nodes.zone[row as usize],
        }
    }

    /// Where the gang's topology wants another member: level, place, and whether
    /// it must be there.
    fn home(&self, gang: &str) -> Option<(Level, i32, bool)> {
        let job = self.pods.jobs.get(gang)?;
        let topology = job.spec.gang.as_ref()?.topology?;
        let held = self.by_arrival(gang).into_iter().find_map(|slot| {
            let pod = self.pods.get(slot);
            pod.next.map(|next| next.at).or(pod.at)
        });
        let place = self.place_of(topology.level, held?.row);
        Some((topology.level, place, topology.required))
    }

    /// Tries to place the first waiting member of a gang that runs.
    pub(super) fn grow_gang(&mut self, gang: &Arc<str>, out: &mut Output) {
        let first = self.gangs.lines.get(gang);
        let Some((_, slot)) = first.and_then(|l| l.members.first().copied()) else {
            Gangs::look_at(&mut self.gangs, gang);
            return;
        };
        let home = self.home(gang);
        let pod = self.pods.get(slot);
        let signature = Signature {
            class: pod.class,
            generation: self.classes.generation(pod.class),
            priority: pod.spec.priority,
            app: if self.set.reads_peers() { pod.app } else { 0 },
        };
        let mut tally = Tally::default();
        self.sync_context(&mut tally);
        let mut entry = self.cache.take(&signature);
        let world = World {
            nodes: &self.nodes,
            classes: &self.classes,
            peers: &self.peers,
        };
        refresh(
            &world,
            &mut self.set,
            &mut self.scratch,
            &mut entry,
            &signature,
            self.epoch,
            &mut tally,
        );
        let best = |inside: bool| {
            let here = |row: &u32| {
                home.is_none_or(|(level, place, _)| (self.place_of(level, *row) == place) == inside)
            };
            (0..entry.rows())
                .filter(|row| entry.total(*row) != NO_TOTAL && here(row))
                .max_by_key(|row| (entry.total(*row), std::cmp::Reverse(*row)))
        };
        let outside = home.is_some_and(|(.., required)| !required);
        let elsewhere = home.is_some() && best(false).is_some();
        let row = best(true).or_else(|| if outside { best(false) } else { None });
        let devices = row.map(|row| {
            place(
                &world,
                &mut self.set,
                &mut self.scratch,
                &signature,
                row,
                &mut tally,
            )
        });
        let mut decision = self.record(slot, &entry, row.as_slice(), tally);
        match (row, devices) {
            (Some(row), Some(devices)) => {
                self.stop_waiting_for_gang(slot);
                self.bind(slot, row, devices, &mut decision, out);
                if let Some(line) = self.gangs.lines.get_mut(gang) {
                    line.failures = 0;
                }
            }
            _ => {
                let (reason, why) = if elsewhere {
                    let why = "there is room for one more, but outside of its domain";
                    (Reason::FragmentedTopology, why)
                } else {
                    (Reason::WaitingForCapacity, "no room for one more")
                };
                self.park_members(gang, reason, why.to_owned());
                decision.outcome = Outcome::Unschedulable { reason };
            }
        }
        self.cache.put(signature, entry, self.config.cache_bytes);
        let tripped = self.tripped.take();
        out.decisions.push(decision);
        if let Some(fault) = tripped {
            self.revert(fault, out);
        }
    }
}
