//! A replay: a recorded fleet under one policy and one set of rules, and the figures that come of it.

mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;
use tengyun_engine::days::Stretch;
use tengyun_engine::{Policy, Refusal};
use tengyun_model::At;

use crate::cloud::{DriveError, Seen};
use crate::drive::Driver;
use crate::energy::PowerCurve;
use crate::fleet::{Fleet, MemoryMode, Shape};
use crate::generate::Random;
use crate::note::Note;
use crate::number::{decimals, nearest, percent, real, wide};
use crate::policies::{PolicyFault, PolicyFile};
use crate::rules::{Honest, Rules};
use crate::score::{HarvestWait, HourScore, Planner, Scores};
use crate::trace::Trace;
use crate::yardstick::Yardstick;

/// The knob that a budget of violations is handed to, in hundredths of a percent.
pub const BUDGET_KNOB: &str = "violation_budget";
/// The seed by which immovable instances are drawn.
const SEED: u64 = 42;

/// What keeps a replay from being made.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No policy has this name and no file is called so.
    #[error(
        "no policy is called {0}: give default, energy, careful, ffd-N, nsigma-N, rc-P, max, borg, oracle-24h, oracle-1h or a file of knobs"
    )]
    UnknownPolicy(String),
    /// A policy file is not one.
    #[error("policy {path}: {fault}")]
    PolicyFile {
        /// Which.
        path: PathBuf,
        /// Why.
        fault: PolicyFault,
    },
    /// The engine does not take these knobs.
    #[error("the engine does not take this policy: {0}")]
    Policy(Refusal),
    /// Nothing of the trace fits on the nodes, or it is too short.
    #[error("there is nothing to replay: {0}")]
    Nothing(&'static str),
    /// An oracle packs from scratch and cannot be told to leave instances alone.
    #[error("an oracle moves everything: leave out --immovable, or choose another policy")]
    ImmovableOracle,
    /// Days cannot be laid over a time that is not known.
    #[error(
        "the trace does not say when it begins, so no day of it is known: leave out --calendar and --zone"
    )]
    NoBegin,
    /// The engine could not be driven.
    #[error(transparent)]
    Drive(#[from] DriveError),
}

/// Who decides.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// Our engine, with these knobs.
    Engine(BTreeMap<String, u64>),
    /// A yardstick.
    Yardstick(Yardstick),
}

impl Choice {
    /// Parses the name of a policy; anything else is a file of knobs.
    pub fn parse(text: &str) -> Result<Self, ReplayError> {
        if let Some(yardstick) = Yardstick::parse(text) {
            return Ok(Self::Yardstick(yardstick));
        }
        let file = PolicyFile::find(text).map_err(|fault| match fault {
            PolicyFault::Unknown(name) => ReplayError::UnknownPolicy(name),
            fault => ReplayError::PolicyFile { path: PathBuf::from(text), fault },
        })?;
        let fault = |fault| ReplayError::PolicyFile { path: PathBuf::from(text), fault };
        let knobs = file.checked().map_err(fault)?;
        Ok(Self::Engine(knobs))
    }
}

/// A replay to be made.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The nodes.
    pub shape: Shape,
    /// How memory counts.
    pub memory: MemoryMode,
    /// Share of node-time above the ceiling that is allowed, in percent; `None` leaves it to the policy.
    pub budget_pct: Option<f64>,
    /// Who decides.
    pub choice: Choice,
    /// Whether harvest work fills what the others leave below the target.
    pub harvest: bool,
    /// What power-on and moves cost; `None` when both are free.
    pub honest: Option<Honest>,
    /// Share of instances that never move, in percent.
    pub immovable_pct: f64,
    /// What nodes draw.
    pub curve: PowerCurve,
    /// What is told of days, and when, in the time of the trace; empty leaves weeks as they are in UTC.
    pub days: Vec<(At, Vec<Stretch>)>,
}

