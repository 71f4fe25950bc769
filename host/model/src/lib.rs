//! The values everything else speaks in. No I/O, no serialisation, no clock.
//!
//! `quantity` counts, `node`, `topology` and `pod` describe the world, `job`
//! and `scaling` what people want from it; an `event` goes into the engine, a
//! `decision` comes out. `policy` names what decides, `fault` what can go wrong
//! with it, `reason` why something waits.

pub mod decision;
pub mod event;
pub mod fault;
pub mod job;
pub mod node;
pub mod pod;
pub mod policy;
pub mod quantity;
pub mod reason;
pub mod scaling;
pub mod topology;

pub use decision::{Candidate, Decision, FilterCounts, Outcome};
pub use event::Event;
pub use fault::PolicyFault;
pub use job::{JobKind, JobSpec};
pub use node::{GpuSpec, NodeSpec, Taint, TaintEffect};
pub use pod::{GpuRequest, PodSpec, Toleration};
pub use policy::{Combine, Member, PolicyId, PolicyKind, PolicySetSpec};
pub use quantity::{QuantityError, Resources};
pub use reason::{Reason, Rejection};
pub use topology::{LinkMatrix, PcieLevel};
