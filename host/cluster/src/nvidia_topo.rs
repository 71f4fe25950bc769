//! How the GPUs of a machine are wired, from the text of `nvidia-smi topo -m`.
//!
//! The tool prints a matrix for people, in forms that differ by version:
//! separated by TABs or padded with spaces, ` X ` on the diagonal, NICs called
//! `mlx5_0` or `NIC0` among the columns, affinity columns that may be missing.
//! Listings found in the wild often lack rows; what symmetry cannot complete
//! stays unknown, and a note says so.

use std::collections::BTreeMap;

use model::topology::{GPUS_PER_NODE_MAX, LinkError, NVLINKS_MAX};
use model::{LinkMatrix, PcieLevel};

/// Bytes of one listing: sixteen GPUs and as many NICs print under 8 KiB.
pub const TEXT_BYTES_MAX: usize = 256 << 10;

/// Devices of one listing, NICs included: bounds the work on hostile text.
pub const DEVICES_MAX: usize = 128;

/// What a listing says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuTopology {
    /// GPUs.
    pub gpus: usize,
    /// How they are wired, with the NUMA node of each.
    pub links: LinkMatrix,
    /// Network devices in column order.
    pub nics: Vec<Nic>,
    /// CPUs near each GPU as printed, e.g. `0-19,40-59`.
    pub cpu_affinity: Vec<Option<String>>,
    /// NUMA node of each GPU.
    pub numa: Vec<Option<i8>>,
    /// What was completed or is missing, for people.
    pub notes: Vec<String>,
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Name as printed.
    pub name: String,
    /// Distance to each GPU.
    pub levels: Vec<PcieLevel>,
}

/// Text that is no listing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopoError {
    /// No line names the GPUs.
    #[error("no header line with GPU0, GPU1, …; expected the output of `nvidia-smi topo -m`")]
    NoHeader,
    /// Longer than any listing.
    #[error("the text has {0} bytes, expected at most {TEXT_BYTES_MAX}")]
    TooLong(usize),
    /// More devices than any machine has.
    #[error("line {line}: {found} devices in the header, expected at most {DEVICES_MAX}")]
    TooManyDevices {
        /// Line, from 1.
        line: usize,
        /// Devices.
        found: usize,
    },
    /// GPU columns out of order.
    #[error(
        "line {line}: found column {found:?}, expected the GPUs first and in order, next GPU{expected}"
    )]
    GpuOrder {
        /// Line, from 1.
        line: usize,
        /// Column found.
        found: String,
        /// Number it should have.
        expected: usize,
    },
    /// A device twice.
    #[error("line {line}: device {device:?} is listed twice")]
    Twice {
        /// Line, from 1.
        line: usize,
        /// Device.
        device: String,
    },
    /// Fewer cells than devices.
    #[error(
        "line {line}: row {device} has {found} links, expected {expected}, one for each device of the header"
    )]
    Short {
        /// Line, from 1.
        line: usize,
        /// Row.
        device: String,
        /// Links.
        found: usize,
        /// Devices of the header.
        expected: usize,
    },
    /// A cell that is no link.
    #[error(
        "line {line}: {row} to {column}: found {found:?}, expected X, SYS, NODE, PHB, PXB, PIX or NV1 to NV{NVLINKS_MAX}"
    )]
    Cell {
        /// Line, from 1.
        line: usize,
        /// Row.
        row: String,
        /// Column.
        column: String,
        /// What it holds.
        found: String,
    },
    /// Both directions printed, differently.
    #[error("{a} to {b} is {ab}, but {b} to {a} is {ba}")]
    Asymmetric {
        /// First device.
        a: String,
        /// Second device.
        b: String,
        /// One direction.
        ab: String,
        /// The other.
        ba: String,
    },
    /// Not a matrix any machine has.
    #[error(transparent)]
    Links(#[from] LinkError),
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Myself,
    Pcie(PcieLevel),
    Nvlink(u8),
}

