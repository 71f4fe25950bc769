//! From a component to machine code, outside this process.
//!
//! Denial of service while compiling is not a bug in the eyes of the compiler's
//! authors, and an allocation failure aborts the process. So the daemon never
//! compiles: it starts [`crate::compile_child`] with limits, one at a time, and
//! reads an answer or an obituary.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::Engine;

use crate::compile_child::{EXIT_INVALID, EXIT_OUT_OF_MEMORY, EXIT_SETUP, EXIT_TOO_LARGE, VERB};
use crate::limits::{CompileLimits, MESSAGE_BYTES_MAX};
use crate::log::escape;

/// Who compiles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Compiler {
    /// This binary, started again with the hidden verb. Its `main` must call
    /// [`crate::compile_child::maybe_run`] first.
    #[default]
    CurrentExe,
    /// Another binary that answers the verb: for tests, whose own binary belongs
    /// to the test harness.
    Exe(PathBuf),
    /// No child, no limits: this process compiles. Only for tools that run on
    /// their author's own components and end with them; a daemon that does this
    /// can be aborted by 8 KB.
    InProcess,
}

/// Why there is no machine code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler refused it.
    #[error("does not compile: {message}")]
    Invalid {
        /// The compiler's words.
        message: String,
    },
    /// It used up its memory.
    #[error("needs more than {limit_bytes} bytes of memory to compile")]
    OutOfMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// It used up its CPU time.
    #[error("needs more than {limit_s} s of CPU time to compile")]
    CpuTime {
        /// The limit.
        limit_s: u64,
    },
    /// It used up its wall time.
    #[error("did not compile within {limit_ms} ms")]
    WallTime {
        /// The limit.
        limit_ms: u64,
    },
    /// The machine code is larger than the host accepts.
    #[error("compiles to more than {limit_bytes} bytes")]
    ArtifactTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The compiler crashed on it.
    #[error("the compiler crashed ({status}): {message}")]
    Crashed {
        /// Exit status of the child.
        status: String,
        /// End of its error output.
        message: String,
    },
    /// The child could not be run: our failure, not the component's.
    #[error("cannot run the compile child: {0}")]
    Child(String),
}

impl CompileError {
    /// Whether the component is to blame, as opposed to this host.
    #[must_use]
    pub fn is_the_components(&self) -> bool {
        !matches!(self, Self::Child(_))
    }
}

/// Bytes of the child's error output that are kept.
const STDERR_BYTES_MAX: u64 = 8 << 10;

/// How often the parent looks whether the child has ended.
const POLL: Duration = Duration::from_millis(2);

/// One compile at a time, whatever number of uploads: two bombs at once would
/// take twice the memory.
#[derive(Debug, Default)]
pub(crate) struct Compile {
    compiler: Compiler,
    turn: Mutex<()>,
}

impl Compile {
    pub(crate) fn new(compiler: Compiler) -> Self {
        Self {
            compiler,
            turn: Mutex::new(()),
        }
    }

    /// Machine code for `engine`'s configuration.
    pub(crate) fn run(
        &self,
        engine: &Engine,
        component: &[u8],
        limits: &CompileLimits,
    ) -> Result<Vec<u8>, CompileError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let exe = match &self.compiler {
            Compiler::InProcess => return in_process(engine, component),
            Compiler::Exe(path) => path.clone(),
            // The link in /proc still works after an upgrade replaced the file,
            // and then starts the version that is running.
            Compiler::CurrentExe => {
                let link = PathBuf::from("/proc/self/exe");
                if link.exists() {
                    link
                } else {
                    std::env::current_exe().map_err(|e| CompileError::Child(e.to_string()))?
                }
            }
        };
        in_child(&exe, component, limits)
    }
}

fn in_process(engine: &Engine, component: &[u8]) -> Result<Vec<u8>, CompileError> {
    engine
        .precompile_component(component)
        .map_err(|error| CompileError::Invalid {
            message: format!("{error:#}"),
        })
}

fn in_child(
    exe: &std::path::Path,
    component: &[u8],
    limits: &CompileLimits,
) -> Result<Vec<u8>, CompileError> {
    let started = Instant::now();
    let mut child = Command::new(exe)
        .arg(VERB)
        .arg(limits.address_space_bytes.to_string())
        .arg(limits.cpu_seconds.to_string())
        .arg(component.len().to_string())
        // No secrets from the environment, no directory to hold on to.
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| CompileError::Child(format!("{}: {e}", exe.display())))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut input), Some(output), Some(errors)) = pipes else {
        return Err(CompileError::Child("no pipes".to_owned()));
    };

    thread::scope(|scope| {
        // A child that died closes the pipe; its status says why, not the write.
        scope.spawn(move || {
            let _ = input.write_all(component);
        });
        let artifact = scope.spawn(move || read_up_to(output, limits.artifact_bytes));
        let message = scope.spawn(move || read_up_to(errors, STDERR_BYTES_MAX));
        let status = wait(&mut child, started, limits.wall);
        let artifact = artifact.join().unwrap_or_default();
        let message = message.join().unwrap_or_default();
        // It quotes names out of the component.
        let message = String::from_utf8_lossy(&message);
        let message = escape(message.trim(), MESSAGE_BYTES_MAX).0;
        match status? {
            status if status.success() && artifact.len() as u64 <= limits.artifact_bytes => {
                Ok(artifact)
            }
            status => Err(obituary(status, &artifact, message, limits)),
        }
    })
}

/// Reads one byte past `limit` to tell "exactly full" from "too much", then
/// drops the pipe, which ends a child that goes on writing.
fn read_up_to(from: impl Read, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.take(limit + 1).read_to_end(&mut bytes);
    bytes
}

fn wait(child: &mut Child, started: Instant, wall: Duration) -> Result<ExitStatus, CompileError> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if started.elapsed() < wall => thread::sleep(POLL),
            Ok(None) => {
                // Reaped here, so that its pipes close and the readers end.
                let _ = child.kill();
                let _ = child.wait();
                return Err(CompileError::WallTime {
                    limit_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
                });
            }
            Err(e) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(CompileError::Child(e.to_string()));
            }
        }
    }
}

fn obituary(
    status: ExitStatus,
    artifact: &[u8],
    message: String,
    limits: &CompileLimits,
) -> CompileError {
    if artifact.len() as u64 > limits.artifact_bytes {
        return CompileError::ArtifactTooLarge {
            limit_bytes: limits.artifact_bytes,
        };
    }
    // What the Rust runtime prints when an allocation fails, before it aborts.
    let out_of_memory = message.contains("memory allocation of");
    match (status.code(), status.signal()) {
        (Some(EXIT_INVALID), _) => CompileError::Invalid { message },
        (Some(EXIT_OUT_OF_MEMORY), _) => CompileError::OutOfMemory {
            limit_bytes: limits.address_space_bytes,
        },
        (Some(EXIT_SETUP | EXIT_TOO_LARGE), _) => CompileError::Child(message),
        (_, Some(libc::SIGABRT)) if out_of_memory => CompileError::OutOfMemory {
            limit_bytes: limits.address_space_bytes,
        },
        // Soft and hard CPU limit are equal: some kernels send the one signal,
        // some the other. Nothing else kills: the wall guard returned before.
        (_, Some(libc::SIGXCPU | libc::SIGKILL)) => CompileError::CpuTime {
            limit_s: limits.cpu_seconds,
        },
        _ => CompileError::Crashed {
            status: status.to_string(),
            message,
        },
    }
}
