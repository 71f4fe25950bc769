//! Statelessness is law: a reused instance and a fresh one give the same answer.
//! The engine's score cache, hot swap, shadowing and replay all stand on it.

use model::PolicyFault;

/// What the reused instance `said` against what a `fresh` one answers.
pub(crate) fn compare(
    said: &[i32],
    fresh: Result<Vec<i32>, PolicyFault>,
) -> Result<(), PolicyFault> {
    match fresh {
        Ok(fresh) => match said.iter().zip(&fresh).position(|(a, b)| a != b) {
            None => Ok(()),
            Some(row) => Err(PolicyFault::StatefulDivergence {
                fresh: format!("{} for row {row}", fresh[row]),
                reused: said[row].to_string(),
            }),
        },
        // No instance to be had, or the machine too busy: says nothing about the
        // policy, and the next audit will come.
        Err(PolicyFault::NotStarted { .. } | PolicyFault::WallTimeout { .. }) => Ok(()),
        Err(fault) => Err(PolicyFault::StatefulDivergence {
            fresh: fault.to_string(),
            reused: format!("{} scores", said.len()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_that_differs_is_named() {
        assert_eq!(compare(&[1, 2, 3], Ok(vec![1, 2, 3])), Ok(()));
        assert_eq!(
            compare(&[1, 2, 3], Ok(vec![1, 9, 9])),
            Err(PolicyFault::StatefulDivergence {
                fresh: "9 for row 1".to_owned(),
                reused: "2".to_owned(),
            })
        );
    }

    #[test]
    fn a_fault_of_the_fresh_instance_is_a_difference_unless_the_host_caused_it() {
        let trap = PolicyFault::Trap {
            message: "x".to_owned(),
        };
        assert!(compare(&[1], Err(trap)).is_err());
        let busy = PolicyFault::WallTimeout { limit_ms: 50 };
        assert_eq!(compare(&[1], Err(busy)), Ok(()));
    }
}
