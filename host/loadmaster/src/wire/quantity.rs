//! Amounts as people write them, read exactly: what is not a whole number of
//! the host's unit is refused, never rounded.

use std::fmt;

use model::quantity::AMOUNT_MAX;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// A suffix with its size in the host's unit, as a fraction.
type Unit = (&'static str, i128, i128);

/// Longest amount that is looked at; 40 digits hold any amount there is.
const TEXT_BYTES_MAX: usize = 64;

fn parse(text: &str, units: &[Unit], max: i64, what: &str) -> Result<i64, String> {
    let shown: String = text.chars().take(TEXT_BYTES_MAX).collect();
    let wrong = || {
        let suffixes: Vec<&str> = units
            .iter()
            .map(|u| u.0)
            .filter(|s| !s.is_empty())
            .collect();
        format!(
            "{shown:?} is not an amount: a number, optionally with one of {}",
            suffixes.join(", ")
        )
    };
    let trimmed = text.trim();
    if trimmed.len() > TEXT_BYTES_MAX {
        return Err(wrong());
    }
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed),
    };
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let unit = units.iter().find(|u| u.0 == suffix).ok_or_else(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let has_digit = !whole.is_empty() || !fraction.is_empty();
    if !has_digit || fraction.contains('.') || (number.ends_with('.') && fraction.is_empty()) {
        return Err(wrong());
    }
    // Past 18 digits on either side nothing is within the bounds or exact.
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if whole.len() > 18 {
        return Err(format!(
            "{shown:?} is more than the largest amount, {max} {what}"
        ));
    }
    let inexact =
        || format!("{shown:?} is not a whole number of {what}, the smallest amount there is");
    if fraction.len() > 12 {
        return Err(inexact());
    }
    let mantissa: i128 = format!("0{whole}{fraction}").parse().map_err(|_| wrong())?;
    if negative && mantissa != 0 {
        return Err(format!("{shown:?} is negative, but an amount cannot be"));
    }
    let scale = 10i128.pow(fraction.len() as u32);
    let (value, rest) = (
        mantissa * unit.1 / (unit.2 * scale),
        mantissa * unit.1 % (unit.2 * scale),
    );
    if value > i128::from(max) {
        return Err(format!(
            "{shown:?} is more than the largest amount, {max} {what}"
        ));
    }
    if rest != 0 {
        return Err(inexact());
    }
    Ok(value as i64)
}

/// Prints in the largest unit that divides it.
fn print(value: i64, units: &[(&str, i64)]) -> String {
    // Nothing is nothing of any unit.
    if value == 0 {
        return "0".to_owned();
    }
    for (suffix, size) in units {
        if value % size == 0 {
            return format!("{}{suffix}", value / size);
        }
    }
    value.to_string()
}

/// Thousandths as a decimal number.
fn decimal(value: i64) -> String {
    let text = format!("{}.{:03}", value / 1000, value % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

macro_rules! quantity {
    ($name:ident, $inner:ty, $doc:literal, $example:literal, $units:expr, $max:expr, $what:literal, $print:expr) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, ToSchema)]
        #[schema(value_type = String, example = $example)]
        pub struct $name(pub $inner);

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                parse(text, $units, $max, $what).map(|v| Self(v as $inner))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let print: fn(i64) -> String = $print;
                f.write_str(&print(i64::from(self.0)))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(Amount)
                    .and_then(|text| text.parse().map_err(de::Error::custom))
            }
        }
    };
}

/// A number or a text, as the text that was written.
struct Amount;

impl Visitor<'_> for Amount {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount, as a number or as text with a unit")
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<String, E> {
        Ok(v.to_owned())
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<String, E> {
        Ok(v.to_string())
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<String, E> {
        Ok(v.to_string())
    }

    // Display prints the shortest decimal that means this double, which is what
    // was written as long as it had up to 15 digits.
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<String, E> {
        Ok(v.to_string())
    }
}

const MI: i128 = 1 << 20;

quantity!(
    Cpu,
    i64,
    "CPU: cores, or milli-cores with `m` (`2`, `1.5`, `500m`).",
    "500m",
    &[("", 1000, 1), ("m", 1, 1)],
    AMOUNT_MAX,
    "milli-cores",
    |v| print(v, &[("", 1000), ("m", 1)])
);
quantity!(
    Memory,
    i64,
    "Memory or disk: bytes, or with Ki, Mi, Gi, Ti, k, M, G, T; a whole number of MiB.",
    "16Gi",
    &[
        ("", 1, MI),
        ("Ki", 1, 1024),
        ("Mi", 1, 1),
        ("Gi", 1024, 1),
        ("Ti", MI, 1),
        ("k", 1_000, MI),
        ("M", 1_000_000, MI),
        ("G", 1_000_000_000, MI),
        ("T", 1_000_000_000_000, MI),
    ],
    AMOUNT_MAX,
    "MiB",
    |v| print(v, &[("Ti", 1 << 20), ("Gi", 1 << 10), ("Mi", 1)])
);
quantity!(
    Rate,
    i64,
    "Network: bit/s, or with k, M, G, T; a whole number of Mbit/s.",
    "25G",
    &[
        ("", 1, 1_000_000),
        ("k", 1, 1_000),
        ("M", 1, 1),
        ("G", 1_000, 1),
        ("T", 1_000_000, 1),
    ],
    AMOUNT_MAX,
    "Mbit/s",
    |v| print(v, &[("T", 1_000_000), ("G", 1_000), ("M", 1)])
);
quantity!(
    Share,
    u32,
    "Share of one GPU: `1` is all of it, `500m` or `0.5` half.",
    "500m",
    &[("", 1000, 1), ("m", 1, 1)],
    1_000_000,
    "milli-GPU",
    |v| print(v, &[("", 1000), ("m", 1)])
);
quantity!(
    Price,
    i64,
    "Money per hour, in thousandths of the currency.",
    "32.77",
    &[("", 1000, 1)],
    AMOUNT_MAX,
    "thousandths",
    decimal
);
quantity!(
    Factor,
    u32,
    "A plain factor in thousandths: weights, utilisation, multipliers.",
    "0.7",
    &[("", 1000, 1)],
    4_000_000_000,
    "thousandths",
    decimal
);
quantity!(
    Span,
    i64,
    "Length of time: seconds, or with ms, s, m, h, d; a whole number of ms.",
    "90s",
    &[
        ("", 1_000, 1),
        ("ms", 1, 1),
        ("s", 1_000, 1),
        ("m", 60_000, 1),
        ("h", 3_600_000, 1),
        ("d", 86_400_000, 1),
    ],
    AMOUNT_MAX,
    "ms",
    |v| print(
        v,
        &[
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
            ("ms", 1)
        ]
    )
);
quantity!(
    Gpus,
    i64,
    "GPUs of a quota: `8`, or milli-GPU with `m` (`500m`).",
    "8",
    &[("", 1000, 1), ("m", 1, 1)],
    AMOUNT_MAX,
    "milli-GPU",
    |v| print(v, &[("", 1000), ("m", 1)])
);

impl Span {
    /// From milliseconds; what is longer than the longest is the longest.
    #[must_use]
    pub fn of_ms(ms: u64) -> Self {
        Self(i64::try_from(ms).unwrap_or(AMOUNT_MAX).min(AMOUNT_MAX))
    }

    /// In milliseconds.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0.unsigned_abs()
    }
}
