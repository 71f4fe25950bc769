//! Who enters, with which changes, and whose quota pays.
//!
//! A job passes two gates. At the `door` every policy of the set may change it
//! (`patch` says how) and then accept or deny it, by what the `catalog` knows of
//! it. If it names a queue, its pods then wait in a line, and a `cycle` over the
//! heads of all lines decides whose quota pays next: policies give the order and
//! the `ruling`s, the host checks each of them against the tree in `quota` and
//! answers itself where they are silent or wrong. `set` keeps the policies and
//! what follows from their faults, `view` is for looking.
//!
//! A gate must not open because it broke: a member whose fail mode is `Closed`
//! keeps objects out for as long as it fails, and no breaker takes it out; what
//! its breaker does is raise an alarm. Only members that fail open are taken out.
//! Quota has no fail mode: there the host's own rules stand in for any answer.

mod catalog;
mod cycle;
mod door;
mod json;
mod line;
mod patch;
mod ruling;
mod set;
mod view;

pub(crate) use catalog::Catalog;
pub(crate) use line::Lines;
pub(crate) use set::Members;
pub use set::{ALARM_AFTER_MS, ALARM_EVERY_MS};
pub use view::{QueueView, QuotaView, QuotaWait, WaitingJob};

use model::admission::CatalogEntry;

/// What admission knows beside the quota tree.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    pub(crate) catalog: Catalog,
    pub(crate) members: Members,
    pub(crate) lines: Lines,
}

impl Admission {
    pub(crate) fn catalog_entry(&self, kind: &'static str, name: &str) -> Option<&CatalogEntry> {
        self.catalog.get(kind, name)
    }

    pub(crate) fn catalog(&self) -> impl Iterator<Item = &CatalogEntry> {
        self.catalog.iter()
    }

    pub(crate) fn restore_catalog(&mut self, entry: CatalogEntry) {
        self.catalog.put(entry);
    }

    /// Something changed that may let somebody in.
    pub(crate) fn stir(&mut self) {
        self.lines.stir();
    }

    /// Jobs whose guarantee others use, in decided order.
    pub(crate) fn reclaiming(&self) -> impl Iterator<Item = &str> {
        self.lines.reclaiming()
    }
}