impl Replay {
    /// A replay by our engine with free moves and a budget of 1 %.
    pub fn new(shape: Shape, memory: MemoryMode) -> Self {
        Self {
            shape,
            memory,
            budget_pct: None,
            choice: Choice::Engine(BTreeMap::new()),
            harvest: false,
            honest: None,
            immovable_pct: 0.0,
            curve: PowerCurve::G5,
            days: Vec::new(),
        }
    }
}

/// The figures of a replay: the fields of `lab replay --output json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Instances that took part.
    pub instances: u64,
    /// Measured steps of 5 minutes.
    pub steps: u64,
    /// Share of samples that the trace has.
    pub coverage_pct: f64,
    /// Mean of powered-on nodes.
    pub nodes_mean: f64,
    /// Most nodes powered on in a step.
    pub nodes_max: u64,
    /// Mean utilisation of powered-on nodes.
    pub utilisation_pct: f64,
    /// Share of powered-on node-time from 60 to 80 %.
    pub in_band_pct: f64,
    /// Share of powered-on node-time above 80 %.
    pub above80_pct: f64,
    /// Share above 90 %.
    pub above90_pct: f64,
    /// Share above the capacity.
    pub above100_pct: f64,
    /// Demand above capacity, or without a node, of all demand.
    pub demand_lost_pct: f64,
    /// Instances moved.
    pub moves: u64,
    /// The same per instance and day.
    pub moves_per_instance_day: f64,
    /// Fewest nodes on average that no policy can go below without passing 80 %.
    pub lower_bound_nodes_mean: f64,
    /// The resource that sets that bound.
    pub binding: &'static str,
    /// Energy by the power curve.
    pub energy_kwh: f64,
    /// How long the replay took; the only figure that differs between runs.
    pub seconds: f64,
    /// What was used of memory; `None` where it does not count or was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryFigures>,
}

/// What was used of memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MemoryFigures {
    /// Mean use of the memory of powered-on nodes.
    pub used_pct: f64,
    /// Share of powered-on node-time with more in use than there is.
    pub above_capacity_pct: f64,
    /// How often an instance used more than it was promised.
    pub misses: u64,
    /// The same in 1000 instance-days.
    pub misses_per_1000_instance_days: f64,
    /// Instances moved because their node had too little memory.
    pub relieved: u64,
}

/// A replay that was made.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Its figures.
    pub figures: Figures,
    /// The same per hour of the week.
    pub hours: Vec<HourScore>,
    /// Everything that was measured.
    pub scores: Scores,
    /// What our engine did besides; `None` for a yardstick.
    pub seen: Option<Seen>,
    /// Instances that fit on no node.
    pub unfit: u64,
    /// Rows of the trace that could not be used.
    pub bad_rows: u64,
    /// Whether hours of the week are those of civil time, because the trace states when it begins.
    pub civil: bool,
    /// Shares of critical and standard instance-time on nodes in band, above 80, 90 and 100 %.
    pub affected_pct: [f64; 4],
    /// Nodes above the lower bound on average, and the same in percent of it.
    pub above_bound: (f64, f64),
    /// Core-hours of harvest work done, and given but taken back.
    pub harvest_core_hours: (f64, f64),
    /// What of harvest work had to wait; `None` without any.
    pub harvest_wait: Option<HarvestWait>,
    /// Share of instance-time that waited for a node.
    pub waiting_pct: f64,
    /// Stretches of 6 hours and more in which a node that was used before or after was off.
    pub long_off: u64,
    /// What a reader should know.
    pub notes: Vec<Note>,
}

