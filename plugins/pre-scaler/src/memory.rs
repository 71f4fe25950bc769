//! What the policy remembers between calls, in the bytes the host keeps for it.

use crate::forecast::Model;
use crate::reactive::Windows;

/// Grows when the layout changes; other versions are forgotten.
const VERSION: u32 = 1;

/// Running calendar entries read back: as many as a host has.
const BASES_MAX: u32 = 4_096;

/// Remembered from the call before.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Memory {
    pub(crate) windows: Windows,
    /// When the call was (ms), and the replicas it saw: what was applied of its
    /// answer shows in the next request.
    pub(crate) last: Option<(i64, u32)>,
    /// Last forecast floor, and when it was current or last shrunk (ms).
    pub(crate) floor: u32,
    pub(crate) floor_at_ms: i64,
    /// (calendar entry, replicas wanted just before its floor became active).
    pub(crate) bases: Vec<(u64, u32)>,
    /// Cache; fitting again gives the same model.
    pub(crate) model: Option<Model>,
}

impl Memory {
    /// `None` when there is nothing, or nothing of this version.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let r = &mut Reader::new(bytes);
        if r.u32()? != VERSION {
            return None;
        }
        let windows = Windows::read(r)?;
        let last = (r.i64()?, r.u32()?);
        let (floor, floor_at_ms) = (r.u32()?, r.i64()?);
        let mut bases = Vec::new();
        for _ in 0..r.count(BASES_MAX)? {
            bases.push((r.u64()?, r.u32()?));
        }
        Some(Self {
            windows,
            last: Some(last),
            floor,
            floor_at_ms,
            bases,
            model: Model::read(r),
        })
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let w = &mut Writer::default();
        let (last_at_ms, last_replicas) = self.last.unwrap_or_default();
        w.u32(VERSION);
        self.windows.write(w);
        w.i64(last_at_ms);
        w.u32(last_replicas);
        w.u32(self.floor);
        w.i64(self.floor_at_ms);
        w.u32(self.bases.len() as u32);
        for (id, base) in &self.bases {
            w.u64(*id);
            w.u32(*base);
        }
        if let Some(m) = &self.model {
            m.write(w);
        }
        std::mem::take(w).finish()
    }
}

/// Little-endian numbers, one after the other.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn u32(&mut self, x: u32) {
        self.0.extend(x.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, x: u64) {
        self.0.extend(x.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, x: i64) {
        self.0.extend(x.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, x: f64) {
        self.0.extend(x.to_le_bytes());
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// The reverse of [`Writer`]; `None` past the end.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// A number of at most 2^53: times and differences of counts, whose sums
    /// must not overflow.
    pub(crate) fn i64(&mut self) -> Option<i64> {
        let x = self.take().map(i64::from_le_bytes)?;
        (x.unsigned_abs() <= 1 << 53).then_some(x)
    }

    pub(crate) fn f64(&mut self) -> Option<f64> {
        self.take().map(f64::from_le_bytes)
    }

    /// A number of entries, refused above `max`.
    pub(crate) fn count(&mut self, max: u32) -> Option<u32> {
        self.u32().filter(|n| *n <= max)
    }
}
