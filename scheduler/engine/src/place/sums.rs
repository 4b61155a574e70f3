//! Sums over nodes: how full all of them would be if they were level. They know nothing of places.

use std::collections::BTreeMap;

use tengyun_model::Millicores;

use super::problem::Seat;
use crate::predict::{Lines, Load};

/// The whole of a node, as shares are counted.
pub(super) const WHOLE: u64 = 1_000_000;
/// Sums over nodes, by which is known how full they would be if they were level.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    load: Load,
    capacity: u64,
    /// By how much seasons lift all means within an hour.
    rise: Millicores,
    /// Memory that is taken, and all there is.
    memory: (u128, u128),
    /// How many nodes there are of a capacity, and what such are foreseen with.
    sizes: BTreeMap<u64, (u64, Lines)>,
}

impl Level {
    pub(super) fn add(&mut self, seat: &Seat<'_>) {
        self.load.merge(&seat.crew.load);
        self.rise = self.rise.saturating_add(seat.crew.rise);
        self.memory.0 += u128::from(seat.room.memory.get());
        self.add_node(seat);
    }

    /// Adds a node like this one, with nothing on it.
    pub(super) fn add_node(&mut self, seat: &Seat<'_>) {
        let capacity = seat.node.facts.capacity.cpu.get();
        self.capacity = self.capacity.saturating_add(capacity);
        self.memory.1 += u128::from(seat.node.facts.capacity.memory.get());
        let (count, lines) = self.sizes.entry(capacity).or_default();
        (*count, *lines) = (*count + 1, seat.crew.load.lines());
    }

    /// Gives back memory that was taken.
    pub(super) fn give_back(&mut self, memory: u64) {
        self.memory.0 = self.memory.0.saturating_sub(u128::from(memory));
    }

    /// Takes away a node whose load goes to the others.
    pub(super) fn remove_node(&mut self, seat: &Seat<'_>) {
        let capacity = seat.node.facts.capacity.cpu.get();
        self.capacity = self.capacity.saturating_sub(capacity);
        let memory = u128::from(seat.node.facts.capacity.memory.get());
        self.memory.1 = self.memory.1.saturating_sub(memory);
        if let Some((count, _)) = self.sizes.get_mut(&capacity) {
            *count = count.saturating_sub(1);
        }
    }

    /// Returns what all use together on average.
    pub(super) fn mean(&self) -> Millicores {
        self.load.mean()
    }

    /// Says whether memory is nearer to being full than CPU is to the ceiling.
    pub(super) fn is_bound_by_memory(&self, ceiling: u64) -> bool {
        let (taken, all) = self.memory;
        taken.saturating_mul(u128::from(ceiling)) > all.saturating_mul(u128::from(self.share()))
    }

    /// Says whether there is memory for all.
    pub(super) fn holds_memory(&self) -> bool {
        self.memory.0 <= self.memory.1
    }

    /// Returns how full every node would be, in millionths.
    pub(super) fn share(&self) -> u64 {
        self.share_of_all(self.load)
    }

    /// Returns how full every node would be within an hour, in millionths, where seasons rise.
    pub(super) fn share_soon(&self) -> u64 {
        self.share_of_all(self.load.risen(self.rise))
    }

    fn share_of_all(&self, load: Load) -> u64 {
        let peak = |(size, (count, lines)): (&u64, &(u64, Lines))| {
            let load = load.with_lines(*lines);
            load.peak_of_part(*size, self.capacity).get().saturating_mul(*count)
        };
        let sum = self.sizes.iter().map(peak).fold(0_u64, u64::saturating_add);
        share_of(sum, self.capacity)
    }

    /// Returns one deviation of a node that is level, in millionths of it.
    pub(super) fn noise(&self) -> u64 {
        let nodes: u64 = self.sizes.values().map(|(count, _)| *count).sum();
        let (own, shared) = self.load.deviations();
        let own = share_of(own.get(), self.capacity).saturating_mul(nodes.isqrt());
        let shared = share_of(shared.get(), self.capacity);
        if shared == 0 {
            return own;
        }
        own.saturating_mul(own).saturating_add(shared.saturating_mul(shared)).isqrt()
    }
}

/// Returns what part of a capacity is used, in millionths.
pub(super) fn share_of(used: u64, capacity: u64) -> u64 {
    let share = u128::from(used) * u128::from(WHOLE);
    let share = share.checked_div(u128::from(capacity)).unwrap_or(u128::MAX);
    u64::try_from(share).unwrap_or(u64::MAX)
}
