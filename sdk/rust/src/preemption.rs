//! Preemption: who must yield or move so that a pod or a gang fits, and where.
//!
//! A policy gets one request with everything it may touch and answers with one
//! plan. [`Case::cluster`] turns the request into a what-if state in which work
//! can be evicted and pods placed, and everything undone again; `cluster` has
//! it, `units` has who may be taken together, `cost` what taking them loses, `moves`
//! finds new places for who moves.
//!
//! # What a host puts into a request
//!
//! **Rows** are the nodes that satisfy the selector and the taints of every
//! demand and are open. Their columns show what is free *now*, with the running
//! work still on them. Work that is already leaving counts as gone, and is not in
//! `running`. `slots` is that of the widest row if a demand wants devices or
//! something in `running` holds some.
//!
//! **Running** lists only work that somebody may touch for this action. `allowed`
//! has bit 1 for killing and bit 2 for moving. A group is listed completely or
//! not at all; a member on a node that is not among the rows has a `row` past
//! their end: taking it frees nothing here, but it has to go with the others.
//! Group [`NONE`] is work on its own, owner [`NONE`] work outside queues, budget
//! [`NONE`] work without one.
//!
//! **Domains** are every rack (level 1), block (2), zone (3) and the whole cluster
//! (4, named `cluster`) that the constraint permits, by level, then name. With
//! `required` those of a higher level are missing; with `required` at level 0
//! there is one domain a row. A domain's rows are indices into the rows.
//!
//! **Actions** come in the order of what they disturb: `consolidate` with an
//! *empty* `running` is the plain allocation of a gang, and its plan has
//! placements only; then `consolidate` with work that may be moved; `reclaim`
//! from owners over their share; `preempt` of lower priorities. [`Units`] holds
//! the rules.
//!
//! A **single pod** is one demand with count and min 1 and constraint `none`. An
//! **elastic gang** has a count above its min: the plan places at least min of
//! every role, and more of them only where that costs no further victim.
//!
//! # What a host checks in a plan
//!
//! Every victim may be killed by this action and every move is of work that may
//! be moved; groups are complete; victims and moves with one budget are not more
//! than it allows; the placements fit once victims and moves have left, and the
//! moves fit beside them; each role has at least its min; one domain holds all
//! placements. Tests also check that no victim could have stayed.
//!
//! Some of it no policy can see: selectors, disk, network and device memory of
//! work that moves, and the memory that a share gives back on a device with
//! neighbours. [`Cluster`] assumes nothing is given back, and that moved work uses
//! as much of a device's memory as of its share; a host that refuses a move for
//! one of these should not hold it against the policy.

mod cluster;
mod cost;
mod links;
mod moves;
mod units;

#[cfg(test)]
mod tests;

use crate::bindings::preemption::exports::loadmaster::policy::preemption as wit;

pub use crate::settings::Settings;
pub use crate::view::Rows;
pub use crate::{Column, Description};
pub use cluster::{Cluster, Fit, Mark, WHAT_IF_COLUMNS};
pub use cost::{Losses, Rate, notice};
pub use moves::{move_away, move_targets};
pub use units::{Taken, Unit, Units};
pub use wit::{
    Action, Answer, Budget, Constraint, Demand, Domain, Move, Placement, Plan, Preemptor, Queue,
    Request, Running, Victim,
};

pub use crate::scoring::{Context, DeviceSet, GPU_WHOLE, GpuModel, Mode, Pod, Wiring};

/// Stands for no group, no owner and no budget.
pub const NONE: u32 = u32::MAX;

/// Bit of `allowed`: may be killed.
pub const MAY_KILL: u8 = 1;

/// Bit of `allowed`: may be moved.
pub const MAY_MOVE: u8 = 2;

/// Share of an owner that has exactly what it is entitled to, in thousandths.
pub const SHARE_FULL: u32 = 1_000;

/// Level of the domain that holds everything.
pub const LEVEL_CLUSTER: u32 = 4;

/// One question: the request, its rows as columns, and the slow inputs.
#[derive(Clone)]
pub struct Case<'a> {
    /// What the host asks.
    pub request: &'a Request,
    /// The columns that the policy declared.
    pub rows: Rows<'a>,
    /// Empty until the host gave one.
    pub context: &'a Context,
}

impl<'a> Case<'a> {
    /// A question over the declared columns.
    ///
    /// # Panics
    /// If the buffer is not what the declared columns need, which only a faulty
    /// host can cause.
    #[must_use]
    pub fn new(columns: &[Column], request: &'a Request, context: &'a Context) -> Self {
        let rows = &request.rows;
        Self {
            request,
            rows: Rows::new(columns, rows.count, rows.slots, &rows.data),
            context,
        }
    }

