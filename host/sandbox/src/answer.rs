//! The rules of an answer. One that breaks them is a fault, never a decision.

pub(crate) mod admission;
pub(crate) mod preemption;

use model::PolicyFault;
use model::scaling::{ForecastPoint, Part};

use crate::limits::{FORECAST_POINTS_MAX, PART_NAME_BYTES_MAX, PART_TEXT_BYTES_MAX, PARTS_MAX};
use crate::log::escape;
use engine::port::SCALE_STATE_BYTES_MAX;

/// Refuses the row.
pub(crate) const REFUSED: i32 = -1;
/// Has no opinion on the row.
pub(crate) const ABSTAINED: i32 = i32::MIN;
/// Best score.
pub(crate) const SCORE_MAX: i32 = 100_000;

fn bad(detail: String) -> PolicyFault {
    PolicyFault::BadAnswer { detail }
}

/// At most `most` of `what`. The runtime has copied no more than
/// [`RunLimits::hostcall_bytes`](crate::limits::RunLimits) by then.
fn at_most(what: &str, count: usize, most: usize) -> Result<(), PolicyFault> {
    if count <= most {
        return Ok(());
    }
    Err(PolicyFault::AnswerTooLarge {
        detail: format!("{count} {what}, at most {most} are allowed"),
    })
}

/// A text of at most `most` bytes that people will see.
fn text(what: &str, text: &str, most: usize) -> Result<String, PolicyFault> {
    if text.len() > most {
        return Err(PolicyFault::AnswerTooLarge {
            detail: format!(
                "a {what} of {} bytes, at most {most} are allowed",
                text.len()
            ),
        });
    }
    Ok(escape(text, usize::MAX).0)
}

pub(crate) fn scores(scores: &[i32], rows: u32) -> Result<(), PolicyFault> {
    if scores.len() != rows as usize {
        return Err(bad(format!("{} scores for {rows} rows", scores.len())));
    }
    let legal = |s: i32| (REFUSED..=SCORE_MAX).contains(&s) || s == ABSTAINED;
    // Without a branch per row: this runs over every score of a cold pass.
    if scores.iter().fold(true, |all, &s| all & legal(s)) {
        return Ok(());
    }
    let (row, score) = scores
        .iter()
        .enumerate()
        .find(|(_, s)| !legal(**s))
        .map_or((0, 0), |(row, s)| (row, *s));
    Err(bad(format!(
        "score {score} for row {row}, allowed are -1, 0 to {SCORE_MAX}, and s32 minimum"
    )))
}

pub(crate) fn slots(chosen: &[u32], gpu_count: u32, slots: u32) -> Result<(), PolicyFault> {
    if chosen.len() != gpu_count as usize {
        return Err(bad(format!(
            "{} devices placed, the pod asks for {gpu_count}",
            chosen.len()
        )));
    }
    for (i, slot) in chosen.iter().enumerate() {
        if *slot >= slots {
            return Err(bad(format!("device slot {slot} of {slots}")));
        }
        if chosen[..i].contains(slot) {
            return Err(bad(format!("device slot {slot} placed twice")));
        }
    }
    Ok(())
}

/// Bounds the texts and escapes them: they are shown to people.
pub(crate) fn parts(
    given: impl ExactSizeIterator<Item = (String, i64, String)>,
) -> Result<Vec<Part>, PolicyFault> {
    if given.len() > PARTS_MAX {
        return Err(bad(format!(
            "{} parts, at most {PARTS_MAX} are allowed",
            given.len()
        )));
    }
    given
        .map(|(name, value, text)| {
            if name.len() > PART_NAME_BYTES_MAX || text.len() > PART_TEXT_BYTES_MAX {
                return Err(bad(format!(
                    "a part with a name of {} and a text of {} bytes, at most {PART_NAME_BYTES_MAX} and {PART_TEXT_BYTES_MAX} are allowed",
                    name.len(),
                    text.len()
                )));
            }
            Ok(Part {
                name: escape(&name, usize::MAX).0,
                value,
                text: escape(&text, usize::MAX).0,
            })
        })
        .collect()
}

