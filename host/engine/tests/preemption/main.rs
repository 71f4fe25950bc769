//! Who yields: stories, and what a hostile policy can do (nothing).

mod hostile;
mod pods;
mod reclaim;
mod topology;
mod world;
