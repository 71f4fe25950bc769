//! What people type. `args` is the tree of verbs; each verb has a file.
//!
//! Data goes to the standard output in the format asked for (`output`, `table`,
//! `yaml`); notes, warnings and `progress` go to the standard error. A verb
//! returns nothing or a `failure`, whose exit code is part of the interface.

pub mod failure;
pub mod output;
pub mod table;

mod args;
mod inspect;
mod progress;
mod replay;
mod yaml;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use args::{Cli, Verb};
use failure::{Exit, Outcome};
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
    match run(&cli, &out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{}", failure.text(out.notes));
            failure.code()
        }
    }
}

fn run(cli: &Cli, out: &Out) -> Outcome {
    match &cli.verb {
        Verb::Replay(replay) => replay::run(replay, out),
        Verb::Inspect(options) => inspect::run(options, out),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            let mut command = Cli::command();
            clap_complete::generate(*shell, &mut command, "loadmaster", &mut script);
            out.print(&String::from_utf8_lossy(&script))
        }
    }
}
