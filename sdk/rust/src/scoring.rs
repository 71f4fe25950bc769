//! Scoring: how good is a node for a pod, and which devices on it.
//!
//! A scoring policy is a pure function of rows. It keeps nothing between calls,
//! so that the host can remember scores, split batches as it likes and replace
//! the instance at any time; conformance checks exactly that.

use crate::bindings::scoring::exports::loadmaster::policy::scoring as wit;
use crate::bindings::scoring::loadmaster::policy::types;

pub use crate::settings::Settings;
pub use crate::view::{Gpu, Node, Rows};
pub use crate::{Column, Description};
pub use types::{Context, GpuModel, Mode, NodeShape, Part, ShapeClass, Wiring};
pub use wit::Pod;

/// Largest score.
pub const SCORE_MAX: i32 = 100_000;

/// Milli-GPU of one whole device.
pub const GPU_WHOLE: i32 = 1_000;

/// Rows scored between two checks of the interruption counter: a fixed-size
/// block lets the compiler unroll, which made column loops up to twice as fast
/// in a guest with fuel and epochs on.
pub const BLOCK_ROWS: usize = 64;

/// One row's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score(i32);

impl Score {
    /// The policy has no opinion. Not the same as zero.
    pub const ABSTAIN: Self = Self(i32::MIN);
    /// The pod must not run there, although it would fit.
    pub const REFUSE: Self = Self(-1);

    /// 0 to 100 000, higher is better; values outside are moved to the edge.
    #[must_use]
    #[inline]
    pub const fn points(points: i64) -> Self {
        if points < 0 {
            Self(0)
        } else if points > SCORE_MAX as i64 {
            Self(SCORE_MAX)
        } else {
            Self(points as i32)
        }
    }

    /// `part / whole` of the largest score; a `whole` of zero or less gives 0.
    #[must_use]
    #[inline]
    pub const fn ratio(part: i32, whole: i32) -> Self {
        if whole <= 0 {
            return Self(0);
        }
        Self::points(part as i64 * SCORE_MAX as i64 / whole as i64)
    }

    /// Same as [`Score::ABSTAIN`].
    #[must_use]
    pub const fn abstain() -> Self {
        Self::ABSTAIN
    }

    /// Same as [`Score::REFUSE`].
    #[must_use]
    pub const fn refuse() -> Self {
        Self::REFUSE
    }

    /// The number of the contract.
    #[must_use]
    #[inline]
    pub const fn value(self) -> i32 {
        self.0
    }
}

/// Devices of one node, by slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct DeviceSet(u64);

impl DeviceSet {
    /// No device.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Bit i stands for slot i.
    #[must_use]
    pub const fn from_mask(mask: u64) -> Self {
        Self(mask)
    }

    /// Bit i stands for slot i.
    #[must_use]
    pub const fn mask(self) -> u64 {
        self.0
    }

    /// Adds a slot.
    ///
    /// # Panics
    /// If the slot is 64 or more.
    pub fn insert(&mut self, slot: usize) {
        assert!(slot < 64, "slot {slot}: a node has at most 64");
        self.0 |= 1 << slot;
    }

    /// How many.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Slots in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let slot = rest.trailing_zeros();
            (rest != 0).then(|| {
                rest &= rest - 1;
                slot
            })
        })
    }
}

impl FromIterator<usize> for DeviceSet {
    fn from_iter<I: IntoIterator<Item = usize>>(slots: I) -> Self {
        let mut set = Self::new();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the record is generated and its derives apply to every record of the world"
)]
impl Default for Pod {
    fn default() -> Self {
        Self {
            cpu: 0,
            memory: 0,
            disk: 0,
            network: 0,
            gpu_count: 0,
            gpu_milli: 0,
            gpu_memory: 0,
            gpu_models: 0,
            priority: 0,
            app: 0,
        }
    }
}

impl Pod {
    /// Whether it wants part of one device.
    #[must_use]
    #[inline]
    pub fn is_share(&self) -> bool {
        self.gpu_count == 1 && self.gpu_milli < GPU_WHOLE as u32
    }

    /// Milli-GPU over all its devices.
    #[must_use]
    #[inline]
    pub fn gpu_request(&self) -> i64 {
        i64::from(self.gpu_count) * i64::from(self.gpu_milli)
    }

