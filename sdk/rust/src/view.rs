//! What a scoring policy sees of the columns: rows, nodes and devices.
//!
//! Where each column lies in the host's buffer is worked out once a call, so an
//! accessor is one bounds check and one load.

use crate::Column;
use crate::column::COLUMNS;

/// A batch of nodes. Every column is a slice with one value a row.
#[derive(Clone)]
pub struct Rows<'a> {
    count: usize,
    slots: usize,
    columns: [&'a [i32]; COLUMNS],
    /// Bit per column: declared in `Description::reads`.
    declared: u32,
}

/// A share-free answer for a slot that does not exist, as in the contract.
const ABSENT: i32 = -1;

impl<'a> Rows<'a> {
    /// Finds the declared columns in the host's buffer.
    ///
    /// # Panics
    /// If the buffer has another length than the columns need, which only a
    /// faulty host can cause.
    #[must_use]
    pub fn new(columns: &[Column], count: u32, slots: u32, data: &'a [i32]) -> Self {
        let (count, slots) = (count as usize, slots as usize);
        let mut views: [&'a [i32]; COLUMNS] = [&[]; COLUMNS];
        let mut declared = 0u32;
        let mut rest = data;
        for &column in columns {
            let len = if column.is_per_gpu() {
                slots * count
            } else {
                count
            };
            let Some((view, tail)) = rest.split_at_checked(len) else {
                panic!(
                    "host passed {} values for {count} rows and {slots} slots: column `{}` is missing some",
                    data.len(),
                    column.name()
                )
            };
            views[column as usize] = view;
            declared |= 1 << column as u32;
            rest = tail;
        }
        assert!(
            rest.is_empty(),
            "host passed {} values more than the declared columns need",
            rest.len()
        );
        Self {
            count,
            slots,
            columns: views,
            declared,
        }
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Device slots of every row of this batch; 0 for pods without GPU.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    #[inline]
    pub fn node(&self, row: usize) -> Node<'_> {
        assert!(row < self.count, "row {row} of {}", self.count);
        Node { rows: self, row }
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.count).map(|row| Node { rows: self, row })
    }

    /// A node column as a slice, for loops over many rows.
    ///
    /// # Panics
    /// If it is not declared, or holds one value a device (see [`Rows::gpu`]).
    #[must_use]
    pub fn column(&self, column: Column) -> &'a [i32] {
        self.require(column);
        assert!(
            !column.is_per_gpu(),
            "column `{}` has one value a device: use Rows::gpu",
            column.name()
        );
        self.columns[column as usize]
    }

    /// A device column for one slot, one value a row.
    ///
    /// # Panics
    /// If it is not declared, not a device column, or there is no such slot.
    #[must_use]
    pub fn gpu(&self, column: Column, slot: usize) -> &'a [i32] {
        self.require(column);
        assert!(
            column.is_per_gpu() && slot < self.slots,
            "column `{}` has no slot {slot} of {}",
            column.name(),
            self.slots
        );
        &self.columns[column as usize][slot * self.count..][..self.count]
    }

    fn require(&self, column: Column) {
        if self.declared & (1 << column as u32) == 0 {
            undeclared(column);
        }
    }

    #[inline]
    fn value(&self, column: Column, row: usize) -> i32 {
        match self.columns[column as usize].get(row) {
            Some(&value) => value,
            None => undeclared(column),
        }
    }

    #[inline]
    fn device(&self, column: Column, slot: usize, row: usize) -> i32 {
        if slot >= self.slots {
            self.require(column);
            return ABSENT;
        }
        match self.columns[column as usize].get(slot * self.count + row) {
            Some(&value) => value,
            None => undeclared(column),
        }
    }
}

#[cold]
#[inline(never)]
fn undeclared(column: Column) -> ! {
    panic!(
        "policy reads column `{}` without declaring it: add Column::{column:?} to Description::reads",
        column.name()
    )
}

/// One node.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    rows: &'a Rows<'a>,
    row: usize,
}

macro_rules! accessors {
    ($($method:ident $variant:ident $doc:literal,)*) => {
        impl<'a> Node<'a> {
            $(
                #[doc = $doc]
                ///
                /// # Panics
                /// If the column is not declared in `Description::reads`.
                #[must_use]
                #[inline]
                pub fn $method(self) -> i32 {
                    self.rows.value(Column::$variant, self.row)
                }
            )*
        }
    };
}

