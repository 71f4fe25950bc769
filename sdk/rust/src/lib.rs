//! Write scheduling policies for Loadmaster.
//!
//! Implement one trait, export it with one macro, and `cargo build --target
//! wasm32-unknown-unknown` gives a component that imports nothing but a log:
//!
//! ```
//! use loadmaster_sdk::scoring::*;
//!
//! /// Prefers nodes that this pod fills up.
//! #[derive(Debug)]
//! struct Fullest;
//!
//! impl ScoringPolicy for Fullest {
//!     fn describe() -> Description {
//!         Description::new("fullest", "0.1.0")
//!             .summary("Prefers the node with the least CPU left.")
//!             .reads(&[Column::CpuFree, Column::CpuCap])
//!     }
//!
//!     fn configure(settings: &str) -> Result<Self, String> {
//!         Settings::parse(settings)?.finish()?;
//!         Ok(Self)
//!     }
//!
//!     fn score(&self, pod: &Pod, node: Node<'_>) -> Score {
//!         let left = node.cpu_free() - pod.cpu;
//!         Score::ratio(node.cpu_cap() - left, node.cpu_cap())
//!     }
//! }
//!
//! loadmaster_sdk::export_scoring!(Fullest);
//!
//! let cluster = loadmaster_sdk::testing::TestCluster::new()
//!     .node("a").cpu(8_000).done()
//!     .node("b").cpu(8_000).cpu_used(4_000).done();
//! let policy = cluster.policy::<Fullest>("{}");
//! assert_eq!(cluster.winner(&policy, &loadmaster_sdk::testing::cpu_pod(1_000, 0)), Some("b"));
//! ```
//!
//! `scoring`, `autoscaling`, `admission` and `preemption` hold the traits; `view`
//! is what a policy sees of the columns; `devices` picks among a node's GPUs; `quota`
//! knows what a tree of quotas has left; `settings`
//! reads its configuration; `testing` runs it natively over the very same buffers
//! a host would hand to the component.

pub mod admission;
pub mod autoscaling;
#[doc(hidden)]
pub mod bindings;
mod column;
mod description;
pub mod devices;
pub mod json;
pub mod log;
pub mod preemption;
pub mod quota;
pub mod scoring;
pub mod settings;
pub mod testing;
pub mod view;

pub use column::Column;
pub use description::Description;
