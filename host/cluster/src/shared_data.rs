//! Where tests find the published traces, which are not in the repository.

use std::path::PathBuf;

/// Directory `../shared/traces/{relative}` of the workspace, or below
/// `LOADMASTER_SHARED`. When it is absent the test says so and ends: what
/// could not run is reported as not run, not as passed.
pub(crate) fn find(test: &str, relative: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("LOADMASTER_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let path = shared.join("traces").join(relative);
    if path.exists() {
        return Some(path);
    }
    eprintln!("not run: {test}: ../shared/traces/{relative} is absent");
    None
}