accessors! {
    id Row "Stable id of the node; smaller ids win ties.",
    cpu_free CpuFree "Free milli-cores.",
    cpu_cap CpuCap "Allocatable milli-cores.",
    memory_free MemoryFree "Free MiB.",
    memory_cap MemoryCap "Allocatable MiB.",
    disk_free DiskFree "Free MiB of disk.",
    disk_cap DiskCap "Allocatable MiB of disk.",
    network_free NetworkFree "Free Mbit/s.",
    network_cap NetworkCap "Allocatable Mbit/s.",
    pods Pods "Pods running on the node.",
    gpu_count GpuCount "Healthy devices.",
    gpu_free GpuFree "Free milli-GPU over the healthy devices.",
    gpu_whole GpuWhole "Healthy and entirely free devices.",
    gpu_model GpuModel "Index into the context's models, -1 without GPU.",
    wiring Wiring "Index into the context's wirings, -1 without GPU.",
    zone Zone "Interned zone, -1 when unknown.",
    rack Rack "Interned rack, -1 when unknown.",
    price Price "Thousandths per hour, 0 when unknown.",
    peers_on_node PeersOnNode "Pods of the same application on the node.",
    peers_in_zone PeersInZone "Pods of the same application in the node's zone.",
}

impl<'a> Node<'a> {
    /// Position of the row in its batch. Scores must not depend on it.
    #[must_use]
    pub fn row(self) -> usize {
        self.row
    }

    /// Device slots to look at; some may be absent on this node.
    #[must_use]
    pub fn slots(self) -> usize {
        self.rows.slots
    }

    /// The device in a slot; an absent one answers -1 to everything.
    #[must_use]
    #[inline]
    pub fn gpu(self, slot: usize) -> Gpu<'a> {
        Gpu { node: self, slot }
    }

    /// Present, healthy devices. Needs [`Column::GpuMilliFree`].
    pub fn gpus(self) -> impl Iterator<Item = Gpu<'a>> {
        (0..self.rows.slots)
            .map(move |slot| self.gpu(slot))
            .filter(|gpu| gpu.milli_free() >= 0)
    }
}

/// One GPU of a node.
#[derive(Clone, Copy)]
pub struct Gpu<'a> {
    node: Node<'a>,
    slot: usize,
}

impl Gpu<'_> {
    /// Its slot, the number that `place` answers with.
    #[must_use]
    pub fn slot(self) -> usize {
        self.slot
    }

    /// Free share in milli-GPU, -1 when unhealthy or absent.
    #[must_use]
    #[inline]
    pub fn milli_free(self) -> i32 {
        self.node
            .rows
            .device(Column::GpuMilliFree, self.slot, self.node.row)
    }

    /// Free MiB, -1 when unhealthy or absent.
    #[must_use]
    #[inline]
    pub fn memory_free(self) -> i32 {
        self.node
            .rows
            .device(Column::GpuMemoryFree, self.slot, self.node.row)
    }

    /// NUMA node, -1 when unknown or absent.
    #[must_use]
    pub fn numa(self) -> i32 {
        self.node
            .rows
            .device(Column::GpuNuma, self.slot, self.node.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [Column::CpuFree, Column::GpuMilliFree, Column::Zone];

    #[test]
    fn columns_are_found_slot_major_in_declared_order() {
        let data = [10, 20, 100, 200, 101, -1, 7, 8];
        let rows = Rows::new(&COLUMNS, 2, 2, &data);
        let node = rows.node(1);
        assert_eq!(
            (node.cpu_free(), node.zone(), node.gpu(0).milli_free()),
            (20, 8, 200)
        );
        assert_eq!(node.gpus().count(), 1);
        assert_eq!(rows.gpu(Column::GpuMilliFree, 1), [101, -1]);
        assert_eq!(rows.node(0).gpu(5).milli_free(), -1);
    }

    #[test]
    fn gpu_columns_are_empty_for_pods_without_gpu() {
        let rows = Rows::new(&COLUMNS, 1, 0, &[10, 7]);
        assert_eq!(rows.node(0).gpus().count(), 0);
        assert_eq!(rows.node(0).gpu(0).milli_free(), -1);
    }

    #[test]
    #[should_panic(
        expected = "policy reads column `memory-free` without declaring it: add Column::MemoryFree to Description::reads"
    )]
    fn undeclared_columns_are_named() {
        let rows = Rows::new(&COLUMNS, 1, 0, &[10, 7]);
        let _ = rows.node(0).memory_free();
    }

    #[test]
    #[should_panic(expected = "column `zone` is missing some")]
    fn short_buffers_are_named() {
        let _ = Rows::new(&COLUMNS, 2, 0, &[10, 7, 8]);
    }

    #[test]
    #[should_panic(expected = "1 values more")]
    fn long_buffers_are_named() {
        let _ = Rows::new(&COLUMNS, 1, 0, &[10, 7, 8]);
    }
}