impl Link {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "X" => Self::Myself,
            "SYS" | "SOC" => Self::Pcie(PcieLevel::Sys), // SOC: its name before 2017
            "NODE" => Self::Pcie(PcieLevel::Node),
            "PHB" => Self::Pcie(PcieLevel::Phb),
            "PXB" => Self::Pcie(PcieLevel::Pxb),
            "PIX" => Self::Pcie(PcieLevel::Pix),
            "PSB" => Self::Pcie(PcieLevel::Board),
            _ => {
                let number = text.strip_prefix("NV")?;
                let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
                let bonded = number.parse().ok().filter(|_| plain)?;
                if bonded == 0 || bonded > NVLINKS_MAX {
                    return None;
                }
                Self::Nvlink(bonded)
            }
        })
    }

    /// `100 × NVLinks + PCIe level`. The listing prints NVLinks instead of the
    /// PCIe level, so that stays unknown.
    fn encoded(self) -> u16 {
        match self {
            Self::Myself => 0,
            Self::Pcie(level) => level as u16,
            Self::Nvlink(bonded) => 100 * u16::from(bonded),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Myself => "X".to_owned(),
            Self::Pcie(level) => format!("{level:?}").to_uppercase(),
            Self::Nvlink(bonded) => format!("NV{bonded}"),
        }
    }

    fn level(self) -> PcieLevel {
        match self {
            Self::Pcie(level) => level,
            Self::Myself | Self::Nvlink(_) => PcieLevel::Unknown,
        }
    }
}

/// Header line: devices, then what the remaining columns are.
struct Header {
    line: usize,
    devices: Vec<String>,
    gpus: usize,
    has_numa: bool,
}

/// Reads a listing.
///
/// # Errors
/// The first thing that no listing has. Missing rows and columns are not
/// errors: see [`GpuTopology::notes`].
pub fn parse(text: &str) -> Result<GpuTopology, TopoError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(TopoError::TooLong(text.len()));
    }
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.lines().enumerate();
    let header = loop {
        let (at, line) = lines.next().ok_or(TopoError::NoHeader)?;
        if is_header(line) {
            break Header::parse(at + 1, line)?;
        }
    };
    let mut matrix = Matrix::new(&header.devices);
    let mut affinity = vec![None; header.gpus];
    let mut numa = vec![None; header.gpus];
    for (at, line) in lines {
        let mut cells = cells(line);
        let Some(name) = cells.next() else { continue };
        if name == "Legend:" {
            break;
        }
        let Some(row) = header.devices.iter().position(|d| d == name) else {
            continue;
        };
        matrix.read_row(at + 1, row, &mut cells)?;
        if row < header.gpus {
            let rest: Vec<&str> = cells.collect();
            affinity[row] = rest.first().and_then(|c| given(c)).map(str::to_owned);
            if header.has_numa {
                numa[row] = rest.get(1).and_then(|c| given(c)?.parse().ok());
            }
        }
    }
    build(&header, matrix, affinity, numa)
}

/// Cells of a line. Padding may be TABs, spaces or both; cells hold no spaces,
/// so any run of either separates, and an empty TAB cell disappears: it only
/// occurs after the NUMA column, where nothing is read.
fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

fn given(cell: &str) -> Option<&str> {
    Some(cell).filter(|c| !c.is_empty() && *c != "N/A")
}

fn is_header(line: &str) -> bool {
    // A row also begins with its device, but its second cell is a link.
    let mut cells = cells(line);
    cells.next() == Some("GPU0")
        && cells
            .next()
            .is_none_or(|second| Link::parse(second).is_none())
}

impl Header {
    fn parse(line: usize, text: &str) -> Result<Self, TopoError> {
        let mut devices: Vec<String> = Vec::new();
        let mut gpus = 0;
        // Column titles after the devices are words: "CPU Affinity",
        // "NUMA Affinity", "GPU NUMA ID".
        let words: Vec<&str> = cells(text).collect();
        let titles = words
            .iter()
            .position(|w| matches!(*w, "CPU" | "NUMA" | "GPU"))
            .unwrap_or(words.len());
        if titles > DEVICES_MAX {
            return Err(TopoError::TooManyDevices {
                line,
                found: titles,
            });
        }
        for word in &words[..titles] {
            if devices.iter().any(|d| d == word) {
                return Err(TopoError::Twice {
                    line,
                    device: (*word).to_owned(),
                });
            }
            let number: Option<usize> = word.strip_prefix("GPU").and_then(|n| n.parse().ok());
            if let Some(number) = number {
                if number != gpus || gpus != devices.len() {
                    return Err(TopoError::GpuOrder {
                        line,
                        found: (*word).to_owned(),
                        expected: gpus,
                    });
                }
                gpus += 1;
            }
            devices.push((*word).to_owned());
        }
        if gpus > GPUS_PER_NODE_MAX {
            return Err(LinkError::TooManyGpus(gpus).into());
        }
        let has_numa = words[titles..]
            .windows(2)
            .any(|w| w == ["NUMA", "Affinity"]);
        Ok(Self {
            line,
            devices,
            gpus,
            has_numa,
        })
    }
}

/// Cells as printed, by row and column device.
struct Matrix<'a> {
    devices: &'a [String],
    cells: Vec<Option<Link>>,
    rows: Vec<bool>,
}

