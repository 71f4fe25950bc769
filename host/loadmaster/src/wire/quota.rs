//! Quotas, queues, budgets and catalogues as people write them.

use model::admission::CatalogEntry;
use model::disruption as d;
use model::quota::{QueueSpec, QuotaLine, QuotaResource, QuotaSpec, Tier as ModelTier};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::pod::is_default;
use super::quantity::{Cpu, Factor, Gpus, Memory, Rate, Span};
use super::time::Time;

/// What a guarantee is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// What it does not use is never lent: it launches without waiting.
    Critical,
    /// What it does not use may be lent, and is reclaimed with notice.
    #[default]
    Flex,
}

/// Quota of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Line<T> {
    /// Guaranteed.
    pub nominal: T,
    /// Most that may be borrowed from the cohort; no limit when left out.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub borrowing_limit: Option<T>,
    /// Most that may be lent to the cohort; no limit when left out.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub lending_limit: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

/// Quotas by resource. What is not named is not limited at this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lines {
    /// CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Line<Cpu>>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Line<Memory>>,
    /// Local disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Line<Memory>>,
    /// Network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Line<Rate>>,
    /// GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Line<Gpus>>,
}

macro_rules! line {
    ($out:ident, $line:expr, $resource:ident) => {
        if let Some(line) = $line {
            $out.push(QuotaLine {
                resource: QuotaResource::$resource,
                nominal: line.nominal.0,
                borrowing_limit: line.borrowing_limit.map(|v| v.0),
                lending_limit: line.lending_limit.map(|v| v.0),
            });
        }
    };
}

fn shown<T>(line: &QuotaLine, of: fn(i64) -> T) -> Option<Line<T>> {
    Some(Line {
        nominal: of(line.nominal),
        borrowing_limit: line.borrowing_limit.map(of),
        lending_limit: line.lending_limit.map(of),
    })
}

impl From<&[QuotaLine]> for Lines {
    fn from(lines: &[QuotaLine]) -> Self {
        let mut all = Self::default();
        for line in lines {
            match line.resource {
                QuotaResource::Cpu => all.cpu = shown(line, Cpu),
                QuotaResource::Memory => all.memory = shown(line, Memory),
                QuotaResource::Disk => all.disk = shown(line, Memory),
                QuotaResource::Network => all.network = shown(line, Rate),
                QuotaResource::Gpu => all.gpu = shown(line, Gpus),
            }
        }
        all
    }
}

impl From<Lines> for Vec<QuotaLine> {
    fn from(lines: Lines) -> Self {
        let mut all = Self::new();
        line!(all, lines.cpu, Cpu);
        line!(all, lines.memory, Memory);
        line!(all, lines.disk, Disk);
        line!(all, lines.network, Network);
        line!(all, lines.gpu, Gpu);
        all
    }
}

/// An amount of a quota resource as people write it.
#[must_use]
pub fn amount(resource: QuotaResource, value: i64) -> String {
    let text = match resource {
        QuotaResource::Cpu => Cpu(value.abs()).to_string(),
        QuotaResource::Memory | QuotaResource::Disk => Memory(value.abs()).to_string(),
        QuotaResource::Network => Rate(value.abs()).to_string(),
        QuotaResource::Gpu => Gpus(value.abs()).to_string(),
    };
    if value < 0 { format!("-{text}") } else { text }
}

/// A capacity group, or a cohort of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Unique name. May be left out where the URL has it.
    #[serde(default)]
    pub name: String,
    /// Cohort it belongs to; the top when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Share of what is lent, relative to its siblings; 1 when left out.
    #[serde(default = "full")]
    pub weight: Factor,
    /// What its guarantee is for; flex when left out.
    #[serde(default)]
    pub tier: Tier,
    /// Quotas by resource.
    #[serde(default)]
    pub resources: Lines,
}

fn full() -> Factor {
    Factor(model::quota::QUOTA_WEIGHT_ONE)
}

impl From<&QuotaSpec> for Quota {
    fn from(q: &QuotaSpec) -> Self {
        Self {
            name: q.name.clone(),
            parent: q.parent.clone(),
            weight: Factor(q.weight),
            tier: match q.tier {
                ModelTier::Critical => Tier::Critical,
                ModelTier::Flex => Tier::Flex,
            },
            resources: q.lines.as_slice().into(),
        }
    }
}

