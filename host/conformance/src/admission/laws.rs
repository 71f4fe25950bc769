//! Laws that look at one answer.

use engine::port::admission::{Finding, JobView, Review, Ruling, Shortage, Validation, Verdict};
use model::PolicyFault;

use super::asked::AskedCycle;
use super::{About, Question, Said};
use crate::case::admission::RulingName;

/// Most elements of one sort key: more would be data, not an order.
const SORT_KEY_MAX: usize = 16;

/// Fields of a job, as findings name them.
const FIELDS: [&str; 15] = [
    "id",
    "namespace",
    "queue",
    "kind",
    "app",
    "priority",
    "tier",
    "image",
    "run-as-root",
    "privileged",
    "seccomp",
    "runtime-limit",
    "deadline",
    "labels",
    "roles",
];

/// What the contract says of an answer's form.
pub(super) fn form(q: &Question, said: &Said) -> Result<(), PolicyFault> {
    let heads = match &q.about {
        About::Review(_) => 0,
        About::Cycle(asked) => asked.cycle.heads.len(),
    };
    let bad = |detail: String| Err(PolicyFault::BadAnswer { detail });
    match said {
        Said::Validation(Validation {
            verdict: Verdict::Deny(findings),
            ..
        }) if findings.is_empty() => bad("denied without a finding".to_owned()),
        Said::Keys(keys) if keys.len() != heads => {
            bad(format!("{} sort keys for {heads} heads", keys.len()))
        }
        Said::Keys(keys) => match keys.iter().map(Vec::len).max() {
            Some(longest) if longest > SORT_KEY_MAX => bad(format!(
                "a sort key of {longest} elements, at most {SORT_KEY_MAX}"
            )),
            _ => Ok(()),
        },
        Said::Rulings(rulings) if rulings.len() != heads => {
            bad(format!("{} rulings for {heads} heads", rulings.len()))
        }
        _ => Ok(()),
    }
}

/// Whether two answers are the same, and which part is not.
pub(super) fn same(a: &Said, b: &Said, one: &str, two: &str) -> Result<(), String> {
    let differ = |what: String| Err(format!("{what} from {one} and {two}"));
    match (a, b) {
        _ if a == b => Ok(()),
        (Said::Validation(a), Said::Validation(b)) if a.verdict != b.verdict => {
            differ(format!("{} and {}", verdict(a), verdict(b)))
        }
        (Said::Validation(_), _) => differ("different warnings".to_owned()),
        (Said::Patches(a), Said::Patches(b)) => {
            let fields = |p: &[engine::port::admission::Patch]| -> Vec<String> {
                p.iter().map(|p| p.field.clone()).collect()
            };
            let (a, b) = (fields(a), fields(b));
            differ(format!("patches of {a:?} and of {b:?}"))
        }
        (Said::Keys(a), Said::Keys(b)) => {
            let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
            differ(format!(
                "head {at}: keys {:?} and {:?}",
                a.get(at),
                b.get(at)
            ))
        }
        (Said::Rulings(a), Said::Rulings(b)) => {
            let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
            let word = |r: &[Ruling]| r.get(at).map_or("nothing", word);
            differ(format!("head {at}: {} and {}", word(a), word(b)))
        }
        _ => differ("answers of different kinds".to_owned()),
    }
}

fn verdict(v: &Validation) -> String {
    match &v.verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny(findings) => {
            let codes: Vec<&str> = findings.iter().map(|f| f.code.as_str()).collect();
            format!("deny for {}", codes.join(", "))
        }
        Verdict::Abstain => "abstain".to_owned(),
    }
}

/// The same findings in an order of their own.
pub(super) fn sorted(mut v: Validation) -> Validation {
    if let Verdict::Deny(findings) = &mut v.verdict {
        findings.sort_unstable();
    }
    v.warnings.sort_unstable();
    v
}

/// The same review with its labels back to front.
pub(super) fn other_labels(review: &Review) -> Review {
    let mut other = review.clone();
    other.object.labels.reverse();
    if let Some(old) = &mut other.old {
        old.labels.reverse();
    }
    other
}

/// The first field in which two jobs differ.
pub(super) fn difference(a: &JobView, b: &JobView) -> Option<&'static str> {
    let fields = [
        ("its labels", a.labels != b.labels),
        ("its roles", a.roles != b.roles),
        ("its priority", a.priority != b.priority),
        ("its queue", a.queue != b.queue),
        ("its image", a.image != b.image),
        ("its runtime limit", a.runtime_limit != b.runtime_limit),
        ("its deadline", a.deadline != b.deadline),
        ("another field", a != b),
    ];
    fields.iter().find(|(_, differ)| *differ).map(|(n, _)| *n)
}

