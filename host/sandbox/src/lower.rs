//! Records that several worlds take, from the engine's form into the contract's.
//!
//! Macros, because the generator gives each world types of its own: `$types` is
//! the module of those, with a record's usual name.

/// The cluster's declared state.
macro_rules! lower_mode {
    ($types:ident, $mode:expr) => {
        match $mode {
            model::event::Mode::Normal => $types::Mode::Normal,
            model::event::Mode::Evacuation => $types::Mode::Evacuation,
            model::event::Mode::Incident => $types::Mode::Incident,
            model::event::Mode::Maintenance => $types::Mode::Maintenance,
        }
    };
}

/// A context, borrowed for the expression `$call`.
macro_rules! lower_context {
    ($types:ident, $context:expr, |$lowered:ident| $call:expr) => {{
        let context: &engine::port::Context = $context;
        let gpu_models: Vec<_> = context
            .gpu_models
            .iter()
            .map(|m| $types::GpuModel {
                name: &m.name,
                devices: m.devices,
                memory: m.memory,
            })
            .collect();
        let shapes: Vec<_> = context
            .shapes
            .iter()
            .map(|s| $types::ShapeClass {
                cpu: s.cpu,
                memory: s.memory,
                gpu_count: s.gpu_count,
                gpu_milli: s.gpu_milli,
                gpu_models: s.gpu_models,
                count: s.count,
            })
            .collect();
        let node_shapes: Vec<_> = context
            .node_shapes
            .iter()
            .map(|s| $types::NodeShape {
                cpu: s.cpu,
                memory: s.memory,
                gpus: s.gpus,
                gpu_model: s.gpu_model,
                nodes: s.nodes,
            })
            .collect();
        let wirings: Vec<_> = context
            .wirings
            .iter()
            .map(|w| $types::Wiring {
                gpus: w.gpus,
                links: &w.links,
                numa: &w.numa,
            })
            .collect();
        let $lowered = $types::Context {
            version: context.version,
            mode: $crate::lower::lower_mode!($types, context.mode),
            nodes: context.nodes,
            gpu_models: &gpu_models,
            shapes: &shapes,
            node_shapes: &node_shapes,
            wirings: &wirings,
        };
        $call
    }};
}

pub(crate) use {lower_context, lower_mode};
