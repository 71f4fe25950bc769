//! The first look at the bytes: size, form, imports, contract.

use model::PolicyKind;
use sandbox::{Inspection, Profile};

use crate::upload::UploadError;

/// Kinds for which this host asks policies.
const SERVED: [PolicyKind; 2] = [PolicyKind::Scoring, PolicyKind::Autoscaling];

pub(crate) fn validate(bytes: &[u8], profile: Profile) -> Result<Inspection, UploadError> {
    let inspection = sandbox::inspect(bytes, profile)?;
    let kind = inspection.shape.contract.kind;
    if SERVED.contains(&kind) {
        Ok(inspection)
    } else {
        Err(UploadError::KindNotServed { kind })
    }
}
