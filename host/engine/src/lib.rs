//! One decision, from pending pod to effect.
pub mod port;
