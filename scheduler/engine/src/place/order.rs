//! The order: open seats by what they have left, so that the best one for a guest is found by looking
//! at few of them.
//!
//! It decides nothing: it finds exactly the seat that scoring all of them finds. Seats lie in slices of
//! memory left, and in each by the CPU left below the line; the least that a seat could still cost is
//! known from both, and a slice is left as soon as that is more than the best one found.

use std::collections::BTreeSet;
use std::collections::btree_set::Range;
use std::ops::Bound::{Excluded, Unbounded};

use tengyun_model::{Class, Millicores, Permille};

use super::problem::{Guest, Seat};
use super::score::{self, Score};

/// Seats for which there is a slice of memory left, and the fewest and the most slices: few enough to look
/// at all of them, narrow enough to pass most over.
const SEATS_A_SLICE: usize = 256;
const SLICES: (usize, usize) = (16, 512);
/// Binary places that what a mebibyte is worth in millicores is kept to.
const PLACES: u32 = 40;
/// Parts of a deviation that margins are given in.
const MARGIN_PARTS: u128 = 1024;

/// Seats by what they have left below a line, as guests of one kind see it.
#[derive(Clone, Debug)]
pub(super) struct Order {
    line: Permille,
    /// One of the classes that see the seats alike.
    class: Class,
    /// The largest margin of any seat.
    margin: u128,
    /// The lowest line of any seat, in millicores.
    least_line: Millicores,
    /// The share of what is foreseen below the capacity that counts below the ceiling.
    ceiling: Permille,
    /// Mebibytes a slice.
    width: u64,
    /// Those that others than harvest use, and those that nobody does.
    used: Side,
    unused: Side,
    places: Vec<Place>,
}

/// Where a seat is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It is full, closed or away.
    Nowhere,
    /// Among those with named counters.
    Counted { used: bool },
    /// In a slice, with so much CPU left.
    Slice { used: bool, slice: usize, bound: Bound, key: Key },
}

/// Which of the two lines of a node its peak is nearer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// The ceiling: a guest adds at least its mean.
    Ceiling,
    /// The capacity: of what a guest adds only a share counts below the ceiling.
    Capacity,
}

impl Bound {
    const ALL: [Self; 2] = [Self::Ceiling, Self::Capacity];

    fn of(seat: &Seat<'_>, class: Class) -> Self {
        // Harvest adds what it asks for, whatever binds.
        let capacity = class != Class::Harvest && seat.crew.load.is_bound_by_capacity();
        if capacity { Self::Capacity } else { Self::Ceiling }
    }
}

#[derive(Clone, Debug, Default)]
struct Side {
    slices: Vec<Slice>,
    /// Seats with named counters are few and have an order of their own.
    counted: BTreeSet<usize>,
}

/// Seats with about as much memory left.
#[derive(Clone, Debug)]
struct Slice {
    /// Those that the ceiling binds, and those that the capacity does.
    ceiling: Row,
    capacity: Row,
    /// The least and the most memory that any of them had left.
    memory: (u64, u64),
    /// The least and the most that a mebibyte of any of them was worth.
    worth: (u128, u128),
}

/// Seats of a slice where one of the lines binds.
#[derive(Clone, Debug, Default)]
struct Row {
    /// By CPU left, memory and place.
    seats: BTreeSet<Key>,
    /// The most CPU that any of them has left: where nodes are full most slices are passed over by it.
    most: Option<u64>,
}

impl Row {
    fn insert(&mut self, key: Key) {
        self.seats.insert(key);
        self.most = self.seats.last().map(|(left, _, _)| *left);
    }

    fn remove(&mut self, key: &Key) {
        self.seats.remove(key);
        self.most = self.seats.last().map(|(left, _, _)| *left);
    }

    /// Returns the seats that have so much CPU left at least.
    fn from(&self, cpu: u64) -> Range<'_, Key> {
        self.seats.range((cpu, Memory::LEAST, 0)..)
    }

    /// Returns the least CPU that any of those has left.
    fn least_from(&self, cpu: u64) -> Option<u64> {
        let any = self.most.is_some_and(|most| most >= cpu);
        any.then(|| self.from(cpu).next()).flatten().map(|(left, _, _)| *left)
    }
}

impl Default for Slice {
    fn default() -> Self {
        let (ceiling, capacity) = (Row::default(), Row::default());
        Self { ceiling, capacity, memory: (u64::MAX, 0), worth: (u128::MAX, 0) }
    }
}

/// CPU left, memory and place of a seat. All that are alike but for their place cost the same.
type Key = (u64, Memory, usize);

/// The memory of a seat, by which its cost is known without a look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Memory {
    left: u64,
    capacity: u64,
    /// The CPU below the line, in millicores: what all memory is worth.
    worth: u64,
}

impl Memory {
    const LEAST: Self = Self { left: 0, capacity: 0, worth: 0 };

    fn of(seat: &Seat<'_>, line: Permille) -> Self {
        let capacity = seat.node.facts.capacity.memory;
        let left = capacity.saturating_sub(seat.room.memory).get();
        Self { left, capacity: capacity.get().max(1), worth: seat.line(line).get() }
    }

