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
/// The knob that lets memory count by its use.
const BY_USE: &str = "memory_by_use";
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
    immovable: Vec<bool>,
    /// The first step that the windows are no longer open in.
    open_until: usize,
}

impl Driver {
    /// Registers the nodes and applies the instances of a fleet, and plays through its warm-up.
    /// `immovable` says of each instance whether it never moves after it: like all others such a one is
    /// placed when the measurement begins, by its history. Under honest rules every other one has a
    /// window, which the engine keeps to as it does to those of real workloads.
    pub fn new(
        fleet: &Fleet,
        knobs: &BTreeMap<String, u64>,
        immovable: Vec<bool>,
        honest: Option<Honest>,
    ) -> Result<Self, DriveError> {
        assert_eq!(immovable.len(), fleet.len(), "it is said of every instance");
        let mut knobs = knobs.clone();
        if fleet.memory_mode == MemoryMode::Forecast {
            knobs.entry(BY_USE.to_owned()).or_insert(1);
        }
        let mut unpaced = knobs.clone();
        if fleet.warm > 0 {
            unpaced.extend(UNPACED.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        }
        let places = (0..nodes_wanted(fleet)).map(|_| place(fleet));
        let mut cloud = Cloud::new(&unpaced, places)?;
        for (instance, still) in immovable.iter().copied().enumerate() {
            cloud.apply(&Guest {
                cpu: nearest(fleet.request[instance]),
                memory: nearest(fleet.memory[instance].ceil()),
                windowed: honest.is_some() || still,
                ..Guest::default()
            })?;
        }
        // The warm-up's last plan is made when its last step ended, the next one a step later.
        let open_until = fleet.warm + 1;
        cloud.open((0, second(open_until)), |_| true)?;
        cloud.settle()?;
        let mut driver = Self { cloud, knobs, moved_before: 0, honest, immovable, open_until };
        for step in 0..fleet.warm {
            driver.report(fleet, step)?;
            driver.cloud.settle()?;
        }
        driver.cloud.set(driver.knobs.clone())?;
        driver.moved_before = driver.cloud.state().moves_total();
        Ok(driver)
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
        if let Some(stretches) = fleet.days_told(step) {
            self.cloud.tell_days(stretches.clone())?;
        }
        let end = second(step + 1);
        let memory = |at: usize| match fleet.memory_mode {
            // One that uses none is off, and known to be.
            MemoryMode::Forecast => nearest(fleet.used_memory(at, step)).max(1),
            MemoryMode::None | MemoryMode::Request | MemoryMode::Used => nearest(fleet.memory[at]),
        };
        let used = |at: usize| (nearest(fleet.demand(at)[step]), memory(at));
        self.cloud.report(end, used)
    }

    /// Opens the windows of all that may move when their hours begin, until these end.
    fn mind_windows(&mut self, fleet: &Fleet, step: usize) -> Result<(), DriveError> {
        let Some(honest) = self.honest else { return Ok(()) };
        if step < self.open_until || !honest.may_move(fleet, step) {
            return Ok(());
        }
        let closes = (step..fleet.steps).find(|later| !honest.may_move(fleet, *later));
        self.open_until = closes.unwrap_or(fleet.steps);
        let times = (second(step), second(self.open_until));
        let immovable = &self.immovable;
        self.cloud.open(times, |at| !immovable.get(at).copied().unwrap_or(false))
    }
}

impl Planner for Driver {
    fn before(&mut self, fleet: &Fleet, step: usize) -> u64 {
        // The engine took the same commands all through the warm-up: it refuses none of these.
        self.mind_windows(fleet, step).expect("windows of registered workloads are taken");
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

/// The moment at which a step begins.
fn second(step: usize) -> u64 {
    STEP_SECS.saturating_mul(wide(step))
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
        MemoryMode::Request | MemoryMode::Used | MemoryMode::Forecast => fleet.shape.memory.get(),
    };
    Place { cpu: fleet.shape.cpu.get(), memory, ..Place::default() }
}
