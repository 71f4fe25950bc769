//! The binary: everything that touches the world.
//!
//! `cli` reads what was typed. `serve` starts the `daemon`, whose one thread
//! owns the engine and the store, and puts the `api` in front of it; `wire`
//! turns values into JSON and back; `page` is what a browser shows of it.
//! `policies` finds the policies a SPEC names, the `bundled` ones among them.
//! `replay` feeds real traces to an engine under virtual time. `demo` shows all of
//! it without a file.

pub mod api;
pub mod bundled;
pub mod cli;
pub mod daemon;
pub mod demo;
pub mod page;
pub mod policies;
pub mod replay;
pub mod wire;
