//! A cluster and its load without any file, for `loadmaster demo` and tests.
//!
//! Amounts and proportions are the published ones of Alibaba's GPU cluster
//! (openb): node shapes, pod classes, share sizes, CPU and memory, model
//! constraints, service classes, durations. What it does not publish is
//! played: two anonymised models are called A100 and H100, machines get the
//! wiring such machines have, a place and a price.
//!
//! Everything is integer arithmetic on a seeded stream, so that a seed gives
//! the same world on every machine.

mod arrivals;
mod nodes;
mod requests;

pub use arrivals::{Arrival, Arrivals, Load};
pub use nodes::{NODES_MAX, nodes};
pub use requests::{DemoRequests, RequestShape, requests};

#[cfg(test)]
mod tests;
