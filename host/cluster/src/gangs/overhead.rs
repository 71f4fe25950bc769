//! What an event costs a running job.

/// Models of the published jobs, in the order of [`SECONDS`].
const MODELS: [&str; 8] = [
    "vgg16",
    "vgg19",
    "resnet18",
    "shufflenet_v2_x1_0",
    "bert",
    "gpt2",
    "a2c",
    "dqn",
];

/// Seconds of progress that a running job loses at every event. Rows: model;
/// columns: 1, 2, 4, 8, 16 and 32 GPUs.
///
/// The comparison publishes results but its table only as a range for each
/// model. These whole numbers were fitted within those ranges, never falling
/// with more GPUs, until the published mean, makespan and 99th percentile of
/// SRTF and SRSF came out to the printed digit on trace1, trace3 and trace3_pr.
/// trace2 was kept back, and agrees as well (`tests`).
const SECONDS: [[u8; 6]; 8] = [
    [7, 7, 8, 9, 9, 10],
    [7, 7, 8, 9, 10, 10],
    [4, 5, 5, 7, 7, 7],
    [4, 4, 5, 5, 7, 8],
    [10, 10, 10, 10, 10, 10],
    [10, 10, 10, 10, 10, 10],
    [38, 39, 39, 46, 46, 46],
    [5, 5, 6, 6, 8, 8],
];

/// Seconds of progress lost at every event, by model and GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overheads {
    /// None: for a comparison of orders alone.
    None,
    /// Those of the published comparison.
    Published,
}

impl Overheads {
    /// What a job of `model` on `gpus` GPUs loses, s. GPUs between two columns
    /// count as the next; a model that is not in the table loses nothing.
    #[must_use]
    pub fn seconds(self, gpus: u32, model: &str) -> f64 {
        let row = MODELS.iter().position(|m| *m == model);
        match (self, row) {
            (Self::Published, Some(row)) => {
                let columns = SECONDS[row].len();
                let column = (1..columns)
                    .find(|c| gpus <= 1 << (c - 1))
                    .unwrap_or(columns);
                f64::from(SECONDS[row][column - 1])
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_by_the_next_power_of_two() {
        let check = |gpus: u32, expected: f64| {
            assert_eq!(
                Overheads::Published.seconds(gpus, "dqn"),
                expected,
                "{gpus}"
            );
        };
        check(1, 5.0);
        check(2, 5.0);
        check(3, 6.0);
        check(8, 6.0);
        check(9, 8.0);
        check(32, 8.0);
        check(1 << 20, 8.0);
        assert_eq!(Overheads::Published.seconds(8, "vgg16"), 9.0);
        assert_eq!(Overheads::Published.seconds(8, "unheard-of"), 0.0);
        assert_eq!(Overheads::None.seconds(8, "vgg16"), 0.0);
    }
}
