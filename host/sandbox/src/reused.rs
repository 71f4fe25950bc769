//! One instance that answers many questions as a fresh one would answer each.

use std::sync::Arc;

use engine::port::{Cost, Description};
use model::PolicyFault;
use wasmtime::Store;

use crate::fault::Given;
use crate::guest::{Clock, Guest, HostState};
use crate::limits::RunLimits;
use crate::prepared::{Linked, Prepared};
use crate::scoring::refused;

/// What the generated bindings of a world have in common.
pub(crate) trait World: Sized {
    /// An instance of this world; fails for a component of another.
    fn instantiate(linked: &Linked, store: &mut Store<HostState>) -> wasmtime::Result<Self>;

    /// Its `configure`.
    fn configure(
        &self,
        store: &mut Store<HostState>,
        settings: &str,
    ) -> wasmtime::Result<Result<(), String>>;
}

/// What a call is made with: the limits of the policy, and the guard of the
/// question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'l> {
    pub limits: &'l RunLimits,
    pub clock: Clock,
}

impl Ask<'_> {
    pub(crate) fn given(&self, fuel: u64) -> Result<Given, PolicyFault> {
        Ok(Given {
            fuel,
            wall_ms: self.clock.left(self.limits.call_wall_ms)?,
        })
    }

    pub(crate) fn setup(&self) -> Result<Given, PolicyFault> {
        Ok(Given {
            fuel: self.limits.fuel_setup,
            wall_ms: self.clock.left(self.limits.setup_wall_ms)?,
        })
    }
}

/// An instance with its settings, replaced after any fault.
pub(crate) struct Reused<W> {
    prepared: Arc<Prepared>,
    settings: String,
    limits: RunLimits,
    guest: Option<Guest<W>>,
    /// Questions asked, for the audit.
    asked: u64,
}

impl<W> std::fmt::Debug for Reused<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reused")
            .field("policy", self.prepared.id())
            .field("alive", &self.guest.is_some())
            .finish_non_exhaustive()
    }
}

impl<W: World> Reused<W> {
    /// The first instance, started and configured off the decision path.
    pub(crate) fn start(
        prepared: &Arc<Prepared>,
        settings: &str,
        limits: RunLimits,
    ) -> Result<Self, PolicyFault> {
        let mut reused = Self {
            prepared: Arc::clone(prepared),
            settings: settings.to_owned(),
            limits,
            guest: None,
            asked: 0,
        };
        let clock = Clock::single(&limits);
        let limits = &limits;
        reused.guest = Some(reused.fresh(Ask { limits, clock })?);
        Ok(reused)
    }

    pub(crate) fn description(&self) -> &Description {
        self.prepared.description()
    }

    fn fresh(&self, ask: Ask<'_>) -> Result<Guest<W>, PolicyFault> {
        let mut guest = self.prepared.start(ask.limits, ask.clock, W::instantiate)?;
        let (accepted, _) = guest.call(ask.setup()?, |world, store| {
            world.configure(store, &self.settings)
        })?;
        accepted.map_err(refused)?;
        Ok(guest)
    }

    /// Tells the instance something that every later one must be told as well by
    /// `ready` of [`Self::ask`]. Without an instance there is nobody to tell.
    pub(crate) fn tell(
        &mut self,
        tell: impl FnOnce(&mut Guest<W>, Ask<'_>) -> Result<(), PolicyFault>,
    ) -> Result<(), PolicyFault> {
        let clock = Clock::running(&self.limits);
        let limits = &self.limits;
        if let Some(mut guest) = self.guest.take() {
            guest.begin_decision();
            tell(&mut guest, Ask { limits, clock })?;
            self.guest = Some(guest);
        }
        Ok(())
    }

    /// One question. Any error, in the call or in what checks its answer, ends
    /// the instance; the next question gets a new one, made `ready` first. Every
    /// n-th question is asked again of a fresh instance and must get the same
    /// answer; `short` says of one what a reader needs to see the difference.
    pub(crate) fn ask<R: PartialEq>(
        &mut self,
        ready: impl Fn(&mut Guest<W>, Ask<'_>) -> Result<(), PolicyFault>,
        question: impl Fn(&mut Guest<W>, Ask<'_>) -> Result<(R, u64), PolicyFault>,
        short: impl Fn(&R) -> String,
    ) -> Result<(R, Cost), PolicyFault> {
        self.asked += 1;
        let every = self.limits.audit_every;
        let audited = every > 0 && self.asked.is_multiple_of(every);
        // As in `scoring`: the clock is read only if more than one call is made.
        let clock = if audited || self.guest.is_none() {
            Clock::running(&self.limits)
        } else {
            Clock::single(&self.limits)
        };
        let limits = self.limits;
        let ask = Ask {
            limits: &limits,
            clock,
        };
        let start = |policy: &Self| {
            let mut guest = policy.fresh(ask)?;
            ready(&mut guest, ask)?;
            Ok::<_, PolicyFault>(guest)
        };
        let mut guest = match self.guest.take() {
            Some(guest) => guest,
            None => start(self)?,
        };
        guest.begin_decision();
        let (answer, fuel) = question(&mut guest, ask)?;
        if audited {
            let fresh = start(self).and_then(|mut guest| question(&mut guest, ask));
            let fresh = match fresh {
                Ok((fresh, _)) if fresh == answer => None,
                Ok((fresh, _)) => Some(short(&fresh)),
                // As in `audit::compare`.
                Err(PolicyFault::NotStarted { .. } | PolicyFault::WallTimeout { .. }) => None,
                Err(fault) => Some(fault.to_string()),
            };
            if let Some(fresh) = fresh {
                return Err(PolicyFault::StatefulDivergence {
                    fresh,
                    reused: short(&answer),
                });
            }
        }
        self.guest = Some(guest);
        Ok((answer, Cost { fuel }))
    }
}