    /// Whether a device has room for one of its shares. Needs
    /// [`Column::GpuMilliFree`] and [`Column::GpuMemoryFree`].
    #[must_use]
    #[inline]
    pub fn fits(&self, gpu: Gpu<'_>) -> bool {
        gpu.milli_free() >= self.gpu_milli as i32 && gpu.memory_free() >= self.gpu_memory
    }
}

/// A scoring policy. Only `describe`, `configure` and `score` are required.
pub trait ScoringPolicy: Sized {
    /// What it is and which columns it reads.
    fn describe() -> Description;

    /// A policy from settings (JSON text, `{}` for the defaults).
    ///
    /// # Errors
    /// A sentence for the operator: which key, what it may be.
    fn configure(settings: &str) -> Result<Self, String>;

    /// Slow global inputs. Called before the first row and again when they
    /// change; everything derived from them must be a pure function of them.
    fn set_context(&mut self, context: &Context) {
        let _ = context;
    }

    /// How good is this node. The host has already checked that the pod fits.
    fn score(&self, pod: &Pod, node: Node<'_>) -> Score;

    /// Appends one score a row. The default asks [`ScoringPolicy::score`] for
    /// each; implement it to work on whole columns.
    fn score_all(&self, pod: &Pod, rows: &Rows<'_>, out: &mut Vec<i32>) {
        let mut row = 0;
        let mut block = [0i32; BLOCK_ROWS];
        while row + BLOCK_ROWS <= rows.len() {
            for (i, score) in block.iter_mut().enumerate() {
                *score = self.score(pod, rows.node(row + i)).value();
            }
            out.extend_from_slice(&block);
            row += BLOCK_ROWS;
        }
        out.extend((row..rows.len()).map(|row| self.score(pod, rows.node(row)).value()));
    }

    /// Which devices of the node. None abstains; the host then chooses.
    fn place(&self, pod: &Pod, node: Node<'_>) -> Option<DeviceSet> {
        let _ = (pod, node);
        None
    }

    /// Why: parts that add up to the score. Never on the hot path.
    fn explain(&self, pod: &Pod, node: Node<'_>) -> Vec<Part> {
        let score = self.score(pod, node);
        match score {
            Score::ABSTAIN => Vec::new(),
            _ => vec![part("score", i64::from(score.value()), "")],
        }
    }
}

/// A named part of an explanation.
#[must_use]
pub fn part(name: &str, value: i64, text: &str) -> Part {
    Part {
        name: name.to_owned(),
        value,
        text: text.to_owned(),
    }
}

/// A configured policy with the exact code path of the wasm export, over raw
/// columns. Hosts wrap it to run a policy natively: in tests, in benches and as
/// the other half of a digest comparison.
#[derive(Debug)]
pub struct Native<P> {
    policy: P,
    description: Description,
    context: Option<Context>,
}

/// A policy of type `P` with these settings.
///
/// # Errors
/// What `configure` said.
pub fn native<P: ScoringPolicy>(settings: &str) -> Result<Native<P>, String> {
    Ok(Native {
        policy: P::configure(settings)?,
        description: P::describe(),
        context: None,
    })
}

impl<P: ScoringPolicy> Native<P> {
    /// What it is and reads.
    #[must_use]
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// The policy itself.
    #[must_use]
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// New settings; the context stays.
    ///
    /// # Errors
    /// What `configure` said; the old settings then stay.
    pub fn configure(&mut self, settings: &str) -> Result<(), String> {
        let mut policy = P::configure(settings)?;
        if let Some(context) = &self.context {
            policy.set_context(context);
        }
        self.policy = policy;
        Ok(())
    }

    /// New slow inputs.
    pub fn set_context(&mut self, context: Context) {
        self.policy.set_context(&context);
        self.context = Some(context);
    }

