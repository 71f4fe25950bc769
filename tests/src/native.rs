//! A plugin compiled for this machine, behind the same port as its component.

mod admission;
mod preemption;

use std::sync::Arc;

use engine::port::{
    AutoscalingPolicy, Column, Context, Cost, Description, PodRow, Rows, ScaleAnswer, ScaleRequest,
    ScoringPolicy,
};
use loadmaster_sdk::{autoscaling, scoring};
use model::PolicyFault;
use model::event::Mode;
use model::scaling::{ForecastPoint, Part};

pub use admission::NativeAdmission;
pub use preemption::NativePreemption;

fn describe(d: &loadmaster_sdk::Description) -> Description {
    let d = d.clone().into_wit();
    let parse = |c: &String| Column::parse(c).expect("known column");
    let columns = d.columns.iter().map(parse).collect();
    Description {
        name: d.name,
        version: d.version,
        summary: d.summary,
        settings_schema: d.settings_schema,
        columns,
    }
}

fn mode(m: Mode) -> scoring::Mode {
    match m {
        Mode::Normal => scoring::Mode::Normal,
        Mode::Evacuation => scoring::Mode::Evacuation,
        Mode::Incident => scoring::Mode::Incident,
        Mode::Maintenance => scoring::Mode::Maintenance,
    }
}

/// A scoring plugin, native.
pub struct NativeScoring<P> {
    native: scoring::Native<P>,
    description: Description,
}

impl<P: scoring::ScoringPolicy> NativeScoring<P> {
    /// The plugin with these settings.
    ///
    /// # Panics
    /// If it refuses them, or declares a column the contract does not have.
    #[must_use]
    pub fn new(settings: &str) -> Self {
        let native = scoring::native::<P>(settings).expect("settings");
        Self {
            description: describe(native.describe()),
            native,
        }
    }
}

fn pod(p: &PodRow) -> scoring::Pod {
    scoring::Pod {
        cpu: p.cpu,
        memory: p.memory,
        disk: p.disk,
        network: p.network,
        gpu_count: p.gpu_count,
        gpu_milli: p.gpu_milli,
        gpu_memory: p.gpu_memory,
        gpu_models: p.gpu_models,
        priority: p.priority,
        app: p.app,
    }
}

fn context(c: &Context) -> scoring::Context {
    scoring::Context {
        version: c.version,
        mode: mode(c.mode),
        nodes: c.nodes,
        gpu_models: c
            .gpu_models
            .iter()
            .map(|m| scoring::GpuModel {
                name: m.name.clone(),
                devices: m.devices,
                memory: m.memory,
            })
            .collect(),
        shapes: c
            .shapes
            .iter()
            .map(|s| scoring::ShapeClass {
                cpu: s.cpu,
                memory: s.memory,
                gpu_count: s.gpu_count,
                gpu_milli: s.gpu_milli,
                gpu_models: s.gpu_models,
                count: s.count,
            })
            .collect(),
        node_shapes: c
            .node_shapes
            .iter()
            .map(|s| scoring::NodeShape {
                cpu: s.cpu,
                memory: s.memory,
                gpus: s.gpus,
                gpu_model: s.gpu_model,
                nodes: s.nodes,
            })
            .collect(),
        wirings: c
            .wirings
            .iter()
            .map(|w| scoring::Wiring {
                gpus: w.gpus,
                links: w.links.clone(),
                numa: w.numa.clone(),
            })
            .collect(),
    }
}

fn parts(list: Vec<scoring::Part>) -> Vec<Part> {
    let part = |p: scoring::Part| Part {
        name: p.name,
        value: p.value,
        text: p.text,
    };
    list.into_iter().map(part).collect()
}

impl<P: scoring::ScoringPolicy + Send> ScoringPolicy for NativeScoring<P> {
    fn description(&self) -> &Description {
        &self.description
    }

    fn set_context(&mut self, c: &Arc<Context>) -> Result<(), PolicyFault> {
        self.native.set_context(context(c));
        Ok(())
    }

    fn score(
        &mut self,
        p: &PodRow,
        rows: Rows<'_>,
        out: &mut Vec<i32>,
    ) -> Result<Cost, PolicyFault> {
        self.native
            .score(&pod(p), rows.count, rows.slots, rows.data, out);
        Ok(Cost::default())
    }

    fn place(
        &mut self,
        p: &PodRow,
        row: Rows<'_>,
        out: &mut Vec<u32>,
    ) -> Result<(bool, Cost), PolicyFault> {
        match self.native.place(&pod(p), row.slots, row.data) {
            Some(devices) => {
                out.extend(devices.iter());
                Ok((true, Cost::default()))
            }
            None => Ok((false, Cost::default())),
        }
    }

    fn explain(&mut self, p: &PodRow, rows: Rows<'_>) -> Result<Vec<Vec<Part>>, PolicyFault> {
        let all = self
            .native
            .explain(&pod(p), rows.count, rows.slots, rows.data);
        Ok(all.into_iter().map(parts).collect())
    }
}

/// An autoscaling plugin, native.
pub struct NativeAutoscaling<P> {
    native: autoscaling::Native<P>,
    description: Description,
}

impl<P: autoscaling::AutoscalingPolicy> NativeAutoscaling<P> {
    /// The plugin with these settings.
    ///
    /// # Panics
    /// If it refuses them.
    #[must_use]
    pub fn new(settings: &str) -> Self {
        let native = autoscaling::native::<P>(settings).expect("settings");
        Self {
            description: describe(native.describe()),
            native,
        }
    }
}

impl<P: autoscaling::AutoscalingPolicy + Send> AutoscalingPolicy for NativeAutoscaling<P> {
    fn description(&self) -> &Description {
        &self.description
    }

    fn scale(&mut self, r: &ScaleRequest<'_>) -> Result<(Option<ScaleAnswer>, Cost), PolicyFault> {
        let request = autoscaling::Request {
            now: r.now_ms,
            mode: mode(r.mode),
            workload: autoscaling::Workload {
                name: r.workload.workload.clone(),
                min: r.workload.min,
                max: r.workload.max,
                capacity: r.workload.capacity,
                target_utilization: r.workload.target_utilization,
                start_up: r.workload.start_up_ms,
            },
            replicas: autoscaling::Replicas {
                ready: r.ready,
                starting: r.starting,
            },
            load: autoscaling::Series {
                start: r.series_start_ms,
                step: r.series_step_ms,
                values: r.series.to_vec(),
            },
            calendar: r
                .calendar
                .iter()
                .map(|e| autoscaling::CalendarEvent {
                    name: e.name.clone(),
                    start: e.start_ms,
                    end: e.end_ms,
                    load: e.load,
                    multiplier: e.multiplier,
                })
                .collect(),
            reactive: r.reactive,
            state: r.state.to_vec(),
        };
        let answer = self.native.scale(&request).map(|a| ScaleAnswer {
            desired: a.desired,
            parts: parts(a.parts),
            forecast: a
                .forecast
                .into_iter()
                .map(|p| ForecastPoint {
                    at_ms: p.at,
                    mean: p.mean,
                    high: p.high,
                })
                .collect(),
            state: a.state,
        });
        Ok((answer, Cost::default()))
    }
}