pub(super) fn findings(v: &Validation) -> Result<(), String> {
    let denials = match &v.verdict {
        Verdict::Deny(findings) => findings.as_slice(),
        Verdict::Allow | Verdict::Abstain => &[],
    };
    denials.iter().chain(&v.warnings).try_for_each(finding)
}

pub(super) fn rejections(asked: &AskedCycle, rulings: &[Ruling]) -> Result<(), String> {
    for (head, ruling) in asked.cycle.heads.iter().zip(rulings) {
        if let Ruling::Reject(reason) = ruling {
            finding(reason).map_err(|why| format!("head {}: {why}", head.job))?;
        }
    }
    Ok(())
}

fn finding(f: &Finding) -> Result<(), String> {
    if f.code.trim().is_empty() {
        return Err(format!("a finding about `{}` without a code", f.field));
    }
    if f.message.trim().is_empty() {
        return Err(format!("finding {} has no message", f.code));
    }
    let first = f.field.strip_prefix('/').and_then(|p| p.split('/').next());
    match first {
        Some(first) if FIELDS.contains(&first) => Ok(()),
        _ => Err(format!(
            "finding {} is about `{}`, which is no field of a job",
            f.code, f.field
        )),
    }
}

pub(super) fn rulings(asked: &AskedCycle, rulings: &[Ruling]) -> Result<(), String> {
    for (at, ruling) in rulings.iter().enumerate() {
        let result = match ruling {
            Ruling::Wait(short) | Ruling::Reclaim(short) => {
                short.iter().try_for_each(|s| shortage(asked, at, s))
            }
            Ruling::AdmitPartial(counts) => partial(&asked.known[at].roles, counts),
            Ruling::Admit | Ruling::Reject(_) | Ruling::Abstain => Ok(()),
        };
        result.map_err(|why| format!("head {}: {why}", asked.cycle.heads[at].job))?;
    }
    Ok(())
}

fn shortage(asked: &AskedCycle, head: usize, s: &Shortage) -> Result<(), String> {
    let Some(node) = asked.cycle.nodes.get(s.node as usize) else {
        return Err(format!(
            "short at quota node {} of {}",
            s.node,
            asked.cycle.nodes.len()
        ));
    };
    let limited = node.lines.iter().map(|l| l.resource);
    let wanted = asked.cycle.heads[head].demand.iter().map(|d| d.resource);
    if !limited.chain(wanted).any(|r| r == s.resource) {
        return Err(format!(
            "short of {:?} at {}, which has none and nobody asked for",
            s.resource, node.name
        ));
    }
    if s.by <= 0 {
        return Err(format!("short of {} by {}", s.resource, s.by));
    }
    Ok(())
}

fn partial(roles: &[(u32, u32)], counts: &[u32]) -> Result<(), String> {
    if counts.len() != roles.len() {
        return Err(format!(
            "pods for {} roles, it has {}",
            counts.len(),
            roles.len()
        ));
    }
    for (count, (min, max)) in counts.iter().zip(roles) {
        if count < min || count > max {
            return Err(format!(
                "{count} pods of a role, allowed are {min} to {max}"
            ));
        }
    }
    Ok(())
}

pub(super) fn expectation(asked: &AskedCycle, rulings: &[Ruling]) -> Result<(), String> {
    for (at, ruling) in rulings.iter().enumerate() {
        let expect = &asked.known[at].expect;
        let Some(name) = name(ruling).filter(|_| !expect.is_empty()) else {
            continue;
        };
        if !expect.contains(&name) {
            return Err(format!(
                "head {}: {}, but the case leaves only {expect:?}",
                asked.cycle.heads[at].job,
                word(ruling)
            ));
        }
    }
    Ok(())
}

fn name(ruling: &Ruling) -> Option<RulingName> {
    Some(match ruling {
        Ruling::Admit => RulingName::Admit,
        Ruling::AdmitPartial(_) => RulingName::AdmitPartial,
        Ruling::Wait(_) => RulingName::Wait,
        Ruling::Reclaim(_) => RulingName::Reclaim,
        Ruling::Reject(_) => RulingName::Reject,
        Ruling::Abstain => return None,
    })
}

pub(super) fn word(ruling: &Ruling) -> &'static str {
    match ruling {
        Ruling::Admit => "admit",
        Ruling::AdmitPartial(_) => "admit a part",
        Ruling::Wait(_) => "wait",
        Ruling::Reclaim(_) => "reclaim",
        Ruling::Reject(_) => "reject",
        Ruling::Abstain => "abstain",
    }
}

pub(super) fn enters(ruling: &Ruling) -> bool {
    matches!(ruling, Ruling::Admit | Ruling::AdmitPartial(_))
}

pub(super) fn stays(ruling: &Ruling) -> bool {
    matches!(
        ruling,
        Ruling::Wait(_) | Ruling::Reclaim(_) | Ruling::Reject(_)
    )
}
