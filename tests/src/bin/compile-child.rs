//! Answers the sandbox's compile verb for tests, whose own binary belongs to the
//! harness.

fn main() {
    sandbox::compile_child::maybe_run();
    eprintln!("this program only compiles policies for tests");
    std::process::exit(2);
}
