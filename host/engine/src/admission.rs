//! Who enters, with which changes, and whose quota pays.

use std::collections::BTreeMap;

use model::JobSpec;
use model::admission::{CatalogEntry, Patch};
use model::quota::{QueueSpec, QuotaSpec};

use crate::effect::Output;
use crate::engine::Engine;
use crate::error::EventError;

/// What admission knows beside the quota tree.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    catalog: BTreeMap<(&'static str, String), CatalogEntry>,
}

impl Admission {
    pub(crate) fn catalog_entry(&self, kind: &'static str, name: &str) -> Option<&CatalogEntry> {
        self.catalog.get(&(kind, name.to_owned()))
    }

    pub(crate) fn catalog(&self) -> impl Iterator<Item = &CatalogEntry> {
        self.catalog.values()
    }

    pub(crate) fn restore_catalog(&mut self, entry: CatalogEntry) {
        let (kind, name) = entry.key();
        self.catalog.insert((kind, name.to_owned()), entry);
    }
}

impl Engine {
    /// Asks the admission policies about a job that wants to enter.
    pub(crate) fn review(
        &mut self,
        job: JobSpec,
        _out: &mut Output,
    ) -> Result<(JobSpec, Vec<Patch>), EventError> {
        Ok((job, Vec::new()))
    }

    pub(crate) fn put_quota(
        &mut self,
        _spec: QuotaSpec,
        _out: &mut Output,
    ) -> Result<(), EventError> {
        Ok(())
    }

    pub(crate) fn remove_quota(
        &mut self,
        _name: &str,
        _out: &mut Output,
    ) -> Result<(), EventError> {
        Ok(())
    }

    pub(crate) fn put_queue(
        &mut self,
        _spec: QueueSpec,
        _out: &mut Output,
    ) -> Result<(), EventError> {
        Ok(())
    }

    pub(crate) fn remove_queue(
        &mut self,
        _name: &str,
        _out: &mut Output,
    ) -> Result<(), EventError> {
        Ok(())
    }

    pub(crate) fn put_catalog(
        &mut self,
        _entry: CatalogEntry,
        _out: &mut Output,
    ) -> Result<(), EventError> {
        Ok(())
    }

    pub(crate) fn remove_catalog(
        &mut self,
        _catalog: &str,
        _name: &str,
        _out: &mut Output,
    ) -> Result<(), EventError> {
        Ok(())
    }

    /// A pod whose quota does not pay yet.
    pub(crate) fn wait_for_quota(&mut self, _slot: u32) {}

    /// The reverse.
    pub(crate) fn stop_waiting_for_quota(&mut self, _slot: u32) {}

    /// Charges (1) or frees (-1) what the pod takes from its queue's quota.
    pub(crate) fn charge_quota(&mut self, _slot: u32, _sign: i64) {}

    /// One admission cycle, if something changed since the last that could let
    /// somebody in. `false` when nobody entered.
    pub(crate) fn admit_next(&mut self, _out: &mut Output) -> bool {
        false
    }

    /// Alarms and retries that wait for time.
    pub(crate) fn tick_admission(&mut self, _out: &mut Output) {}
}
