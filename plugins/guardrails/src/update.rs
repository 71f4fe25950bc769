//! Which findings an edit answers for. A job that entered under older rules can
//! still be edited; what the edit touches is judged as if it were new.

use loadmaster_sdk::admission::{Field, Job};

use crate::Judged;

/// Whether the edit from `old` to `object` introduced this finding or touched
/// what it is about.
pub(crate) fn answers_for(object: &Job, old: &Job, before: &[Judged], judged: &Judged) -> bool {
    let known = before.iter().any(|b| {
        b.finding.code == judged.finding.code
            && b.finding.field == judged.finding.field
            && b.severity >= judged.severity
    });
    !known || moved(object, old) || touched(object, old, &judged.finding.field)
}

/// Another tenant, application or kind: other rules apply, so it is a new job.
fn moved(object: &Job, old: &Job) -> bool {
    object.namespace != old.namespace || object.app != old.app || object.kind != old.kind
}

/// A role counts as a whole: its needs are judged against each other.
fn touched(object: &Job, old: &Job, field: &str) -> bool {
    match Field::parse(field) {
        Some(Field::Role(name, _)) => object.role(&name) != old.role(&name),
        Some(field) => !field.same(object, old),
        None => object.roles != old.roles,
    }
}