/// An explanation must explain the score that was given. Where the policy
/// refused or abstained there is no sum to compare.
pub(crate) fn sum(parts: &[Part], score: i32, row: usize) -> Result<(), PolicyFault> {
    let sum: i128 = parts.iter().map(|p| i128::from(p.value)).sum();
    if (0..=SCORE_MAX).contains(&score) && sum != i128::from(score) {
        return Err(bad(format!(
            "the parts of row {row} add up to {sum}, its score is {score}"
        )));
    }
    Ok(())
}

pub(crate) fn state(state: &[u8]) -> Result<(), PolicyFault> {
    if state.len() > SCALE_STATE_BYTES_MAX {
        return Err(PolicyFault::AnswerTooLarge {
            detail: format!(
                "{} bytes of state, at most {SCALE_STATE_BYTES_MAX} are kept",
                state.len()
            ),
        });
    }
    Ok(())
}

pub(crate) fn forecast(points: &[ForecastPoint]) -> Result<(), PolicyFault> {
    if points.len() > FORECAST_POINTS_MAX {
        return Err(PolicyFault::AnswerTooLarge {
            detail: format!(
                "{} forecast points, at most {FORECAST_POINTS_MAX} are kept",
                points.len()
            ),
        });
    }
    for (i, point) in points.iter().enumerate() {
        if !point.mean.is_finite() || !point.high.is_finite() {
            return Err(bad(format!(
                "forecast point {i} is {} with high {}, both must be finite",
                point.mean, point.high
            )));
        }
        if i > 0 && points[i - 1].at_ms >= point.at_ms {
            return Err(bad(format!(
                "forecast point {i} is not later than the one before"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_have_the_length_and_the_range_of_the_contract() {
        assert!(scores(&[0, 100_000, -1, i32::MIN], 4).is_ok());
        assert!(scores(&[], 0).is_ok());
        for (given, rows) in [
            (&[0, 0][..], 3),
            (&[0; 4][..], 3),
            (&[100_001][..], 1),
            (&[-2][..], 1),
            (&[i32::MIN + 1][..], 1),
            (&[i32::MAX][..], 1),
        ] {
            assert!(scores(given, rows).is_err(), "{given:?} for {rows}");
        }
    }

    #[test]
    fn devices_are_as_many_as_asked_different_and_there() {
        assert!(slots(&[7, 0], 2, 8).is_ok());
        assert!(slots(&[1], 2, 8).is_err(), "too few");
        assert!(slots(&[1, 2, 3], 2, 8).is_err(), "too many");
        assert!(slots(&[1, 1], 2, 8).is_err(), "twice");
        assert!(slots(&[8, 1], 2, 8).is_err(), "not there");
    }

    #[test]
    fn parts_that_overflow_do_not_add_up_by_wrapping() {
        let part = |value| Part {
            name: "a".to_owned(),
            value,
            text: String::new(),
        };
        let around = [part(i64::MAX), part(1), part(i64::MAX), part(1)];
        assert!(sum(&around, 0, 0).is_err());
        assert!(sum(&[part(70), part(-20)], 50, 0).is_ok());
        assert!(sum(&[part(7)], -1, 0).is_ok(), "refused: no sum");
    }

    #[test]
    fn a_forecast_is_finite_and_goes_forward() {
        let point = |at_ms, mean| ForecastPoint {
            at_ms,
            mean,
            high: 1.0,
        };
        assert!(forecast(&[point(1, 1.0), point(2, 1.0)]).is_ok());
        assert!(forecast(&[point(1, f64::NAN)]).is_err());
        assert!(forecast(&[point(2, 1.0), point(2, 1.0)]).is_err());
        assert!(forecast(&vec![point(0, 0.0); FORECAST_POINTS_MAX + 1]).is_err());
    }
}
