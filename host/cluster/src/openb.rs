//! The published openb experiment, apart from scheduling itself.
//!
//! `workload` makes the arrivals and the node order of one seed, `shapes` the
//! classes that fragmentation is measured against, `fragmentation` measures it
//! per node, and `meter` follows a run and averages it at given loads.

mod fragmentation;
mod meter;
mod shapes;
mod workload;

pub use fragmentation::Fragmentation;
pub use meter::{ARRIVED_PCT_BINS, BinMeans, FillMeter, MeterError};
pub use shapes::typical_shapes;
pub use workload::{INFLATE_MILLI, INFLATED_PODS_MAX, SEEDS, Workload, prepare};

#[cfg(test)]
mod tests;
