//! The tree of verbs.

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::output::{Colour, Format};
use super::{inspect, replay};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Cyan.on_default().bold())
    .usage(AnsiColor::Cyan.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Yellow.on_default());

const EXAMPLES: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage or bad input, 3 refused, 4 conflict, 5 unreachable, 6 policy fault

Examples:
  loadmaster replay openb --nodes nodes.csv --pods pods_default.csv --policy scoring=gpu-topology-packer
  loadmaster inspect gpu-topology-packer";

const COMPLETIONS: &str = "\
Examples:
  loadmaster completions bash
  loadmaster completions zsh";

/// Schedules GPU clusters with policies that run in a sandbox.
#[derive(Debug, Parser)]
#[command(name = "loadmaster", version, about, styles = STYLES, after_help = EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// How data is printed
    #[arg(short, long, value_enum, default_value_t, global = true, value_name = "FORMAT")]
    pub output: Format,
    /// When to use colour
    #[arg(long, value_enum, default_value_t, global = true, value_name = "WHEN")]
    pub color: Colour,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Everything `loadmaster` can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a recorded trace through policies, side by side.
    #[command(subcommand, after_help = replay::EXAMPLES)]
    Replay(replay::Replay),
    /// Show what a policy component is, may do, and reads.
    #[command(after_help = inspect::EXAMPLES)]
    Inspect(inspect::Options),
    /// Print a completion script for a shell.
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// Shell.
        shell: Shell,
    },
}

/// The whole tree, for tests and for documentation made from it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests;
