//! One instance in its store, and the only way to call into it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use model::PolicyFault;
use wasmtime::component::{Linker, WasmStr};
use wasmtime::{Engine, ResourceLimiter, Store, StoreContextMut, Trap, UpdateDeadline};

use crate::bindings::scoring::loadmaster::policy::log::Level;
use crate::cpu_time;
use crate::fault::{self, Given, GrowthRefused};
use crate::limits::{
    INSTANCES_PER_STORE, LOG_CALL_FUEL, MEMORIES_PER_STORE, RunLimits, TABLES_PER_STORE,
};
use crate::log::{GuestLog, LogLevel, LogRing};

/// What the host keeps beside an instance.
pub(crate) struct HostState {
    growth: Growth,
    pub log: GuestLog,
    /// CPU time of the thread when the wall guard of this call first rang.
    overtime_from: Option<Duration>,
}

/// CPU time that a call gets after its wall guard rang, if the host had taken
/// the CPU away: a policy is blamed for its own time, not for a stall.
const OVERTIME: Duration = Duration::from_millis(10);

/// Epochs between two looks at a call in overtime.
const OVERTIME_TICKS: u64 = 2;

/// The wall guard rang. Whether the call used the time itself cannot be known,
/// since the hot path reads no clock; so it gets a little CPU time more, however
/// long that takes on a machine that has none to give.
fn wall_guard(mut store: StoreContextMut<'_, HostState>) -> wasmtime::Result<UpdateDeadline> {
    let Some(now) = cpu_time::of_this_thread() else {
        return Err(Trap::Interrupt.into());
    };
    let from = *store.data_mut().overtime_from.get_or_insert(now);
    if now.saturating_sub(from) < OVERTIME {
        Ok(UpdateDeadline::Continue(OVERTIME_TICKS))
    } else {
        Err(Trap::Interrupt.into())
    }
}

/// Sums all memories of a store; the runtime's own limiter bounds each alone,
/// so that ten memories get ten times the limit.
struct Growth {
    memory_bytes: u64,
    memory_bytes_max: u64,
    table_elements_max: u64,
}

/// Bytes of a table element on the host.
const TABLE_ELEMENT_BYTES: u64 = 8;

impl ResourceLimiter for Growth {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        let total = self.memory_bytes.saturating_add(more);
        if total > self.memory_bytes_max {
            return Err(GrowthRefused {
                limit_bytes: self.memory_bytes_max,
            }
            .into());
        }
        // Not given back when the growth then fails: such a store is near its
        // end, and counting too much is the safe side.
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired as u64 > self.table_elements_max {
            return Err(GrowthRefused {
                limit_bytes: self.table_elements_max * TABLE_ELEMENT_BYTES,
            }
            .into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_PER_STORE
    }

    fn tables(&self) -> usize {
        TABLES_PER_STORE
    }

    fn memories(&self) -> usize {
        MEMORIES_PER_STORE
    }
}

/// A linker that offers `log` and nothing else.
pub(crate) fn linker(engine: &Engine, version: &str) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    let name = format!("{}/log@{version}", crate::shape::PACKAGE);
    linker
        .instance(&name)?
        .func_wrap("log", |store, (level, message): (Level, WasmStr)| {
            log(store, level, &message)
        })?;
    Ok(linker)
}

fn log(
    mut store: StoreContextMut<'_, HostState>,
    level: Level,
    message: &WasmStr,
) -> wasmtime::Result<()> {
    let fuel = store.get_fuel()?;
    store.set_fuel(fuel.saturating_sub(LOG_CALL_FUEL))?;
    let level = match level {
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    };
    // The text is read only if it will be kept: the guest may point at all of
    // its memory as often as it likes.
    if !store.data().log.wants(level) {
        store.data().log.count_dropped();
        return Ok(());
    }
    let text = message.to_str(&store)?.into_owned();
    // Reading the text costs the host time for each byte of it.
    let fuel = store.get_fuel()?;
    store.set_fuel(fuel.saturating_sub(text.len() as u64))?;
    store.data_mut().log.push(level, &text);
    Ok(())
}

