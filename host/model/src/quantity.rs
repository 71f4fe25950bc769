//! Exact amounts, with bounds that make sums safe.

use std::fmt;

/// Largest amount of one dimension on one object. A million objects of this
/// size still add up without overflow in `i64`.
pub const AMOUNT_MAX: i64 = 1 << 40;

/// Whole GPU in milli-GPU.
pub const GPU_MILLI: u32 = 1000;

/// What a pod asks for or a node has. All four are exact and never negative
/// once validated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resources {
    /// Milli-cores.
    pub cpu_milli: i64,
    /// MiB.
    pub memory_mib: i64,
    /// MiB of local disk.
    pub disk_mib: i64,
    /// Mbit/s.
    pub network_mbps: i64,
}

/// An amount that no object may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Below zero.
    #[error("{field} is {value}, but an amount cannot be negative")]
    Negative {
        /// Which field.
        field: &'static str,
        /// What it was.
        value: i64,
    },
    /// Above [`AMOUNT_MAX`] (or another stated maximum).
    #[error("{field} is {value}, above the largest amount {max}")]
    TooLarge {
        /// Which field.
        field: &'static str,
        /// What it was.
        value: i64,
        /// The bound.
        max: i64,
    },
}

/// Checks one amount against `0..=max`.
///
/// # Errors
/// Names the field and the bound it broke.
pub fn check(field: &'static str, value: i64, max: i64) -> Result<(), QuantityError> {
    if value < 0 {
        Err(QuantityError::Negative { field, value })
    } else if value > max {
        Err(QuantityError::TooLarge { field, value, max })
    } else {
        Ok(())
    }
}

impl Resources {
    /// Checks every dimension against `0..=AMOUNT_MAX`.
    ///
    /// # Errors
    /// The first dimension out of bounds.
    pub fn validate(&self) -> Result<(), QuantityError> {
        check("cpu", self.cpu_milli, AMOUNT_MAX)?;
        check("memory", self.memory_mib, AMOUNT_MAX)?;
        check("disk", self.disk_mib, AMOUNT_MAX)?;
        check("network", self.network_mbps, AMOUNT_MAX)
    }

    /// Whether `self` fits into `free` in every dimension.
    #[must_use]
    pub fn fits(&self, free: &Self) -> bool {
        self.cpu_milli <= free.cpu_milli
            && self.memory_mib <= free.memory_mib
            && self.disk_mib <= free.disk_mib
            && self.network_mbps <= free.network_mbps
    }
}

impl std::ops::AddAssign for Resources {
    fn add_assign(&mut self, o: Self) {
        self.cpu_milli += o.cpu_milli;
        self.memory_mib += o.memory_mib;
        self.disk_mib += o.disk_mib;
        self.network_mbps += o.network_mbps;
    }
}

impl std::ops::SubAssign for Resources {
    fn sub_assign(&mut self, o: Self) {
        self.cpu_milli -= o.cpu_milli;
        self.memory_mib -= o.memory_mib;
        self.disk_mib -= o.disk_mib;
        self.network_mbps -= o.network_mbps;
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} m CPU, {} MiB", self.cpu_milli, self.memory_mib)
    }
}
