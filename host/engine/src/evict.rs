//! How a running pod leaves before its time.

use model::event::Finish;

use crate::effect::Output;
use crate::engine::Engine;
use crate::error::EventError;
use crate::pods::Leaving;

impl Engine {
    /// A pod that was asked to leave has left.
    pub(crate) fn pod_left(&mut self, _slot: u32, _out: &mut Output) -> Result<(), EventError> {
        Ok(())
    }

    /// An operator asks a pod to leave.
    pub(crate) fn evict_for_operator(
        &mut self,
        _slot: u32,
        _out: &mut Output,
    ) -> Result<(), EventError> {
        Ok(())
    }

    /// A pod that was leaving when the state was written.
    pub(crate) fn restore_leaving(&mut self, slot: u32, leaving: Leaving) {
        self.pods.get_mut(slot).leaving = Some(leaving);
    }

    /// A pod is about to be forgotten: its gang and its plan may care.
    pub(crate) fn gone(&mut self, _slot: u32, _how: Finish, _out: &mut Output) {}

    /// Graces and nominations that have run out.
    pub(crate) fn tick_evictions(&mut self, _out: &mut Output) {}
}