/// The guard of one question, over all the calls it takes: CPU time of the
/// thread where the kernel tells, else wall time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// `None` for a question of a single call, which its own guard bounds: the
    /// hot path does not read the clock.
    started: Option<(Instant, Option<Duration>)>,
    pass_wall_ms: u64,
}

impl Clock {
    /// For a question that may take several calls.
    pub(crate) fn running(limits: &RunLimits) -> Self {
        Self {
            started: Some((Instant::now(), cpu_time::of_this_thread())),
            pass_wall_ms: limits.pass_wall_ms,
        }
    }

    /// For a question of one call.
    pub(crate) fn single(limits: &RunLimits) -> Self {
        Self {
            started: None,
            pass_wall_ms: limits.pass_wall_ms,
        }
    }

    /// What the next call may take: `most`, or what is left of the question.
    pub(crate) fn left(&self, most: u64) -> Result<u64, PolicyFault> {
        let Some((started, cpu)) = self.started else {
            return Ok(most);
        };
        let wall = started.elapsed().as_millis() as u64;
        if let Some(left @ 1..) = self.pass_wall_ms.checked_sub(wall) {
            return Ok(most.min(left));
        }
        // Over by the wall: what counts is the thread's own time.
        let spent = match (cpu, cpu_time::of_this_thread()) {
            (Some(then), Some(now)) => now.saturating_sub(then),
            _ => started.elapsed(),
        };
        let spent = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
        match self.pass_wall_ms.saturating_sub(spent) {
            0 => Err(PolicyFault::WallTimeout {
                limit_ms: self.pass_wall_ms,
            }),
            left => Ok(most.min(left)),
        }
    }
}

/// An instance with its bindings `B`. Dropped after any error: a trapped
/// component can never be entered again.
pub(crate) struct Guest<B> {
    store: Store<HostState>,
    bindings: B,
}

impl<B> Guest<B> {
    /// A fresh instance. The deadline is set first: a start function is guest
    /// code too.
    pub(crate) fn start(
        engine: &Engine,
        limits: &RunLimits,
        ring: &Arc<Mutex<LogRing>>,
        clock: Clock,
        instantiate: impl FnOnce(&mut Store<HostState>) -> wasmtime::Result<B>,
    ) -> Result<Self, PolicyFault> {
        let state = HostState {
            growth: Growth {
                memory_bytes: 0,
                memory_bytes_max: limits.memory_bytes,
                table_elements_max: limits.table_elements,
            },
            log: GuestLog::new(Arc::clone(ring)),
            overtime_from: None,
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.growth);
        store.epoch_deadline_callback(wall_guard);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        let given = Given {
            fuel: limits.fuel_setup,
            wall_ms: clock.left(limits.setup_wall_ms)?,
        };
        arm(&mut store, given)?;
        match instantiate(&mut store) {
            Ok(bindings) => Ok(Self { store, bindings }),
            Err(error) => Err(fault::of_start(
                &error,
                given,
                store.data().log.last_error(),
            )),
        }
    }

    /// Log bytes are counted per decision, which may be several calls.
    pub(crate) fn begin_decision(&mut self) {
        self.store.data_mut().log.begin_decision();
    }

    /// One call, with what it may use and what it used. After an error the
    /// caller drops the guest.
    pub(crate) fn call<R>(
        &mut self,
        given: Given,
        call: impl FnOnce(&B, &mut Store<HostState>) -> wasmtime::Result<R>,
    ) -> Result<(R, u64), PolicyFault> {
        self.store.data_mut().log.begin_call();
        arm(&mut self.store, given)?;
        match call(&self.bindings, &mut self.store) {
            Ok(answer) => {
                let left = self.store.get_fuel().unwrap_or(0);
                Ok((answer, given.fuel - left))
            }
            Err(error) => {
                let panic = self.store.data().log.last_error();
                Err(fault::of_call(&error, given, panic))
            }
        }
    }
}

fn arm(store: &mut Store<HostState>, given: Given) -> Result<(), PolicyFault> {
    // The current epoch is partly over: one more, or a guard of 1 ms is none.
    store.set_epoch_deadline(given.wall_ms.saturating_add(1));
    store.data_mut().overtime_from = None;
    store
        .set_fuel(given.fuel)
        .map_err(|error| PolicyFault::NotStarted {
            message: error.to_string(),
        })
}
