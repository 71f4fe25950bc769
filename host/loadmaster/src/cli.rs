//! What people type. `args` is the tree of verbs; each verb has a file.
//!
//! Verbs about a running host talk to it through `client`: `policy`, `node`,
//! `work` (jobs and pods), `dry_run` (what would happen), `quota` (with queues and
//! catalogues), `yielding` (gangs, plans, budgets), `explain` (why and decisions),
//! `scaling`, `cluster`.
//! `serve` is the host, with its `config`; `storage` looks after its directory;
//! `demo` shows it all; `replay` and `inspect` need no host.
//!
//! Data goes to the standard output in the format asked for (`output`, `table`,
//! `yaml`); notes, warnings and `progress` go to the standard error. A verb
//! returns nothing or a `failure`, whose exit code is part of the interface.

pub mod failure;
pub mod output;
pub mod table;

mod args;
mod client;
mod cluster;
mod config;
mod demo;
mod dry_run;
mod explain;
mod input;
mod inspect;
mod node;
mod policy;
mod progress;
mod quota;
mod replay;
mod scaling;
mod serve;
mod storage;
mod work;
mod yaml;
mod yielding;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use args::{Cli, Verb};
use client::Client;
use failure::{Exit, Failure, Outcome};
use output::Out;

pub use args::command;

/// Reads the command line, does what it says, and tells how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; everything else was mistyped.
            let asked = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            let _ = error.print();
            return ExitCode::from(if asked { 0 } else { Exit::Usage as u8 });
        }
    };
    let out = Out::new(cli.output, cli.color);
    run(&cli, &out).unwrap_or_else(|failure| {
        eprint!("{}", failure.text(out.notes));
        failure.code()
    })
}

fn run(cli: &Cli, out: &Out) -> Result<ExitCode, Failure> {
    let host = || Client::new(&cli.server);
    let done: Outcome = match &cli.verb {
        // Host and demo have exit codes of their own.
        Verb::Serve(options) => return serve::serve(options, out),
        Verb::Demo(options) => return demo::run(options),
        Verb::Config(verb) => serve::config(verb, out),
        Verb::Replay(replay) => replay::run(replay, out),
        Verb::Why(options) => explain::why(options, &host()?, out),
        Verb::Decision(verb) => explain::decision(verb, &host()?, out),
        Verb::Policy(verb) => policy::run(verb, &host()?, out),
        Verb::Node(verb) => node::run(verb, &host()?, out),
        Verb::Job(verb) => work::job(verb, &host()?, out),
        Verb::Pod(verb) => work::pod(verb, &host()?, out),
        Verb::Quota(verb) => quota::quota(verb, &host()?, out),
        Verb::Queue(verb) => quota::queue(verb, &host()?, out),
        Verb::Catalog(verb) => quota::catalog(verb, &host()?, out),
        Verb::Gang(verb) => yielding::gang(verb, &host()?, out),
        Verb::Plan(verb) => yielding::plan(verb, &host()?, out),
        Verb::Budget(verb) => yielding::budget(verb, &host()?, out),
        Verb::Scaling(verb) => scaling::run(verb, &host()?, out),
        Verb::Calendar(verb) => scaling::calendar(verb, &host()?, out),
        Verb::Status => cluster::status(&host()?, out),
        Verb::Mode { mode } => cluster::mode(*mode, &host()?, out),
        Verb::Guard(verb) => cluster::guard(verb, &host()?, out),
        Verb::Events(options) => cluster::events(options, &host()?, out),
        Verb::Journal(verb) => storage::journal(verb, out),
        Verb::Snapshot(verb) => storage::snapshot(verb, out),
        Verb::Inspect(options) => inspect::run(options, out),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            let mut command = Cli::command();
            clap_complete::generate(*shell, &mut command, "loadmaster", &mut script);
            out.print(&String::from_utf8_lossy(&script))
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}
