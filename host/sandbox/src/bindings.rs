//! The four worlds of `wit/v0.1.0`, as types and calls.
//!
//! Borrowing, so that a batch of rows goes into the guest straight from the
//! engine's columns: a list of `s32` is one copy. The records of `types` are
//! generated once: the generator omits lifetimes for those a world does not use.

/// `scoring-policy`.
pub(crate) mod scoring {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1.0",
        world: "scoring-policy",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// `admission-policy`.
pub(crate) mod admission {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1.0",
        world: "admission-policy",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: { "loadmaster:policy/types": crate::bindings::scoring::loadmaster::policy::types },
    });
}

/// `preemption-policy`. It uses records of `scoring`, for which the generator
/// adds that whole interface as an import, and with it a second form of each
/// record that would come back from it: so it has `types` of its own.
pub(crate) mod preemption {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1.0",
        world: "preemption-policy",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// `autoscaling-policy`.
pub(crate) mod autoscaling {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1.0",
        world: "autoscaling-policy",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: { "loadmaster:policy/types": crate::bindings::scoring::loadmaster::policy::types },
    });
}
