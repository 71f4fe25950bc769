//! The page at `/`: what this host does, to look at.
//!
//! `assets` serves the files below `assets/`, which are in the binary. `feed`
//! samples the daemon and keeps what the page shows; `columns` is the cluster as
//! the map draws it. The addresses of the feed are in `api/map`.

mod assets;
mod columns;
mod feed;

pub use assets::{CONTENT_SECURITY_POLICY, router};
pub use columns::{Fixed, Island, Now};
pub use feed::{Feed, Map, Mark, MarkKind, PageSummary, Point, Timeline, Watcher};

#[cfg(test)]
mod tests;
