//! Arrivals with lifetimes: instances come and go by a recorded list, requests are promises, and the
//! nodes in use stand beside the fewest that could have held what lived at each step.
//!
//! The engine is told of an arrival when it comes and of a departure when it has gone: how long an
//! instance will live it does not know. Every instance is critical and uses what it asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use tengyun_engine::bound::bins_needed;
use tengyun_model::Class;

use crate::cloud::{Cloud, DriveError, Guest, Place};
use crate::fleet::Shape;
use crate::number::{decimals, length, nearest, percent, real, wide};
use crate::trace::{STEP_SECS, TraceError, parquet};

/// Nodes beyond the bound that the engine may use; it never comes near so many.
const SPARE_SHARE: f64 = 1.25;

/// What keeps arrivals from being played.
#[derive(Debug, thiserror::Error)]
pub enum ArrivalsError {
    /// The list cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The engine could not be driven.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// Nothing of the list fits on a node.
    #[error("no instance of {0} fits on a node of this size")]
    NothingFits(String),
}

/// One instance of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// CPU request in millicores.
    pub cpu: u64,
    /// Memory request in mebibytes.
    pub memory: u64,
    /// The step in which it comes, and the first in which it is gone; `None` when it stays.
    pub steps: (usize, Option<usize>),
}

/// The figures of `lab arrivals --output json`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ArrivalFigures {
    /// Instances that came.
    pub instances: u64,
    /// Those that fit on no node and were left out.
    pub unfit: u64,
    /// Steps of 5 minutes.
    pub steps: u64,
    /// The most that lived in a step.
    pub living_max: u64,
    /// Nodes in use on average, and the most.
    pub nodes_mean: f64,
    /// The most in a step.
    pub nodes_max: u64,
    /// The proven lower bound on average.
    pub lower_bound_mean: f64,
    /// The highest.
    pub lower_bound_max: u64,
    /// How far the mean is above the mean bound.
    pub above_bound_mean_pct: f64,
    /// How far the most nodes are above the highest bound.
    pub above_bound_peak_pct: f64,
    /// Instances moved.
    pub moves: u64,
    /// Instance-steps without a node.
    pub waiting: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Reads the arrivals of a trace: `instances.parquet` with `arrive_s` and `depart_s`, of which a
/// negative one says that it stays.
///
/// # Errors
/// The list cannot be read.
pub fn read(directory: &Path) -> Result<Vec<Arrival>, TraceError> {
    let mut arrivals = Vec::new();
    parquet::arrivals(directory, |cpu, memory, arrive, depart| {
        let step = |secs: f64| usize::try_from(nearest(secs) / STEP_SECS).unwrap_or(usize::MAX);
        let from = step(arrive);
        // What is gone within its own step was there all the same.
        let until = (depart >= 0.0).then(|| step(depart).max(from + 1));
        let (cpu, memory) = (nearest(cpu), nearest(memory));
        arrivals.push(Arrival { cpu, memory, steps: (from, until) });
    })?;
    arrivals.sort_by_key(|a| a.steps.0);
    Ok(arrivals)
}

/// Plays a list on nodes of one size, by these knobs.
///
/// # Errors
/// Nothing fits, or the engine refuses what must hold.
pub fn play(
    name: &str,
    arrivals: &[Arrival],
    shape: Shape,
    knobs: &BTreeMap<String, u64>,
) -> Result<ArrivalFigures, ArrivalsError> {
    let began = Instant::now();
    let fits = |a: &&Arrival| a.cpu <= shape.cpu.get() && a.memory <= shape.memory.get();
    let wanted: Vec<Arrival> = arrivals.iter().filter(fits).copied().collect();
    let last = wanted.iter().map(|a| a.steps.0).max();
    let last = last.ok_or_else(|| ArrivalsError::NothingFits(name.to_owned()))?;
    let bounds = bounds(&wanted, shape, last + 1);
    let most = bounds.iter().max().copied().unwrap_or(0);
    let known = nearest((real(most) * SPARE_SHARE).ceil()) + 2;
    let place = Place { cpu: shape.cpu.get(), memory: shape.memory.get(), ..Place::default() };
    let cloud = Cloud::new(&policy(knobs), (0..known).map(|_| place.clone()))?;
    let mut player = Player { cloud, wanted, next: 0, living: BTreeSet::new() };
    let mut nodes = Vec::with_capacity(bounds.len());
    let (mut living_max, mut waiting) = (0, 0);
    for step in 0..bounds.len() {
        player.step(step)?;
        nodes.push(player.nodes_in_use());
        living_max = living_max.max(player.living.len());
        waiting += player.waiting();
    }
    let mean = |counts: &[u64]| real(counts.iter().sum()) / length(counts.len().max(1));
    let (nodes_mean, bound_mean) = (mean(&nodes), mean(&bounds));
    let nodes_max = nodes.iter().max().copied().unwrap_or(0);
    Ok(ArrivalFigures {
        instances: wide(player.wanted.len()),
        unfit: wide(arrivals.len() - player.wanted.len()),
        steps: wide(bounds.len()),
        living_max: wide(living_max),
        nodes_mean: decimals(nodes_mean, 2),
        nodes_max,
        lower_bound_mean: decimals(bound_mean, 2),
        lower_bound_max: most,
        above_bound_mean_pct: decimals(percent(nodes_mean - bound_mean, bound_mean), 2),
        above_bound_peak_pct: decimals(percent(real(nodes_max) - real(most), real(most)), 2),
        moves: player.cloud.state().moves_total(),
        waiting,
        seconds: decimals(began.elapsed().as_secs_f64(), 3),
    })
}

