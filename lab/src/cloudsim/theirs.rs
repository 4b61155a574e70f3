//! The policies of the experiment: four ways to call a node overloaded, minimum migration time to
//! choose what leaves, power-aware best fit decreasing to choose where to, and emptying of the least
//! used nodes.

use super::world::{HISTORY, Kind, MEMORY, NODES, World};
use crate::number::{length, percentile};

/// How a node is called overloaded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Detector {
    /// Above a fixed share.
    Threshold(f64),
    /// Above 1 less so many interquartile ranges of the past.
    Iqr(f64),
    /// Above 1 less so many median absolute deviations of the past.
    Mad(f64),
    /// When a line through the last ten values, times a safety factor, reaches 1.
    Regression(f64),
}

/// What is used while the past is too short.
const FALLBACK: f64 = 0.7;
/// Values of the past that the first three need, and that the line is laid through.
const ENOUGH: usize = 12;
const LINE: usize = 10;

impl Detector {
    /// Parses `thr-mmt`, `iqr-mmt`, `mad-mmt` or `lr-mmt`, with the parameters of the experiment.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "thr-mmt" => Some(Self::Threshold(0.8)),
            "iqr-mmt" => Some(Self::Iqr(1.5)),
            "mad-mmt" => Some(Self::Mad(2.5)),
            "lr-mmt" => Some(Self::Regression(1.2)),
            _ => None,
        }
    }

    /// Says whether a node is overloaded that demands a share and has this past, newest first.
    fn is_over(self, share: f64, past: &[f64; HISTORY], any: bool) -> bool {
        let known = HISTORY - past.iter().rev().take_while(|v| **v == 0.0).count();
        let known = known.max(1);
        match self {
            Self::Threshold(line) => share > line,
            Self::Iqr(factor) if known >= ENOUGH => {
                let mut values = past[..known].to_vec();
                values.sort_unstable_by(f64::total_cmp);
                let at = |quarter: f64| {
                    crate::number::floor_index(quarter * length(known + 1) + 0.5) - 1
                };
                share > 1.0 - factor * (values[at(0.75)] - values[at(0.25)])
            }
            Self::Mad(factor) if known >= ENOUGH => {
                let middle = percentile(&mut past[..known].to_vec(), 50.0);
                let mut far: Vec<f64> = past[..known].iter().map(|v| (middle - v).abs()).collect();
                share > 1.0 - factor * percentile(&mut far, 50.0)
            }
            Self::Regression(safety) if known >= LINE => {
                // A move takes less than an interval, so the line is read one step ahead.
                let ahead = length(LINE) + if any { 1.0 } else { 0.0 };
                safety * line_at(&past[..LINE], ahead) >= 1.0
            }
            Self::Iqr(_) | Self::Mad(_) | Self::Regression(_) => share > FALLBACK,
        }
    }
}

/// Lays a line through values, newest first, and reads it at a step counted from 1 for the oldest.
fn line_at(values: &[f64], at: f64) -> f64 {
    let count = length(values.len());
    let middle_x = f64::midpoint(count, 1.0);
    let middle_y = values.iter().sum::<f64>() / count;
    let (mut xy, mut xx) = (0.0, 0.0);
    for (step, value) in values.iter().rev().enumerate() {
        let x = length(step + 1) - middle_x;
        xy += x * (value - middle_y);
        xx += x * x;
    }
    middle_y + xy / xx * (at - middle_x)
}

/// A node while decisions are made.
#[derive(Clone, Debug)]
struct Seat {
    kind: Kind,
    vms: Vec<usize>,
    requested: f64,
    past: [f64; HISTORY],
    memory: f64,
    /// What it drew when decisions began.
    watts: f64,
}

/// One round of decisions.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    world: &'a World,
    detector: Detector,
    honour_memory: bool,
    seats: Vec<Seat>,
}

impl<'a> Round<'a> {
    /// Begins a round.
    pub(crate) fn new(world: &'a World, detector: Detector, honour_memory: bool) -> Self {
        let seat = |node: usize| {
            let node = &world.nodes[node];
            let mut seat = Seat {
                kind: node.kind,
                vms: Vec::new(),
                requested: 0.0,
                past: [0.0; HISTORY],
                memory: 0.0,
                watts: node.kind.curve.watts(node.utilisation()),
            };
            for vm in &node.vms {
                seat.put(world, *vm);
            }
            seat
        };
        Self { world, detector, honour_memory, seats: (0..NODES).map(seat).collect() }
    }

    /// Returns every move of the round: which instance, and where to.
    pub(crate) fn moves(mut self) -> Vec<(usize, usize)> {
        let over: Vec<usize> = (0..NODES).filter(|n| self.is_over(*n)).collect();
        let mut leaving: Vec<usize> = Vec::new();
        for node in &over {
            while let Some(vm) = self.lightest(*node) {
                leaving.push(vm);
                self.seats[*node].take(self.world, vm);
                if !self.is_over(*node) {
                    break;
                }
            }
        }
        let mut barred = vec![false; NODES];
        for node in &over {
            barred[*node] = true;
        }
        self.sort(&mut leaving);
        let mut moves = Vec::new();
        for vm in leaving {
            if let Some(to) = self.best(vm, &barred) {
                self.seats[to].put(self.world, vm);
                moves.push((vm, to));
            }
        }
        self.empty(barred, &mut moves);
        moves
    }

