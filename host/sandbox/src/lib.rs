//! Where policies run: a component's way from bytes to an answer.
//!
//! `shape` reads the bytes and refuses what is too big, too deep or not a
//! policy. `compile` turns them into machine code in a child process with
//! limits, `artifact` seals and caches it. `prepared` links it once and asks it
//! who it is. `scoring`, `admission`, `preemption` and `autoscaling` put an
//! instance (`guest`) behind the engine's ports, bounded by `limits`, with every
//! way of failing named in `fault` and every answer checked in `answer`. `audit`
//! and `reused` prove now and then that a reused instance answers like a fresh
//! one.

mod admission;
mod answer;
mod artifact;
mod audit;
mod autoscaling;
mod bindings;
mod compile;
pub mod compile_child;
mod config;
mod cpu_time;
mod fault;
mod guest;
pub mod inspect;
pub mod limits;
mod log;
mod lower;
mod preemption;
mod prepared;
mod reused;
mod sandbox;
mod scoring;
pub mod shape;
mod ticker;

pub use artifact::{ArtifactKey, KeyError};
pub use compile::{CompileError, Compiler};
pub use inspect::{Inspection, inspect};
pub use limits::{Profile, RunLimits};
pub use log::{LogLevel, LogRecord};
pub use prepared::{DescriptionError, PrepareError, Prepared, StartError};
pub use sandbox::{Allocator, Sandbox, SandboxConfig, SandboxError};
pub use scoring::WasmScoring;
pub use shape::{Contract, ShapeError};