/// Replays a trace.
pub fn replay(trace: &Trace, wish: &Replay) -> Result<Replayed, ReplayError> {
    let began = Instant::now();
    let mut fleet = Fleet::new(trace, wish.shape, wish.memory);
    if fleet.is_empty() {
        return Err(ReplayError::Nothing("no instance fits on a node of this size"));
    }
    if fleet.steps <= fleet.warm {
        return Err(ReplayError::Nothing("the trace has no step after its warm-up"));
    }
    if !wish.days.is_empty() && !fleet.lay_days(&wish.days) {
        return Err(ReplayError::NoBegin);
    }
    let target = real(u64::from(policy_of(&wish.choice)?.band().target.get())) / 1000.0;
    let rules =
        Rules { curve: wish.curve, harvest: wish.harvest.then_some(target), honest: wish.honest };
    let immovable = drawn(&fleet, wish.immovable_pct);
    let (scores, seen) = match &wish.choice {
        Choice::Engine(knobs) => {
            let knobs = with_budget(knobs, wish.budget_pct)?;
            let mut driver = Driver::new(&fleet, &knobs, immovable, wish.honest)?;
            let scores = Scores::of(&fleet, &mut driver, &rules);
            (scores, Some(driver.seen()))
        }
        Choice::Yardstick(yardstick) => {
            let oracle = matches!(yardstick, Yardstick::Oracle { .. });
            if oracle && wish.immovable_pct > 0.0 {
                return Err(ReplayError::ImmovableOracle);
            }
            let mut planner: Box<dyn Planner> = yardstick.held(&fleet, wish.honest, immovable);
            (Scores::of(&fleet, planner.as_mut(), &rules), None)
        }
    };
    let mut replayed = summary(trace, &fleet, (scores, seen));
    replayed.notes.extend(passed_over(wish));
    replayed.figures.seconds = decimals(began.elapsed().as_secs_f64(), 3);
    Ok(replayed)
}

/// Returns the policy of a choice; a yardstick has the default band.
fn policy_of(choice: &Choice) -> Result<Policy, ReplayError> {
    match choice {
        Choice::Engine(knobs) => Policy::new(knobs.clone()).map_err(ReplayError::Policy),
        Choice::Yardstick(_) => Ok(Policy::default()),
    }
}

fn summary(trace: &Trace, fleet: &Fleet, (scores, seen): (Scores, Option<Seen>)) -> Replayed {
    let [used, band, above80, above90, above100, lost] = scores.figures();
    let figures = Figures {
        instances: wide(fleet.len()),
        steps: scores.len(),
        coverage_pct: decimals(trace.coverage_pct(), 2),
        nodes_mean: decimals(scores.nodes_mean(), 2),
        nodes_max: scores.nodes_max(),
        utilisation_pct: decimals(used, 2),
        in_band_pct: decimals(band, 2),
        above80_pct: decimals(above80, 3),
        above90_pct: decimals(above90, 3),
        above100_pct: decimals(above100, 3),
        demand_lost_pct: decimals(lost, 4),
        moves: scores.moves,
        moves_per_instance_day: decimals(scores.moves_rate(fleet), 3),
        lower_bound_nodes_mean: decimals(fleet.lower_bound(0.8), 2),
        binding: fleet.binding(0.8),
        energy_kwh: decimals(scores.energy_kwh(), 2),
        seconds: 0.0,
        memory: fleet.knows_memory().then(|| memory_figures(fleet, &scores, seen)),
    };
    let mut notes = Vec::new();
    let seen_badly = seen.filter(|s| s.violations > 0 || s.stale > 0);
    if let Some(seen) = seen_badly {
        let (held, stale) = (seen.violations, seen.stale);
        notes.push(Note::new(
            format!("复核拦下了 {held} 个计划，有 {stale} 次迁移已过时"),
            format!("the second opinion held back {held} plans, and {stale} moves were stale"),
        ));
    }
    Replayed {
        hours: scores.hours(),
        seen,
        unfit: wide(fleet.unfit),
        bad_rows: trace.rows.bad,
        civil: fleet.begin_secs.is_some(),
        affected_pct: scores.all.affected_pct(),
        above_bound: above(scores.nodes_mean(), fleet.lower_bound(0.8)),
        harvest_wait: scores.harvest_wait(),
        harvest_core_hours: scores.harvest_core_hours(fleet),
        waiting_pct: decimals(scores.unplaced_pct(fleet), 4),
        long_off: scores.long_off(),
        figures,
        scores,
        notes,
    }
}

