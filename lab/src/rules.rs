//! The rules of the game between two steps: what a placement costs and yields on nodes that are real
//! to a chosen degree, from free moves to honest ones.

use crate::energy::PowerCurve;
use crate::fleet::Fleet;
use crate::number::real;
use crate::score::{NOWHERE, NodeLoad};
use crate::trace::STEP_SECS;

/// How a replay is scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// What nodes draw.
    pub curve: PowerCurve,
    /// The share of a node's CPU that harvest work fills up to; `None` without harvest work.
    pub harvest: Option<f64>,
    /// What power-on and moves cost; `None` when both are free.
    pub honest: Option<Honest>,
}

impl Rules {
    /// The free-move rules of the reference: nothing costs anything, nothing fills.
    pub const FREE: Self = Self { curve: PowerCurve::G5, harvest: None, honest: None };
}

/// What power-on and moves cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Honest {
    /// Seconds from the decision to use a node that is off until it runs anything.
    pub power_on_secs: u64,
    /// Seconds that a new copy starts up, working on its new node while the old one serves.
    pub startup_secs: u64,
    /// Hours of the day in which anything may be moved, `(from, until)`: by civil time where the trace
    /// states when it begins, else counted from its beginning.
    pub window: (u8, u8),
}

impl Honest {
    /// Three minutes to power on, half a minute to start, moves at night only.
    pub const DEFAULT: Self = Self { power_on_secs: 180, startup_secs: 30, window: (22, 6) };
    /// The window that is never closed.
    pub const ALWAYS: (u8, u8) = (0, 24);

    /// Says whether anything may be moved in a step.
    pub fn may_move(&self, fleet: &Fleet, step: usize) -> bool {
        let hour = fleet.hour_of_week(step) % 24;
        let (from, until) = (usize::from(self.window.0), usize::from(self.window.1));
        if from <= until { (from..until).contains(&hour) } else { hour >= from || hour < until }
    }
}

/// Where everything was in the step before.
#[derive(Debug)]
pub(crate) struct Situation {
    seats: Vec<usize>,
    /// Instances that wait for a node in this step, and their demand in nodes.
    pub(crate) waiting: u64,
    pub(crate) waiting_demand: f64,
}

impl Situation {
    /// Begins before the first measured step, with nothing placed.
    pub(crate) fn new(fleet: &Fleet) -> Self {
        Self { seats: vec![NOWHERE; fleet.len()], waiting: 0, waiting_demand: 0.0 }
    }

    /// Returns the load of every node in a step; `None` is off.
    pub(crate) fn next(
        &mut self,
        fleet: &Fleet,
        (seats, rooms): (&[usize], Option<Vec<f64>>),
        step: usize,
        rules: &Rules,
    ) -> Vec<Option<NodeLoad>> {
        let count = |s: &[usize]| s.iter().filter(|s| **s != NOWHERE).max().map_or(0, |l| l + 1);
        let nodes = count(seats).max(if rules.honest.is_some() { count(&self.seats) } else { 0 });
        let mut step_load = StepLoad::new(fleet, step, nodes);
        (self.waiting, self.waiting_demand) = (0, 0.0);
        let mut was_on = vec![false; nodes];
        for seat in &self.seats {
            if let Some(on) = was_on.get_mut(*seat) {
                *on = true;
            }
        }
        for (instance, seat) in seats.iter().enumerate() {
            if *seat == NOWHERE {
                self.waiting += 1;
                self.waiting_demand += fleet.demand(instance)[step] / fleet.capacity;
                continue;
            }
            let before = self.seats[instance];
            match &rules.honest {
                Some(honest) if before != *seat && step > fleet.warm => {
                    let power_on = if was_on[*seat] { 0 } else { honest.power_on_secs };
                    let late = step_load.shift((instance, before, *seat), honest, power_on);
                    self.waiting_demand += late;
                }
                Some(_) | None => step_load.sit(instance, *seat),
            }
        }
        self.seats.clear();
        self.seats.extend_from_slice(seats);
        step_load.finish(rules.harvest, rooms.as_deref())
    }
}

/// The demand of every node in one step, in the making.
struct StepLoad<'a> {
    fleet: &'a Fleet,
    step: usize,
    demand: Vec<f64>,
    /// What was demanded in the step before by what is here now.
    known: Vec<f64>,
    /// Memory in use.
    memory: Vec<f64>,
    instances: Vec<u64>,
    on: Vec<bool>,
}

impl<'a> StepLoad<'a> {
    fn new(fleet: &'a Fleet, step: usize, nodes: usize) -> Self {
        Self {
            fleet,
            step,
            demand: vec![0.0; nodes],
            known: vec![0.0; nodes],
            memory: vec![0.0; nodes],
            instances: vec![0; nodes],
            on: vec![false; nodes],
        }
    }

