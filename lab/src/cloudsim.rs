//! The experiment of Beloglazov and Buyya (`CloudSim` 3.0.3), re-made from its definition: one `PlanetLab`
//! day on 800 nodes, decisions every 5 minutes, moves that take time.
//!
//! Its own rules never count memory after the first placement; `honour_memory` does.

mod ours;
mod theirs;
mod world;

use serde::Serialize;

pub use theirs::Detector;

use crate::cloud::DriveError;
use crate::number::decimals;
use crate::trace::{DAY_STEPS, Trace};
use world::World;

/// What keeps the experiment from being run.
#[derive(Debug, thiserror::Error)]
pub enum CloudsimError {
    /// It needs one whole day.
    #[error("the experiment needs a day of 288 steps, the trace has {0}")]
    NotADay(usize),
    /// Nothing to place.
    #[error("an instance asks for no CPU: {0}")]
    NoRequest(String),
    /// The 800 nodes are full.
    #[error("instance {0} finds no node among the 800")]
    Full(usize),
    /// The engine could not be driven.
    #[error(transparent)]
    Drive(#[from] DriveError),
}

/// Who decides.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// A policy of the experiment, with minimum migration time.
    Theirs(Detector),
    /// Our engine with these knobs.
    Ours(std::collections::BTreeMap<String, u64>),
}

/// The figures of the experiment: the fields of `lab cloudsim --output json`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CloudsimFigures {
    /// Energy of all nodes over the day.
    pub energy_kwh: f64,
    /// Share of active node-time with less granted than demanded.
    pub slatah_pct: f64,
    /// Demand lost to moves.
    pub pdm_pct: f64,
    /// The product of both shares.
    pub slav: f64,
    /// Energy times that.
    pub esv: f64,
    /// Moves.
    pub migrations: u64,
    /// Mean of active nodes.
    pub active_hosts_mean: f64,
}

/// Runs the experiment on a day.
pub fn run(
    trace: &Trace,
    policy: &Policy,
    honour_memory: bool,
) -> Result<CloudsimFigures, CloudsimError> {
    if trace.steps() != DAY_STEPS {
        return Err(CloudsimError::NotADay(trace.steps()));
    }
    if let Some(idle) = trace.instances.iter().find(|i| i.cpu_request.is_zero()) {
        return Err(CloudsimError::NoRequest(idle.name.clone()));
    }
    let mut world = World::new(trace, honour_memory);
    match policy {
        Policy::Theirs(detector) => {
            theirs::place_first(&mut world, *detector).map_err(CloudsimError::Full)?;
            for now in World::moments() {
                world.pass(now);
                let moves = theirs::Round::new(&world, *detector, honour_memory).moves();
                world.move_all(&moves, now);
            }
        }
        Policy::Ours(knobs) => {
            let mut engine = ours::Ours::new(&mut world, knobs, honour_memory)?;
            for now in World::moments() {
                world.pass(now);
                let moves = engine.moves(&world)?;
                world.move_all(&moves, now);
            }
        }
    }
    let measured = world.measured();
    let slav = measured.slatah * measured.pdm;
    Ok(CloudsimFigures {
        energy_kwh: decimals(measured.energy_kwh, 2),
        slatah_pct: decimals(100.0 * measured.slatah, 2),
        pdm_pct: decimals(100.0 * measured.pdm, 3),
        slav: decimals(slav, 9),
        esv: decimals(measured.energy_kwh * slav, 7),
        migrations: world.migrations,
        active_hosts_mean: decimals(measured.active_mean, 2),
    })
}