    /// Returns what a mebibyte is worth in millicores, rounded down and up.
    fn worth_each(self) -> (u128, u128) {
        let (worth, capacity) = (u128::from(self.worth) << PLACES, u128::from(self.capacity));
        (worth / capacity, worth.div_ceil(capacity))
    }
}

/// What is known of a guest before any seat is looked at.
#[derive(Clone, Copy, Debug)]
struct Ask {
    /// It takes so much CPU at least where the ceiling binds, and where the capacity does.
    least: [u64; 2],
    /// It takes so much CPU at most, whatever else is there.
    most: u64,
    memory: u64,
    /// Whether it wants named counters, which most seats do not have.
    counted: bool,
}

/// Which seats a guest may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// Those that others than harvest use.
    Used,
    /// Those that nobody else uses.
    Unused,
    /// All of them.
    All,
}

impl Order {
    pub(super) fn new(seats: &[Seat<'_>], class: Class, line: Permille) -> Self {
        let memory = seats.iter().map(|seat| Memory::of(seat, line).left).max().unwrap_or(0);
        let slices = (seats.len() / SEATS_A_SLICE).clamp(SLICES.0, SLICES.1);
        let side = || Side { slices: vec![Slice::default(); slices], counted: BTreeSet::new() };
        let mut order = Self {
            line,
            class,
            margin: u128::from(seats.iter().map(margin).max().unwrap_or(0)),
            least_line: seats.iter().map(|s| s.line(line)).min().unwrap_or_default(),
            ceiling: seats.iter().map(|s| s.crew.load.lines().ceiling).min().unwrap_or_default(),
            width: memory / u64::try_from(slices).expect("they are few") + 1,
            used: side(),
            unused: side(),
            places: vec![Place::Nowhere; seats.len()],
        };
        for (at, seat) in seats.iter().enumerate() {
            order.enter(at, seat);
        }
        order
    }

    /// Enters a seat as it is now.
    pub(super) fn enter(&mut self, at: usize, seat: &Seat<'_>) {
        match self.places[at] {
            Place::Nowhere => {}
            Place::Counted { used } => drop(self.side(used).counted.remove(&at)),
            Place::Slice { used, slice, bound, key } => {
                self.side(used).slices[slice].row_mut(bound).remove(&key);
            }
        }
        let place = self.place(at, seat);
        self.places[at] = place;
        match place {
            Place::Nowhere => {}
            Place::Counted { used } => drop(self.side(used).counted.insert(at)),
            Place::Slice { used, slice, bound, key } => {
                self.side(used).slices[slice].enter(bound, key);
            }
        }
    }

    fn place(&self, at: usize, seat: &Seat<'_>) -> Place {
        let (filled, line) = (seat.filled(self.class), seat.line(self.line));
        let takes = seat.connected && seat.node.is_open();
        if !takes || filled > line {
            return Place::Nowhere;
        }
        let used = seat.crew.others > 0;
        if seat.node.facts.capacity.counted.values().any(|all| *all > 0) {
            return Place::Counted { used };
        }
        let memory = Memory::of(seat, self.line);
        let slice = usize::try_from(memory.left / self.width).unwrap_or(usize::MAX);
        let slice = slice.min(self.used.slices.len() - 1);
        let bound = Bound::of(seat, self.class);
        Place::Slice { used, slice, bound, key: (line.saturating_sub(filled).get(), memory, at) }
    }

    fn side(&mut self, used: bool) -> &mut Side {
        if used { &mut self.used } else { &mut self.unused }
    }

    /// Returns the best seat for a guest among those on which it `fits`.
    pub(super) fn best(
        &self,
        seats: &[Seat<'_>],
        guest: &Guest<'_>,
        among: Among,
        fits: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let ask = self.ask(guest);
        let mut found: Option<(Score, usize)> = None;
        let mut look = |at: usize, found: &mut Option<(Score, usize)>| {
            if fits(at) {
                let score = score::of(&seats[at], guest, self.line);
                if found.is_none_or(|(best, _)| score > best) {
                    *found = Some((score, at));
                }
            }
        };
        let sides = match among {
            Among::Used => vec![&self.used],
            Among::Unused => vec![&self.unused],
            Among::All => vec![&self.used, &self.unused],
        };
        for side in &sides {
            side.search(&ask, &mut found, &mut look);
        }
        for at in sides.iter().flat_map(|side| &side.counted) {
            look(*at, &mut found);
        }
        found.map(|(_, at)| at)
    }

    /// Says whether a guest may be too large to share some node, so that it may take one beyond its line;
    /// the order knows nothing of those.
    pub(super) fn may_need_a_whole_node(&self, guest: &Guest<'_>) -> bool {
        guest.spec.class != Class::Harvest && guest.expected.peak > self.least_line
    }

    fn ask(&self, guest: &Guest<'_>) -> Ask {
        let resources = &guest.spec.resources;
        let (least, most) = match guest.spec.class {
            Class::Harvest => ([resources.cpu.get(); 2], resources.cpu.get()),
            Class::Critical | Class::Standard => {
                // A root of a sum is at most the sum of the roots, and one more by rounding.
                let deviation = u128::from(guest.expected.deviation.get());
                let spread = deviation.saturating_mul(self.margin).div_ceil(MARGIN_PARTS);
                let rounded = spread + u128::from(deviation > 0);
                let spread = u64::try_from(rounded).unwrap_or(u64::MAX);
                let mean = guest.expected.mean;
                // Where the capacity binds only a share of it counts.
                let least = [mean.get(), mean.share(self.ceiling).get()];
                (least, mean.get().saturating_add(spread))
            }
        };
        let counted = guest.spec.counted.values().any(|count| *count > 0);
        Ask { least, most, memory: guest.memory.get(), counted }
    }
}

/// Returns the larger of the margins of a seat.
fn margin(seat: &Seat<'_>) -> u64 {
    let margins = seat.crew.load.lines().margins;
    margins.ceiling.max(margins.capacity)
}

impl Side {
    /// Looks at seats in slices, cheapest slice first, while any could be better than what was found.
    fn search(
        &self,
        ask: &Ask,
        found: &mut Option<(Score, usize)>,
        look: &mut impl FnMut(usize, &mut Option<(Score, usize)>),
    ) {
        if ask.counted {
            return;
        }
        let first = |slice: &Slice| {
            if slice.memory.1 < ask.memory {
                return None;
            }
            let left = |bound| slice.row(bound).least_from(ask.least_where(bound));
            let left = Bound::ALL.into_iter().filter_map(left).min()?;
            Some(slice.least(left, ask))
        };
        let ways = self.slices.iter().filter_map(|slice| Some((first(slice)?, slice)));
        let mut ways: Vec<_> = ways.collect();
        ways.sort_by_key(|(least, _)| *least);
        for (least, slice) in ways {
            if found.is_some_and(|(best, _)| least > best.cost()) {
                return;
            }
            for bound in Bound::ALL {
                slice.search(bound, ask, found, look);
            }
        }
    }
}

impl Ask {
    /// Returns the least CPU that it takes where one of the lines binds.
    const fn least_where(&self, bound: Bound) -> u64 {
        let [ceiling, capacity] = self.least;
        match bound {
            Bound::Ceiling => ceiling,
            Bound::Capacity => capacity,
        }
    }

    /// Returns the least that it can cost on a seat with so much CPU and this memory left.
    fn least(&self, cpu: u64, memory: Memory) -> u128 {
        let left = u128::from(memory.left.saturating_sub(self.memory));
        let left = score::worth_of(left, memory.worth, memory.capacity);
        score::least_cost(u128::from(cpu.saturating_sub(self.most)), (left, left))
    }
}

impl Slice {
    fn enter(&mut self, bound: Bound, key: Key) {
        let (_, memory, _) = key;
        let worth = memory.worth_each();
        self.row_mut(bound).insert(key);
        self.memory = (self.memory.0.min(memory.left), self.memory.1.max(memory.left));
        self.worth = (self.worth.0.min(worth.0), self.worth.1.max(worth.1));
    }

    const fn row(&self, bound: Bound) -> &Row {
        match bound {
            Bound::Ceiling => &self.ceiling,
            Bound::Capacity => &self.capacity,
        }
    }

    const fn row_mut(&mut self, bound: Bound) -> &mut Row {
        match bound {
            Bound::Ceiling => &mut self.ceiling,
            Bound::Capacity => &mut self.capacity,
        }
    }

    /// Looks at seats, those with the least CPU left first, while any could be better than what was
    /// found; of those that are alike, until one is taken.
    fn search(
        &self,
        bound: Bound,
        ask: &Ask,
        found: &mut Option<(Score, usize)>,
        look: &mut impl FnMut(usize, &mut Option<(Score, usize)>),
    ) {
        let row = self.row(bound);
        let mut keys = row.from(ask.least_where(bound));
        let mut passed = None;
        while let Some((left, memory, at)) = keys.next().copied() {
            if passed == Some((left, memory)) {
                // All that are like it cost the same and have later places.
                let like = (left, memory, usize::MAX);
                keys = row.seats.range((Excluded(like), Unbounded));
                passed = None;
                continue;
            }
            let best = found.map(|(score, at)| (score.cost(), at));
            if best.is_some_and(|(cost, _)| self.least(left, ask) > cost) {
                return;
            }
            let takes = memory.left >= ask.memory;
            if takes && best.is_none_or(|best| (ask.least(left, memory), at) < best) {
                look(at, found);
            } else {
                passed = Some((left, memory));
            }
        }
    }

    /// Returns the least that a guest can cost on a seat of this slice with so much CPU left.
    fn least(&self, left: u64, ask: &Ask) -> u128 {
        let memory = |left: u64| u128::from(left.saturating_sub(ask.memory));
        let least = memory(self.memory.0).checked_mul(self.worth.0).unwrap_or(0);
        let most = memory(self.memory.1).saturating_mul(self.worth.1);
        let cpu = u128::from(left.saturating_sub(ask.most));
        score::least_cost(cpu, (least >> PLACES, most >> PLACES))
    }
}
