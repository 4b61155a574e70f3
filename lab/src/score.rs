//! Scores: what a policy made of a fleet, step by step, and what comes of it in the end.

use serde::Serialize;

use crate::energy::PowerCurve;
use crate::fleet::{Fleet, WEEK_HOURS};
use crate::number::{decimals, length, percent, wide};
use crate::rules::{Rules, Situation};
use crate::trace::STEP_SECS;

/// Shares of a node's CPU that its histogram is cut at: 0 to 120 % by 5, and above.
pub const HISTOGRAM_BINS: usize = 25;
/// A node that was off for so many steps (6 hours) at a stretch was off for long.
pub const LONG_OFF_STEPS: usize = 72;

/// Decides, before each measured step, where every instance is during it.
pub trait Planner {
    /// Decides for a step and returns how many instances moved.
    fn before(&mut self, fleet: &Fleet, step: usize) -> u64;

    /// Returns what harvest work may use on each node in the coming step, as a share of its CPU; `None`
    /// from one who does not foresee: then what the others used last is taken to be what they will.
    fn harvest_rooms(&self) -> Option<Vec<f64>> {
        None
    }

    /// Returns the node of each instance; nodes are numbered from 0, an absent one is [`NOWHERE`].
    fn seats(&self) -> &[usize];
}

/// The seat of an instance that waits for a node.
pub const NOWHERE: usize = usize::MAX;

/// One measured step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StepScore {
    /// Powered-on nodes.
    pub nodes: u64,
    /// Their mean utilisation in percent.
    pub utilisation_pct: f64,
    /// The highest demand of a node, in percent of its CPU.
    pub highest_pct: f64,
    /// Nodes above 80 %.
    pub above80: u64,
    /// Instances moved before the step.
    pub moves: u64,
    /// What harvest work was given before the step, in nodes.
    pub harvest_given: f64,
    /// What it did of that; the rest had to wait.
    pub harvest_done: f64,
}

/// Sums over node-steps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    pub(crate) node_steps: f64,
    pub(crate) used: f64,
    pub(crate) in_band: f64,
    pub(crate) above80: f64,
    pub(crate) above90: f64,
    pub(crate) above100: f64,
    pub(crate) lost: f64,
    pub(crate) demand: f64,
    pub(crate) instance_steps: f64,
    /// The same as of nodes, of critical and standard instances on them: in band, above 80, 90, 100 %.
    pub(crate) instances: [f64; 4],
    pub(crate) watts: f64,
    pub(crate) harvest: f64,
    pub(crate) harvest_pool: f64,
    /// Room below the target in the end, whether harvest work had been given it or not.
    pub(crate) harvest_room: f64,
    /// Memory in use in nodes, and node-steps with more than there is.
    pub(crate) memory: [f64; 2],
}

impl Sums {
    /// Adds one powered-on node of one step; loads are shares of its CPU.
    fn node(&mut self, load: &NodeLoad, curve: &PowerCurve) {
        let share = load.share + load.harvest;
        let used = share.min(1.0);
        let counts = |holds: bool| f64::from(u8::from(holds));
        self.node_steps += 1.0;
        self.used += used;
        let lies = [(0.6..=0.8).contains(&used), share > 0.8, share > 0.9, share > 1.0].map(counts);
        let nodes = [&mut self.in_band, &mut self.above80, &mut self.above90, &mut self.above100];
        for (sum, lies) in nodes.into_iter().zip(lies) {
            *sum += lies;
        }
        for (sum, lies) in self.instances.iter_mut().zip(lies) {
            *sum += lies * load.instances;
        }
        self.lost += (share - 1.0).max(0.0);
        self.demand += load.share;
        self.instance_steps += load.instances;
        self.watts += curve.watts(used);
        self.harvest += load.harvest;
        self.harvest_pool += load.pool;
        self.harvest_room += load.room;
        for (sum, part) in self.memory.iter_mut().zip([load.memory, counts(load.memory > 1.0)]) {
            *sum += part;
        }
    }

    /// Returns the shares of critical and standard instance-time in band, above 80, 90 and 100 %.
    pub(crate) fn affected_pct(&self) -> [f64; 4] {
        self.instances.map(|sum| decimals(percent(sum, self.instance_steps), 3))
    }
}

/// One powered-on node in one step; loads are shares of its CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct NodeLoad {
    /// What critical and standard instances demand.
    pub(crate) share: f64,
    /// What harvest work used, and what it was given before the step.
    pub(crate) harvest: f64,
    pub(crate) pool: f64,
    /// What was left below the target in the end.
    pub(crate) room: f64,
    /// Critical and standard instances.
    pub(crate) instances: f64,
    /// Memory in use, as a share of all.
    pub(crate) memory: f64,
}

