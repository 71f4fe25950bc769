//! Rows and devices together, with steps back, when the greedy way fails.

use model::gang::Level;

use crate::whatif::WhatIf;

use super::{GangPlace, Rows, Wish, choices};

/// One role on its turn.
struct Turn<'a> {
    rows: Rows<'a>,
    count: u32,
    /// Rows it may use; those of one slice domain lie together.
    order: Vec<u32>,
    /// Slice domain of each.
    domain: Vec<i64>,
}

struct Search<'a, 's> {
    turns: Vec<Turn<'a>>,
    size: u32,
    steps: &'s mut u32,
    places: Vec<GangPlace>,
}

/// Exactly these counts inside the rows, or nothing; `steps` is used up by every
/// pod that is tried somewhere. Identical pods are placed in order of rows, so
/// that no two orders of the same places are tried.
pub(super) fn search(
    state: &mut WhatIf<'_>,
    wish: &Wish<'_>,
    rows: &[u32],
    order: &[usize],
    counts: &[u32],
    steps: &mut u32,
) -> Option<Vec<GangPlace>> {
    let level = wish.slice.map_or(Level::Node, |s| s.level);
    let mut by_place: Vec<(i64, u32)> = rows
        .iter()
        .map(|i| (wish.place_of(state, level, *i), *i))
        .filter(|(place, _)| *place >= 0 || wish.slice.is_none())
        .collect();
    by_place.sort_unstable();
    let turns = order.iter().filter(|role| counts[**role] > 0);
    let turns = turns.map(|role| {
        let can = by_place
            .iter()
            .filter(|(_, i)| wish.eligible[*role][*i as usize]);
        Turn {
            rows: Rows {
                wish,
                role: *role,
                class: wish.roles[*role].class,
            },
            count: counts[*role],
            order: can.clone().map(|(_, i)| *i).collect(),
            domain: can.map(|(place, _)| *place).collect(),
        }
    });
    let mut search = Search {
        turns: turns.collect(),
        size: wish.slice.map_or(1, |s| s.size.max(1)),
        steps,
        places: Vec::new(),
    };
    let mark = state.mark();
    if search.turn(state, 0) {
        return Some(search.places);
    }
    state.rollback(mark);
    None
}

impl Search<'_, '_> {
    /// Places the roles from this one on.
    fn turn(&mut self, state: &mut WhatIf<'_>, turn: usize) -> bool {
        let Some(t) = self.turns.get(turn) else {
            return true;
        };
        // What each row and those after it could take, if this role were alone.
        let fits = t.order.iter().map(|i| t.rows.capacity(state, *i));
        let mut after: Vec<u64> = fits.map(u64::from).collect();
        for i in (0..after.len().saturating_sub(1)).rev() {
            after[i] += after[i + 1];
        }
        self.pod(state, turn, 0, 0, &after)
    }

    /// Places the pods of a role from the `done`th on, on rows from `from` on.
    fn pod(
        &mut self,
        state: &mut WhatIf<'_>,
        turn: usize,
        done: u32,
        from: usize,
        after: &[u64],
    ) -> bool {
        let count = self.turns[turn].count;
        if done == count {
            return self.turn(state, turn + 1);
        }
        let begins = done.is_multiple_of(self.size);
        for i in from..after.len() {
            let t = &self.turns[turn];
            // The rest of a slice stays where it began.
            let strays = !begins && t.domain[i] != t.domain[from];
            if after[i] < u64::from(count - done) || strays {
                return false;
            }
            let (role, class, index) = (t.rows.role, t.rows.class, t.order[i]);
            let row = t.rows.wish.rows[index as usize];
            for devices in choices(state, class, row) {
                if *self.steps == 0 {
                    return false;
                }
                *self.steps -= 1;
                let mark = state.mark();
                if !state.place_on(class, row, devices) {
                    continue;
                }
                self.places.push(GangPlace {
                    role,
                    index,
                    devices,
                });
                if self.pod(state, turn, done + 1, i, after) {
                    return true;
                }
                self.places.pop();
                state.rollback(mark);
            }
        }
        false
    }
}
