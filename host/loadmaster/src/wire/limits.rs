//! How large an object from outside may be. The store takes values of 1 MiB and
//! stops writing when it is given more, and names of zones, racks and models are
//! kept together in one of them: whoever could send larger ones could stop the
//! host.

use super::job::Job;
use super::node::Node;
use super::pod::Pod;
use super::{Invalid, to_json};

/// One node or pod as JSON. A node with 16 GPUs, all links and fifty labels has
/// 4 KiB.
pub const OBJECT_BYTES_MAX: usize = 64 << 10;

/// Name of a zone, rack, GPU model or application; Kubernetes allows the same
/// for label values.
pub const WORD_BYTES_MAX: usize = 63;

/// Acceptable GPU models of one pod.
pub const MODELS_MAX: usize = 8;

fn word(pointer: impl FnOnce() -> String, text: &str) -> Result<(), Invalid> {
    if text.len() <= WORD_BYTES_MAX {
        return Ok(());
    }
    let text = format!("has {} bytes, {WORD_BYTES_MAX} are allowed", text.len());
    Err(Invalid::at(pointer(), text))
}

fn size<T: serde::Serialize>(object: &T) -> Result<(), Invalid> {
    let bytes = to_json(object).len();
    if bytes <= OBJECT_BYTES_MAX {
        return Ok(());
    }
    let text = format!("has {bytes} bytes as JSON, {OBJECT_BYTES_MAX} are allowed");
    Err(Invalid::at("", text))
}

impl Node {
    /// Checks what only the store would mind.
    ///
    /// # Errors
    /// The first that is too large.
    pub fn check_size(&self) -> Result<(), Invalid> {
        for (i, gpu) in self.gpus.iter().enumerate() {
            word(|| format!("/gpus/{i}/model"), &gpu.model)?;
        }
        word(|| "/zone".to_owned(), self.zone.as_deref().unwrap_or(""))?;
        word(|| "/rack".to_owned(), self.rack.as_deref().unwrap_or(""))?;
        word(|| "/block".to_owned(), self.block.as_deref().unwrap_or(""))?;
        size(self)
    }
}

impl Pod {
    /// Checks what only the store would mind.
    ///
    /// # Errors
    /// The first that is too large.
    pub fn check_size(&self) -> Result<(), Invalid> {
        let models = self.gpu.as_ref().map_or(&[][..], |g| &g.models);
        if models.len() > MODELS_MAX {
            let text = format!("{} models, {MODELS_MAX} are allowed", models.len());
            return Err(Invalid::at("/gpu/models", text));
        }
        for (i, model) in models.iter().enumerate() {
            word(|| format!("/gpu/models/{i}"), model)?;
        }
        word(|| "/app".to_owned(), &self.app)?;
        size(self)
    }
}

impl Job {
    /// Checks what only the store would mind.
    ///
    /// # Errors
    /// The first that is too large.
    pub fn check_size(&self) -> Result<(), Invalid> {
        self.template
            .check_size()
            .map_err(|e| e.under("template"))?;
        let roles = self.gang.as_ref().map_or(&[][..], |g| &g.roles);
        for (i, role) in roles.iter().enumerate() {
            let under = |e: Invalid| e.under(i).under("roles").under("gang");
            let sized = role.template.check_size();
            sized.map_err(|e| under(e.under("template")))?;
        }
        let words = [("/namespace", &self.namespace), ("/tier", &self.tier)];
        for (pointer, text) in words {
            word(|| pointer.to_owned(), text)?;
        }
        size(self)
    }
}
