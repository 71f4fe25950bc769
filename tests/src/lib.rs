//! What tests and benches share: a plugin's native build behind the engine's
//! port, the shipped components in a sandbox, and clusters to run them on.
//!
//! Host crates never see the SDK or a plugin; the two meet here and in `wit/`.

pub mod clusters;
pub mod native;
pub mod wasm;
