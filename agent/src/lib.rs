//! The agent: measures one server, meters use, and runs the instances assigned to it.
//!
//! It holds no truth of its own: what should run comes from the ledger of the last assignment, what
//! does run is read from the disk and the kernel. It never decides what should run where.

mod act;
mod agent;
mod artifacts;
mod capacity;
mod checks;
mod clock;
mod config;
#[cfg(test)]
mod fixture;
mod guard;
mod health;
mod identity;
mod instances;
mod jitter;
mod ledger;
mod link;
mod logs;
mod measure;
mod meter;
mod metrics;
mod observe;
mod reconcile;
mod roles;
mod run;
mod services;
mod shim;
mod sketch;
mod smt;
mod start;
mod supply;
mod volumes;
mod watch;

pub use agent::{AgentError, run};
pub use artifacts::ArtifactLimits;
pub use config::{CapacityOverrides, Config, GroupPath, GroupPathError, OutputLimits};
pub use identity::{identity_path, join};
pub use observe::{machine, machine_below};
pub use roles::enter;
pub use smt::known as known_smt;
pub use start::StartError;
pub use tengyun_daemon::metrics::SocketError;

/// The threads that an agent's runtime needs for work that blocks: one for each request for output
/// (16), one for each start at the same time (4), one for each download (4), and some for clearing
/// away.
pub const BLOCKING_THREADS: usize = 28;
