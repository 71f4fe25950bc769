//! `loadmaster demo`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::failure::{Exit, Failure};
use crate::demo::{self, DemoOptions};

pub(super) const EXAMPLES: &str = "\
Examples:
  loadmaster demo
  loadmaster demo --nodes 200 --seconds 20 --exit";

/// Options of the verb.
#[derive(Debug, Args)]
pub struct Options {
    /// Nodes of the generated cluster
    #[arg(long, value_name = "N", default_value_t = DemoOptions::default().nodes)]
    nodes: usize,
    /// The same seed gives the same cluster and load
    #[arg(long, value_name = "N", default_value_t = DemoOptions::default().seed)]
    seed: u64,
    /// How long it plays; the policy is swapped half-way
    #[arg(long, value_name = "S", default_value_t = DemoOptions::default().duration.as_secs())]
    seconds: u64,
    /// Port to listen on; the usual one or the next free one when left out, 0 for any
    #[arg(long)]
    port: Option<u16>,
    /// End after the summary instead of serving on
    #[arg(long)]
    exit: bool,
    /// Do not swap the policy
    #[arg(long)]
    no_swap: bool,
}

/// Plays it.
///
/// # Errors
/// The demo does not start.
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    demo::run(DemoOptions {
        nodes: options.nodes,
        seed: options.seed,
        duration: Duration::from_secs(options.seconds),
        port: options.port,
        exit: options.exit,
        swap: !options.no_swap,
        ..DemoOptions::default()
    })
    .map_err(|error| {
        let mut failure = Failure::new(Exit::Failed, error.to_string());
        failure.causes = error.chain().skip(1).map(ToString::to_string).collect();
        failure
    })
}
