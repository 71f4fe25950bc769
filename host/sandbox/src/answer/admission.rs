//! Of the admission kind. Whether a patch can be applied and a ruling honoured
//! is the engine's to say; here they have the contract's form and size.

use engine::port::admission::{
    Change, Cycle, Finding, Patch, Ruling, Shortage, SortKey, Validation, Verdict,
};
use model::PolicyFault;
use model::gang::ROLES_MAX;

use super::{at_most, bad, text};
use crate::bindings::admission::exports::loadmaster::policy::admission as wit;
use crate::limits::{
    CODE_BYTES_MAX, FIELD_BYTES_MAX, FINDING_BYTES_MAX, FINDINGS_MAX, KEY_NUMBERS_MAX,
    PATCH_VALUE_BYTES_MAX, PATCHES_MAX, REASON_BYTES_MAX, SHORTAGES_MAX,
};

fn finding(said: &wit::Finding) -> Result<Finding, PolicyFault> {
    if said.code.is_empty() {
        return Err(bad("a finding without a code".to_owned()));
    }
    Ok(Finding {
        code: text("code", &said.code, CODE_BYTES_MAX)?,
        field: text("field", &said.field, FIELD_BYTES_MAX)?,
        message: text("message", &said.message, FINDING_BYTES_MAX)?,
    })
}

fn findings(what: &str, said: &[wit::Finding]) -> Result<Vec<Finding>, PolicyFault> {
    at_most(what, said.len(), FINDINGS_MAX)?;
    said.iter().map(finding).collect()
}

pub(crate) fn validation(said: &wit::Validation) -> Result<Validation, PolicyFault> {
    let verdict = match &said.verdict {
        wit::Verdict::Allow => Verdict::Allow,
        wit::Verdict::Deny(reasons) if reasons.is_empty() => {
            return Err(bad("denied without a finding".to_owned()));
        }
        wit::Verdict::Deny(reasons) => Verdict::Deny(findings("findings", reasons)?),
        wit::Verdict::Abstain => Verdict::Abstain,
    };
    Ok(Validation {
        verdict,
        warnings: findings("warnings", &said.warnings)?,
    })
}

pub(crate) fn patches(said: Vec<wit::Patch>) -> Result<Vec<Patch>, PolicyFault> {
    at_most("patches", said.len(), PATCHES_MAX)?;
    said.into_iter().map(patch).collect()
}

/// Field and value are data, not text: they are bounded, not escaped.
fn patch(said: wit::Patch) -> Result<Patch, PolicyFault> {
    at_most("bytes of a field", said.field.len(), FIELD_BYTES_MAX)?;
    let value = |json: String| {
        at_most("bytes of a value", json.len(), PATCH_VALUE_BYTES_MAX)?;
        Ok::<_, PolicyFault>(json)
    };
    Ok(Patch {
        change: match said.change {
            wit::Change::Set(json) => Change::Set(value(json)?),
            wit::Change::Add(json) => Change::Add(value(json)?),
            wit::Change::Remove => Change::Remove,
        },
        field: said.field,
        reason: text("reason", &said.reason, REASON_BYTES_MAX)?,
    })
}

pub(crate) fn keys(said: &[SortKey], heads: usize) -> Result<(), PolicyFault> {
    if said.len() != heads {
        return Err(bad(format!("{} sort keys for {heads} heads", said.len())));
    }
    let longest = said.iter().map(Vec::len).max().unwrap_or(0);
    at_most("numbers of a sort key", longest, KEY_NUMBERS_MAX)
}

pub(crate) fn rulings(said: Vec<wit::Ruling>, cycle: &Cycle) -> Result<Vec<Ruling>, PolicyFault> {
    let heads = cycle.heads.len();
    if said.len() != heads {
        return Err(bad(format!("{} rulings for {heads} heads", said.len())));
    }
    let ruling = |(head, ruling)| {
        Ok(match ruling {
            wit::Ruling::Admit => Ruling::Admit,
            wit::Ruling::AdmitPartial(pods) => {
                at_most("roles of a partial admission", pods.len(), ROLES_MAX)?;
                Ruling::AdmitPartial(pods)
            }
            wit::Ruling::Wait(short) => Ruling::Wait(shortages(short, head, cycle)?),
            wit::Ruling::Reclaim(short) => Ruling::Reclaim(shortages(short, head, cycle)?),
            wit::Ruling::Reject(reason) => Ruling::Reject(finding(&reason)?),
            wit::Ruling::Abstain => Ruling::Abstain,
        })
    };
    said.into_iter().enumerate().map(ruling).collect()
}

fn shortages(
    said: Vec<wit::Shortage>,
    head: usize,
    cycle: &Cycle,
) -> Result<Vec<Shortage>, PolicyFault> {
    at_most("shortages of a ruling", said.len(), SHORTAGES_MAX)?;
    said.into_iter().map(|s| shortage(s, head, cycle)).collect()
}

/// Names a quota of this cycle and a resource that it has or the head wants.
fn shortage(said: wit::Shortage, head: usize, cycle: &Cycle) -> Result<Shortage, PolicyFault> {
    let Some(node) = cycle.nodes.get(said.node as usize) else {
        return Err(bad(format!(
            "head {head} is short of quota node {} of {}",
            said.node,
            cycle.nodes.len()
        )));
    };
    let limited = node.lines.iter().map(|l| l.resource);
    let wanted = cycle.heads[head].demand.iter().map(|d| d.resource);
    if !limited.chain(wanted).any(|r| r == said.resource) {
        return Err(bad(format!(
            "head {head} is short of {:?}, which quota {} does not have and it does not ask for",
            text("resource", &said.resource, CODE_BYTES_MAX)?,
            node.name
        )));
    }
    if said.by <= 0 {
        return Err(bad(format!(
            "head {head} is short of {} by {}",
            said.resource, said.by
        )));
    }
    Ok(Shortage {
        node: said.node,
        resource: said.resource,
        by: said.by,
    })
}
