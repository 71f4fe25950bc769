//! From the SPEC somebody typed to a policy that can be called.
//!
//! `spec` reads the text, `load` finds the policy (built-in, shipped with the
//! binary, or a file), compiles it in the sandbox's child and starts instances;
//! `sets` makes of several what an engine installs.

mod load;
mod sets;
mod spec;

pub use load::{BUILTINS, LoadError, Loaded, Loader, admission_order, read_component};
pub use sets::{admission_set, autoscaling_set, preemption_set, scoring_set};
pub use spec::{PolicyRef, Source, SpecError, nearest};
