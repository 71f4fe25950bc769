//! The one place where wasmtime is configured, for the daemon and for the child
//! that compiles: code made by one loads in the other only if they agree.

use std::num::NonZeroUsize;

use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy};

use crate::limits::{
    INSTANCES_PER_STORE, MEMORIES_PER_STORE, MEMORY_BYTES_INTERPRETER, TABLE_ELEMENTS_MAX,
    WASM_STACK_BYTES,
};

/// What both sides share. Not touched, on purpose: `wasm_multi_memory` (off, any
/// composed component makes the compiler panic) and the memory reservation (less
/// than 4 GiB brings explicit bounds checks, +31 % on column loops).
pub(crate) fn shared() -> Config {
    let mut c = Config::new();
    // Winch and Pulley are never an option: fewer compilers, fewer advisories.
    c.strategy(Strategy::Cranelift);
    c.cranelift_opt_level(OptLevel::Speed);
    // Replay: the same bits on every machine.
    c.cranelift_nan_canonicalization(true);
    c.wasm_relaxed_simd(false);
    c.relaxed_simd_deterministic(true);
    // Fuel is the verdict, the epoch the wall guard.
    c.consume_fuel(true);
    c.epoch_interruption(true);
    // A call costs 115 ns instead of 385 ns, and no policy is asynchronous.
    c.concurrency_support(false);
    c.max_wasm_stack(WASM_STACK_BYTES);
    // Several results per block are how 8 KB become 11.5 GB in the compiler.
    c.wasm_multi_value(false);
    // Nothing a compiled policy needs: each is surface.
    c.shared_memory(false);
    c.wasm_memory64(false);
    c.wasm_tail_call(false);
    c.wasm_custom_page_sizes(false);
    c.wasm_wide_arithmetic(false);
    c.guard_before_linear_memory(true);
    c.memory_init_cow(true);
    c.wasm_backtrace_max_frames(NonZeroUsize::new(16));
    c
}

/// Adds the pooling allocator: a fresh instance in 13 µs instead of 20 µs, slots
/// zeroed between uses, and a hard cap on everything alive at once.
pub(crate) fn pooled(instances: u32) -> Config {
    let mut p = PoolingAllocationConfig::new();
    p.total_component_instances(instances)
        .total_core_instances(instances * 8)
        .total_memories(instances)
        .total_tables(instances * 2)
        .max_core_instances_per_component(INSTANCES_PER_STORE as u32)
        .max_memories_per_component(MEMORIES_PER_STORE as u32)
        .max_tables_per_component(8)
        .max_memories_per_module(1)
        .max_tables_per_module(2)
        .table_elements(TABLE_ELEMENTS_MAX as usize)
        .max_memory_size(MEMORY_BYTES_INTERPRETER as usize)
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        .max_unused_warm_slots(16)
        .linear_memory_keep_resident(256 << 10);
    let mut c = shared();
    c.allocation_strategy(InstanceAllocationStrategy::Pooling(p));
    c
}

/// The on-demand allocator: for the child, whose address space is limited, and
/// for a daemon that was refused the pool's.
pub(crate) fn on_demand() -> Config {
    let mut c = shared();
    c.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    c
}
