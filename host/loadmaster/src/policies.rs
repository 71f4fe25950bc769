//! From the SPEC somebody typed to a policy that can be called.
//!
//! `spec` reads the text, `load` finds the policy (built-in, shipped with the
//! binary, or a file), compiles it in the sandbox's child and starts instances.

mod load;
mod spec;

pub use load::{
    BUILTINS, LoadError, Loaded, Loader, admission_order, autoscaling_set, read_component,
    scoring_set,
};
pub use spec::{PolicyRef, Source, SpecError, nearest};
