//! "Why is my pod pending?": where every node went, and what would help.

use std::sync::Arc;

use model::{GpuRequest, PodSpec, Rejection, Resources};

use crate::class::Class;
use crate::engine::Engine;
use crate::filter::{Filter, MatchMemo};
use crate::view::PodState;

/// Node names shown behind each line.
pub const NAMES_SHOWN: usize = 8;

/// Nodes that failed the same check first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLine {
    /// The check.
    pub rejection: Rejection,
    /// How many.
    pub count: u32,
    /// The first few, nearest to fitting first.
    pub nodes: Vec<Arc<str>>,
    /// The nearest one in numbers, e.g. `node-09: 6 GPUs free, 2 short`.
    pub nearest: Option<String>,
}

/// A way to let the pod run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// These pods on this node would have to end.
    Wait {
        /// Node.
        node: Arc<str>,
        /// Fewest pods that must end, longest running first.
        pods: Vec<Arc<str>>,
    },
    /// Pods of lower priority on this node hold enough.
    Preempt {
        /// Node.
        node: Arc<str>,
        /// Their names.
        pods: Vec<Arc<str>>,
    },
    /// Without this demand some nodes would fit now.
    Relax {
        /// What to give up.
        what: String,
        /// Nodes that fit then.
        fits: u32,
        /// One of them.
        node: Arc<str>,
    },
    /// One more node like this one, empty, would do.
    Grow {
        /// The model.
        like: Arc<str>,
    },
}

/// State of the pod in an answer.
pub type WhyState = PodState;

/// The whole answer. Line counts add up to the number of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// Pod.
    pub pod: Arc<str>,
    /// Waiting (with the reason) or running (with the decision).
    pub state: WhyState,
    /// Waiting since, ms.
    pub submitted_ms: u64,
    /// Nodes in the cluster.
    pub nodes: u32,
    /// In order of checking; `Fits` last, if any.
    pub lines: Vec<NodeLine>,
    /// Best first.
    pub fixes: Vec<Fix>,
    /// Pods that go before it in its own line.
    pub ahead: u32,
    /// Latest decision about it.
    pub last_decision: Option<u64>,
}

impl Engine {
    /// Why a pod waits, as of now, or where it runs.
    #[must_use]
    pub fn why(&self, name: &str) -> Option<Why> {
        let slot = self.pods.slot(name)?;
        let pod = self.pods.get(slot);
        let state = self.pod_state(pod);
        let mut memo = MatchMemo::default();
        let filter = Filter::new(&self.nodes, &self.classes, pod.class);
        let waiting = matches!(state, PodState::Waiting { .. });
        let (lines, fixes) = if waiting {
            (
                self.lines(&filter, &mut memo),
                self.fixes(&filter, &mut memo, pod.spec.priority),
            )
        } else {
            (Vec::new(), Vec::new())
        };
        // Who waits for quota or for its gang stands in another line.
        let ahead = self.queue.line(pod.class).position(|s| s == slot);
        let ahead = ahead.unwrap_or(0) as u32;
        Some(Why {
            pod: Arc::clone(&pod.name),
            state,
            submitted_ms: pod.submitted_ms,
            nodes: self.nodes.live(),
            lines,
            fixes,
            ahead: if waiting { ahead } else { 0 },
            last_decision: pod.last_decision,
        })
    }

    /// Where the nodes would go for a pod that is not there, and what would help.
    pub fn fixes_for(&mut self, spec: &PodSpec) -> (Vec<NodeLine>, Vec<Fix>) {
        let class = self.classes.join(spec);
        let mut memo = MatchMemo::default();
        let filter = Filter::new(&self.nodes, &self.classes, class);
        let found = (
            self.lines(&filter, &mut memo),
            self.fixes(&filter, &mut memo, spec.priority),
        );
        self.classes.leave(class);
        self.forget_freed_ids();
        found
    }

    /// When somebody who arrived then may first ask others to yield, ms.
    #[must_use]
    pub fn preempts_from(&self, submitted_ms: u64) -> u64 {
        submitted_ms.saturating_add(self.config.preempt_after_ms)
    }

