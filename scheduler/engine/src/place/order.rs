//! The order: open seats by what they have left, so that the best one for a guest is found by looking
//! at few of them.
//!
//! It decides nothing: it finds exactly the seat that scoring all of them finds. Seats lie in slices of
//! memory left, and in each by the CPU left below the line; the least that a seat could still cost is
//! known from both, and a slice is left as soon as that is more than the best one found.

use std::collections::BTreeSet;

use tengyun_model::{Class, Permille};

use super::problem::{Guest, Seat};
use super::score::{self, Score};

/// Slices of memory left: few enough to look at all of them, narrow enough to pass most over.
const SLICES: u64 = 64;
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
    Slice { used: bool, slice: usize, left: u64 },
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
    seats: BTreeSet<(u64, usize)>,
    /// The least and the most memory that any of them had left.
    memory: (u64, u64),
    /// The least and the most that a mebibyte of any of them was worth.
    worth: (u128, u128),
}

impl Default for Slice {
    fn default() -> Self {
        Self { seats: BTreeSet::new(), memory: (u64::MAX, 0), worth: (u128::MAX, 0) }
    }
}

/// What is known of a guest before any seat is looked at.
#[derive(Clone, Copy, Debug)]
struct Ask {
    /// It takes so much CPU at least and at most, whatever else is there.
    cpu: (u64, u64),
    memory: u64,
    /// Whether it wants named counters, which most seats do not have.
    counted: bool,
}

/// Which seats a guest may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    /// Those that others than harvest use.
    Used,
    /// All of them.
    All,
}

impl Order {
    pub(super) fn new(seats: &[Seat<'_>], class: Class, line: Permille) -> Self {
        let memory = seats.iter().map(memory_left).max().unwrap_or(0);
        let side = || Side {
            slices: vec![Slice::default(); usize::try_from(SLICES).expect("it is small")],
            counted: BTreeSet::new(),
        };
        let mut order = Self {
            line,
            class,
            margin: u128::from(seats.iter().map(|s| s.crew.load.margin()).max().unwrap_or(0)),
            width: memory / SLICES + 1,
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
            Place::Slice { used, slice, left } => {
                self.side(used).slices[slice].seats.remove(&(left, at));
            }
        }
        let place = self.place(seat);
        self.places[at] = place;
        match place {
            Place::Nowhere => {}
            Place::Counted { used } => drop(self.side(used).counted.insert(at)),
            Place::Slice { used, slice, left } => {
                let worth = worth(seat, self.line);
                let slice = &mut self.side(used).slices[slice];
                slice.enter((left, at), memory_left(seat), worth);
            }
        }
    }

    fn place(&self, seat: &Seat<'_>) -> Place {
        let (filled, line) = (seat.filled(self.class), seat.line(self.line));
        let takes = seat.connected && seat.node.is_open();
        if !takes || filled > line {
            return Place::Nowhere;
        }
        let used = seat.crew.others > 0;
        if seat.node.facts.capacity.counted.values().any(|all| *all > 0) {
            return Place::Counted { used };
        }
        let slice = (memory_left(seat) / self.width).min(SLICES - 1);
        let slice = usize::try_from(slice).expect("it is small");
        Place::Slice { used, slice, left: line.saturating_sub(filled).get() }
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

    fn ask(&self, guest: &Guest<'_>) -> Ask {
        let resources = &guest.spec.resources;
        let cpu = match guest.spec.class {
            Class::Harvest => (resources.cpu.get(), resources.cpu.get()),
            Class::Critical | Class::Standard => {
                // A root of a sum is at most the sum of the roots; one more for each rounding.
                let spread = u128::from(guest.expected.deviation.get()).saturating_mul(self.margin);
                let spread = spread.div_ceil(MARGIN_PARTS).saturating_add(1);
                let spread = u64::try_from(spread).unwrap_or(u64::MAX);
                let mean = guest.expected.mean.get();
                (mean, mean.saturating_add(spread))
            }
        };
        let counted = guest.spec.counted.values().any(|count| *count > 0);
        Ask { cpu, memory: resources.memory.get(), counted }
    }
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
            let (left, _) = *slice.seats.range((ask.cpu.0, 0)..).next()?;
            (slice.memory.1 >= ask.memory).then(|| slice.least(left, ask))
        };
        let ways = self.slices.iter().filter_map(|slice| Some((first(slice)?, slice)));
        let mut ways: Vec<_> = ways.collect();
        ways.sort_by_key(|(least, _)| *least);
        let cost = |found: &Option<(Score, usize)>| found.map(|(score, at)| (score.cost(), at));
        for (least, slice) in ways {
            if cost(found).is_some_and(|(cost, _)| least > cost) {
                return;
            }
            for (left, at) in slice.seats.range((ask.cpu.0, 0)..).copied() {
                let best = cost(found);
                let least = best.map_or(0, |_| slice.least(left, ask));
                if best.is_some_and(|(cost, _)| least > cost) {
                    break;
                }
                if best.is_none_or(|best| (least, at) < best) {
                    look(at, found);
                }
            }
        }
    }
}

impl Slice {
    fn enter(&mut self, key: (u64, usize), memory: u64, worth: (u128, u128)) {
        self.seats.insert(key);
        self.memory = (self.memory.0.min(memory), self.memory.1.max(memory));
        self.worth = (self.worth.0.min(worth.0), self.worth.1.max(worth.1));
    }

    /// Returns the least that a guest can cost on a seat of this slice with so much CPU left.
    fn least(&self, left: u64, ask: &Ask) -> u128 {
        let memory = |left: u64| u128::from(left.saturating_sub(ask.memory));
        let least = memory(self.memory.0).checked_mul(self.worth.0).unwrap_or(0);
        let most = memory(self.memory.1).saturating_mul(self.worth.1);
        let cpu = u128::from(left.saturating_sub(ask.cpu.1));
        score::least_cost(cpu, (least >> PLACES, most >> PLACES))
    }
}

fn memory_left(seat: &Seat<'_>) -> u64 {
    seat.node.facts.capacity.memory.saturating_sub(seat.room.memory).get()
}

/// Returns what a mebibyte of a seat is worth in millicores, rounded down and up.
fn worth(seat: &Seat<'_>, line: Permille) -> (u128, u128) {
    let memory = u128::from(seat.node.facts.capacity.memory.get().max(1));
    let line = u128::from(seat.line(line).get()) << PLACES;
    (line / memory, line.div_ceil(memory))
}
