//! Gangs: all or nothing.

use std::cmp::Reverse;

use crate::effect::Output;
use crate::engine::Engine;

/// Gangs that wait for a place.
#[derive(Debug, Default)]
pub(crate) struct Gangs {}

impl Gangs {
    /// Priority and arrival of the gang that is next.
    pub(crate) fn head_key(&self) -> Option<(Reverse<i32>, u64)> {
        None
    }
}

impl Engine {
    /// A member that waits for the others.
    pub(crate) fn wait_for_gang(&mut self, _slot: u32) {}

    /// The reverse.
    pub(crate) fn stop_waiting_for_gang(&mut self, _slot: u32) {}

    /// Decides the gang at the head.
    pub(crate) fn decide_gang(&mut self, _out: &mut Output) -> bool {
        false
    }

    /// Time-outs and back-offs.
    pub(crate) fn tick_gangs(&mut self, _out: &mut Output) {}
}
