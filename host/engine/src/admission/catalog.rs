//! What the owners of applications and images have told the host, and the facts
//! a review gets from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::admission::{CATALOG_MAX, CatalogEntry};

use crate::effect::{Key, Output};
use crate::engine::Engine;
use crate::error::EventError;
use crate::port::admission::Facts;

/// Longest name or text of an entry, bytes: image references with a digest take
/// up to about 330.
const TEXT_MAX: usize = 512;

/// Longest name of an entry, bytes: with the catalogue's it is a key of the store,
/// which takes 512.
const NAME_MAX: usize = 480;

/// Most signers or compliance regimes of one entry: they cross into the guest
/// with every review.
const LIST_MAX: usize = 64;

const HOUR_MS: u64 = 3_600_000;

/// Entries by name, one map a catalogue, so that a look-up copies nothing.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    apps: BTreeMap<String, CatalogEntry>,
    images: BTreeMap<String, CatalogEntry>,
}

impl Catalog {
    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<&CatalogEntry> {
        match kind {
            "app" => self.apps.get(name),
            "image" => self.images.get(name),
            _ => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &CatalogEntry> {
        self.apps.values().chain(self.images.values())
    }

    fn len(&self) -> usize {
        self.apps.len() + self.images.len()
    }

    pub(crate) fn put(&mut self, entry: CatalogEntry) {
        let name = entry.key().1.to_owned();
        match entry {
            CatalogEntry::App { .. } => self.apps.insert(name, entry),
            CatalogEntry::Image { .. } => self.images.insert(name, entry),
        };
    }

    /// The facts about an application and an image, as of now.
    pub(crate) fn facts(&self, app: &str, image: &str, now_ms: u64) -> Facts {
        let mut facts = Facts::default();
        if let Some(CatalogEntry::App {
            owner,
            tier,
            compliance,
            ..
        }) = self.apps.get(app)
        {
            facts.owner.clone_from(owner);
            facts.tier.clone_from(tier);
            facts.compliance.clone_from(compliance);
        }
        if let Some(CatalogEntry::Image {
            signed_by,
            built_ms,
            base_built_ms,
            ..
        }) = self.images.get(image)
        {
            // Built in the future is built now: clocks of build machines differ.
            let hours =
                |at: u64| u32::try_from(now_ms.saturating_sub(at) / HOUR_MS).unwrap_or(u32::MAX);
            facts.image_signed_by.clone_from(signed_by);
            facts.image_age = built_ms.map(hours);
            facts.base_image_age = base_built_ms.map(hours);
        }
        facts
    }
}

fn check(entry: &CatalogEntry) -> Result<(), String> {
    let text = |what: &str, text: &str| {
        if text.is_empty() || text.len() > TEXT_MAX || text.chars().any(char::is_control) {
            return Err(format!(
                "{what} is not 1 to {TEXT_MAX} bytes without control characters"
            ));
        }
        Ok(())
    };
    let list = |what: &str, list: &[String]| {
        if list.len() > LIST_MAX {
            return Err(format!(
                "{} entries in {what}, at most {LIST_MAX}",
                list.len()
            ));
        }
        list.iter().try_for_each(|item| text(what, item))
    };
    if entry.key().1.len() > NAME_MAX {
        return Err(format!("the name has more than {NAME_MAX} bytes"));
    }
    text("the name", entry.key().1)?;
    match entry {
        CatalogEntry::App {
            owner,
            tier,
            compliance,
            ..
        } => {
            owner.as_deref().map_or(Ok(()), |o| text("the owner", o))?;
            tier.as_deref().map_or(Ok(()), |t| text("the tier", t))?;
            list("compliance", compliance)
        }
        CatalogEntry::Image { signed_by, .. } => list("the signers", signed_by),
    }
}

impl Engine {
    pub(crate) fn put_catalog(
        &mut self,
        entry: CatalogEntry,
        out: &mut Output,
    ) -> Result<(), EventError> {
        let (kind, name) = entry.key();
        let catalog = &self.admission.catalog;
        let full = catalog.get(kind, name).is_none() && catalog.len() >= CATALOG_MAX;
        let checked = match full {
            true => Err(format!(
                "there are {CATALOG_MAX} entries already, which is the limit"
            )),
            false => check(&entry),
        };
        let name = name.to_owned();
        if let Err(problem) = checked {
            return Err(EventError::Catalog { name, problem });
        }
        out.changed.push(Key::Catalog(kind, Arc::from(name)));
        self.admission.catalog.put(entry);
        Ok(())
    }

    pub(crate) fn remove_catalog(
        &mut self,
        catalog: &str,
        name: &str,
        out: &mut Output,
    ) -> Result<(), EventError> {
        let entries = &mut self.admission.catalog;
        let removed = match catalog {
            "app" => entries.apps.remove(name),
            "image" => entries.images.remove(name),
            _ => None,
        };
        let Some(entry) = removed else {
            return Err(EventError::UnknownCatalogEntry {
                catalog: catalog.to_owned(),
                name: name.to_owned(),
            });
        };
        out.changed
            .push(Key::Catalog(entry.key().0, Arc::from(name)));
        Ok(())
    }
}
