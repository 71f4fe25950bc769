//! How the GPUs of one node are wired, as `nvidia-smi topo -m` reports it.

use std::fmt;

/// Distance of two PCIe devices, farthest first. Values are the weights that
/// NVIDIA's allocator uses (go-gpuallocator, best-effort policy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PcieLevel {
    /// Not reported.
    Unknown = 0,
    /// Across CPU sockets.
    Sys = 10,
    /// Same NUMA node, several host bridges.
    Node = 20,
    /// Same host bridge.
    Phb = 30,
    /// Several PCIe switches.
    Pxb = 40,
    /// One PCIe switch.
    Pix = 50,
    /// Same board.
    Board = 60,
}

/// Most GPUs of one node; device sets are 16-bit masks in the subset search.
pub const GPUS_PER_NODE_MAX: usize = 16;

/// Most bonded NVLinks between two devices.
pub const NVLINKS_MAX: u8 = 18;

/// Symmetric link matrix of one node's GPUs. Nodes wired alike share one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkMatrix {
    gpus: u8,
    /// gpus × gpus, `100 × NVLinks + PCIe level`, 0 on the diagonal.
    links: Vec<u16>,
    /// NUMA node of each GPU, -1 when unknown.
    numa: Vec<i8>,
}

/// A matrix that describes no machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// More devices than [`GPUS_PER_NODE_MAX`].
    #[error("{0} GPUs on one node, more than {GPUS_PER_NODE_MAX}")]
    TooManyGpus(usize),
    /// Wrong number of elements.
    #[error("{got} links given for {gpus} GPUs, expected {expected}")]
    Shape {
        /// Devices.
        gpus: usize,
        /// Elements given.
        got: usize,
        /// Elements needed.
        expected: usize,
    },
    /// link(a,b) differs from link(b,a).
    #[error("link {a}-{b} differs from link {b}-{a}")]
    Asymmetric {
        /// First device.
        a: usize,
        /// Second device.
        b: usize,
    },
    /// Unknown encoding.
    #[error("link {a}-{b} has the impossible value {value}")]
    Value {
        /// First device.
        a: usize,
        /// Second device.
        b: usize,
        /// What it was.
        value: u16,
    },
}

impl LinkMatrix {
    /// A matrix from `gpus × gpus` encoded links (`100 × NVLinks + PCIe level`).
    ///
    /// # Errors
    /// Wrong shape, asymmetry, or a value no machine has.
    pub fn new(gpus: usize, links: Vec<u16>, numa: Vec<i8>) -> Result<Self, LinkError> {
        if gpus > GPUS_PER_NODE_MAX {
            return Err(LinkError::TooManyGpus(gpus));
        }
        if links.len() != gpus * gpus || numa.len() != gpus {
            return Err(LinkError::Shape {
                gpus,
                got: links.len(),
                expected: gpus * gpus,
            });
        }
        for a in 0..gpus {
            for b in 0..gpus {
                let v = links[a * gpus + b];
                if v != links[b * gpus + a] {
                    return Err(LinkError::Asymmetric { a, b });
                }
                let legal = if a == b {
                    v == 0
                } else {
                    v / 100 <= u16::from(NVLINKS_MAX)
                        && v % 100 <= 60
                        && (v % 100).is_multiple_of(10)
                };
                if !legal {
                    return Err(LinkError::Value { a, b, value: v });
                }
            }
        }
        Ok(Self {
            gpus: gpus as u8,
            links,
            numa,
        })
    }

    /// The matrix of a node about which nothing is known.
    #[must_use]
    pub fn unknown(gpus: usize) -> Self {
        Self {
            gpus: gpus as u8,
            links: vec![0; gpus * gpus],
            numa: vec![-1; gpus],
        }
    }

    /// Devices.
    #[must_use]
    pub fn gpus(&self) -> usize {
        usize::from(self.gpus)
    }

    /// Encoded link of two devices, `100 × NVLinks + PCIe level`.
    #[must_use]
    pub fn link(&self, a: usize, b: usize) -> u16 {
        self.links[a * self.gpus() + b]
    }

    /// Bonded NVLinks between two devices.
    #[must_use]
    pub fn nvlinks(&self, a: usize, b: usize) -> u16 {
        self.link(a, b) / 100
    }

    /// All encoded links, row-major.
    #[must_use]
    pub fn links(&self) -> &[u16] {
        &self.links
    }

    /// NUMA node of each GPU, -1 when unknown.
    #[must_use]
    pub fn numa(&self) -> &[i8] {
        &self.numa
    }
}

impl fmt::Debug for LinkMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkMatrix({} GPUs)", self.gpus)
    }
}