    fn sit(&mut self, instance: usize, seat: usize) {
        let demand = self.fleet.demand(instance);
        self.demand[seat] += demand[self.step];
        self.known[seat] += demand[self.step.saturating_sub(1)];
        self.memory[seat] += self.fleet.used_memory(instance, self.step);
        self.instances[seat] += 1;
        self.on[seat] = true;
    }

    /// Splits the step between the old and the new node and charges the start-up to both. Returns
    /// the demand, in nodes, that had no node yet.
    fn shift(
        &mut self,
        (instance, from, to): (usize, usize, usize),
        honest: &Honest,
        power_on_secs: u64,
    ) -> f64 {
        let whole = real(STEP_SECS);
        let late = real(power_on_secs.saturating_add(honest.startup_secs)).min(whole) / whole;
        let startup = real(honest.startup_secs).min(whole) / whole;
        let demand = self.fleet.demand(instance);
        let used = demand[self.step];
        self.known[to] += demand[self.step.saturating_sub(1)];
        self.memory[to] += self.fleet.used_memory(instance, self.step);
        self.instances[to] += 1;
        self.on[to] = true;
        self.demand[to] += used * (1.0 - late + startup);
        if from == NOWHERE {
            return used * late / self.fleet.capacity;
        }
        self.on[from] = true;
        self.demand[from] += used * (late + startup);
        0.0
    }

    fn finish(self, harvest: Option<f64>, rooms: Option<&[f64]>) -> Vec<Option<NodeLoad>> {
        let capacity = self.fleet.capacity;
        let load = |node: usize| {
            if !self.on[node] {
                return None;
            }
            let share = self.demand[node] / capacity;
            // Given before the step from what is known then; only ever given back within it.
            let foreseen = rooms.and_then(|rooms| rooms.get(node).copied());
            let known = |line: f64| (line - self.known[node] / capacity).max(0.0);
            let pool = harvest.map_or(0.0, |line| foreseen.unwrap_or_else(|| known(line)));
            let room = harvest.map_or(0.0, |line| (line - share).max(0.0));
            let (harvest, instances) = (pool.min(room), real(self.instances[node]));
            let memory = self.memory[node] / self.fleet.memory_capacity;
            Some(NodeLoad { share, harvest, pool, room, instances, memory })
        };
        (0..self.demand.len()).map(load).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{MemoryMode, Shape};
    use crate::generate::Statistics;

    fn fleet() -> Fleet {
        let stated = Statistics { instances: 2, ..Statistics::PLANETLAB };
        Fleet::new(&stated.trace(3), Shape::parse("4/16").unwrap(), MemoryMode::None)
    }

    #[test]
    fn an_honest_move_costs_both_nodes_and_loses_nothing() {
        let fleet = fleet();
        let rules = Rules { honest: Some(Honest::DEFAULT), ..Rules::FREE };
        let mut situation = Situation::new(&fleet);
        situation.next(&fleet, (&[0, 0], None), fleet.warm, &rules);
        let step = fleet.warm + 1;
        let loads = situation.next(&fleet, (&[0, 1], None), step, &rules);
        let total: f64 = loads.iter().flatten().map(|l| l.share).sum();
        let used = |i| fleet.demand(i)[step] / fleet.capacity;
        let startup = 2.0 * 0.1 * used(1);
        assert!((total - used(0) - used(1) - startup).abs() < 1e-9);
        assert!(situation.waiting_demand.abs() < 1e-12);
    }

    #[test]
    fn harvest_work_never_lifts_a_node_above_its_line() {
        let fleet = fleet();
        let rules = Rules { harvest: Some(0.72), ..Rules::FREE };
        let mut situation = Situation::new(&fleet);
        for step in fleet.warm..fleet.steps {
            for load in situation.next(&fleet, (&[0, 0], None), step, &rules).iter().flatten() {
                assert!(
                    load.harvest <= load.pool
                        && load.share.max(0.72) + 1e-9 >= load.share + load.harvest
                );
            }
        }
    }

    #[test]
    fn a_window_may_pass_midnight() {
        let fleet = fleet();
        let may = |window, hour| {
            Honest { window, ..Honest::DEFAULT }.may_move(&fleet, hour * crate::fleet::HOUR_STEPS)
        };
        assert!(may((22, 6), 23) && may((22, 6), 24) && !may((22, 6), 12));
        assert!((0..48).all(|hour| may(Honest::ALWAYS, hour) && !may((0, 0), hour)));
    }
}
