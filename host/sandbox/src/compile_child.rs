//! The process that compiles.
//!
//! The same binary as its parent, started with a hidden verb. It limits itself
//! before it reads a byte of the component, compiles, and answers with machine
//! code on its output or a reason in its exit code. What it cannot answer (a
//! kill by the kernel, an abort) the parent reads from the signal.

use std::io::{Read, Write};
use std::process::exit;

use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::Engine;

use crate::config;

/// First argument that makes a process a compile child.
pub(crate) const VERB: &str = "__compile";

/// The component is not valid, or uses what the configuration leaves out.
pub(crate) const EXIT_INVALID: i32 = 65;
/// The compiler ran out of memory and could say so.
pub(crate) const EXIT_OUT_OF_MEMORY: i32 = 66;
/// The child was started wrongly or could not limit itself.
pub(crate) const EXIT_SETUP: i32 = 70;
/// More bytes came in than were announced as the limit.
pub(crate) const EXIT_TOO_LARGE: i32 = 71;

/// Bytes of explanation on the error output.
const REASON_BYTES_MAX: usize = 2_048;

/// Lowest priority: an upload must not slow a decision.
const NICE: i32 = 19;

/// Answers the hidden verb and ends the process, or returns at once when this
/// is any other start of the binary. To be called first in `main`, before
/// threads, files or sockets exist.
pub fn maybe_run() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_none_or(|verb| verb != VERB) {
        return;
    }
    let numbers: Vec<u64> = args
        .filter_map(|a| a.to_str().and_then(|s| s.parse().ok()))
        .collect();
    let &[address_space, cpu_seconds, component_bytes] = numbers.as_slice() else {
        fail(
            EXIT_SETUP,
            "usage: __compile <address space> <cpu seconds> <component bytes>",
        );
    };
    if let Err(error) = limit_self(address_space, cpu_seconds) {
        fail(
            EXIT_SETUP,
            &format!("cannot limit the compile child: {error}"),
        );
    }
    let component = read_component(component_bytes);
    let artifact = compile(&component);
    let mut out = std::io::stdout().lock();
    if out.write_all(&artifact).and_then(|()| out.flush()).is_err() {
        fail(EXIT_SETUP, "the parent closed the pipe");
    }
    exit(0);
}

fn limit_self(address_space: u64, cpu_seconds: u64) -> rustix::io::Result<()> {
    let set = |resource, limit| {
        setrlimit(
            resource,
            Rlimit {
                current: Some(limit),
                maximum: Some(limit),
            },
        )
    };
    #[cfg(target_os = "linux")]
    {
        // Without a parent nobody enforces the wall limit.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    }
    set(Resource::As, address_space)?;
    set(Resource::Cpu, cpu_seconds)?;
    // A dump would write up to the address space to disk on every bomb.
    set(Resource::Core, 0)?;
    set(Resource::Fsize, 0)?;
    // Only the three pipes: no socket and no file can be opened.
    set(Resource::Nofile, 3)?;
    // Refused where a policy of the host forbids it; the limits above hold.
    let _ = rustix::process::setpriority_process(None, NICE);
    Ok(())
}

fn read_component(limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    match std::io::stdin()
        .lock()
        .take(limit + 1)
        .read_to_end(&mut bytes)
    {
        Err(error) => fail(EXIT_SETUP, &format!("cannot read the component: {error}")),
        Ok(n) if n as u64 > limit => fail(EXIT_TOO_LARGE, "component too large"),
        Ok(_) => bytes,
    }
}

fn compile(component: &[u8]) -> Vec<u8> {
    let engine = match Engine::new(&config::on_demand()) {
        Ok(engine) => engine,
        Err(error) => fail(EXIT_SETUP, &format!("cannot start the compiler: {error:#}")),
    };
    match engine.precompile_component(component) {
        Ok(artifact) => artifact,
        Err(error) if error.is::<wasmtime::error::OutOfMemory>() => {
            fail(EXIT_OUT_OF_MEMORY, &format!("{error:#}"))
        }
        Err(error) => fail(EXIT_INVALID, &format!("{error:#}")),
    }
}

fn fail(code: i32, reason: &str) -> ! {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let _ = std::io::stderr().write_all(&reason.as_bytes()[..end]);
    exit(code);
}
