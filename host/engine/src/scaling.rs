//! Replicas over time.
use model::scaling::{CalendarEvent, ScalingSpec};

use crate::effect::Output;
use crate::engine::Engine;
use crate::error::EventError;

/// Exported state of a scaled workload.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalingState {
    /// Spec.
    pub spec: ScalingSpec,
}

#[derive(Debug, Default)]
pub(crate) struct Scaling;

impl Scaling {
    pub(crate) fn put(&mut self, _: ScalingSpec, _: &mut Output) -> Result<(), EventError> {
        Ok(())
    }
    pub(crate) fn remove(&mut self, _: &str, _: &mut Output) -> Result<(), EventError> {
        Ok(())
    }
    pub(crate) fn sample(
        &mut self,
        _: u64,
        _: &str,
        _: f64,
        _: &mut Output,
    ) -> Result<(), EventError> {
        Ok(())
    }
    pub(crate) fn put_calendar(
        &mut self,
        _: CalendarEvent,
        _: &mut Output,
    ) -> Result<(), EventError> {
        Ok(())
    }
    pub(crate) fn remove_calendar(&mut self, _: &str, _: &mut Output) -> Result<(), EventError> {
        Ok(())
    }
    pub(crate) fn restore_calendar(&mut self, _: CalendarEvent) {}
    pub(crate) fn export(&self, _: &str) -> Option<ScalingState> {
        None
    }
    pub(crate) fn restore(&mut self, _: ScalingState) {}
    pub(crate) fn calendar_entry(&self, _: &str) -> Option<CalendarEvent> {
        None
    }
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
    pub(crate) fn calendar(&self) -> impl Iterator<Item = &CalendarEvent> {
        std::iter::empty()
    }
}

impl Engine {
    pub(crate) fn tick_scaling(&mut self, _: &mut Output) {}
}
