//! What the contract's context says about expected pods and machines.

use super::{MAX_GPUS, NodeShape, Request, Shape, WHOLE};
use loadmaster_sdk::scoring;

/// Largest sum of histogram weights.
const WEIGHTS_MAX: u64 = 10_000_000;

/// The histogram of the contract's context.
pub(crate) fn shapes(context: &scoring::Context) -> Vec<Shape> {
    // Weights are scaled down to their documented sum, never to nothing.
    let all: u64 = context.shapes.iter().map(|s| s.count).sum();
    let scale = all.div_ceil(WEIGHTS_MAX).max(1);
    let shape = |s: &scoring::ShapeClass| Shape {
        request: Request {
            cpu: s.cpu.max(0).into(),
            memory: s.memory.max(0).into(),
            gpu_milli: i64::from(s.gpu_milli.min(WHOLE as u32)),
            gpus: s.gpu_count.min(MAX_GPUS as u32),
            models: if s.gpu_models == 0 {
                u64::MAX
            } else {
                s.gpu_models
            },
        },
        weight: s.count.div_ceil(scale) as i64,
    };
    context
        .shapes
        .iter()
        .filter(|s| s.count > 0)
        .map(shape)
        .collect()
}

/// The machines of the contract's context.
pub(crate) fn node_shapes(context: &scoring::Context) -> Vec<NodeShape> {
    let shape = |n: &scoring::NodeShape| NodeShape {
        cpu: n.cpu.into(),
        memory: n.memory.into(),
        gpus: n.gpus,
        model: n.gpu_model.clamp(0, 63) as u8,
        nodes: n.nodes.into(),
    };
    context.node_shapes.iter().map(shape).collect()
}

/// The `percent` most frequent shapes (FGD uses 95), by weight; ties as in the published code:
/// larger CPU, then larger GPU milli, then more GPUs first.
pub(crate) fn typical(histogram: &[Shape], percent: i64) -> Vec<Shape> {
    let mut shapes = histogram.to_vec();
    shapes.sort_by_key(|s| {
        let r = s.request;
        (
            -s.weight,
            -r.cpu,
            -r.gpu_milli,
            -i64::from(r.gpus),
            r.models,
        )
    });
    let all: i64 = shapes.iter().map(|s| s.weight).sum();
    let mut sum = 0;
    shapes.retain(|s| {
        let more = sum * 100 < all * percent;
        sum += s.weight;
        more
    });
    shapes
}
