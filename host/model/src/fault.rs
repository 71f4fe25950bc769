//! How a policy can misbehave. What follows from it is decided in one place,
//! the engine's `breaker`.

/// A policy that broke the contract. Never a verdict, never our own failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// It trapped; `message` is the guest's own panic text when it gave one.
    #[error("trapped: {message}")]
    Trap {
        /// Panic text, or the trap code.
        message: String,
    },
    /// It used up its fuel.
    #[error("ran out of fuel (limit {limit})")]
    OutOfFuel {
        /// Fuel given for the call.
        limit: u64,
    },
    /// It ran longer than the wall guard allows.
    #[error("ran longer than {limit_ms} ms")]
    WallTimeout {
        /// The guard.
        limit_ms: u64,
    },
    /// It asked for more memory than it may have.
    #[error("asked for more than {limit_bytes} bytes of memory")]
    OutOfMemory {
        /// Sum over all memories of the instance.
        limit_bytes: u64,
    },
    /// It returned more data than the host is willing to copy.
    #[error("answer too large: {detail}")]
    AnswerTooLarge {
        /// What was too large.
        detail: String,
    },
    /// It answered with something the contract does not allow.
    #[error("bad answer: {detail}")]
    BadAnswer {
        /// Which rule, with numbers.
        detail: String,
    },
    /// A reused instance and a fresh one disagree.
    #[error("stateful: a fresh instance answers {fresh}, this one {reused}")]
    StatefulDivergence {
        /// Answer of the fresh instance.
        fresh: String,
        /// Answer of the reused one.
        reused: String,
    },
    /// It did not accept settings or context it had to accept.
    #[error("refused its configuration: {message}")]
    Refused {
        /// The guest's words.
        message: String,
    },
    /// No instance could be made (pool exhausted, artifact gone).
    #[error("could not be started: {message}")]
    NotStarted {
        /// Cause.
        message: String,
    },
}

impl PolicyFault {
    /// Stable code for metrics and records.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "Trap",
            Self::OutOfFuel { .. } => "OutOfFuel",
            Self::WallTimeout { .. } => "WallTimeout",
            Self::OutOfMemory { .. } => "OutOfMemory",
            Self::AnswerTooLarge { .. } => "AnswerTooLarge",
            Self::BadAnswer { .. } => "BadAnswer",
            Self::StatefulDivergence { .. } => "StatefulDivergence",
            Self::Refused { .. } => "Refused",
            Self::NotStarted { .. } => "NotStarted",
        }
    }
}
