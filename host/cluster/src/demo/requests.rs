//! A request rate with the rhythms that services have: days, weeks, noise, and
//! one flash sale that the calendar knows about.

use model::scaling::CalendarEvent;

use crate::rng::Rng;
use crate::trace::series::Series;

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestShape {
    /// Days.
    pub days: u32,
    /// Distance of two values, s; at most an hour.
    pub step_s: u32,
    /// Requests per step at the peak of an ordinary weekday.
    pub peak: u32,
}

impl Default for RequestShape {
    /// Two weeks by the minute.
    fn default() -> Self {
        Self {
            days: 14,
            step_s: 60,
            peak: 6_000,
        }
    }
}

/// A generated series and what was known in advance.
#[derive(Debug, Clone, PartialEq)]
pub struct DemoRequests {
    /// The rate.
    pub series: Series,
    /// The sale, on the evening of the last Saturday; `None` when the series
    /// is shorter than a week.
    pub sale: Option<CalendarEvent>,
}

/// Load of each hour, percent of the peak; minutes in between are
/// interpolated.
const HOURS_PCT: [u64; 24] = [
    38, 28, 22, 18, 16, 17, 22, 33, 48, 60, 68, 73, 78, 76, 72, 71, 73, 78, 86, 95, 100, 96, 80, 57,
];

/// Load of each day, Monday first, percent.
const DAYS_PCT: [u64; 7] = [100, 97, 96, 98, 104, 82, 76];

/// The sale: Saturday at 20:00 for two hours, four times the usual load after
/// a rise of ten minutes.
const SALE_WEEKDAY: u64 = 5;
const SALE_START_S: u64 = 20 * 3600;
const SALE_SECONDS: u64 = 2 * 3600;
const SALE_RISE_S: u64 = 600;
const SALE_MULTIPLIER_MILLI: u64 = 4000;

const DAY_S: u64 = 86_400;
const HOUR_S: u64 = 3600;

/// Longest series: a year of minutes.
const VALUES_MAX: u64 = 366 * 24 * 60;

/// Generates a series.
#[must_use]
pub fn requests(shape: RequestShape, seed: u64) -> DemoRequests {
    let step = u64::from(shape.step_s.clamp(1, HOUR_S as u32));
    let count = (u64::from(shape.days) * DAY_S / step).min(VALUES_MAX);
    let last_saturday = (0..u64::from(shape.days))
        .rev()
        .find(|day| day % 7 == SALE_WEEKDAY);
    let sale_start = last_saturday.map(|day| day * DAY_S + SALE_START_S);
    let mut rng = Rng::fork(seed, "demo requests");
    let values = (0..count)
        .map(|n| {
            let time = n * step;
            let usual = usual_milli(time) * u64::from(shape.peak) / 1000;
            let level = usual * sale_milli(time, sale_start) / 1000;
            noisy(level, &mut rng)
        })
        .collect();
    DemoRequests {
        series: Series {
            step_s: step,
            values,
        },
        sale: sale_start.map(|start| CalendarEvent {
            name: "flash-sale".to_owned(),
            workload: String::new(),
            start_ms: start * 1000,
            end_ms: (start + SALE_SECONDS) * 1000,
            load: None,
            multiplier: Some(SALE_MULTIPLIER_MILLI as u32),
        }),
    }
}

/// Thousandths of the peak at `time` of an ordinary week.
fn usual_milli(time: u64) -> u64 {
    let hour = (time / HOUR_S % 24) as usize;
    let within = time % HOUR_S;
    let here = HOURS_PCT[hour] * (HOUR_S - within) + HOURS_PCT[(hour + 1) % 24] * within;
    let day = DAYS_PCT[(time / DAY_S % 7) as usize];
    here * day / (HOUR_S * 10)
}

/// Multiple of the usual load during the sale, thousandths.
fn sale_milli(time: u64, start: Option<u64>) -> u64 {
    let Some(since) = start.and_then(|s| time.checked_sub(s)) else {
        return 1000;
    };
    if since >= SALE_SECONDS {
        return 1000;
    }
    let risen = since.min(SALE_RISE_S);
    // From the height the interest fades to half by the end.
    let faded = since.saturating_sub(SALE_RISE_S) * 500 / (SALE_SECONDS - SALE_RISE_S);
    let extra = (SALE_MULTIPLIER_MILLI - 1000) * risen / SALE_RISE_S;
    1000 + extra * (1000 - faded) / 1000
}

/// `level` with the spread of counted arrivals, which grows with its root.
/// The sum of twelve uniforms stands for a normal variate: its deviation is 1
/// and its arithmetic exact everywhere.
fn noisy(level: u64, rng: &mut Rng) -> f64 {
    let normal = (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
    let spread = (level as f64).sqrt() + level as f64 / 50.0;
    (level as f64 + spread * normal).max(0.0).floor()
}
