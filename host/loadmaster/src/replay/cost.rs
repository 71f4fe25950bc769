//! What policies cost: time and fuel of every call, measured around the port.
//!
//! The times are for reading only. Nothing in a replay depends on them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use engine::port::admission::{AdmissionPolicy, Cycle, Patch, Review, Ruling, SortKey, Validation};
use engine::port::{
    AutoscalingPolicy, Context, Cost, Description, PodRow, Rows, ScaleAnswer, ScaleRequest,
    ScoringPolicy,
};
use model::PolicyFault;
use model::scaling::Part;

/// Measurements of one run, shared by its meters.
#[derive(Debug, Clone, Default)]
pub struct Costs(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
struct Calls {
    nanos: Vec<u64>,
    fuel: Vec<u64>,
}

/// Percentiles of one quantity.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
    /// Sum.
    pub total: f64,
}

impl Costs {
    /// A scoring policy that is measured.
    #[must_use]
    pub fn meter(&self, policy: Box<dyn ScoringPolicy>) -> Box<dyn ScoringPolicy> {
        Box::new(Metered {
            policy,
            costs: self.clone(),
        })
    }

    /// An autoscaling policy that is measured.
    #[must_use]
    pub fn meter_scaling(&self, policy: Box<dyn AutoscalingPolicy>) -> Box<dyn AutoscalingPolicy> {
        Box::new(Metered {
            policy,
            costs: self.clone(),
        })
    }

    /// An admission policy that is measured.
    #[must_use]
    pub fn meter_admission(&self, policy: Box<dyn AdmissionPolicy>) -> Box<dyn AdmissionPolicy> {
        Box::new(Metered {
            policy,
            costs: self.clone(),
        })
    }

    fn add(&self, since: Instant, fuel: u64) {
        let nanos = since.elapsed().as_nanos() as u64;
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.nanos.push(nanos);
        calls.fuel.push(fuel);
    }

    /// Microseconds of a call.
    #[must_use]
    pub fn micros(&self) -> Spread {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spread(&calls.nanos, 1000.0)
    }

    /// Fuel of a call.
    #[must_use]
    pub fn fuel(&self) -> Spread {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spread(&calls.fuel, 1.0)
    }
}

fn spread(values: &[u64], unit: f64) -> Spread {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).map_or(0.0, |v| *v as f64 / unit)
    };
    Spread {
        p50: at(50),
        p99: at(99),
        max: at(100),
        total: sorted.iter().map(|v| *v as f64).sum::<f64>() / unit,
    }
}

struct Metered<P> {
    policy: P,
    costs: Costs,
}

impl ScoringPolicy for Metered<Box<dyn ScoringPolicy>> {
    fn description(&self) -> &Description {
        self.policy.description()
    }

    fn set_context(&mut self, context: &Arc<Context>) -> Result<(), PolicyFault> {
        self.policy.set_context(context)
    }

    fn begin_decision(&mut self) {
        self.policy.begin_decision();
    }

    fn score(
        &mut self,
        pod: &PodRow,
        rows: Rows<'_>,
        out: &mut Vec<i32>,
    ) -> Result<Cost, PolicyFault> {
        let since = Instant::now();
        let answer = self.policy.score(pod, rows, out);
        self.costs
            .add(since, answer.as_ref().map_or(0, |cost| cost.fuel));
        answer
    }

    fn place(
        &mut self,
        pod: &PodRow,
        row: Rows<'_>,
        out: &mut Vec<u32>,
    ) -> Result<(bool, Cost), PolicyFault> {
        let since = Instant::now();
        let answer = self.policy.place(pod, row, out);
        self.costs
            .add(since, answer.as_ref().map_or(0, |(_, cost)| cost.fuel));
        answer
    }

    fn explain(&mut self, pod: &PodRow, rows: Rows<'_>) -> Result<Vec<Vec<Part>>, PolicyFault> {
        self.policy.explain(pod, rows)
    }
}

impl AutoscalingPolicy for Metered<Box<dyn AutoscalingPolicy>> {
    fn description(&self) -> &Description {
        self.policy.description()
    }

    fn scale(
        &mut self,
        request: &ScaleRequest<'_>,
    ) -> Result<(Option<ScaleAnswer>, Cost), PolicyFault> {
        let since = Instant::now();
        let answer = self.policy.scale(request);
        self.costs
            .add(since, answer.as_ref().map_or(0, |(_, cost)| cost.fuel));
        answer
    }
}

impl Metered<Box<dyn AdmissionPolicy>> {
    fn measured<T>(
        &mut self,
        call: impl FnOnce(&mut dyn AdmissionPolicy) -> Result<(T, Cost), PolicyFault>,
    ) -> Result<(T, Cost), PolicyFault> {
        let since = Instant::now();
        let answer = call(&mut *self.policy);
        self.costs
            .add(since, answer.as_ref().map_or(0, |(_, cost)| cost.fuel));
        answer
    }
}

impl AdmissionPolicy for Metered<Box<dyn AdmissionPolicy>> {
    fn description(&self) -> &Description {
        self.policy.description()
    }

    fn validate(&mut self, review: &Review) -> Result<(Validation, Cost), PolicyFault> {
        self.measured(|policy| policy.validate(review))
    }

    fn mutate(&mut self, review: &Review) -> Result<(Vec<Patch>, Cost), PolicyFault> {
        self.measured(|policy| policy.mutate(review))
    }

    fn order(&mut self, cycle: &Cycle) -> Result<(Vec<SortKey>, Cost), PolicyFault> {
        self.measured(|policy| policy.order(cycle))
    }

    fn admit(&mut self, cycle: &Cycle) -> Result<(Vec<Ruling>, Cost), PolicyFault> {
        self.measured(|policy| policy.admit(cycle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_and_none() {
        assert_eq!(spread(&[], 1.0), Spread::default());
        let one = spread(&[7], 1.0);
        assert_eq!((one.p50, one.p99, one.max, one.total), (7.0, 7.0, 7.0, 7.0));
        let many: Vec<u64> = (1..=200).rev().collect();
        let s = spread(&many, 10.0);
        assert_eq!((s.p50, s.p99, s.max, s.total), (10.1, 19.9, 20.0, 2010.0));
    }
}
