//! `loadmaster serve` and `loadmaster config`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use tracing_subscriber::EnvFilter;

use super::config::{Config, Flags};
use super::failure::{Exit, Failure, Outcome};
use super::output::Out;
use super::table::Table;
use crate::api;

pub(super) const EXAMPLES: &str = "\
Exit codes: 75 when the data directory is in use, 78 for a configuration this version cannot use

Examples:
  loadmaster serve --data-dir /var/lib/loadmaster
  loadmaster serve --listen 127.0.0.1:8080 --data-dir none --set log=debug";
pub(super) const CONFIG: &str = "\
Examples:
  loadmaster config show
  loadmaster config show --origins";
const SHOW: &str = "\
Examples:
  loadmaster config show --origins
  loadmaster config show --config ./host.toml -o json";

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    flags: Flags,
}

/// Verbs about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Show every setting `serve` would use.
    #[command(after_help = SHOW)]
    Show {
        /// Also say where each value comes from
        #[arg(long)]
        origins: bool,
        #[command(flatten)]
        flags: Flags,
    },
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Serves until it is told to stop. The exit code is the server's own.
///
/// # Errors
/// The configuration is wrong, or the host does not start.
pub fn serve(options: &Serve, out: &Out) -> Result<ExitCode, Failure> {
    let config = Config::read(&options.flags, environment)?;
    let filter = EnvFilter::try_new(config.log())
        .map_err(|e| Failure::new(Exit::Usage, format!("log = {:?}: {e}", config.log())))?;
    // A second subscriber would be somebody's test; theirs stays.
    let _ = tracing_subscriber::fmt()
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::from_error(Exit::Failed, &e))?;
    let served = config.options();
    match runtime.block_on(api::serve(served)) {
        Ok(code) => Ok(code),
        Err(error) => {
            // The server's codes tell service managers what to do about it.
            let failure = Failure::from_error(Exit::Failed, &error);
            eprint!("{}", failure.text(out.notes));
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}

/// Does it.
///
/// # Errors
/// The configuration is wrong.
pub fn config(verb: &ConfigVerb, out: &Out) -> Outcome {
    let ConfigVerb::Show { origins, flags } = verb;
    let config = Config::read(flags, environment)?;
    let mut object = Map::new();
    for (key, value, origin, _) in config.iter() {
        object.insert(
            key.to_owned(),
            json!({"value": value, "origin": origin.to_string()}),
        );
    }
    out.value(&Value::Object(object), "config", |style| {
        let mut head = vec!["SETTING", "VALUE"];
        head.push(if *origins { "FROM" } else { "MEANING" });
        let mut table = Table::new(&head);
        for (key, value, origin, about) in config.iter() {
            let last = if *origins {
                origin.to_string()
            } else {
                about.to_owned()
            };
            table.row(vec![key.to_owned(), value.to_owned(), last]);
        }
        table.text(style)
    })
}
