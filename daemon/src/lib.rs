//! What both daemons are to the system they run on: their logs and their metrics. It knows nothing of
//! the cloud.

pub mod log;
pub mod metrics;
