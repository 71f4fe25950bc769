//! What an event costs a running job.

/// Seconds of progress lost at every event, by model and GPUs.
#[derive(Debug, Clone, PartialEq)]
pub struct Overheads {
    /// Rows: model; columns: 1, 2, 4, 8, 16, 32 GPUs.
    pub table: [[f64; 6]; 8],
}
/// names
pub const MODELS: [&str; 8] = [
    "vgg16",
    "vgg19",
    "resnet18",
    "shufflenet_v2_x1_0",
    "bert",
    "gpt2",
    "a2c",
    "dqn",
];

impl Overheads {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self {
            table: [[0.0; 6]; 8],
        }
    }
    /// Fitted.
    #[must_use]
    pub fn fitted() -> Self {
        Self {
            table: [
                [8.0; 6], [9.0; 6], [5.0; 6], [6.0; 6], [10.0; 6], [10.0; 6], [42.0; 6], [6.0; 6],
            ],
        }
    }
    /// Overhead of a job.
    #[must_use]
    pub fn seconds(&self, gpus: u32, model: &str) -> f64 {
        let column = gpus.next_power_of_two().trailing_zeros().min(5) as usize;
        MODELS
            .iter()
            .position(|m| *m == model)
            .map_or(0.0, |row| self.table[row][column])
    }
}
