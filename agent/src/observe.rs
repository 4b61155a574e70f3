//! Observation: what the server is made of, and what is used on it now.
//!
//! Readers take root paths, so tests bring their own `/proc` and `/sys`. A [`Sample`] holds raw
//! cumulative counters; rates are derived from two of them by a pure function. Nothing here decides.

mod enforcement;
mod file;
mod inventory;
mod io;
mod proc;
mod rates;
mod sampler;
mod tree;

pub use inventory::{machine, machine_below};

pub(crate) use enforcement::{Probe, enforcement};
pub(crate) use inventory::{Roots, inventory, siblings};
pub(crate) use rates::{NodeScope, usage};
#[cfg(test)]
pub(crate) use sampler::Reading;
pub(crate) use sampler::{Key, Sample, Sampler, Source};