/// Requests are promises that fill a node to the last millicore; what is used is what was asked for.
fn policy(knobs: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let whole = ["band_floor", "band_target", "band_ceiling"].map(|k| (k.to_owned(), 1000));
    let mut all = BTreeMap::from(whole);
    // What is used is what was asked for: nothing can be above, however small the margins are.
    all.insert("violation_budget".to_owned(), 5000);
    all.extend(knobs.clone());
    all
}

/// The fewest nodes for what lives in each step.
fn bounds(arrivals: &[Arrival], shape: Shape, steps: usize) -> Vec<u64> {
    let mut changes: Vec<Vec<(usize, bool)>> = vec![Vec::new(); steps];
    for (at, arrival) in arrivals.iter().enumerate() {
        changes[arrival.steps.0].push((at, true));
        if let Some(gone) = arrival.steps.1.filter(|gone| *gone < steps) {
            changes[gone].push((at, false));
        }
    }
    let mut living: BTreeSet<usize> = BTreeSet::new();
    let mut found = Vec::with_capacity(steps);
    let mut before = 0;
    for changes in changes {
        let changed = !changes.is_empty();
        for (at, comes) in changes {
            if comes {
                living.insert(at);
            } else {
                living.remove(&at);
            }
        }
        if changed {
            let needed = |size: &dyn Fn(&Arrival) -> u64, bin: u64| {
                let items: Vec<u64> = living.iter().map(|at| size(&arrivals[*at])).collect();
                // As many bins as may be wanted: only the largest counts.
                bins_needed(&items, &[bin])
            };
            let cpu = needed(&|a| a.cpu, shape.cpu.get());
            before = cpu.max(needed(&|a| a.memory, shape.memory.get()));
        }
        found.push(before);
    }
    found
}

/// A cloud while instances come and go.
struct Player {
    cloud: Cloud,
    /// In the order in which they come, which is the order of the cloud's instances.
    wanted: Vec<Arrival>,
    next: usize,
    /// Those that live, by when they go.
    living: BTreeSet<(usize, usize)>,
}

impl Player {
    fn step(&mut self, step: usize) -> Result<(), DriveError> {
        let used = |at: usize| self.wanted.get(at).map_or((0, 0), |a| (a.cpu, a.memory));
        self.cloud.report(STEP_SECS.saturating_mul(wide(step)), used)?;
        while let Some((until, at)) = self.living.first().copied().filter(|(u, _)| *u <= step) {
            self.living.remove(&(until, at));
            self.cloud.stop(at)?;
        }
        while let Some(arrival) = self.wanted.get(self.next).filter(|a| a.steps.0 == step) {
            let (cpu, memory, class) = (arrival.cpu, arrival.memory, Class::Critical);
            self.cloud.apply(&Guest { cpu, memory, class, ..Guest::default() })?;
            self.living.insert((arrival.steps.1.unwrap_or(usize::MAX), self.next));
            self.next += 1;
        }
        self.cloud.settle()
    }

    fn nodes_in_use(&self) -> u64 {
        let state = self.cloud.state();
        wide(state.nodes().filter(|n| state.on_node(n.id).next().is_some()).count())
    }

    fn waiting(&self) -> u64 {
        wide(self.cloud.state().instances().filter(|i| i.node.is_none()).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(cpu: u64, from: usize, until: Option<usize>) -> Arrival {
        Arrival { cpu, memory: 1024, steps: (from, until) }
    }

    #[test]
    fn what_comes_and_goes_is_counted_while_it_lives() {
        let shape = Shape::parse("4/16").unwrap();
        let list = [
            arrival(3000, 0, Some(2)),
            arrival(3000, 0, None),
            arrival(1000, 1, None),
            arrival(9000, 1, None),
            arrival(4000, 4, Some(5)),
        ];
        assert_eq!(bounds(&list[..3], shape, 5), [2, 2, 1, 1, 1]);
        let knobs = BTreeMap::from([("consolidate".to_owned(), 0)]);
        let figures = play("list", &list, shape, &knobs).unwrap();
        assert_eq!((figures.instances, figures.unfit, figures.steps), (4, 1, 5));
        assert_eq!((figures.nodes_max, figures.lower_bound_max, figures.living_max), (3, 2, 3));
        assert_eq!((figures.waiting, figures.moves), (0, 0));
        // Two until the last comes: the first left the third behind it, and nothing is gathered.
        assert!(figures.nodes_mean <= 2.2 && figures.nodes_mean >= figures.lower_bound_mean);
        let none = play("list", &list[3..4], shape, &knobs);
        assert!(matches!(none, Err(ArrivalsError::NothingFits(_))));
    }
}