/// One hour of the week: from Monday's midnight by civil time where the trace states when it begins,
/// else counted from its own beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct HourScore {
    /// 0 to 167.
    pub hour: usize,
    /// Mean powered-on nodes.
    pub nodes_mean: f64,
    /// Mean utilisation of powered-on nodes.
    pub utilisation_pct: f64,
    /// Share of powered-on node-time from 60 to 80 %.
    pub in_band_pct: f64,
    /// Share above 80 %.
    pub above80_pct: f64,
    /// Share above 90 %.
    pub above90_pct: f64,
    /// Share above the capacity.
    pub above100_pct: f64,
    /// Shares of critical and standard instance-time on nodes in band, above 80, 90 and 100 %.
    pub affected_pct: [f64; 4],
}

/// What of harvest work had to wait. The pool is endless: what it wants in a step is what it was given
/// before the step, by what was foreseen. What the others needed of that it gave back and does later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct HarvestWait {
    /// Share of what it was given that it could not do in that step.
    pub waiting_pct: f64,
    /// Share of steps in which any of it had to wait.
    pub steps_pct: f64,
    /// The share that had to wait in the worst step.
    pub worst_pct: f64,
    /// Share of the room below the target that it was not given, because it was not foreseen.
    pub room_missed_pct: f64,
}

/// Everything measured of one policy.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    pub(crate) all: Sums,
    hours: Vec<(Sums, u64)>,
    /// Each measured step.
    pub steps: Vec<StepScore>,
    /// Node-steps by share of CPU demanded, cut every 5 %.
    pub histogram: Vec<u64>,
    /// Share of CPU demanded of each node, per step in permille; `None` while off.
    pub heat: Vec<Vec<Option<u16>>>,
    /// Instances moved in all.
    pub moves: u64,
    /// Instance-steps without a node.
    pub unplaced: u64,
}

impl Scores {
    /// Lets a planner decide through all measured steps of a fleet and scores what it does.
    pub fn of(fleet: &Fleet, planner: &mut dyn Planner, rules: &Rules) -> Self {
        let mut scores = Self {
            hours: vec![(Sums::default(), 0); WEEK_HOURS],
            histogram: vec![0; HISTOGRAM_BINS],
            ..Self::default()
        };
        let mut situation = Situation::new(fleet);
        for step in fleet.warm..fleet.steps {
            let moves = planner.before(fleet, step);
            let rooms = rules.harvest.and_then(|_| planner.harvest_rooms());
            let loads = situation.next(fleet, (planner.seats(), rooms), step, rules);
            scores.unplaced += situation.waiting;
            scores.all.lost += situation.waiting_demand;
            scores.all.demand += situation.waiting_demand;
            scores.step(fleet.hour_of_week(step), moves, &loads, &rules.curve);
        }
        scores
    }

    fn step(&mut self, hour: usize, moves: u64, loads: &[Option<NodeLoad>], curve: &PowerCurve) {
        for load in loads.iter().flatten() {
            self.hours[hour].0.node(load, curve);
        }
        self.hours[hour].1 += 1;
        self.add(moves, loads, curve);
    }

    /// Adds a step of whatever length and hour.
    pub(crate) fn add(&mut self, moves: u64, loads: &[Option<NodeLoad>], curve: &PowerCurve) {
        self.histogram.resize(HISTOGRAM_BINS, 0);
        let (mut nodes, mut above80, mut used, mut highest) = (0_u64, 0_u64, 0.0, 0.0_f64);
        let (mut harvest_given, mut harvest_done) = (0.0, 0.0);
        for load in loads.iter().flatten() {
            let share = load.share + load.harvest;
            self.all.node(load, curve);
            let bin = crate::number::floor_index(share * 20.0).min(HISTOGRAM_BINS - 1);
            self.histogram[bin] += 1;
            nodes += 1;
            above80 += u64::from(share > 0.8);
            used += share.min(1.0);
            highest = highest.max(share);
            harvest_given += load.pool;
            harvest_done += load.harvest;
        }
        let permille = |load: &Option<NodeLoad>| {
            let share = load.map(|l| l.share + l.harvest)?;
            Some(u16::try_from(crate::number::nearest(share * 1000.0)).unwrap_or(u16::MAX))
        };
        self.moves += moves;
        self.heat.push(loads.iter().map(permille).collect());
        self.steps.push(StepScore {
            nodes,
            utilisation_pct: decimals(percent(used, crate::number::real(nodes)), 2),
            highest_pct: decimals(100.0 * highest, 2),
            above80,
            moves,
            harvest_given,
            harvest_done,
        });
    }

