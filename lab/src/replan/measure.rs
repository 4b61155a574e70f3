//! Measuring one side: the same yardsticks as a replay, over steps of the recording's own time.

use std::collections::BTreeMap;

use tengyun_engine::State;
use tengyun_engine::image::InstanceWish;
use tengyun_model::{At, Class, Millicores, Millis, NodeId};

use super::{SideFigures, place};
use crate::energy::PowerCurve;
use crate::number::{decimals, percent, real, wide};
use crate::score::{NodeLoad, Scores};

/// How often it is counted who waits.
const COUNT_EVERY: Millis = Millis::from_secs(1);

/// Measures one side.
#[derive(Debug)]
pub(super) struct Meter {
    step: Millis,
    begun: At,
    counted: At,
    moves: u64,
    moves_before: u64,
    nodes: BTreeMap<NodeId, NodeStep>,
    scores: Scores,
    /// Instance-milliseconds that waited, and all that were wanted.
    waiting: (u64, u64),
}

/// What one node did in the present step.
#[derive(Clone, Copy, Debug, Default)]
struct NodeStep {
    /// Millicore-milliseconds and milliseconds.
    work: u128,
    covered: u64,
    /// Whether anything of ours was there, and the most critical and standard instances.
    in_use: bool,
    instances: u64,
}

impl Meter {
    /// Begins at a moment.
    pub(super) fn new(state: &State, step: Millis, at: At) -> Self {
        Self {
            step,
            begun: at,
            counted: at,
            moves: state.moves_total(),
            moves_before: state.moves_total(),
            nodes: BTreeMap::new(),
            scores: Scores::default(),
            waiting: (0, 0),
        }
    }

    /// Takes in what a node had to do for some time.
    pub(super) fn report(&mut self, state: &State, node: NodeId, cpu: Millicores, over: Millis) {
        let living = || {
            let there = state.on_node(node).filter_map(|id| state.instance(id));
            there.filter(|i| !i.status.phase.is_final())
        };
        let others = living().filter(|i| state.spec(i).class != Class::Harvest).count();
        let known = self.nodes.entry(node).or_default();
        known.work += u128::from(cpu.get()) * u128::from(over.get());
        known.covered += over.get();
        known.in_use |= living().next().is_some();
        known.instances = known.instances.max(wide(others));
    }

    /// Moves on to a moment, before what comes then is taken in.
    pub(super) fn advance(&mut self, state: &State, now: At) {
        let since = now.since(self.counted);
        if since >= COUNT_EVERY {
            let wanted = || state.instances().filter(|i| i.wish == InstanceWish::Run);
            let waits = wanted().filter(|i| i.node.is_none()).count();
            self.waiting.0 += wide(waits) * since.get();
            self.waiting.1 += wide(wanted().count()) * since.get();
            self.counted = now;
        }
        let passed = now.since(self.begun);
        if passed > self.step {
            self.close(state);
            // A pause of the recording is no step.
            let paused = passed > self.step.saturating_mul(2);
            self.begun = if paused { now } else { self.begun.after(self.step) };
        }
    }

    fn close(&mut self, state: &State) {
        let nodes = std::mem::take(&mut self.nodes);
        let mut loads = vec![None; nodes.keys().map(|n| place(*n) + 1).max().unwrap_or(0)];
        for (node, seen) in nodes.into_iter().filter(|(_, n)| n.in_use && n.covered > 0) {
            let capacity = state.node(node).map_or(0, |n| n.facts.capacity.cpu.get());
            let mean = seen.work / u128::from(seen.covered);
            let share = real(u64::try_from(mean).unwrap_or(u64::MAX)) / real(capacity.max(1));
            let instances = real(seen.instances);
            loads[place(node)] = Some(NodeLoad { share, instances, ..NodeLoad::default() });
        }
        let moves = state.moves_total().saturating_sub(self.moves_before);
        self.moves_before = state.moves_total();
        if loads.iter().any(Option::is_some) {
            self.scores.add(moves, &loads, &PowerCurve::G5);
        }
    }

    /// Ends, and says what it came to.
    pub(super) fn finish(
        mut self,
        state: &State,
        last: At,
        (name, refused): (String, u64),
    ) -> (SideFigures, Scores) {
        self.advance(state, last);
        self.close(state);
        let [used, band, above80, above90, _, lost] = self.scores.figures();
        let joules = self.scores.all.watts * real(self.step.get()) / 1000.0;
        let (waited, wanted) = (real(self.waiting.0), real(self.waiting.1));
        let figures = SideFigures {
            name,
            nodes_mean: decimals(self.scores.nodes_mean(), 2),
            nodes_max: self.scores.nodes_max(),
            utilisation_pct: decimals(used, 2),
            in_band_pct: decimals(band, 2),
            above80_pct: decimals(above80, 3),
            above90_pct: decimals(above90, 3),
            demand_lost_pct: decimals(lost, 4),
            moves: state.moves_total().saturating_sub(self.moves),
            waiting_pct: decimals(percent(waited, wanted), 3),
            energy_kwh: decimals(joules / 3_600_000.0, 3),
            refused,
        };
        (figures, self.scores)
    }
}
