//! Real traces through any policies, under virtual time.
//!
//! `openb` fills a GPU cluster the way the published comparison does, `gangs`
//! runs gang jobs, `requests` scales a service. Each turns a trace and a policy
//! into a run; `run` spreads runs over threads. `cost` meters policy calls,
//! `digest` condenses what was decided, `published` reads the papers' numbers,
//! `summary` compares, and `report` draws the HTML page with `chart`.

pub mod openb;

pub mod gangs;

pub mod requests;

pub mod cost;
pub mod digest;
pub mod published;
pub mod run;
pub mod summary;

pub mod chart;
pub mod report;