    /// Empties the least used nodes whose instances all find a place elsewhere.
    fn empty(&mut self, mut barred: Vec<bool>, moves: &mut Vec<(usize, usize)>) {
        for (node, barred) in barred.iter_mut().enumerate() {
            *barred |= self.world.nodes[node].utilisation() == 0.0;
        }
        // Nodes that received something are not emptied in the same round, unless it came from an
        // overloaded one: so does the original.
        let mut kept = barred.clone();
        while let Some(node) = self.least_used(&kept) {
            (kept[node], barred[node]) = (true, true);
            let mut leaving = self.seats[node].vms.clone();
            self.sort(&mut leaving);
            let mut found: Vec<(usize, usize)> = Vec::new();
            for vm in &leaving {
                let Some(to) = self.best(*vm, &barred) else { break };
                self.seats[to].put(self.world, *vm);
                found.push((*vm, to));
            }
            if found.len() < leaving.len() {
                for (vm, to) in found.drain(..) {
                    self.seats[to].take(self.world, vm);
                }
            }
            for (_, to) in &found {
                kept[*to] = true;
            }
            moves.extend(found);
        }
    }

    fn least_used(&self, kept: &[bool]) -> Option<usize> {
        let mut least = None;
        let mut lowest = 1.0;
        for (node, kept) in kept.iter().enumerate() {
            let used = self.world.nodes[node].utilisation();
            if !kept && used > 0.0 && used < lowest && !self.world.nodes[node].vms.is_empty() {
                (least, lowest) = (Some(node), used);
            }
        }
        least
    }

    fn is_over(&self, node: usize) -> bool {
        let seat = &self.seats[node];
        let share = seat.requested / seat.kind.mips;
        self.detector.is_over(share, &seat.past, !seat.vms.is_empty())
    }

    fn is_over_with(&self, node: usize, vm: usize) -> bool {
        let (seat, guest) = (&self.seats[node], &self.world.vms[vm]);
        let share = (seat.requested + guest.requested) / seat.kind.mips;
        let mut past = seat.past;
        for (sum, value) in past.iter_mut().zip(&guest.history) {
            *sum += value * guest.mips / seat.kind.mips;
        }
        self.detector.is_over(share, &past, true)
    }

    /// Returns the instance that takes the shortest time to move: the one with the least memory.
    fn lightest(&self, node: usize) -> Option<usize> {
        let mut lightest: Option<usize> = None;
        for vm in &self.seats[node].vms {
            let memory = self.world.vms[*vm].memory;
            if lightest.is_none_or(|known| memory < self.world.vms[known].memory) {
                lightest = Some(*vm);
            }
        }
        lightest
    }

    fn sort(&self, vms: &mut [usize]) {
        let demand = |vm: &usize| self.world.vms[*vm].requested;
        vms.sort_by(|a, b| demand(b).total_cmp(&demand(a)));
    }

    /// Returns the node whose power grows least.
    fn best(&self, vm: usize, barred: &[bool]) -> Option<usize> {
        let guest = &self.world.vms[vm];
        let mut best = None;
        let mut least = f64::MAX;
        for (node, seat) in self.seats.iter().enumerate() {
            let left = (seat.kind.mips - seat.requested).max(0.0);
            let fits = seat.kind.core >= guest.requested && left >= guest.requested;
            let remembers = !self.honour_memory || seat.memory + guest.memory <= MEMORY;
            if barred[node] || !fits || !remembers {
                continue;
            }
            let granted = seat.requested.min(seat.kind.mips);
            if granted != 0.0 && self.is_over_with(node, vm) {
                continue;
            }
            let after = seat.kind.curve.watts((granted + guest.requested) / seat.kind.mips);
            if after - seat.watts < least {
                (best, least) = (Some(node), after - seat.watts);
            }
        }
        best
    }
}

impl Seat {
    fn put(&mut self, world: &World, vm: usize) {
        self.vms.push(vm);
        let guest = &world.vms[vm];
        self.requested += guest.requested;
        self.memory += guest.memory;
        for (sum, value) in self.past.iter_mut().zip(&guest.history) {
            *sum += value * guest.mips / self.kind.mips;
        }
    }

    fn take(&mut self, world: &World, vm: usize) {
        let stay: Vec<usize> = self.vms.iter().copied().filter(|v| *v != vm).collect();
        self.vms.clear();
        (self.requested, self.memory, self.past) = (0.0, 0.0, [0.0; HISTORY]);
        for vm in stay {
            self.put(world, vm);
        }
    }
}

/// Places everything at the beginning: the node whose power grows least, with room for all that was
/// asked for. What was placed before demands nothing yet, but its MIPS are taken.
pub(crate) fn place_first(world: &mut World, detector: Detector) -> Result<(), usize> {
    let fixed = match detector {
        Detector::Threshold(line) => line,
        Detector::Iqr(_) | Detector::Mad(_) | Detector::Regression(_) => FALLBACK,
    };
    for vm in 0..world.vms.len() {
        let wanted = world.vms[vm].mips;
        let mut best = None;
        let mut least = f64::MAX;
        for node in 0..NODES {
            if !world.takes_first(node, vm) {
                continue;
            }
            let there = &world.nodes[node];
            let taken: f64 = there.vms.iter().map(|v| world.vms[*v].mips).sum();
            if taken != 0.0 && wanted / there.kind.mips > fixed {
                continue;
            }
            let curve = &there.kind.curve;
            let more = curve.watts((taken + wanted) / there.kind.mips) - curve.watts(0.0);
            if more < least {
                (best, least) = (Some(node), more);
            }
        }
        world.place(vm, best.ok_or(vm)?);
    }
    Ok(())
}
