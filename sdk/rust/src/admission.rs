//! Admission: may a job enter, with which changes, under which quota, and in
//! which order do queues go.
//!
//! `validate` and `mutate` are pure functions of one review, so that the same
//! component gives the same answer in CI and at the door. `order` and `admit`
//! see the heads of all queues at once, because fairness is not defined for one
//! job. A policy implements what it has an opinion on; the rest abstains.
//!
//! ```
//! use loadmaster_sdk::admission::*;
//! use loadmaster_sdk::testing::{TestJob, TestReview, check_mutation};
//!
//! /// Batch jobs end: without a limit they get one of an hour.
//! #[derive(Debug)]
//! struct Ends;
//!
//! impl AdmissionPolicy for Ends {
//!     fn describe() -> Description {
//!         Description::new("ends", "0.1.0").summary("Gives batch jobs a runtime limit.")
//!     }
//!
//!     fn configure(settings: &str) -> Result<Self, String> {
//!         Settings::parse(settings)?.finish()?;
//!         Ok(Self)
//!     }
//!
//!     fn validate(&self, review: &Review) -> Validation {
//!         if review.object.label("owner").is_some() {
//!             return Validation::allow();
//!         }
//!         Validation::deny(vec![Finding::new(
//!             "OwnerMissing",
//!             "/labels/owner",
//!             "add the label `owner` with the name of your team",
//!         )])
//!     }
//!
//!     fn mutate(&self, review: &Review) -> Vec<Patch> {
//!         match review.object.kind {
//!             // `add` leaves a limit alone that is there already.
//!             JobKind::Batch => vec![Patch::add("/runtime-limit", 3_600_000, "jobs end")],
//!             JobKind::Service => Vec::new(),
//!         }
//!     }
//! }
//!
//! loadmaster_sdk::export_admission!(Ends);
//!
//! let policy = native::<Ends>("{}").unwrap();
//! let review = TestReview::create(TestJob::new("train").done()).done();
//! assert!(policy.validate(&review).denied());
//! let job = check_mutation(&policy, &review);
//! assert_eq!(job.runtime_limit, Some(3_600_000));
//! ```
//!
//! # Fields that a patch may change
//!
//! A field is a JSON pointer (RFC 6901: `~1` stands for `/`, `~0` for `~`) into
//! the job. A role is addressed by its name, a label by its key.
//!
//! | field | value | `add` | `remove` |
//! |---|---|---|---|
//! | `/namespace` `/queue` `/app` `/tier` `/image` | string | if empty | – |
//! | `/priority` | integer, 32 bits | if 0 | – |
//! | `/run-as-root` `/privileged` | boolean | – | – |
//! | `/seccomp` | string | if none | none |
//! | `/runtime-limit` `/deadline` | integer ≥ 0, 64 bits | if none | none |
//! | `/labels/KEY` | string | if there is no such label | no such label |
//! | `/roles/NAME/count` `…/min` `…/gpu-count` `…/gpu-milli` | integer ≥ 0, 32 bits | if 0 | – |
//! | `/roles/NAME/cpu` `…/memory` `…/disk` `…/network` `…/gpu-memory` | integer ≥ 0, 63 bits | if 0 | – |
//! | `/roles/NAME/gpu-models` | array of strings | one string, if it is not among them | no models, so any |
//!
//! `set` gives the field its value, whatever it had. `add` gives it one where it
//! has none, as the table says, and otherwise changes nothing; `remove` changes
//! nothing where there is nothing. Everything else is refused: `/id`, `/kind`, a
//! role's name, a role that the job does not have, `/labels` or `/roles` as a
//! whole, a value of another type. Each step is idempotent by itself; a list is,
//! if its steps are about different fields or agree.

mod patch;

use crate::bindings::admission::exports::loadmaster::policy::admission as wit;
use crate::bindings::scoring::loadmaster::policy::types;

pub use crate::Description;
pub use crate::json::Value;
pub use crate::settings::Settings;
pub use patch::{Field, PatchError, RoleField, apply, pointer};
pub use types::Mode;
pub use wit::{
    Caller, Change, Cycle, Facts, Finding, Head, Job, JobKind, Label, Operation, Patch,
    QuotaDemand, QuotaLine, QuotaNode, Review, Role, Ruling, Shortage, SortKey, Validation,
    Verdict,
};

/// An admission policy.
pub trait AdmissionPolicy: Sized {
    /// What it is.
    fn describe() -> Description;

    /// A policy from settings (JSON text, `{}` for the defaults).
    ///
    /// # Errors
    /// A sentence for the operator: which key, what it may be.
    fn configure(settings: &str) -> Result<Self, String>;

    /// May this enter.
    fn validate(&self, _review: &Review) -> Validation {
        Validation::abstain()
    }

    /// With which changes. Applying them to their own result must change
    /// nothing.
    fn mutate(&self, _review: &Review) -> Vec<Patch> {
        Vec::new()
    }

    /// One key a head, smaller first; empty keys have no opinion.
    fn order(&self, cycle: &Cycle) -> Vec<SortKey> {
        vec![SortKey::new(); cycle.heads.len()]
    }

