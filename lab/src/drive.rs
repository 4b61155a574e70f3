//! Our engine over a recorded fleet: a cloud of the fleet's nodes and instances that is told each
//! step's use at its end, and decides where everything is in the next.

use std::collections::BTreeMap;

use crate::cloud::{Cloud, DriveError, Guest, Place, Seen};
use crate::fleet::{Fleet, MemoryMode};
use crate::number::{length, nearest, wide};
use crate::rules::Honest;
use crate::score::Planner;
use crate::trace::STEP_SECS;

/// Nodes beyond what requests need: best fit may waste some.
const SPARE_SHARE: f64 = 1.05;
/// Requests fill nodes up to this share before anything is measured.
const FULL: f64 = 0.72;
/// Knobs that pace moves, lifted during the warm-up: by the rules of the measurement, placement
/// starts after it, settled, from its history.
const UNPACED: [(&str, u64); 5] = [
    ("rebalance_moves", 100_000),
    ("moves_per_instance_day", 1_000_000),
    ("level_moves", 1000),
    ("consolidate_interval_seconds", 0),
    ("moves_per_workload_interval_seconds", 0),
];

/// The engine over a fleet.
#[derive(Debug)]
pub struct Driver {
    cloud: Cloud,
    knobs: BTreeMap<String, u64>,
    moved_before: u64,
    honest: Option<Honest>,
    empties: bool,
}

impl Driver {
    /// Registers the nodes and applies the instances of a fleet, and plays through its warm-up.
    /// Those instances of which `immovable` holds never move after it: like all others they are placed
    /// when the measurement begins, by their history.
    pub fn new(
        fleet: &Fleet,
        knobs: &BTreeMap<String, u64>,
        immovable: impl Fn(usize) -> bool,
    ) -> Result<Self, DriveError> {
        let mut unpaced = knobs.clone();
        if fleet.warm > 0 {
            unpaced.extend(UNPACED.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        }
        let places = (0..nodes_wanted(fleet)).map(|_| place(fleet));
        let mut cloud = Cloud::new(&unpaced, places)?;
        for instance in 0..fleet.len() {
            cloud.apply(&Guest {
                cpu: nearest(fleet.request[instance]),
                memory: nearest(fleet.memory[instance].ceil()),
                immovable: immovable(instance),
                ..Guest::default()
            })?;
        }
        // The warm-up's last plan is made when its last step ended, the next one a step later.
        cloud.hold(STEP_SECS.saturating_mul(wide(fleet.warm) + 1))?;
        cloud.settle()?;
        let knobs = knobs.clone();
        let mut driver = Self { cloud, knobs, moved_before: 0, honest: None, empties: true };
        for step in 0..fleet.warm {
            driver.report(fleet, step)?;
            driver.cloud.settle()?;
        }
        driver.cloud.set(driver.knobs.clone())?;
        driver.moved_before = driver.cloud.state().moves_total();
        Ok(driver)
    }

    /// Holds it to honest rules: nodes are emptied in the window only, by the engine's own knob.
    #[must_use]
    pub fn held(mut self, honest: Option<Honest>) -> Self {
        self.honest = honest;
        self
    }

    /// Returns what was seen of the engine.
    pub fn seen(&self) -> Seen {
        self.cloud.seen()
    }

    /// Returns the number of nodes that the engine knows.
    pub fn nodes(&self) -> usize {
        self.cloud.state().nodes().count()
    }

    /// Reports what every node used during a step.
    fn report(&mut self, fleet: &Fleet, step: usize) -> Result<(), DriveError> {
        let end = STEP_SECS.saturating_mul(wide(step) + 1);
        let used = |at: usize| (nearest(fleet.demand(at)[step]), nearest(fleet.memory[at]));
        self.cloud.report(end, used)
    }

    /// Opens or closes the window in which nodes may be emptied.
    fn mind_window(&mut self, step: usize) -> Result<(), DriveError> {
        let empties = self.honest.is_none_or(|h| h.may_empty(step));
        if empties == self.empties {
            return Ok(());
        }
        self.empties = empties;
        let mut knobs = self.knobs.clone();
        if !empties {
            knobs.insert("consolidate".to_owned(), 0);
        }
        self.cloud.set(knobs)
    }
}

impl Planner for Driver {
    fn before(&mut self, fleet: &Fleet, step: usize) -> u64 {
        // The engine took the same commands all through the warm-up: it refuses none of these.
        self.mind_window(step).expect("the knobs were taken before");
        if step > fleet.warm {
            self.report(fleet, step - 1).expect("reports of registered nodes are taken");
            self.cloud.settle().expect("plans and observations are taken");
        }
        let moves = self.cloud.state().moves_total() - self.moved_before;
        self.moved_before = self.cloud.state().moves_total();
        moves
    }

    fn harvest_rooms(&self) -> Option<Vec<f64>> {
        Some(self.cloud.harvest_rooms())
    }

    fn seats(&self) -> &[usize] {
        self.cloud.seats()
    }
}

/// As many nodes as requests need when nothing is measured yet, and some.
fn nodes_wanted(fleet: &Fleet) -> u64 {
    let packed = crate::yardstick::first_fit(fleet, FULL);
    let needed = length(packed.iter().max().map_or(0, |last| last + 1));
    nearest((needed * SPARE_SHARE).ceil()).max(1)
}

fn place(fleet: &Fleet) -> Place {
    let memory = match fleet.memory_mode {
        MemoryMode::None => u64::from(u32::MAX),
        MemoryMode::Request | MemoryMode::Used => fleet.shape.memory.get(),
    };
    Place { cpu: fleet.shape.cpu.get(), memory, ..Place::default() }
}
