//! Native policies behind the same port as components: the default, the
//! answer when a policy faults, and the oracle in tests.

pub mod binpack;
pub(crate) mod gang;
pub mod hpa;