fn memory_figures(fleet: &Fleet, scores: &Scores, seen: Option<Seen>) -> MemoryFigures {
    let [used, above] = scores.memory_pct();
    let seen = seen.unwrap_or_default();
    let days = real(wide(fleet.len())) * fleet.days();
    MemoryFigures {
        used_pct: decimals(used, 2),
        above_capacity_pct: decimals(above, 4),
        misses: seen.misses,
        misses_per_1000_instance_days: decimals(real(seen.misses) * 1000.0 / days.max(1e-9), 3),
        relieved: seen.relieved,
    }
}

/// Says what was asked for and changes nothing under the policy that was chosen.
fn passed_over(wish: &Replay) -> Vec<Note> {
    let Choice::Yardstick(yardstick) = &wish.choice else { return Vec::new() };
    let mut notes = Vec::new();
    if wish.budget_pct.is_some() {
        notes.push(Note::new(
            "越限预算只对腾云自身的策略有效，这里没有用到",
            "a violation budget is for our engine alone: this policy has none, and it changed nothing",
        ));
    }
    if !wish.days.is_empty() {
        notes.push(Note::new(
            "日历只对腾云自身的策略有效，这里没有用到",
            "a calendar is for our engine alone: this policy foresees no days, and it changed nothing",
        ));
    }
    if wish.honest.is_some() && matches!(yardstick, Yardstick::Oracle { .. }) {
        notes.push(Note::new(
            "先知策略每次从头装箱，不受迁移窗口约束，只计迁移代价",
            "an oracle packs from scratch: it pays for moves and keeps to no window",
        ));
    }
    notes
}

/// How far a number of nodes is above a bound, in nodes and in percent.
fn above(nodes: f64, bound: f64) -> (f64, f64) {
    (decimals(nodes - bound, 2), decimals(percent(nodes - bound, bound), 2))
}

/// Draws the instances that never move; the same ones for every policy.
fn drawn(fleet: &Fleet, share_pct: f64) -> Vec<bool> {
    let drawn = |i: &usize| Random::new(SEED, wide(*i)).unit() * 100.0 < share_pct;
    fleet.source.iter().map(drawn).collect()
}

/// A budget that is asked for goes before that of the policy.
fn with_budget(
    knobs: &BTreeMap<String, u64>,
    budget_pct: Option<f64>,
) -> Result<BTreeMap<String, u64>, ReplayError> {
    let mut knobs = knobs.clone();
    let asked = budget_pct.map(|pct| (BUDGET_KNOB.to_owned(), nearest(pct * 100.0)));
    knobs.extend(asked);
    Policy::new(knobs.clone()).map_err(ReplayError::Policy)?;
    Ok(knobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_a_name_or_a_file_of_knobs() {
        let engine = |text: &str| match Choice::parse(text).unwrap() {
            Choice::Engine(knobs) => Policy::new(knobs).unwrap(),
            Choice::Yardstick(yardstick) => panic!("{yardstick:?}"),
        };
        assert_eq!(engine("default"), Policy::default());
        assert_eq!(engine("energy").value("prefer_low_power"), Some(1));
        assert_eq!(engine("careful").value("band_ceiling"), Some(700));
        assert!(matches!(Choice::parse("rc-95"), Ok(Choice::Yardstick(_))));
        let error = Choice::parse("no-such-policy").unwrap_err().to_string();
        assert!(error.contains("give default, energy, careful, ffd-N"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        let name = file.path().to_str().unwrap();
        std::fs::write(file.path(), "# quicker\nmoves_per_pass = 1_00\n").unwrap();
        let knobs = BTreeMap::from([("moves_per_pass".to_owned(), 100)]);
        assert_eq!(Choice::parse(name).unwrap(), Choice::Engine(knobs));
        for junk in ["x", "a = -1", "band_floor = 1e3", "{\"a\": \"b\"}", "band_floor = 1001"] {
            std::fs::write(file.path(), junk).unwrap();
            assert!(matches!(Choice::parse(name), Err(ReplayError::PolicyFile { .. })), "{junk}");
        }
    }
}
