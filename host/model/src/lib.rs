//! The values everything else speaks in. No I/O, no serialisation, no clock.
//!
//! `quantity` counts, `node`, `topology` and `pod` describe the world, `job`,
//! `gang` and `scaling` what people want from it, `quota` how much of it each may
//! have, `disruption` what may be taken away, `admission` what is said at the
//! door, `plan` what is decided for many pods at once; an `event` goes into the engine, a `decision` comes out. `policy` names
//! what decides, `fault` what can go wrong with it, `reason` why something waits.

pub mod admission;
pub mod decision;
pub mod disruption;
pub mod event;
pub mod fault;
pub mod gang;
pub mod job;
pub mod node;
pub mod plan;
pub mod pod;
pub mod policy;
pub mod quantity;
pub mod quota;
pub mod reason;
pub mod scaling;
pub mod topology;

pub use decision::{Candidate, Decision, FilterCounts, Outcome};
pub use event::Event;
pub use fault::PolicyFault;
pub use job::{JobKind, JobSpec};
pub use node::{GpuSpec, NodeSpec, Taint, TaintEffect};
pub use pod::{GpuRequest, PodSpec, Toleration};
pub use policy::{Combine, FailMode, Member, PolicyId, PolicyKind, PolicySetSpec};
pub use quantity::{QuantityError, Resources};
pub use reason::{Reason, Rejection};
pub use topology::{LinkMatrix, PcieLevel};
