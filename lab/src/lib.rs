//! The laboratory: recorded fleets replayed through the very engine that the daemon runs, on a virtual
//! clock, beside yardsticks that prove it honest.
//!
//! Floats live here and only here; decisions of the engine stay integers. Nothing reads a clock except
//! to say how long a run took: the same input and seed give the same figures on every machine.

pub mod arrivals;
pub mod before_you_move;
pub mod cloud;
pub mod cloudsim;
pub mod drive;
pub mod energy;
pub mod fleet;
pub mod generate;
pub mod interval;
pub mod journal;
pub mod note;
mod number;
pub mod pack;
pub mod policies;
pub mod replan;
pub mod replay;
pub mod report;
pub mod rules;
pub mod score;
pub mod trace;
pub mod yardstick;
