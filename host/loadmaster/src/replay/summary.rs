//! Several runs in a few numbers, and numbers in a form for people.

/// Mean and sample standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stat {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation; `None` of a single value.
    pub sd: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Stat {
    /// Of some values; `None` of none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        Some(Self {
            mean,
            sd: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }

    /// `92.86 ± 0.14`.
    #[must_use]
    pub fn shown(&self, digits: usize) -> String {
        match self.sd {
            Some(sd) => format!("{:.digits$} ± {sd:.digits$}", self.mean),
            None => format!("{:.digits$}", self.mean),
        }
    }
}

/// `12 480`: groups of three.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A large number in three digits: `42.1 k`, `1.30 M`.
#[must_use]
pub fn short(number: f64) -> String {
    let (value, unit) = match number.abs() {
        n if n >= 1e9 => (number / 1e9, " G"),
        n if n >= 1e6 => (number / 1e6, " M"),
        n if n >= 1e3 => (number / 1e3, " k"),
        _ => (number, ""),
    };
    let digits = match value.abs() {
        v if v >= 100.0 || (unit.is_empty() && v.fract() == 0.0) => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{unit}")
}

/// Seconds in the two largest units that say something: `4 m 12 s`, `2 d 3 h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let Some(first) = units.iter().position(|(size, _)| whole >= *size) else {
        return format!("{:.1} s", seconds.max(0.0));
    };
    let (size, unit) = units[first];
    let mut text = format!("{} {unit}", whole / size);
    if let Some((next, unit)) = units.get(first + 1)
        && whole % size / next > 0
    {
        text += &format!(" {} {unit}", whole % size / next);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(12_480), "12 480");
        assert_eq!(grouped(1_000_000), "1 000 000");
        assert_eq!(short(0.0), "0");
        assert_eq!(short(999.4), "999");
        assert_eq!(short(42_130.0), "42.1 k");
        assert_eq!(short(1_300_000.0), "1.30 M");
        assert_eq!(duration(0.25), "0.2 s");
        assert_eq!(duration(252.0), "4 m 12 s");
        assert_eq!(duration(120.0), "2 m");
        assert_eq!(duration(183_600.0), "2 d 3 h");
    }

    #[test]
    fn mean_and_deviation() {
        let stat = Stat::of([1.0, 2.0, 3.0]).unwrap();
        assert_eq!((stat.mean, stat.sd), (2.0, Some(1.0)));
        assert_eq!(stat.shown(2), "2.00 ± 1.00");
        assert_eq!(Stat::of([5.0]).unwrap().shown(1), "5.0");
        assert_eq!(Stat::of([]), None);
    }
}
