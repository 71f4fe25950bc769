//! Autoscaling: how many replicas a workload should have.
//!
//! What a policy wants to remember goes through `state`: the host keeps it and
//! gives it back, so that it survives a swap, a crash and a shadow run.

use crate::bindings::autoscaling::exports::loadmaster::policy::autoscaling as wit;
use crate::bindings::scoring::loadmaster::policy::types;

pub use crate::Description;
pub use crate::scoring::part;
pub use crate::settings::Settings;
pub use types::{Mode, Part};
pub use wit::{Answer, CalendarEvent, ForecastPoint, Replicas, Request, Series, Workload};

/// An autoscaling policy.
pub trait AutoscalingPolicy: Sized {
    /// What it is.
    fn describe() -> Description;

    /// A policy from settings (JSON text, `{}` for the defaults).
    ///
    /// # Errors
    /// A sentence for the operator: which key, what it may be.
    fn configure(settings: &str) -> Result<Self, String>;

    /// One decision. None abstains: the reactive answer is taken.
    fn scale(&self, request: &Request) -> Option<Answer>;
}

/// A configured policy with the exact code path of the wasm export.
#[derive(Debug)]
pub struct Native<P> {
    policy: P,
    description: Description,
}

/// A policy of type `P` with these settings.
///
/// # Errors
/// What `configure` said.
pub fn native<P: AutoscalingPolicy>(settings: &str) -> Result<Native<P>, String> {
    Ok(Native {
        policy: P::configure(settings)?,
        description: P::describe(),
    })
}

impl<P: AutoscalingPolicy> Native<P> {
    /// What it is.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// New settings.
    ///
    /// # Errors
    /// What `configure` said; the old settings then stay.
    pub fn configure(&mut self, settings: &str) -> Result<(), String> {
        self.policy = P::configure(settings)?;
        Ok(())
    }

    /// One decision.
    #[must_use]
    pub fn scale(&self, request: &Request) -> Option<Answer> {
        self.policy.scale(request)
    }
}

/// Exports an [`AutoscalingPolicy`] as a component. Native builds have no
/// export, so that `cargo test` links.
#[macro_export]
macro_rules! export_autoscaling {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(
            unsafe_code,
            unused_qualifications,
            reason = "the generated export crosses into the component's memory"
        )]
        const _: () = {
            use std::cell::RefCell;
            use $crate::autoscaling::{AutoscalingPolicy, Native, native};
            use $crate::bindings::autoscaling::exports::loadmaster::policy::autoscaling as wit;
            use $crate::bindings::scoring::loadmaster::policy::types;

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
                    <$policy as AutoscalingPolicy>::describe().into_wit()
                }

                fn configure(settings: String) -> Result<(), String> {
                    with(|policy| policy.configure(&settings))
                }

                fn scale(request: wit::Request) -> Option<wit::Answer> {
                    with(|policy| policy.scale(&request))
                }
            }

            $crate::bindings::autoscaling::export_autoscaling_world!(Component with_types_in $crate::bindings::autoscaling);
        };
    };
}
