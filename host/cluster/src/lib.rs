//! What brings worlds in: published traces, topology listings, generated
//! clusters. Values in, values out: files are opened by the caller or by
//! `trace::open`, and nothing here prints.
//!
//! `trace` reads files. `openb` prepares and measures the GPU packing
//! experiment, `gangs` simulates gang jobs, `elasticity` judges autoscaling.
//! `nvidia_topo` reads how a machine is wired. `demo` makes a cluster and its
//! load without any file. `rng` makes all that is random repeatable.

pub mod trace;

pub mod openb;

pub mod gangs;

pub mod elasticity;

pub mod nvidia_topo;

pub mod demo;

pub mod rng;

#[cfg(test)]
mod shared_data;
