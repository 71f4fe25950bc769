//! Gangs, evictions, budgets and guards, seen from outside of the engine.

mod budgets;
mod evictions;
mod properties;
mod start;
mod support;
