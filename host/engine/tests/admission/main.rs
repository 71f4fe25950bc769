//! Who enters: the door, the quota cycle, and policies that want too much.

mod cycle;
mod door;
mod hostile;
mod quota;
mod world;