    /// Returns the core-hours of harvest work done, and what it was given and had to give back.
    pub fn harvest_core_hours(&self, fleet: &Fleet) -> (f64, f64) {
        let hours = fleet.capacity / 1000.0 * crate::number::real(STEP_SECS) / 3600.0;
        (self.all.harvest * hours, (self.all.harvest_pool - self.all.harvest) * hours)
    }

    /// Returns what of harvest work had to wait; `None` without any.
    pub fn harvest_wait(&self) -> Option<HarvestWait> {
        let all = &self.all;
        if all.harvest_pool <= 0.0 {
            return None;
        }
        let waited = |s: &StepScore| percent(s.harvest_given - s.harvest_done, s.harvest_given);
        // Less than a millionth of what was given is rounding.
        let some = self.steps.iter().filter(|s| waited(s) > 1e-4).count();
        let worst = self.steps.iter().map(waited).fold(0.0, f64::max);
        Some(HarvestWait {
            waiting_pct: decimals(percent(all.harvest_pool - all.harvest, all.harvest_pool), 3),
            steps_pct: decimals(percent(length(some), length(self.steps.len())), 2),
            worst_pct: decimals(worst, 2),
            room_missed_pct: decimals(percent(all.harvest_room - all.harvest, all.harvest_room), 2),
        })
    }

    /// Returns the mean of powered-on nodes.
    pub fn nodes_mean(&self) -> f64 {
        self.all.node_steps / length(self.steps.len().max(1))
    }

    /// Returns the most nodes powered on in a step.
    pub fn nodes_max(&self) -> u64 {
        self.steps.iter().map(|s| s.nodes).max().unwrap_or(0)
    }

    /// Returns utilisation, in band, above 80, 90, 100 and demand lost, all in percent.
    pub fn figures(&self) -> [f64; 6] {
        let of = |part: f64| percent(part, self.all.node_steps);
        let all = &self.all;
        let lost = percent(all.lost, all.demand);
        let [used, band] = [of(all.used), of(all.in_band)];
        [used, band, of(all.above80), of(all.above90), of(all.above100), lost]
    }

    /// Returns the memory in use, and the node-time with more than there is, in percent.
    pub fn memory_pct(&self) -> [f64; 2] {
        self.all.memory.map(|part| percent(part, self.all.node_steps))
    }

    /// Returns the energy of all measured steps.
    pub fn energy_kwh(&self) -> f64 {
        self.all.watts * crate::number::real(STEP_SECS) / 3_600_000.0
    }

    /// Returns the hours of the week that were measured.
    pub fn hours(&self) -> Vec<HourScore> {
        let score = |(hour, (sums, steps)): (usize, &(Sums, u64))| {
            let share = |part: f64, digits| decimals(percent(part, sums.node_steps), digits);
            HourScore {
                hour,
                nodes_mean: decimals(sums.node_steps / crate::number::real(*steps), 2),
                utilisation_pct: share(sums.used, 2),
                in_band_pct: share(sums.in_band, 2),
                above80_pct: share(sums.above80, 3),
                above90_pct: share(sums.above90, 3),
                above100_pct: share(sums.above100, 3),
                affected_pct: sums.affected_pct(),
            }
        };
        self.hours.iter().enumerate().filter(|(_, h)| h.1 > 0).map(score).collect()
    }

    /// Returns the stretches of at least six hours in which a node that was once in use was off.
    pub fn long_off(&self) -> u64 {
        let nodes = self.heat.iter().map(Vec::len).max().unwrap_or(0);
        let on = |step: &Vec<Option<u16>>, node: usize| step.get(node).copied().flatten().is_some();
        let mut stretches = 0;
        for node in 0..nodes {
            let mut off = 0;
            let mut used = false;
            for step in &self.heat {
                if on(step, node) {
                    stretches += u64::from(used && off >= LONG_OFF_STEPS);
                    (off, used) = (0, true);
                } else {
                    off += 1;
                }
            }
            stretches += u64::from(used && off >= LONG_OFF_STEPS);
        }
        stretches
    }

    /// Returns the moves per instance and day.
    pub fn moves_rate(&self, fleet: &Fleet) -> f64 {
        crate::number::real(self.moves) / length(fleet.len().max(1)) / fleet.days().max(1e-9)
    }

    /// Returns the instance-steps that waited for a node, in percent of all.
    pub fn unplaced_pct(&self, fleet: &Fleet) -> f64 {
        percent(crate::number::real(self.unplaced), length(fleet.len() * self.steps.len()))
    }

    /// Returns the number of measured steps.
    pub fn len(&self) -> u64 {
        wide(self.steps.len())
    }

    /// Returns true when nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
