//! Sets of loaded policies, ready to be installed in an engine.

use engine::port::admission::AdmissionPolicy;
use engine::port::preemption::PreemptionPolicy;
use engine::port::{AutoscalingPolicy, ScoringPolicy};
use engine::scaling::{AutoscalingSet, AutoscalingSetError};
use engine::{AdmissionSet, PreemptionSet, ScoringSet};
use model::{Combine, Member, PolicyKind, PolicySetSpec};

use super::load::{LoadError, Loaded};

/// What the set of these policies is.
fn spec(kind: PolicyKind, loaded: &[Loaded]) -> PolicySetSpec {
    let member = |policy: &Loaded| Member {
        policy: policy.id.clone(),
        weight: policy.asked.weight,
        tier: 0,
        settings: policy.asked.settings.clone(),
        fail: policy.asked.fail,
    };
    PolicySetSpec {
        kind,
        revision: 1,
        members: loaded.iter().map(member).collect(),
        combine: Combine::Weighted,
    }
}

/// A weighted scoring set with one new instance a member, each passed through
/// `wrap` (a meter, or nothing).
///
/// # Errors
/// An instance does not start, or the set breaks a bound.
pub fn scoring_set(
    loaded: &[Loaded],
    wrap: impl FnMut(Box<dyn ScoringPolicy>) -> Box<dyn ScoringPolicy>,
) -> Result<ScoringSet, LoadError> {
    let instances = loaded.iter().map(Loaded::scoring);
    let instances: Vec<_> = instances.collect::<Result<_, _>>()?;
    let wrapped = instances.into_iter().map(wrap).collect();
    Ok(ScoringSet::new(spec(PolicyKind::Scoring, loaded), wrapped)?)
}

/// A chain of admission policies, each instance passed through `wrap`;
/// `builtin:quota` alone is the host's own rule.
///
/// # Errors
/// An instance does not start, the built-in is one of several, or there are too
/// many.
pub fn admission_set(
    loaded: &[Loaded],
    wrap: impl FnMut(Box<dyn AdmissionPolicy>) -> Box<dyn AdmissionPolicy>,
) -> Result<AdmissionSet, LoadError> {
    let spec = spec(PolicyKind::Admission, loaded);
    let chain = chain(loaded, AdmissionSet::BUILTIN, Loaded::admission)?;
    Ok(match chain {
        Some(instances) => AdmissionSet::new(spec, instances.into_iter().map(wrap).collect())?,
        None => AdmissionSet {
            spec,
            ..AdmissionSet::builtin(0)
        },
    })
}

/// A chain of preemption policies, each instance passed through `wrap`;
/// `builtin:priority` alone is the host's own rule.
///
/// # Errors
/// An instance does not start, the built-in is one of several, or there are too
/// many.
pub fn preemption_set(
    loaded: &[Loaded],
    wrap: impl FnMut(Box<dyn PreemptionPolicy>) -> Box<dyn PreemptionPolicy>,
) -> Result<PreemptionSet, LoadError> {
    let spec = spec(PolicyKind::Preemption, loaded);
    let chain = chain(loaded, PreemptionSet::BUILTIN, Loaded::preemption)?;
    Ok(match chain {
        Some(instances) => PreemptionSet::new(spec, instances.into_iter().map(wrap).collect())?,
        None => PreemptionSet {
            spec,
            ..PreemptionSet::builtin(0)
        },
    })
}

/// One instance a member; `None` for the built-in alone, which has none.
fn chain<P: ?Sized>(
    loaded: &[Loaded],
    builtin: &str,
    start: fn(&Loaded) -> Result<Box<P>, LoadError>,
) -> Result<Option<Vec<Box<P>>>, LoadError> {
    match loaded.iter().find(|p| p.is_builtin(builtin)) {
        Some(_) if loaded.len() == 1 => Ok(None),
        Some(native) => Err(LoadError::BuiltinInChain {
            kind: native.asked.kind,
            name: builtin.to_owned(),
        }),
        None => loaded.iter().map(start).collect::<Result<_, _>>().map(Some),
    }
}

/// A set of the one autoscaling policy, its instance passed through `wrap`.
///
/// # Errors
/// The instance does not start, or there is not exactly one policy.
pub fn autoscaling_set(
    loaded: &[Loaded],
    wrap: impl FnOnce(Box<dyn AutoscalingPolicy>) -> Box<dyn AutoscalingPolicy>,
) -> Result<AutoscalingSet, LoadError> {
    let [policy] = loaded else {
        return Err(AutoscalingSetError::Size(loaded.len()).into());
    };
    let spec = spec(PolicyKind::Autoscaling, loaded);
    Ok(AutoscalingSet::new(spec, wrap(policy.autoscaling()?))?)
}