    /// One ruling a head.
    fn admit(&self, cycle: &Cycle) -> Vec<Ruling> {
        vec![Ruling::Abstain; cycle.heads.len()]
    }
}

// === impl Job ===

/// A batch job that says nothing.
impl Default for Job {
    fn default() -> Self {
        Self {
            id: String::new(),
            namespace: String::new(),
            queue: String::new(),
            kind: JobKind::Batch,
            app: String::new(),
            priority: 0,
            tier: String::new(),
            image: String::new(),
            run_as_root: false,
            privileged: false,
            seccomp: None,
            runtime_limit: None,
            deadline: None,
            labels: Vec::new(),
            roles: Vec::new(),
        }
    }
}

/// No pods that need nothing.
impl Default for Role {
    fn default() -> Self {
        Self {
            name: String::new(),
            count: 0,
            min: 0,
            cpu: 0,
            memory: 0,
            disk: 0,
            network: 0,
            gpu_count: 0,
            gpu_milli: 0,
            gpu_memory: 0,
            gpu_models: Vec::new(),
        }
    }
}

impl Job {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let label = self.labels.iter().find(|l| l.key == key);
        label.map(|l| l.value.as_str())
    }

    /// The role of this name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|r| r.name == name)
    }

    /// Pods of all roles.
    #[must_use]
    pub fn pods(&self) -> u64 {
        self.roles.iter().map(|r| u64::from(r.count)).sum()
    }
}

impl Role {
    /// Milli-GPU of one pod: 1000 is a whole device.
    #[must_use]
    pub fn gpu_request(&self) -> i64 {
        i64::from(self.gpu_count) * i64::from(self.gpu_milli)
    }
}

// === impl Validation ===

impl Finding {
    /// A finding: a stable code, the field as a JSON pointer, and a message that
    /// says what to do.
    #[must_use]
    pub fn new(code: &str, field: &str, message: &str) -> Self {
        Self {
            code: code.to_owned(),
            field: field.to_owned(),
            message: message.to_owned(),
        }
    }
}

impl Validation {
    /// No opinion. That is not the same as allowing: another policy decides.
    #[must_use]
    pub fn abstain() -> Self {
        Self {
            verdict: Verdict::Abstain,
            warnings: Vec::new(),
        }
    }

    /// May enter.
    #[must_use]
    pub fn allow() -> Self {
        Self {
            verdict: Verdict::Allow,
            warnings: Vec::new(),
        }
    }

    /// May not enter, because of these findings.
    #[must_use]
    pub fn deny(findings: Vec<Finding>) -> Self {
        Self {
            verdict: Verdict::Deny(findings),
            warnings: Vec::new(),
        }
    }

    /// With these warnings.
    #[must_use]
    pub fn warn(mut self, warnings: Vec<Finding>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Whether the verdict is a denial.
    #[must_use]
    pub fn denied(&self) -> bool {
        matches!(self.verdict, Verdict::Deny(_))
    }
}

// === impl Native ===

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
pub fn native<P: AdmissionPolicy>(settings: &str) -> Result<Native<P>, String> {
    Ok(Native {
        policy: P::configure(settings)?,
        description: P::describe(),
    })
}

impl<P: AdmissionPolicy> Native<P> {
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

    /// May this enter.
    #[must_use]
    pub fn validate(&self, review: &Review) -> Validation {
        self.policy.validate(review)
    }

    /// With which changes.
    #[must_use]
    pub fn mutate(&self, review: &Review) -> Vec<Patch> {
        self.policy.mutate(review)
    }

    /// One key a head.
    #[must_use]
    pub fn order(&self, cycle: &Cycle) -> Vec<SortKey> {
        self.policy.order(cycle)
    }

    /// One ruling a head.
    #[must_use]
    pub fn admit(&self, cycle: &Cycle) -> Vec<Ruling> {
        self.policy.admit(cycle)
    }
}

/// Exports an [`AdmissionPolicy`] as a component. Native builds have no export,
/// so that `cargo test` links.
#[macro_export]
macro_rules! export_admission {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(
            unsafe_code,
            unused_qualifications,
            reason = "the generated export crosses into the component's memory"
        )]
        const _: () = {
            use std::cell::RefCell;
            use $crate::admission::{AdmissionPolicy, Native, native};
            use $crate::bindings::admission::exports::loadmaster::policy::admission as wit;
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
                    <$policy as AdmissionPolicy>::describe().into_wit()
                }

                fn configure(settings: String) -> Result<(), String> {
                    with(|policy| policy.configure(&settings))
                }

                fn validate(review: wit::Review) -> wit::Validation {
                    with(|policy| policy.validate(&review))
                }

                fn mutate(review: wit::Review) -> Vec<wit::Patch> {
                    with(|policy| policy.mutate(&review))
                }

                fn order(cycle: wit::Cycle) -> Vec<wit::SortKey> {
                    with(|policy| policy.order(&cycle))
                }

                fn admit(cycle: wit::Cycle) -> Vec<wit::Ruling> {
                    with(|policy| policy.admit(&cycle))
                }
            }

            $crate::bindings::admission::export_admission_world!(Component with_types_in $crate::bindings::admission);
        };
    };
}
