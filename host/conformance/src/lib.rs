//! The contract's laws, checked on any policy behind the engine's ports.
//!
//! `case` reads the cases beside the WIT. After `describe` looked at what a
//! policy says about itself, the module of its kind puts it through the laws:
//! `scoring` on clusters made by `table`, `autoscaling` on the curves of
//! `series`, `admission` on reviews and cycles, `preemption` on questions of who
//! yields. `law` names the laws, a `report` says which was kept on which case.
//! Nothing here knows how a policy is run: a native one and a component are the
//! same to it.

mod admission;
mod autoscaling;
mod case;
mod describe;
mod law;
mod order;
mod preemption;
mod report;
mod scoring;
mod series;
mod table;

pub use admission::{MakeAdmission, check_admission};
pub use autoscaling::{MakeAutoscaling, check_autoscaling};
pub use law::Law;
pub use preemption::{MakePreemption, check_preemption};
pub use report::{Check, Report, Verdict};
pub use scoring::{MakeScoring, check_scoring};

/// Version of laws and cases together; part of every report.
pub const KIT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Version of the contract the cases belong to.
pub const WIT_VERSION: &str = "0.1.0";

/// Cases whose answer was a fault before the kit stops: a policy that burns its
/// whole budget on each would keep an upload busy for minutes.
const FAULTS_MAX: u32 = 3;
