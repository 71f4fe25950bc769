//! The columns a scoring policy can read.

macro_rules! columns {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// A column of the rows given to a scoring policy. Values are `i32`; the
        /// units are fixed by `wit/v0.1.0/COLUMNS.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Column { $(#[doc = $doc] $variant,)* }

        impl Column {
            /// Every column, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name used in the contract.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

columns! {
    Row "row" "Stable id of the node; smaller ids win ties.",
    CpuFree "cpu-free" "Free milli-cores.",
    CpuCap "cpu-cap" "Allocatable milli-cores.",
    MemoryFree "memory-free" "Free MiB.",
    MemoryCap "memory-cap" "Allocatable MiB.",
    DiskFree "disk-free" "Free MiB of disk.",
    DiskCap "disk-cap" "Allocatable MiB of disk.",
    NetworkFree "network-free" "Free Mbit/s.",
    NetworkCap "network-cap" "Allocatable Mbit/s.",
    Pods "pods" "Pods running on the node.",
    GpuCount "gpu-count" "Healthy devices.",
    GpuFree "gpu-free" "Free milli-GPU over the healthy devices.",
    GpuWhole "gpu-whole" "Healthy and entirely free devices.",
    GpuModel "gpu-model" "Index into the context's models, -1 without GPU.",
    Wiring "wiring" "Index into the context's wirings, -1 without GPU.",
    Zone "zone" "Interned zone, -1 when unknown.",
    Rack "rack" "Interned rack, -1 when unknown.",
    Price "price" "Thousandths per hour, 0 when unknown.",
    PeersOnNode "peers-on-node" "Pods of the same application on the node.",
    PeersInZone "peers-in-zone" "Pods of the same application in the node's zone.",
    GpuMilliFree "gpu.milli-free" "Per device: free milli-GPU, -1 unhealthy or absent.",
    GpuMemoryFree "gpu.memory-free" "Per device: free MiB, -1 unhealthy or absent.",
    GpuNuma "gpu.numa" "Per device: NUMA node, -1 unknown or absent.",
}

/// How many columns there are.
pub(crate) const COLUMNS: usize = Column::ALL.len();

impl Column {
    /// Whether it holds one value a device instead of one a node.
    #[must_use]
    pub const fn is_per_gpu(self) -> bool {
        matches!(
            self,
            Self::GpuMilliFree | Self::GpuMemoryFree | Self::GpuNuma
        )
    }

    /// The column with this contract name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let table = include_str!("../../../wit/v0.1.0/COLUMNS.md");
        let documented: Vec<&str> = table
            .lines()
            .filter(|line| line.starts_with("| `"))
            .flat_map(|line| {
                let first = line.split('|').nth(1).unwrap_or_default();
                first.split('`').skip(1).step_by(2)
            })
            .collect();
        let ours: Vec<&str> = Column::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(ours, documented);
        for column in Column::ALL {
            assert_eq!(Column::parse(column.name()), Some(*column));
            assert_eq!(column.is_per_gpu(), column.name().starts_with("gpu."));
        }
    }
}