impl From<Quota> for QuotaSpec {
    fn from(q: Quota) -> Self {
        Self {
            name: q.name,
            parent: q.parent,
            weight: q.weight.0,
            tier: match q.tier {
                Tier::Critical => ModelTier::Critical,
                Tier::Flex => ModelTier::Flex,
            },
            lines: q.resources.into(),
        }
    }
}

/// Where jobs wait for quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Unique name. May be left out where the URL has it.
    #[serde(default)]
    pub name: String,
    /// Quota node that pays.
    pub quota: String,
    /// Nothing of it is admitted while set.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspended: bool,
}

impl From<&QueueSpec> for Queue {
    fn from(q: &QueueSpec) -> Self {
        Self {
            name: q.name.clone(),
            quota: q.quota.clone(),
            suspended: q.suspended,
        }
    }
}

impl From<Queue> for QueueSpec {
    fn from(q: Queue) -> Self {
        Self {
            name: q.name,
            quota: q.quota,
            suspended: q.suspended,
        }
    }
}

/// Tokens that disruptions are paid with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Most tokens, and the number at the start.
    pub capacity: u32,
    /// One more token every so long; never when left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub refill: Span,
}

/// Limits the disruptions of one application's pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Unique name. May be left out where the URL has it.
    #[serde(default)]
    pub name: String,
    /// Application whose pods it protects.
    pub app: String,
    /// Pods that must keep running; 0 when left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_available: u32,
    /// Disruptions over time; no limit when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
}

impl From<&d::BudgetSpec> for Budget {
    fn from(b: &d::BudgetSpec) -> Self {
        Self {
            name: b.name.clone(),
            app: b.app.clone(),
            min_available: b.min_available,
            bucket: b.bucket.map(|b| Bucket {
                capacity: b.capacity,
                refill: Span::of_ms(b.refill_ms),
            }),
        }
    }
}

impl From<Budget> for d::BudgetSpec {
    fn from(b: Budget) -> Self {
        Self {
            name: b.name,
            app: b.app,
            min_available: b.min_available,
            bucket: b.bucket.map(|b| d::BucketSpec {
                capacity: b.capacity,
                refill_ms: b.refill.ms(),
            }),
        }
    }
}

/// What a catalogue knows, pushed by whoever owns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "catalog", rename_all = "lowercase", deny_unknown_fields)]
pub enum Entry {
    /// An application.
    App {
        /// Name.
        name: String,
        /// Owner, if known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
        /// Tier, if known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier: Option<String>,
        /// Compliance regimes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        compliance: Vec<String>,
    },
    /// A container image.
    Image {
        /// Reference as jobs name it.
        name: String,
        /// Who signed it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        signed_by: Vec<String>,
        /// When it was built.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        built: Option<Time>,
        /// When its base image was built.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base_built: Option<Time>,
    },
}

impl From<&CatalogEntry> for Entry {
    fn from(e: &CatalogEntry) -> Self {
        match e {
            CatalogEntry::App {
                name,
                owner,
                tier,
                compliance,
            } => Self::App {
                name: name.clone(),
                owner: owner.clone(),
                tier: tier.clone(),
                compliance: compliance.clone(),
            },
            CatalogEntry::Image {
                name,
                signed_by,
                built_ms,
                base_built_ms,
            } => Self::Image {
                name: name.clone(),
                signed_by: signed_by.clone(),
                built: built_ms.map(Time),
                base_built: base_built_ms.map(Time),
            },
        }
    }
}

impl From<Entry> for CatalogEntry {
    fn from(e: Entry) -> Self {
        match e {
            Entry::App {
                name,
                owner,
                tier,
                compliance,
            } => Self::App {
                name,
                owner,
                tier,
                compliance,
            },
            Entry::Image {
                name,
                signed_by,
                built,
                base_built,
            } => Self::Image {
                name,
                signed_by,
                built_ms: built.map(|t| t.0),
                base_built_ms: base_built.map(|t| t.0),
            },
        }
    }
}
