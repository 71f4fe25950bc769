//! What a policy says about itself.

use crate::Column;
use crate::bindings::scoring::loadmaster::policy::types;

/// Settings schema of a policy without settings.
const NO_SETTINGS: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,"properties":{}}"#;

/// Name, version, settings and columns of a policy. Asked once, at upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Lower-case name, `[a-z][a-z0-9-]{0,62}`.
    pub name: String,
    /// Semantic version; `env!("CARGO_PKG_VERSION")` is the usual answer.
    pub version: String,
    /// One sentence for people.
    pub summary: String,
    /// JSON Schema (draft 2020-12) of the settings.
    pub settings_schema: String,
    /// Columns the policy reads; the host passes these and no others.
    pub columns: Vec<Column>,
}

impl Description {
    /// A policy without settings that reads no columns.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: String::new(),
            settings_schema: NO_SETTINGS.to_owned(),
            columns: Vec::new(),
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn summary(mut self, text: &str) -> Self {
        text.clone_into(&mut self.summary);
        self
    }

    /// JSON Schema of the settings; usually `include_str!` of a file.
    #[must_use]
    pub fn settings_schema(mut self, schema: &str) -> Self {
        schema.clone_into(&mut self.settings_schema);
        self
    }

    /// Columns the policy reads. Reading any other panics, naming it.
    ///
    /// # Panics
    /// If a column is named twice: the host would pass it twice.
    #[must_use]
    pub fn reads(mut self, columns: &[Column]) -> Self {
        for (i, column) in columns.iter().enumerate() {
            assert!(
                !columns[..i].contains(column),
                "policy `{}` declares column `{}` twice",
                self.name,
                column.name()
            );
        }
        self.columns = columns.to_vec();
        self
    }

    /// The record of the contract.
    #[must_use]
    pub fn into_wit(self) -> types::Description {
        types::Description {
            name: self.name,
            version: self.version,
            summary: self.summary,
            settings_schema: self.settings_schema,
            columns: self.columns.iter().map(|c| c.name().to_owned()).collect(),
        }
    }
}
