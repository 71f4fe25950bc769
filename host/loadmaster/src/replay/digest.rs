//! One hash over everything that was decided: same inputs, same digest, on
//! every machine.

use model::{Decision, Outcome};
use sha2::{Digest, Sha256};

/// `sha256:<hex>` of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    shown(&Sha256::digest(bytes))
}

fn shown(hash: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in hash {
        text += &format!("{byte:02x}");
    }
    text
}

/// Hashes decisions as they come. Lengths go in front of texts, so that no two
/// sequences of decisions have the same bytes.
#[derive(Debug, Clone, Default)]
pub struct DecisionDigest(Sha256);

impl DecisionDigest {
    /// One more placement decision: pod, node, devices, total score or reason,
    /// and where the other nodes went.
    pub fn decision(&mut self, decision: &Decision) {
        self.text(&decision.pod);
        match &decision.outcome {
            Outcome::Bound { node, devices, .. } => {
                self.text(node);
                self.bytes(&(devices.len() as u64).to_le_bytes());
                self.bytes(devices);
                let total = decision.candidates.first().map_or(0, |c| c.total);
                self.bytes(&total.to_le_bytes());
            }
            Outcome::Unschedulable { reason } => self.text(reason.code()),
        }
        for count in decision.filter.0 {
            self.bytes(&count.to_le_bytes());
        }
    }

    /// Bytes of a fixed layout.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    /// `sha256:<hex>` of all that was fed.
    #[must_use]
    pub fn finish(self) -> String {
        shown(&self.0.finalize())
    }
}
