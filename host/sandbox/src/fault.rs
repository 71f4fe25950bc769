//! From the way a call ended to the fault that names it.

use model::PolicyFault;
use wasmtime::{Error, PoolConcurrencyLimitError, Trap};

use crate::limits::MESSAGE_BYTES_MAX;
use crate::log::escape;

/// What a call was given, for the fault's numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub fuel: u64,
    pub wall_ms: u64,
}

/// A limit on growth was hit. Raised as a trap, so that "out of memory" is told
/// apart from the abort with which a guest answers a failed growth.
#[derive(Debug, thiserror::Error)]
#[error("growth past {limit_bytes} bytes")]
pub(crate) struct GrowthRefused {
    pub limit_bytes: u64,
}

/// The runtime's words when a result is larger than the host will copy; its
/// error type is private. `tests/hostile.rs` fails if they change.
const HOSTCALL_FUEL_WORDS: &str = "fuel allocated for hostcalls has been exhausted";

/// Names the end of a call. `panic` is the text the guest logged before it.
pub(crate) fn of_call(error: &Error, given: Given, panic: Option<&str>) -> PolicyFault {
    if let Some(refused) = error.downcast_ref::<GrowthRefused>() {
        return PolicyFault::OutOfMemory {
            limit_bytes: refused.limit_bytes,
        };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => PolicyFault::OutOfFuel { limit: given.fuel },
        Some(Trap::Interrupt) => PolicyFault::WallTimeout {
            limit_ms: given.wall_ms,
        },
        Some(trap) => PolicyFault::Trap {
            message: panic.map_or_else(|| trap.to_string(), str::to_owned),
        },
        None => {
            let detail = escape(&format!("{error:#}"), MESSAGE_BYTES_MAX).0;
            if detail.contains(HOSTCALL_FUEL_WORDS) {
                PolicyFault::AnswerTooLarge { detail }
            } else {
                PolicyFault::BadAnswer { detail }
            }
        }
    }
}

/// Names the end of an instantiation.
pub(crate) fn of_start(error: &Error, given: Given, panic: Option<&str>) -> PolicyFault {
    if error.is::<PoolConcurrencyLimitError>() {
        return PolicyFault::NotStarted {
            message: format!("too many instances alive: {error}"),
        };
    }
    match of_call(error, given, panic) {
        PolicyFault::BadAnswer { detail } => PolicyFault::NotStarted { message: detail },
        fault => fault,
    }
}
