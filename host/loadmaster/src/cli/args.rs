//! The tree of verbs.

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::client::SERVER;
use super::output::{Colour, Format};
use super::{
    cluster, demo, explain, inspect, node, policy, quota, replay, scaling, serve, storage, work,
    yielding,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Cyan.on_default().bold())
    .usage(AnsiColor::Cyan.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Yellow.on_default());

/// Options of every verb stand apart from its own.
const GLOBAL: &str = "Global options";

const EXAMPLES: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage or bad input, 3 refused, 4 conflict, 5 unreachable, 6 policy fault

Examples:
  loadmaster demo
  loadmaster replay openb --nodes nodes.csv --pods pods_default.csv --policy scoring=gpu-topology-packer";

const COMPLETIONS: &str = "\
Examples:
  loadmaster completions bash
  loadmaster completions zsh";

/// Schedules GPU clusters with policies that run in a sandbox.
#[derive(Debug, Parser)]
#[command(name = "loadmaster", version, about, styles = STYLES, after_help = EXAMPLES)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    term_width = 0
)]
pub struct Cli {
    /// How data is printed
    #[arg(
        short,
        long,
        value_enum,
        default_value_t,
        global = true,
        value_name = "FORMAT",
        help_heading = GLOBAL
    )]
    pub output: Format,
    /// When to use colour
    #[arg(long, value_enum, default_value_t, global = true, value_name = "WHEN", help_heading = GLOBAL)]
    pub color: Colour,
    /// Host to talk to
    #[arg(long, global = true, value_name = "URL", env = "LOADMASTER_SERVER", default_value = SERVER, help_heading = GLOBAL)]
    pub server: String,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Everything `loadmaster` can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Watch policies pack a generated GPU cluster, and one swapped live.
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::Options),
    /// Run the host: decide, keep, and answer over HTTP.
    #[command(after_help = serve::EXAMPLES)]
    Serve(serve::Serve),
    /// Show the settings of the host.
    #[command(subcommand, after_help = serve::CONFIG)]
    Config(serve::ConfigVerb),
    /// Run a recorded trace through policies, side by side.
    #[command(subcommand, after_help = replay::EXAMPLES)]
    Replay(replay::Replay),
    /// Why a pod or a job waits, and what would let it run.
    #[command(after_help = explain::WHY)]
    Why(explain::WhyOptions),
    /// Read decisions: score tables, and what decided them.
    #[command(subcommand, after_help = explain::DECISION)]
    Decision(explain::DecisionVerb),
    /// Upload, activate and roll back policies.
    #[command(subcommand, after_help = policy::EXAMPLES)]
    Policy(policy::Policy),
    /// Add, list, cordon and remove nodes.
    #[command(subcommand, after_help = node::EXAMPLES)]
    Node(node::Node),
    /// Submit, list, scale and delete jobs.
    #[command(subcommand, after_help = work::JOB)]
    Job(work::Job),
    /// Submit, list, evict and end pods.
    #[command(subcommand, after_help = work::POD)]
    Pod(work::Pod),
    /// Who may use how much: capacity groups and cohorts.
    #[command(subcommand, after_help = quota::QUOTA)]
    Quota(quota::Quota),
    /// Where jobs wait for quota.
    #[command(subcommand, after_help = quota::QUEUE)]
    Queue(quota::Queue),
    /// What is known of applications and images.
    #[command(subcommand, after_help = quota::CATALOG)]
    Catalog(quota::Catalog),
    /// Jobs whose pods start together or not at all.
    #[command(subcommand, after_help = yielding::GANG)]
    Gang(yielding::Gang),
    /// Who yields for whom.
    #[command(subcommand, after_help = yielding::PLAN)]
    Plan(yielding::Plan),
    /// How much of an application may be disrupted.
    #[command(subcommand, after_help = yielding::BUDGET)]
    Budget(yielding::Budget),
    /// Replicas over time.
    #[command(subcommand, after_help = scaling::EXAMPLES)]
    Scaling(scaling::Scaling),
    /// What people know in advance about loads.
    #[command(subcommand, after_help = scaling::CALENDAR)]
    Calendar(scaling::Calendar),
    /// The cluster in numbers.
    #[command(after_help = cluster::STATUS)]
    Status,
    /// Show or declare the state of the whole cluster.
    #[command(after_help = cluster::MODE)]
    Mode {
        /// State to declare
        #[arg(value_enum)]
        mode: Option<cluster::Mode>,
    },
    /// What keeps the host from acting.
    #[command(subcommand, after_help = cluster::GUARD)]
    Guard(cluster::Guard),
    /// Watch what happens, live.
    #[command(after_help = cluster::EVENTS)]
    Events(cluster::Events),
    /// Check the journal of a data directory.
    #[command(subcommand, after_help = storage::JOURNAL)]
    Journal(storage::Journal),
    /// Export and restore the state of a host.
    #[command(subcommand, after_help = storage::SNAPSHOT)]
    Snapshot(storage::Snapshot),
    /// Show what a policy component is, may do, and reads.
    #[command(after_help = inspect::EXAMPLES)]
    Inspect(inspect::Options),
    /// Print a completion script for a shell.
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// Shell
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
