//! What is said about an object at the door, and the catalogues it is judged by.

/// A finding about one field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Stable code, e.g. `OwnerMissing`.
    pub code: String,
    /// JSON pointer into the job.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// What a patch does to its field. Values are JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Replace or create.
    Set(String),
    /// Create only if absent.
    Add(String),
    /// Take away.
    Remove,
}

/// One step of a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// JSON pointer into the job.
    pub field: String,
    /// What happens to it.
    pub change: Change,
    /// Why, for the record.
    pub reason: String,
}

/// What a catalogue knows, pushed by whoever owns it; policies see it as facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogEntry {
    /// An application.
    App {
        /// Application name.
        name: String,
        /// Owner, if known.
        owner: Option<String>,
        /// Tier, if known.
        tier: Option<String>,
        /// Compliance regimes.
        compliance: Vec<String>,
    },
    /// A container image.
    Image {
        /// Reference as jobs name it.
        name: String,
        /// Who signed it.
        signed_by: Vec<String>,
        /// When it was built, ms since the epoch.
        built_ms: Option<u64>,
        /// When its base image was built, ms since the epoch.
        base_built_ms: Option<u64>,
    },
}

impl CatalogEntry {
    /// Which catalogue, and the name in it.
    #[must_use]
    pub fn key(&self) -> (&'static str, &str) {
        match self {
            Self::App { name, .. } => ("app", name),
            Self::Image { name, .. } => ("image", name),
        }
    }
}

/// Most catalogue entries a host keeps: 100,000 of 200 bytes are 20 MB.
pub const CATALOG_MAX: usize = 100_000;
