//! The pure engine: every fact, wish and decision; the state they make; and what to do next.
//!
//! No clock, no IO, no randomness, no floating point: the same entries give the same state and the
//! same plans on every machine. Only [`State::apply`] changes a [`State`].
#![forbid(unsafe_code, clippy::float_arithmetic)]

pub mod bound;
pub mod check;
pub mod command;
pub mod days;
pub mod event;
pub mod explain;
pub mod image;
pub mod liveness;
pub mod occupancy;
pub mod place;
pub mod plan;
pub mod policy;
pub mod predict;
mod refusal;
pub mod rollout;
pub mod runs;
pub mod state;

pub use command::{Command, Effect, Entry, Lack, Outcome, Past, Refusal};
pub use image::{
    HomeFate, HomeImage, Image, InstanceImage, Loss, MarginImage, MemberImage, MeterImage,
    NodeImage, NodeWish, OperationImage, PolicyImage, PromiseImage, Proof, RestoreImage,
    TokenImage, TokenUse, WorkloadImage,
};
pub use plan::{Move, Plan, PromiseReason, ShiftReason, StopReason};
pub use policy::{Knob, Policy};
pub use rollout::{Copies, Fate, RevisionNote, RolloutImage, Stage, Steer, Verdict};
pub use runs::{CronImage, RunImage, RunOutcome};
pub use state::State;

#[cfg(test)]
mod random;
