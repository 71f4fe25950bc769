//! Run policies natively, over the very same buffers a host hands to the
//! component.
//!
//! ```
//! use loadmaster_sdk::testing::TestCluster;
//!
//! let cluster = TestCluster::new()
//!     .node("a").cpu(64_000).memory(256_000).gpus("H100", 8).done()
//!     .node("b").cpu(64_000).memory(256_000).gpus("H100", 8).gpu_used(0, 500).done();
//! # let _ = cluster;
//! ```
//!
//! `cluster` builds nodes and lays out columns, `samples` has ready ones and
//! measures what a row costs, `admission` builds jobs and reviews, `quota` cycles,
//! `cycles` generates cycles, `preemption` is a world for plans,
//! `schema` checks that a settings schema and `configure` agree.

mod admission;
mod cluster;
mod cycles;
mod preemption;
mod quota;
mod samples;
mod schema;

pub use admission::{TestJob, TestReview, check_mutation, print_review_costs};
pub use cluster::{NodeBuilder, TestCluster};
pub use cycles::{CycleSize, Seeded, sample_cycle};
pub use preemption::{Machine, Work, World};
pub use quota::TestCycle;
pub use samples::{DGX1, print_row_costs, worn_cluster};
pub use schema::check_settings_schema;

use crate::scoring::Pod;

/// A pod that wants CPU (milli-cores) and memory (MiB) only.
#[must_use]
pub fn cpu_pod(cpu: i32, memory: i32) -> Pod {
    Pod {
        cpu,
        memory,
        ..Pod::default()
    }
}

/// A pod that wants part of one device.
#[must_use]
pub fn share_pod(cpu: i32, memory: i32, milli: u32) -> Pod {
    Pod {
        gpu_count: 1,
        gpu_milli: milli,
        ..cpu_pod(cpu, memory)
    }
}

/// A pod that wants whole devices.
#[must_use]
pub fn gpu_pod(cpu: i32, memory: i32, count: u32) -> Pod {
    Pod {
        gpu_count: count,
        gpu_milli: 1_000,
        ..cpu_pod(cpu, memory)
    }
}
