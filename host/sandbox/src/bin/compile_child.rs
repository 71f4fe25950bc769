//! The compile child on its own, for the tests of this crate.

fn main() {
    sandbox::compile_child::maybe_run();
    eprintln!("this program only answers the hidden verb of sandbox::compile_child");
    std::process::exit(2);
}
