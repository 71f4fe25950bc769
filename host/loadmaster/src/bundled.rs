//! The policies that come with the binary, compiled from `plugins/` by the
//! build.

use model::PolicyKind;

/// One shipped component.
#[derive(Debug, Clone, Copy)]
pub struct Bundled {
    /// Name, as in its `describe`.
    pub name: &'static str,
    /// Kind.
    pub kind: PolicyKind,
    /// The component.
    pub wasm: &'static [u8],
}

/// Every shipped component.
#[must_use]
pub fn components() -> &'static [Bundled] {
    include!(concat!(env!("OUT_DIR"), "/bundled.rs"))
}

/// The shipped component of this name.
#[must_use]
pub fn component(name: &str) -> Option<&'static Bundled> {
    components().iter().find(|b| b.name == name)
}
