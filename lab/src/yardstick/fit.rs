//! Packing once and for all by what was asked for.

use crate::fleet::{Fleet, SLACK};
use crate::score::Planner;

/// A placement that never changes.
#[derive(Clone, Debug)]
pub struct Fixed {
    seats: Vec<usize>,
}

impl Fixed {
    /// Packs by request, each node promised `factor` times over.
    pub fn first_fit(fleet: &Fleet, factor: f64) -> Self {
        Self { seats: first_fit(fleet, factor) }
    }

    /// Gives every instance a node of its own.
    pub fn apart(fleet: &Fleet) -> Self {
        Self { seats: (0..fleet.len()).collect() }
    }

    /// Packs once, knowing everything that will be demanded.
    pub fn clairvoyant(fleet: &Fleet, target: f64) -> Self {
        Self { seats: super::oracle::pack(fleet, (fleet.warm, fleet.steps), target) }
    }
}

impl Planner for Fixed {
    fn before(&mut self, _fleet: &Fleet, _step: usize) -> u64 {
        0
    }

    fn seats(&self) -> &[usize] {
        &self.seats
    }
}

/// First fit decreasing by request: the node of each instance.
pub fn first_fit(fleet: &Fleet, factor: f64) -> Vec<usize> {
    let limit = fleet.capacity * factor + SLACK;
    let mut nodes: Vec<(f64, f64)> = Vec::new();
    let mut seats = vec![0; fleet.len()];
    for instance in descending(&fleet.request) {
        let fits = |(cpu, memory): &(f64, f64)| {
            cpu + fleet.request[instance] <= limit && fleet.memory_fits(*memory, instance)
        };
        let at = nodes.iter().position(fits).unwrap_or_else(|| {
            nodes.push((0.0, 0.0));
            nodes.len() - 1
        });
        nodes[at].0 += fleet.request[instance];
        nodes[at].1 += fleet.memory[instance];
        seats[instance] = at;
    }
    seats
}

/// Returns places by descending value; equal ones stay in their order.
pub(super) fn descending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order
}