    /// The what-if state. Needs [`WHAT_IF_COLUMNS`].
    #[must_use]
    pub fn cluster(&self) -> Cluster<'a> {
        Cluster::new(self)
    }

    /// Priority of who wants room: that of its least important pod, so that no
    /// role takes from work that it could not take from alone.
    #[must_use]
    pub fn priority(&self) -> i32 {
        let demands = self.request.preemptor.demands.iter();
        demands.map(|d| d.pod.priority).min().unwrap_or(i32::MIN)
    }

    /// Whether it is one pod, without any topology.
    #[must_use]
    pub fn is_single(&self) -> bool {
        match self.request.preemptor.demands.as_slice() {
            [one] => one.count == 1,
            _ => false,
        }
    }
}

/// A preemption policy.
pub trait PreemptionPolicy: Sized {
    /// What it is and which columns it reads, at least [`WHAT_IF_COLUMNS`] if it
    /// wants the what-if state.
    fn describe() -> Description;

    /// A policy from settings (JSON text, `{}` for the defaults).
    ///
    /// # Errors
    /// A sentence for the operator: which key, what it may be.
    fn configure(settings: &str) -> Result<Self, String>;

    /// Slow global inputs, for policies that derive something from them. Each
    /// [`Case`] carries them anyway.
    fn set_context(&mut self, context: &Context) {
        let _ = context;
    }

    /// One decision.
    fn propose(&self, case: &Case<'_>) -> Answer;
}

/// A configured policy with the exact code path of the wasm export.
#[derive(Debug)]
pub struct Native<P> {
    policy: P,
    description: Description,
    context: Context,
}

/// A policy of type `P` with these settings.
///
/// # Errors
/// What `configure` said.
pub fn native<P: PreemptionPolicy>(settings: &str) -> Result<Native<P>, String> {
    Ok(Native {
        policy: P::configure(settings)?,
        description: P::describe(),
        context: no_context(),
    })
}

fn no_context() -> Context {
    Context {
        version: 0,
        mode: Mode::Normal,
        nodes: 0,
        gpu_models: Vec::new(),
        shapes: Vec::new(),
        node_shapes: Vec::new(),
        wirings: Vec::new(),
    }
}

impl<P: PreemptionPolicy> Native<P> {
    /// What it is and reads.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// New settings; the context stays.
    ///
    /// # Errors
    /// What `configure` said; the old settings then stay.
    pub fn configure(&mut self, settings: &str) -> Result<(), String> {
        let mut policy = P::configure(settings)?;
        policy.set_context(&self.context);
        self.policy = policy;
        Ok(())
    }

    /// New slow inputs.
    pub fn set_context(&mut self, context: Context) {
        self.policy.set_context(&context);
        self.context = context;
    }

    /// One decision.
    #[must_use]
    pub fn propose(&self, request: &Request) -> Answer {
        let case = Case::new(&self.description.columns, request, &self.context);
        self.policy.propose(&case)
    }
}

/// Exports a [`PreemptionPolicy`] as a component. Native builds have no export,
/// so that `cargo test` links.
#[macro_export]
macro_rules! export_preemption {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(
            unsafe_code,
            unused_qualifications,
            reason = "the generated export crosses into the component's memory"
        )]
        const _: () = {
            use std::cell::RefCell;
            use $crate::bindings::preemption::exports::loadmaster::policy::preemption as wit;
            use $crate::bindings::scoring::loadmaster::policy::types;
            use $crate::preemption::{Native, PreemptionPolicy, native};

            struct Component;

            thread_local! {
                static POLICY: RefCell<Option<Native<$policy>>> = const { RefCell::new(None) };
            }

            fn with<R>(f: impl FnOnce(&mut Native<$policy>) -> R) -> R {
                POLICY.with_borrow_mut(|policy| {
                    f(policy.get_or_insert_with(|| {
                        $crate::log::install_panic_hook();
                        native("{}").expect("a policy accepts its default settings")
                    }))
                })
            }

            impl wit::Guest for Component {
                fn describe() -> types::Description {
                    $crate::log::install_panic_hook();
                    <$policy as PreemptionPolicy>::describe().into_wit()
                }

                fn configure(settings: String) -> Result<(), String> {
                    with(|policy| policy.configure(&settings))
                }

                fn set_context(context: types::Context) -> Result<(), String> {
                    with(|policy| policy.set_context(context));
                    Ok(())
                }

                fn propose(request: wit::Request) -> wit::Answer {
                    with(|policy| policy.propose(&request))
                }
            }

            $crate::bindings::preemption::export_preemption_world!(Component with_types_in $crate::bindings::preemption);
        };
    };
}
