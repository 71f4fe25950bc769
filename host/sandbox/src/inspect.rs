//! What a component is and may do, in words, without compiling or running it.

use crate::artifact::{digest, hex};
use crate::limits::Profile;
use crate::shape::{self, Shape, ShapeError};
use model::PolicyKind;

/// A report about a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// `sha256:<hex>`.
    pub digest: String,
    /// Contract, imports, exports and amounts.
    pub shape: Shape,
    /// What it can do, one sentence each.
    pub capabilities: Vec<String>,
    /// The limits it is under: name, found, allowed.
    pub limits: Vec<(&'static str, u64, u64)>,
}

/// Reads `component` under the limits of `profile`.
///
/// # Errors
/// Why it would be refused before compiling.
pub fn inspect(component: &[u8], profile: Profile) -> Result<Inspection, ShapeError> {
    let allowed = profile.shape();
    let shape = shape::check(component, &allowed)?;
    let found = shape.amounts;
    let limits = vec![
        ("component bytes", found.bytes, allowed.component_bytes),
        ("core modules", found.modules, allowed.modules),
        ("functions", found.functions, allowed.functions),
        (
            "bytes in one function body",
            found.largest_body_bytes,
            allowed.body_bytes,
        ),
        ("loops in one function", found.most_loops, allowed.loops),
        (
            "data and element segments",
            found.segments,
            allowed.segments,
        ),
        (
            "initial bytes of memory",
            found.memory_bytes,
            allowed.memory_bytes,
        ),
    ];
    let capabilities = capabilities(&shape);
    Ok(Inspection {
        digest: format!("sha256:{}", hex(&digest(component))),
        shape,
        capabilities,
        limits,
    })
}

fn capabilities(shape: &Shape) -> Vec<String> {
    let mut words = vec![
        match shape.contract.kind {
            PolicyKind::Scoring => "scores nodes for a pod and chooses devices",
            PolicyKind::Admission => "judges, changes and orders jobs before they enter",
            PolicyKind::Preemption => "proposes which running work yields or moves",
            PolicyKind::Autoscaling => "proposes how many replicas a workload has",
        }
        .to_owned(),
    ];
    if shape.imports.iter().any(|i| i.contains("/log@")) {
        words.push("writes log messages, bounded and escaped".to_owned());
    }
    words.push("has no file, network, clock, random source or environment".to_owned());
    words
}