impl<'a> Matrix<'a> {
    fn new(devices: &'a [String]) -> Self {
        Self {
            devices,
            cells: vec![None; devices.len() * devices.len()],
            rows: vec![false; devices.len()],
        }
    }

    fn get(&self, row: usize, column: usize) -> Option<Link> {
        self.cells[row * self.devices.len() + column]
    }

    fn read_row<'t>(
        &mut self,
        line: usize,
        row: usize,
        cells: &mut impl Iterator<Item = &'t str>,
    ) -> Result<(), TopoError> {
        if std::mem::replace(&mut self.rows[row], true) {
            return Err(TopoError::Twice {
                line,
                device: self.devices[row].clone(),
            });
        }
        for column in 0..self.devices.len() {
            let Some(cell) = cells.next() else {
                return Err(TopoError::Short {
                    line,
                    device: self.devices[row].clone(),
                    found: column,
                    expected: self.devices.len(),
                });
            };
            let link = Link::parse(cell)
                .filter(|l| (*l == Link::Myself) == (row == column))
                .ok_or_else(|| TopoError::Cell {
                    line,
                    row: self.devices[row].clone(),
                    column: self.devices[column].clone(),
                    found: cell.chars().take(20).collect(),
                })?;
            self.cells[row * self.devices.len() + column] = Some(link);
        }
        Ok(())
    }

    /// The link of two devices, whichever direction was printed.
    fn link(&self, a: usize, b: usize) -> Result<Option<Link>, TopoError> {
        match (self.get(a, b), self.get(b, a)) {
            (Some(ab), Some(ba)) if ab != ba => Err(TopoError::Asymmetric {
                a: self.devices[a].clone(),
                b: self.devices[b].clone(),
                ab: ab.text(),
                ba: ba.text(),
            }),
            (ab, ba) => Ok(ab.or(ba)),
        }
    }
}

/// What was completed or is missing: how often, and the first instance. A
/// partial listing of sixteen GPUs misses hundreds of links.
#[derive(Default)]
struct Notes(BTreeMap<&'static str, (usize, String)>);

impl Notes {
    fn add(&mut self, what: &'static str, which: impl FnOnce() -> String) {
        self.0.entry(what).or_insert_with(|| (0, which())).0 += 1;
    }

    fn into_texts(self) -> Vec<String> {
        let text = |(what, (count, first)): (&str, (usize, String))| match count {
            1 => format!("{what}: {first}"),
            _ => format!("{what}: {count}, first {first}"),
        };
        self.0.into_iter().map(text).collect()
    }
}

fn build(
    header: &Header,
    matrix: Matrix<'_>,
    cpu_affinity: Vec<Option<String>>,
    numa: Vec<Option<i8>>,
) -> Result<GpuTopology, TopoError> {
    let gpus = header.gpus;
    let name = |device: usize| header.devices[device].as_str();
    let mut notes = Notes::default();
    for device in 0..header.devices.len() {
        if !matrix.rows[device] {
            notes.add("rows missing", || name(device).to_owned());
        }
    }
    let mut links = vec![0; gpus * gpus];
    for a in 0..gpus {
        for b in a + 1..gpus {
            let which = || format!("{}-{}", name(a), name(b));
            let link = matrix.link(a, b)?;
            if link.is_none() {
                notes.add("links unknown", which);
            } else if matrix.get(a, b).is_none() || matrix.get(b, a).is_none() {
                notes.add("links completed by symmetry", which);
            }
            let encoded = link.map_or(0, Link::encoded);
            links[a * gpus + b] = encoded;
            links[b * gpus + a] = encoded;
        }
    }
    let mut nics = Vec::new();
    for nic in gpus..header.devices.len() {
        let mut levels = Vec::with_capacity(gpus);
        for gpu in 0..gpus {
            let link = matrix.link(gpu, nic)?;
            if link.is_none() {
                notes.add("NIC distances unknown", || {
                    format!("{}-{}", name(nic), name(gpu))
                });
            }
            levels.push(link.map_or(PcieLevel::Unknown, Link::level));
        }
        nics.push(Nic {
            name: name(nic).to_owned(),
            levels,
        });
    }
    if !header.has_numa {
        notes.add("no NUMA column in the header", || {
            format!("line {}", header.line)
        });
    }
    let numa_ids = numa.iter().map(|n| n.unwrap_or(-1)).collect();
    Ok(GpuTopology {
        gpus,
        links: LinkMatrix::new(gpus, links, numa_ids)?,
        nics,
        cpu_affinity,
        numa,
        notes: notes.into_texts(),
    })
}

#[cfg(test)]
mod tests;
