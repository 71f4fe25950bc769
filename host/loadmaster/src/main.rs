//! `loadmaster`: the daemon, its command line and the policy author's tools.

fn main() -> std::process::ExitCode {
    // A hidden verb makes this process the compiler's cage and never returns.
    sandbox::compile_child::maybe_run();
    loadmaster::cli::main()
}
