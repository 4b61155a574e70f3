//! Scores: which of the nodes that could take an instance should.
//!
//! What is left on the chosen node should be little, and of a shape that others can still use: CPU
//! without memory, or memory without CPU, is left over for good. Both are counted in millicores, memory
//! at what a millicore has of it on that node, so that large and small nodes compare. Named counters,
//! such as devices, come before both: few nodes have them. Where the policy prefers low power, what a node
//! draws for a core comes before CPU and memory.

use std::cmp::Reverse;

use tengyun_model::{Name, NodeId, Permille};

use super::problem::{Guest, PowerRank, Seat};

/// What one millicore left, one millicore's memory left and one of difference between them cost.
/// Tried on openb's 14,409 pods over 1,523 nodes in seven orders (`lab/benches/README.md`): from 4 to 7
/// of difference hardly differ; without it 0.1 % of the CPU less is promised at the first refusal.
const CPU_LEFT: u128 = 10;
const MEMORY_LEFT: u128 = 1;
const DIFFERENCE: u128 = 6;

/// How good a seat is for a guest; the greatest is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score {
    counters: Reverse<u64>,
    power: Reverse<PowerRank>,
    cost: Reverse<u128>,
    node: Reverse<NodeId>,
}

impl Score {
    /// Returns what the CPU and memory cost that would be left.
    pub(super) fn cost(self) -> u128 {
        self.cost.0
    }
}

/// Says how good a seat is for a guest; no two are equal.
pub(super) fn of(seat: &Seat<'_>, guest: &Guest<'_>, line: Permille) -> Score {
    let capacity = &seat.node.facts.capacity;
    let line = seat.line(line);
    let cpu = line.saturating_sub(seat.peak_with(guest.spec, guest.expected));
    let taken = seat.room.memory.saturating_add(guest.memory);
    let memory = u128::from(capacity.memory.saturating_sub(taken).get());
    let memory = worth_of(memory, line.get(), capacity.memory.get().max(1));
    let cost = cost(u128::from(cpu.get()), memory);
    let counters = Reverse(counters_left(seat, guest));
    let power = Reverse(seat.power);
    Score { counters, power, cost: Reverse(cost), node: Reverse(seat.node.id) }
}

/// Adds up the shares of the node's named counters that are left. Devices are scarce: who needs none
/// goes where there are none left, who needs some fills up a node that has been begun.
fn counters_left(seat: &Seat<'_>, guest: &Guest<'_>) -> u64 {
    let left = |(name, all): (&Name, &u64)| {
        let wanted = guest.spec.counted.get(name).copied().unwrap_or_default();
        let taken = seat.room.counted(name.as_str()).saturating_add(wanted);
        let left = u128::from(all.saturating_sub(taken)) * 1000 / u128::from((*all).max(1));
        u64::try_from(left).unwrap_or(u64::MAX)
    };
    seat.node.facts.capacity.counted.iter().map(left).fold(0, u64::saturating_add)
}

/// Returns what memory left is worth in millicores where all memory is worth all CPU.
pub(super) fn worth_of(memory: u128, line: u64, capacity: u64) -> u128 {
    memory * u128::from(line) / u128::from(capacity)
}

/// Returns the least that it costs to leave so much CPU or more, and memory between two bounds: more CPU
/// always costs more, and of the memory what differs least from the CPU costs least.
pub(super) fn least_cost(cpu: u128, (least, most): (u128, u128)) -> u128 {
    cost(cpu, cpu.min(most).max(least))
}

/// What it costs to leave so much CPU and memory, both in millicores.
const fn cost(cpu: u128, memory: u128) -> u128 {
    CPU_LEFT * cpu + MEMORY_LEFT * memory + DIFFERENCE * cpu.abs_diff(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_between_two_bounds_costs_less_than_the_least() {
        for (cpu, least, most) in [(0, 0, 90), (30, 40, 90), (50, 40, 90), (95, 40, 90), (7, 7, 7)]
        {
            let all = (cpu..cpu + 200).flat_map(|c| (least..=most).map(move |m| cost(c, m)));
            assert_eq!(all.min(), Some(least_cost(cpu, (least, most))), "{cpu} {least} {most}");
        }
    }

    #[test]
    fn little_left_is_better_and_what_fits_together_is_better_than_what_does_not() {
        assert!(cost(0, 0) < cost(1000, 1000));
        assert!(cost(1000, 1000) < cost(2000, 2000));
        assert!(cost(1000, 1000) < cost(1000, 4000), "memory that nobody can use");
        assert!(cost(1000, 1000) < cost(1000, 0), "CPU that nobody can use");
        assert!(cost(0, 4000) < cost(4000, 4000), "CPU counts most");
    }
}
