//! What the policy remembers of one workload, in the bytes the host keeps for
//! it.

use crate::forecast::Model;

/// Grows when the layout changes; other versions are forgotten.
const VERSION: u32 = 1;

/// Running events remembered: with the longest names half of what the host
/// keeps for a policy.
pub(crate) const BASES_MAX: usize = 512;

/// Wishes read back: five minutes at three a second, far more often than the
/// host asks.
const WANTED_MAX: usize = 1_024;

/// Longest event name read back, bytes: the host's limit.
const NAME_BYTES_MAX: usize = 253;

/// What was wanted at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) at_ms: u64,
    pub(crate) replicas: u32,
}

/// Replicas wanted just before an event's floor became active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) event: String,
    pub(crate) replicas: u32,
}

/// Remembered from the calls before.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// Wishes of the stabilisation window, oldest first.
    pub(crate) wanted: Vec<Wanted>,
    /// Last forecast floor, and when it was current or last shrunk.
    pub(crate) floor: u32,
    pub(crate) floor_at_ms: u64,
    pub(crate) bases: Vec<Base>,
    /// Cache; fitting again gives the same model.
    pub(crate) model: Option<Model>,
}

impl Memory {
    /// `None` for anything that [`Self::write`] did not write. A damaged model
    /// is only forgotten.
    pub(crate) fn read(mut bytes: &[u8]) -> Option<Self> {
        let b = &mut bytes;
        if u32(b)? != VERSION {
            return None;
        }
        let mut memory = Self {
            floor: u32(b)?,
            floor_at_ms: u64(b)?,
            ..Self::default()
        };
        for _ in 0..count(b, WANTED_MAX)? {
            memory.wanted.push(Wanted {
                at_ms: u64(b)?,
                replicas: u32(b)?,
            });
        }
        for _ in 0..count(b, BASES_MAX)? {
            let replicas = u32(b)?;
            let length = count(b, NAME_BYTES_MAX)?;
            let (name, rest) = b.split_at_checked(length)?;
            *b = rest;
            let event = String::from_utf8(name.to_vec()).ok()?;
            memory.bases.push(Base { event, replicas });
        }
        memory.model = Model::read(b);
        Some(memory)
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(VERSION.to_le_bytes());
        out.extend(self.floor.to_le_bytes());
        out.extend(self.floor_at_ms.to_le_bytes());
        out.extend((self.wanted.len() as u32).to_le_bytes());
        for w in &self.wanted {
            out.extend(w.at_ms.to_le_bytes());
            out.extend(w.replicas.to_le_bytes());
        }
        out.extend((self.bases.len() as u32).to_le_bytes());
        for base in &self.bases {
            out.extend(base.replicas.to_le_bytes());
            out.extend((base.event.len() as u32).to_le_bytes());
            out.extend(base.event.bytes());
        }
        if let Some(model) = &self.model {
            model.write(&mut out);
        }
        out
    }
}

/// Splits the next `N` bytes off.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}

fn u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_le_bytes)
}

fn u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

/// A number of things, refused above `max`.
fn count(bytes: &mut &[u8], max: usize) -> Option<usize> {
    u32(bytes).map(|n| n as usize).filter(|n| *n <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_and_cut_ones_are_refused() {
        let memory = Memory {
            wanted: vec![Wanted {
                at_ms: 1 << 40,
                replicas: 7,
            }],
            floor: 3,
            floor_at_ms: 9,
            bases: vec![Base {
                event: "sale".to_owned(),
                replicas: 5,
            }],
            model: None,
        };
        let bytes = memory.write();
        assert_eq!(Memory::read(&bytes).as_ref(), Some(&memory));
        for cut in 0..bytes.len() {
            assert_eq!(Memory::read(&bytes[..cut]), None);
        }
    }
}
