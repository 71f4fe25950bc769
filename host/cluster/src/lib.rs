//! What brings worlds in: published traces, topology listings, generated
//! clusters. Pure functions of their input; files are opened by the caller or
//! by `trace::open`, and nothing here prints.
//!
//! `trace` reads files; `gangs` simulates gang jobs. `nvidia_topo` reads how a
//! machine is wired. `rng` makes what is random repeatable.

pub mod trace;

pub mod gangs;
pub mod nvidia_topo;
pub mod openb;

pub mod rng;

#[cfg(test)]
mod shared_data;