    fn lines(&self, filter: &Filter<'_>, memo: &mut MatchMemo) -> Vec<NodeLine> {
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); Rejection::COUNT];
        for row in self.nodes.live_rows() {
            rows[filter.check(memo, row) as usize].push(row);
        }
        let mut lines = Vec::new();
        let order = Rejection::ALL.into_iter().skip(1).chain([Rejection::Fits]);
        for rejection in order {
            let rows = &mut rows[rejection as usize];
            if rows.is_empty() {
                continue;
            }
            rows.sort_by_key(|row| (self.shortage(filter, rejection, *row).0, *row));
            let nearest = self.shortage(filter, rejection, rows[0]).1;
            lines.push(NodeLine {
                rejection,
                count: rows.len() as u32,
                nodes: rows
                    .iter()
                    .take(NAMES_SHOWN)
                    .map(|r| Arc::clone(&self.nodes.names[*r as usize]))
                    .collect(),
                nearest: nearest
                    .map(|text| format!("{}: {text}", self.nodes.names[rows[0] as usize])),
            });
        }
        lines
    }

    /// How far a row is from passing its failed check, and that in words.
    fn shortage(
        &self,
        filter: &Filter<'_>,
        rejection: Rejection,
        row: u32,
    ) -> (i64, Option<String>) {
        let (need, r) = (&filter.class.requests, row as usize);
        let (free, cap) = (&self.nodes.free[r], &self.nodes.cap[r]);
        let amounts = |need: i64, have: i64, unit: &str| {
            let short = need - have;
            (
                short,
                Some(format!("need {need} {unit}, {have} free, {short} short")),
            )
        };
        match rejection {
            Rejection::Cpu => amounts(need.cpu_milli, free.cpu_milli, "m CPU"),
            Rejection::Memory => amounts(need.memory_mib, free.memory_mib, "MiB memory"),
            Rejection::Disk => amounts(need.disk_mib, free.disk_mib, "MiB disk"),
            Rejection::Network => amounts(need.network_mbps, free.network_mbps, "Mbit/s"),
            Rejection::Gpu | Rejection::GpuFragmented => {
                let gpu = &filter.class.gpu;
                let usable = i64::from(filter.usable(row).count_ones());
                if gpu.count == 1 && gpu.milli < 1000 {
                    let at = r * crate::nodes::SLOTS;
                    let devices = &self.nodes.gpu_milli_free[at..at + crate::nodes::SLOTS];
                    let most = i64::from(devices.iter().copied().max().unwrap_or(0).max(0));
                    amounts(i64::from(gpu.milli), most, "milli-GPU on one device")
                } else {
                    amounts(i64::from(gpu.count), usable, "GPUs")
                }
            }
            Rejection::GpuHealth => amounts(
                i64::from(filter.class.gpu.count),
                i64::from(self.nodes.gpu_count[r]),
                "healthy GPUs",
            ),
            Rejection::GpuShape => {
                let have = i64::from(self.nodes.device_slots[r]);
                let need = i64::from(filter.class.gpu.count);
                (need - have, Some(format!("need {need} GPUs, has {have}")))
            }
            Rejection::TooSmall => {
                let short = need.cpu_milli - cap.cpu_milli;
                (short, Some(format!("need {need}, has {cap} when empty")))
            }
            _ => (0, None),
        }
    }

    fn fixes(&self, filter: &Filter<'_>, memo: &mut MatchMemo, priority: i32) -> Vec<Fix> {
        let mut fixes = Vec::new();
        let any = self.cheapest_eviction(filter, memo, i32::MAX, false);
        if let Some((row, pods)) = any {
            fixes.push(Fix::Wait {
                node: Arc::clone(&self.nodes.names[row as usize]),
                pods,
            });
        }
        let lower = priority.checked_sub(1);
        let victims = lower.and_then(|p| self.cheapest_eviction(filter, memo, p, true));
        if let Some((row, pods)) = victims {
            fixes.push(Fix::Preempt {
                node: Arc::clone(&self.nodes.names[row as usize]),
                pods,
            });
        }
        self.relaxations(filter, memo, &mut fixes);
        if let Some(row) = self.model_node(filter, memo) {
            fixes.push(Fix::Grow {
                like: Arc::clone(&self.nodes.names[row as usize]),
            });
        }
        fixes
    }

    /// Fewest pods of at most this priority whose end makes room on one node;
    /// when they are `asked` to, only those that may be.
    /// Greedy per node: longest running first, which is who ends first when
    /// nothing else is known.
    fn cheapest_eviction(
        &self,
        filter: &Filter<'_>,
        memo: &mut MatchMemo,
        priority: i32,
        asked: bool,
    ) -> Option<(u32, Vec<Arc<str>>)> {
        let mut best: Option<(usize, u32, Vec<u32>)> = None;
        for row in self.nodes.live_rows() {
            let rejection = filter.check(memo, row);
            if rejection.is_permanent()
                || matches!(
                    rejection,
                    Rejection::Fits | Rejection::Cordoned | Rejection::GpuHealth
                )
            {
                continue;
            }
            let mut pods: Vec<u32> = self.pods.on(row).to_vec();
            pods.retain(|s| {
                let pod = self.pods.get(*s);
                pod.spec.priority <= priority && (!asked || pod.terms.preemptible)
            });
            pods.sort_by_key(|s| self.pods.get(*s).at.map(|at| (at.since_ms, at.decision)));
            let limit = best.as_ref().map_or(usize::MAX, |(n, ..)| *n);
            if let Some(count) = self.evictions_needed(filter, row, &pods, limit) {
                pods.truncate(count);
                best = Some((count, row, pods));
            }
        }
        best.map(|(_, row, pods)| {
            let name = |s: u32| Arc::clone(&self.pods.get(s).name);
            (row, pods.into_iter().map(name).collect())
        })
    }

    /// How many of `pods`, in order, must leave `row`; `None` if all are not
    /// enough or it takes `limit` or more.
    fn evictions_needed(
        &self,
        filter: &Filter<'_>,
        row: u32,
        pods: &[u32],
        limit: usize,
    ) -> Option<usize> {
        let mut free = self.nodes.free[row as usize];
        let at = row as usize * crate::nodes::SLOTS;
        let slots = crate::nodes::SLOTS;
        let mut milli = self.nodes.gpu_milli_free[at..at + slots].to_vec();
        let mut memory = self.nodes.gpu_memory_free[at..at + slots].to_vec();
        let gpu = &filter.class.gpu;
        for (i, slot) in pods.iter().enumerate() {
            if i + 1 >= limit {
                return None;
            }
            let pod = self.pods.get(*slot);
            free += pod.spec.requests;
            if let Some(a) = pod.at {
                for s in crate::nodes::slots_of(a.devices) {
                    milli[s] += a.per_device.milli;
                    memory[s] += a.per_device.memory;
                }
            }
            let usable = (0..slots)
                .filter(|s| milli[*s] >= gpu.milli as i32 && memory[*s] >= gpu.memory_mib as i32)
                .filter(|s| self.nodes.gpu_milli_free[at + s] >= 0)
                .count();
            let devices = gpu.count == 0 || usable >= gpu.count as usize;
            if devices && filter.class.requests.fits(&free) {
                return Some(i + 1);
            }
        }
        None
    }

    fn relaxations(&self, filter: &Filter<'_>, memo: &mut MatchMemo, fixes: &mut Vec<Fix>) {
        let class = filter.class;
        let mut tries: Vec<(String, Class)> = Vec::new();
        if class.selector != 0 {
            tries.push((
                "the node selector".to_owned(),
                Class {
                    selector: 0,
                    ..class.clone()
                },
            ));
        }
        if !class.gpu.models.is_empty() {
            let gpu = GpuRequest {
                models: Vec::new(),
                ..class.gpu.clone()
            };
            tries.push((
                format!("the GPU model ({})", class.gpu.models.join(" or ")),
                Class {
                    gpu,
                    ..class.clone()
                },
            ));
        }
        if class.gpu.count > 1 {
            let gpu = GpuRequest {
                count: class.gpu.count / 2,
                ..class.gpu.clone()
            };
            tries.push((
                format!("half of the {} GPUs", class.gpu.count),
                Class {
                    gpu,
                    ..class.clone()
                },
            ));
        }
        if class.requests != Resources::default() {
            let mut requests = class.requests;
            requests.cpu_milli /= 2;
            requests.memory_mib /= 2;
            tries.push((
                "half of the CPU and memory".to_owned(),
                Class {
                    requests,
                    ..class.clone()
                },
            ));
        }
        for (what, class) in tries {
            let relaxed = Filter {
                nodes: &self.nodes,
                classes: &self.classes,
                models: class.model_mask(&self.nodes),
                class: &class,
            };
            let mut fitting = self
                .nodes
                .live_rows()
                .filter(|row| relaxed.check(memo, *row) == Rejection::Fits);
            if let Some(row) = fitting.next() {
                fixes.push(Fix::Relax {
                    what,
                    fits: 1 + fitting.count() as u32,
                    node: Arc::clone(&self.nodes.names[row as usize]),
                });
            }
        }
    }

    /// The smallest node that could run the pod if it were empty.
    fn model_node(&self, filter: &Filter<'_>, memo: &mut MatchMemo) -> Option<u32> {
        self.nodes
            .live_rows()
            .filter(|row| {
                let rejection = filter.check(memo, *row);
                !rejection.is_permanent()
                    && rejection != Rejection::Cordoned
                    && rejection != Rejection::GpuHealth
            })
            .min_by_key(|row| {
                let r = *row as usize;
                (
                    self.nodes.device_slots[r],
                    self.nodes.cap[r].cpu_milli,
                    *row,
                )
            })
    }
}