    fn rows<'a>(&self, count: u32, slots: u32, data: &'a [i32]) -> Rows<'a> {
        Rows::new(&self.description.columns, count, slots, data)
    }

    /// Appends one score a row to `out`.
    pub fn score(&self, pod: &Pod, count: u32, slots: u32, data: &[i32], out: &mut Vec<i32>) {
        let rows = self.rows(count, slots, data);
        let before = out.len();
        out.reserve(rows.len());
        self.policy.score_all(pod, &rows, out);
        assert_eq!(
            out.len() - before,
            rows.len(),
            "score_all must append exactly one score a row"
        );
    }

    /// The devices for the pod on the single row given.
    #[must_use]
    pub fn place(&self, pod: &Pod, slots: u32, data: &[i32]) -> Option<DeviceSet> {
        let rows = self.rows(1, slots, data);
        self.policy.place(pod, rows.node(0))
    }

    /// The parts of each row's score.
    #[must_use]
    pub fn explain(&self, pod: &Pod, count: u32, slots: u32, data: &[i32]) -> Vec<Vec<Part>> {
        let rows = self.rows(count, slots, data);
        rows.iter()
            .map(|node| self.policy.explain(pod, node))
            .collect()
    }
}

/// Exports a [`ScoringPolicy`] as a component. Native builds have no export, so
/// that `cargo test` links.
#[macro_export]
macro_rules! export_scoring {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(
            unsafe_code,
            unused_qualifications,
            reason = "the generated export crosses into the component's memory"
        )]
        const _: () = {
            use std::cell::RefCell;
            use $crate::bindings::scoring::exports::loadmaster::policy::scoring as wit;
            use $crate::bindings::scoring::loadmaster::policy::types;
            use $crate::scoring::{Native, ScoringPolicy, native};

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
                    <$policy as ScoringPolicy>::describe().into_wit()
                }

                fn configure(settings: String) -> Result<(), String> {
                    with(|policy| policy.configure(&settings))
                }

                fn set_context(context: types::Context) -> Result<(), String> {
                    with(|policy| policy.set_context(context));
                    Ok(())
                }

                fn score(pod: wit::Pod, rows: wit::Rows) -> Vec<i32> {
                    let mut out = Vec::new();
                    with(|policy| policy.score(&pod, rows.count, rows.slots, &rows.data, &mut out));
                    out
                }

                fn place(pod: wit::Pod, row: wit::Rows) -> Option<Vec<u32>> {
                    with(|policy| policy.place(&pod, row.slots, &row.data))
                        .map(|devices| devices.iter().collect())
                }

                fn explain(pod: wit::Pod, rows: wit::Rows) -> Vec<Vec<types::Part>> {
                    with(|policy| policy.explain(&pod, rows.count, rows.slots, &rows.data))
                }
            }

    $crate::bindings::scoring::export_scoring_world!(Component with_types_in $crate::bindings::scoring);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_stay_in_the_contract() {
        assert_eq!(Score::points(-5).value(), 0);
        assert_eq!(Score::points(i64::MAX).value(), SCORE_MAX);
        assert_eq!(Score::ratio(1, 3).value(), 33_333);
        assert_eq!(Score::ratio(i32::MAX, i32::MAX).value(), SCORE_MAX);
        assert_eq!(Score::ratio(1, 0).value(), 0);
        assert_eq!(Score::abstain().value(), i32::MIN);
        assert_eq!(Score::refuse().value(), -1);
    }

    #[test]
    fn device_sets_list_slots_in_order() {
        let set: DeviceSet = [63, 0, 5].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 5, 63]);
        assert_eq!(set.len(), 3);
        assert!(DeviceSet::new().is_empty());
    }

    struct Echo;

    impl ScoringPolicy for Echo {
        fn describe() -> Description {
            Description::new("echo", "0.1.0").reads(&[Column::CpuFree])
        }
        fn configure(_: &str) -> Result<Self, String> {
            Ok(Self)
        }
        fn score(&self, _: &Pod, node: Node<'_>) -> Score {
            Score::points(node.cpu_free().into())
        }
    }

    #[test]
    fn blocks_and_remainder_cover_every_row_once() {
        let policy = native::<Echo>("{}").unwrap();
        for count in [0, 1, 63, 64, 65, 128, 200] {
            let data: Vec<i32> = (0..count).collect();
            let mut out = Vec::new();
            policy.score(&Pod::default(), count as u32, 0, &data, &mut out);
            assert_eq!(out, data);
        }
    }
}
