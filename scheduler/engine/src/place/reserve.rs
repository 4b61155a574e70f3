//! The reserve: whether everything would still have its place if the largest node or rack were lost.
//!
//! It counts sums and places nothing: a large instance may find no room where the sums say that there is
//! some. What the others run and what the lost ones ran is together all there is, so the question is
//! whether all of it fits on the others, however it is spread over them. Idle nodes that are on are room.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tengyun_model::Class;

use super::fleet::is_known;
use super::problem::{Problem, Seat};
use super::sums::{Level, WHOLE};
use crate::policy::Reserve;

/// The label that says in which rack a node is.
const RACK_LABEL: &str = "rack";
/// The most nodes that are said to be missing; whoever lacks more does not count them one by one.
const MISSING_MAX: usize = 10_000;

/// How the reserve stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What may be lost.
    pub against: Reserve,
    /// Whether everything would have its place afterwards.
    pub held: bool,
    /// How many nodes that takes: those in use and the largest of the idle ones; where there are too
    /// few, with more as large as the largest, in racks of their own.
    pub needed: usize,
    /// How many there are whose agents are there, whose use is known, and that are open.
    pub there: usize,
}

/// Says how the reserve stands; nothing where the policy asks for none.
pub(crate) fn standing(problem: &Problem<'_>) -> Option<Standing> {
    let stock = Stock::new(problem)?;
    let there = stock.nodes.len();
    let held = stock.holds(there);
    let needed = if held { stock.fewest() } else { there + stock.missing() };
    Some(Standing { against: stock.against, held, needed, there })
}

/// Says whether the policy asks for a reserve that is not there.
pub(super) fn is_missing(problem: &Problem<'_>) -> bool {
    Stock::new(problem).is_some_and(|stock| !stock.holds(stock.nodes.len()))
}

/// What is lost together: a rack, or a node by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Domain<'a> {
    Rack(&'a str),
    Node(usize),
}

/// The nodes that there are, and all that they run.
struct Stock<'p, 'a> {
    against: Reserve,
    /// Those in use, then the others from the largest on.
    nodes: Vec<(&'p Seat<'a>, Domain<'a>)>,
    /// How many are in use.
    used: usize,
    level: Level,
    /// In millionths.
    ceiling: u64,
}

impl<'p, 'a> Stock<'p, 'a> {
    fn new(problem: &'p Problem<'a>) -> Option<Self> {
        let against = problem.state.policy().reserve();
        if against == Reserve::Off {
            return None;
        }
        let domain = |at: usize, seat: &Seat<'a>| {
            let rack = seat.node.facts.labels.get(RACK_LABEL);
            let rack = rack.filter(|_| against == Reserve::Rack);
            rack.map_or(Domain::Node(at), |rack| Domain::Rack(rack))
        };
        let (mut nodes, mut level) = (Vec::new(), Level::default());
        for (at, seat) in problem.seats.iter().enumerate().filter(|(_, seat)| is_known(seat)) {
            nodes.push((at, seat, domain(at, seat)));
            level.add(seat);
            level.give_back(harvested(problem, seat));
        }
        nodes.sort_by_key(|(at, seat, _)| {
            let capacity = &seat.node.facts.capacity;
            (seat.crew.others == 0, Reverse((capacity.cpu, capacity.memory)), *at)
        });
        Some(Self {
            against,
            used: nodes.iter().filter(|(_, seat, _)| seat.crew.others > 0).count(),
            nodes: nodes.into_iter().map(|(_, seat, domain)| (seat, domain)).collect(),
            level,
            ceiling: u64::from(problem.state.policy().band().ceiling.get()) * (WHOLE / 1000),
        })
    }

    /// Says whether so many of the nodes, from the first on, would do.
    fn holds(&self, count: usize) -> bool {
        self.worst(count).iter().all(|level| self.suffices(level))
    }

    fn suffices(&self, level: &Level) -> bool {
        level.share() <= self.ceiling && level.holds_memory()
    }

    /// Returns what is left of so many nodes when those with the most CPU are lost, and when those with
    /// the most memory are. Whatever else is lost leaves more of each.
    fn worst(&self, count: usize) -> Vec<Level> {
        let (kept, off) = self.nodes.split_at(count);
        let mut sizes: BTreeMap<Domain<'_>, (u64, u64)> = BTreeMap::new();
        for (seat, domain) in kept {
            let capacity = &seat.node.facts.capacity;
            let (cpu, memory) = sizes.entry(*domain).or_default();
            *cpu = cpu.saturating_add(capacity.cpu.get());
            *memory = memory.saturating_add(capacity.memory.get());
        }
        let by_cpu = sizes.iter().max_by_key(|(domain, (cpu, _))| (*cpu, **domain));
        let by_memory = sizes.iter().max_by_key(|(domain, (_, memory))| (*memory, **domain));
        let without = |lost: Domain<'_>| {
            let mut level = self.level.clone();
            let lost = kept.iter().filter(|(_, domain)| *domain == lost);
            off.iter().chain(lost).for_each(|(seat, _)| level.remove_node(seat));
            level
        };
        by_cpu.into_iter().chain(by_memory).map(|(domain, _)| without(*domain)).collect()
    }

    /// Returns the fewest nodes that would do where all together do.
    fn fewest(&self) -> usize {
        let (mut low, mut high) = (self.used, self.nodes.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.holds(middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// Returns how many more nodes as large as the largest would do.
    fn missing(&self) -> usize {
        let size = |seat: &Seat<'_>| {
            let capacity = &seat.node.facts.capacity;
            (capacity.cpu, capacity.memory, Reverse(seat.node.id))
        };
        let largest = self.nodes.iter().map(|(seat, _)| *seat).max_by_key(|seat| size(seat));
        let Some(largest) = largest else { return 1 };
        let mut missing = 0;
        for mut level in self.worst(self.nodes.len()) {
            let mut more = 0;
            while !self.suffices(&level) && more < MISSING_MAX {
                level.add_node(largest);
                more += 1;
            }
            missing = missing.max(more);
        }
        missing
    }
}

/// Returns the memory that harvest takes on a seat: it gives way to whatever is dearer.
fn harvested(problem: &Problem<'_>, seat: &Seat<'_>) -> u64 {
    if !seat.crew.has_harvest() {
        return 0;
    }
    let state = problem.state;
    let here = state.on_node(seat.node.id).filter_map(|id| state.instance(id));
    let taken = here.filter(|i| !i.status.phase.is_final());
    let harvest = taken.filter(|i| state.spec(i).class == Class::Harvest);
    harvest.map(|i| state.promised(i).get()).fold(0, u64::saturating_add)
}
