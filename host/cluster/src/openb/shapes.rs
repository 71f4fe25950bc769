//! The workload that a cluster should stay ready for.

use std::collections::BTreeMap;

use model::PodSpec;
use model::event::ShapeClass;

/// Share of pods that the typical classes cover, in hundredths.
const COVERAGE_PCT: u64 = 95;

/// The largest classes of `pods`, until they cover 95 % of them, largest
/// first. Equal counts go by more CPU, then a larger share, more GPUs, and the
/// later list of models. CPU-only pods are classes too.
///
/// A class is CPU, share, GPUs and models; memory is not part of it, and
/// `memory_mib` is the mean, for policies that look at memory.
#[must_use]
pub fn typical_shapes(pods: &[PodSpec]) -> Vec<ShapeClass> {
    type Key<'a> = (i64, u32, u32, &'a [String]);
    let mut classes: BTreeMap<Key<'_>, (u64, i128)> = BTreeMap::new();
    for pod in pods {
        let key = (
            pod.requests.cpu_milli,
            pod.gpu.milli,
            pod.gpu.count,
            pod.gpu.models.as_slice(),
        );
        let class = classes.entry(key).or_default();
        class.0 += 1;
        class.1 += i128::from(pod.requests.memory_mib);
    }
    let mut classes: Vec<_> = classes.into_iter().rev().collect();
    classes.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let mut covered = 0;
    let mut typical = Vec::new();
    for ((cpu_milli, gpu_milli, gpu_count, models), (count, memory)) in classes {
        typical.push(ShapeClass {
            cpu_milli,
            memory_mib: (memory / i128::from(count)) as i64,
            gpu_count,
            gpu_milli,
            gpu_models: models.to_vec(),
            count,
        });
        covered += count;
        if covered * 100 >= pods.len() as u64 * COVERAGE_PCT {
            break;
        }
    }
    typical
}
