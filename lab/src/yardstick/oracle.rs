//! Packing from scratch, knowing the future: what no forecast can beat at the same horizon.

use super::fit::descending;
use crate::fleet::{Fleet, SLACK};
use crate::number::wide;
use crate::score::Planner;

/// Repacks every `horizon` steps on the true demand of those steps, best fit by the resulting peak.
#[derive(Clone, Debug)]
pub struct Oracle {
    horizon: usize,
    target: f64,
    seats: Vec<usize>,
}

impl Oracle {
    /// Makes an oracle that fills nodes to a share of their CPU.
    pub fn new(horizon: usize, target: f64) -> Self {
        Self { horizon: horizon.max(1), target, seats: Vec::new() }
    }
}

impl Planner for Oracle {
    fn before(&mut self, fleet: &Fleet, step: usize) -> u64 {
        if !(step - fleet.warm).is_multiple_of(self.horizon) {
            return 0;
        }
        let until = (step + self.horizon).min(fleet.steps);
        let mut seats = pack(fleet, (step, until), self.target);
        let mut moves = 0;
        if !self.seats.is_empty() {
            moves = seats.len() - take_over(&self.seats, &mut seats);
        }
        self.seats = seats;
        wide(moves)
    }

    fn seats(&self) -> &[usize] {
        &self.seats
    }
}

/// Packs by descending peak, best fit on the true peak of each node's sum over some steps.
pub(super) fn pack(fleet: &Fleet, (from, until): (usize, usize), target: f64) -> Vec<usize> {
    let limit = target * fleet.capacity + SLACK;
    let future = |instance: usize| &fleet.demand(instance)[from..until];
    let peaks: Vec<f64> = (0..fleet.len())
        .map(|i| future(i).iter().fold(f64::NEG_INFINITY, |peak, v| peak.max(*v)))
        .collect();
    let mut nodes: Vec<(Vec<f64>, f64)> = Vec::new();
    let mut seats = vec![0; fleet.len()];
    for instance in descending(&peaks) {
        let wanted = future(instance);
        let mut best: Option<(usize, f64)> = None;
        for (at, (sums, memory)) in nodes.iter().enumerate() {
            if !fleet.memory_fits(*memory, instance) {
                continue;
            }
            let peak = peak_with(sums, wanted, limit);
            if peak.is_some_and(|p| best.is_none_or(|(_, b)| p > b)) {
                best = peak.map(|p| (at, p));
            }
        }
        let at = best.map_or(nodes.len(), |(at, _)| at);
        if at == nodes.len() {
            nodes.push((vec![0.0; until - from], 0.0));
        }
        for (sum, value) in nodes[at].0.iter_mut().zip(wanted) {
            *sum += value;
        }
        nodes[at].1 += fleet.memory[instance];
        seats[instance] = at;
    }
    seats
}

/// Returns the peak of a sum, unless it passes the limit.
fn peak_with(sums: &[f64], wanted: &[f64], limit: f64) -> Option<f64> {
    let mut peak = f64::NEG_INFINITY;
    for (sum, value) in sums.iter().zip(wanted) {
        let with = sum + value;
        if with > limit {
            return None;
        }
        peak = peak.max(with);
    }
    Some(peak)
}

/// Lets new nodes take over old ones, matched greedily by how many instances they share, and returns
/// how many instances need not move.
fn take_over(old: &[usize], new: &mut [usize]) -> usize {
    let count = |seats: &[usize]| seats.iter().max().map_or(0, |last| last + 1);
    let (rows, columns) = (count(new), count(old));
    let mut shared = vec![0_usize; rows * columns];
    for (old, new) in old.iter().zip(&*new) {
        shared[new * columns + old] += 1;
    }
    let mut pairs: Vec<usize> = (0..shared.len()).filter(|at| shared[*at] > 0).collect();
    pairs.sort_by_key(|at| (std::cmp::Reverse(shared[*at]), *at));
    let (mut becomes, mut taken) = (vec![None; rows], vec![false; columns]);
    let mut stays = 0;
    for at in pairs {
        let (new, old) = (at / columns, at % columns);
        if becomes[new].is_none() && !taken[old] {
            (becomes[new], taken[old]) = (Some(old), true);
            stays += shared[at];
        }
    }
    let mut free = (0..).filter(|label| taken.get(*label) != Some(&true));
    let labels: Vec<usize> =
        becomes.into_iter().map(|b| b.or_else(|| free.next()).unwrap_or(0)).collect();
    for seat in new {
        *seat = labels[*seat];
    }
    stays
}
