//! The fleet: the nodes in use, how full each is foreseen to be, and how full all would be if they were
//! level. By that it decides how many there should be; it opens one, or empties some.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use tengyun_model::{Class, InstanceId, Mebibytes, Millis, Permille};

use super::complement;
use super::improve::{is_rested, may_move, others};
use super::pack::best_among;
use super::problem::{Guest, PowerRank, Problem, Seat};
use super::reserve;
use super::sums::{Level, WHOLE, share_of};
use crate::image::InstanceImage;
use crate::plan::{Move, ShiftReason};
use crate::predict::{InstanceForecast, Load};

/// A node is emptied when the others would stay below the ceiling by this part of their noise, and by so
/// much at least: less than the means move in a quarter of an hour, or it would be wanted again at once.
const ROOM_LEFT: (u64, u64) = (16, 3000);
/// After a node was opened none is emptied for so many windows: half an hour, in which it fills and its
/// forecast settles.
const OPEN_WINDOWS: u64 = 6;
/// Nodes that turned out not to be emptiable before a round gives up; the next one tries again.
const TRIES_MAX: usize = 8;
/// A node so far above the ceiling, as a part of the noise, is relieved at once.
const OVERLOAD: u64 = 4;
/// New nodes are filled up to this part of the noise below level; what is left follows by levelling.
const FILL_LEFT: (u64, u64) = (10, 5000);
/// What a node may have above the new level and still give to a new one, as a part of the noise.
const GIVE_MORE: (u64, u64) = (5, 10_000);
/// Places whose fullness differs by less than this part of the noise are alike for what is moved there.
const ALIKE: (u64, u64) = (4, 10_000);
/// Levelling leaves this part of the moves that may be made at once to what empties nodes: a node less
/// is worth more than a percent of one.
const ORDER_LEFT: (usize, usize) = (4, 5);
/// What was measured hardly varies where it is less than this part of a node, in millionths.
const STEADY: u64 = 2_500;
/// What new nodes are filled with is larger than the average by this factor.
const LARGE: u64 = 2;

/// The nodes in use.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    /// How full each seat in use is, in millionths; by fullness and place.
    order: BTreeSet<(u64, usize)>,
    shares: BTreeMap<usize, u64>,
    /// The sum of all shares.
    sum: u128,
    /// What moves in this round.
    moved: BTreeSet<InstanceId>,
    ceiling: u64,
    /// How far a node in use is off what is foreseen of it, in millionths.
    noise: u64,
    /// Whether hardly any of that was measured: the rest is put on for what is not known yet.
    steady: bool,
    /// What an instance uses on average.
    usual: u64,
    /// How many moves for the sake of order are left, and how many there are after a long rest.
    allowance: (usize, usize),
    /// The nodes that nobody uses, once they were asked for.
    unused: Option<Unused>,
}

/// Nodes that nobody uses, the first to be used first.
type Unused = BTreeSet<(PowerRank, Reverse<u64>, usize)>;

/// What an instance is moved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its node is overloaded: whatever may be moved is.
    Relief,
    /// A node is opened: what has rested.
    Room,
    /// Order: what has rested, as far as the move ledger allows or it was never moved before.
    Order,
}

impl Why {
    /// Returns why an instance of a node would be moved.
    pub(super) fn of(overloaded: bool, otherwise: Self) -> Self {
        if overloaded { Self::Relief } else { otherwise }
    }
}

impl Fleet {
    /// Looks at the nodes that are in use, known, and open.
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        let ceiling = u64::from(problem.state.policy().band().ceiling.get()) * (WHOLE / 1000);
        let mut fleet = Self {
            order: BTreeSet::new(),
            shares: BTreeMap::new(),
            sum: 0,
            moved: BTreeSet::new(),
            ceiling,
            noise: 0,
            steady: false,
            usual: 0,
            allowance: problem.state.moves_left(problem.now),
            unused: None,
        };
        for (at, seat) in problem.seats.iter().enumerate() {
            if seat.crew.others > 0 && is_known(seat) {
                fleet.enter(at, seat);
            }
        }
        let level = fleet.level(problem);
        let instances: usize = fleet.shares.keys().map(|at| problem.seats[*at].crew.others).sum();
        let instances = u64::try_from(instances).unwrap_or(u64::MAX);
        fleet.noise = level.noise();
        fleet.steady = problem.forecast.measured_part(fleet.noise) < STEADY;
        fleet.usual = level.mean().get() / instances.max(1);
        fleet
    }

    /// Enters a node, or how full it is by now.
    fn enter(&mut self, at: usize, seat: &Seat<'_>) {
        self.leave(at);
        let share = share(seat);
        self.shares.insert(at, share);
        self.order.insert((share, at));
        self.sum += u128::from(share);
    }

    /// A node is not in use any more.
    fn leave(&mut self, at: usize) {
        if let Some(share) = self.shares.remove(&at) {
            self.order.remove(&(share, at));
            self.sum -= u128::from(share);
        }
    }

    /// Returns how full a seat in use is on average, in millionths.
    pub(super) fn mean(&self) -> u64 {
        let count = u128::try_from(self.order.len()).unwrap_or(u128::MAX);
        u64::try_from(self.sum / count.max(1)).expect("a mean of shares is a share")
    }

    /// Returns the seats in use from this one on downwards.
    pub(super) fn descending_from(
        &self,
        first: (u64, usize),
    ) -> impl Iterator<Item = (u64, usize)> + '_ {
        self.order.range(..=first).rev().copied()
    }

    /// Returns the seats in use from the emptiest on.
    pub(super) fn ascending(&self) -> impl DoubleEndedIterator<Item = (u64, usize)> + '_ {
        self.order.iter().copied()
    }

    /// Returns the overloaded seats, the fullest first.
    pub(super) fn overloaded(&self) -> impl Iterator<Item = usize> + '_ {
        let over = self.order.iter().rev().take_while(|(share, _)| self.is_overloaded(*share));
        over.map(|(_, at)| *at)
    }

    /// Returns the share above which a node is overloaded, in millionths.
    pub(super) fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// Returns a part of the noise, but so much at least: what is steady has steps of its own.
    pub(super) fn of_noise(&self, (part, least): (u64, u64)) -> u64 {
        (self.noise / part).max(least)
    }

    /// Says whether what runs in the fleet hardly varies.
    pub(super) fn is_steady(&self) -> bool {
        self.steady
    }

    /// Says whether a node is so full that it is relieved at once.
    pub(super) fn is_overloaded(&self, share: u64) -> bool {
        share > self.ceiling.saturating_add(self.noise / OVERLOAD)
    }

    /// Returns the instances of a seat that stay there so far and may be moved.
    pub(super) fn movable<'a>(
        &self,
        problem: &Problem<'a>,
        at: usize,
        why: Why,
    ) -> Vec<&'a InstanceImage> {
        let (left, all) = self.allowance;
        let in_order = left > all / ORDER_LEFT.1 * ORDER_LEFT.0;
        let free = |i: &&InstanceImage| {
            !self.moved.contains(&i.status.instance)
                && may_move(problem, i)
                && match why {
                    Why::Relief => true,
                    Why::Room => is_rested(problem, i),
                    Why::Order => is_rested(problem, i) && (in_order || i.moved.is_none()),
                }
        };
        others(problem, at).filter(free).collect()
    }

    /// Moves an instance in this round.
    pub(super) fn go<'a>(
        &mut self,
        problem: &mut Problem<'a>,
        (instance, guest): (&InstanceImage, &Guest<'a>),
        (from, to, reason): (usize, usize, ShiftReason),
        moves: &mut Vec<Move>,
    ) {
        let id = instance.status.instance;
        let (source, destination) = (problem.seats[from].node.id, problem.seats[to].node.id);
        moves.push(Move::Shift { instance: id, from: source, to: destination, reason });
        self.moved.insert(id);
        self.allowance.0 -= usize::from(instance.moved.is_some() && self.allowance.0 > 0);
        problem.seats.put(to, guest);
        problem.seats.release(from, guest.expected);
        for (at, seat) in [from, to].map(|at| (at, &problem.seats[at])) {
            let ceiling = self.ceiling;
            let Some(unused) = &mut self.unused else { continue };
            if is_unused(seat, ceiling) {
                unused.insert(rank(at, seat));
            } else {
                unused.remove(&rank(at, seat));
            }
        }
        self.enter(to, &problem.seats[to]);
        if self.shares.contains_key(&from) {
            self.enter(from, &problem.seats[from]);
        }
    }

    fn level(&self, problem: &Problem<'_>) -> Level {
        let mut level = Level::default();
        for at in self.shares.keys() {
            level.add(&problem.seats[*at]);
        }
        level
    }

    /// Opens nodes while those in use could not be below the ceiling even if they were level, and
    /// fills them with large instances of the fullest: few moves.
    pub(super) fn open(&mut self, problem: &mut Problem<'_>, moves: &mut Vec<Move>) -> bool {
        let mut level = self.level(problem);
        let mut new = Vec::new();
        if !self.shares.is_empty() && level.share() > self.ceiling {
            let ceiling = self.ceiling;
            for (.., at) in self.unused(problem) {
                level.add(&problem.seats[*at]);
                new.push(*at);
                if level.share() <= ceiling {
                    break;
                }
            }
        }
        let goal = level.share();
        let filled = goal.saturating_sub(self.of_noise(FILL_LEFT));
        let most = problem.state.policy().rebalance_moves();
        let mut stuck: BTreeSet<usize> = new.iter().copied().collect();
        // Only new nodes become fuller, so all others above the giver are stuck.
        let mut top = (u64::MAX, usize::MAX);
        for at in &new {
            while moves.len() < most && share(&problem.seats[*at]) < filled {
                let fullest = self.descending_from(top).find(|(_, from)| !stuck.contains(from));
                let Some((full, from)) = fullest else { break };
                top = (full, from);
                if !self.give(problem, (from, *at), (full, goal), moves) {
                    stuck.insert(from);
                }
            }
        }
        !moves.is_empty()
    }

    /// Returns the nodes that nobody uses and that may be used, in the order in which they are: of those
    /// that draw least the largest first. They are looked for when they are first asked for.
    fn unused(&mut self, problem: &Problem<'_>) -> &Unused {
        let ceiling = self.ceiling;
        self.unused.get_or_insert_with(|| {
            let all = problem.seats.iter().enumerate();
            all.filter(|(_, seat)| is_unused(seat, ceiling))
                .map(|(at, seat)| rank(at, seat))
                .collect()
        })
    }

    /// Moves the largest instance that a full node has too much of and that a new one has room for.
    fn give(
        &mut self,
        problem: &mut Problem<'_>,
        (from, new): (usize, usize),
        (full, goal): (u64, u64),
        moves: &mut Vec<Move>,
    ) -> bool {
        let room = goal.saturating_sub(share(&problem.seats[new]));
        let spare = full.saturating_sub(goal).saturating_add(self.of_noise(GIVE_MORE));
        let (here, there) = (capacity(problem, from), capacity(problem, new));
        let mean = |i: &InstanceImage| problem.forecast.instance(i.status.instance).mean.get();
        let fits = |i: &&InstanceImage| {
            share_of(mean(i), here) <= spare + spare / 2 && share_of(mean(i), there) <= room
        };
        let why = Why::of(self.is_overloaded(full), Why::Room);
        let mut movable = self.movable(problem, from, why);
        movable.retain(fits);
        movable.retain(|i| mean(i) >= self.usual.saturating_mul(LARGE));
        movable.sort_by_key(|i| (Reverse(mean(i)), i.status.instance));
        let ceiling = problem.state.policy().band().ceiling;
        for instance in movable {
            let guest = problem.guest(instance, true);
            if problem.fits(new, &guest, ceiling).is_ok() {
                let way = (from, new, ShiftReason::Overload);
                self.go(problem, (instance, &guest), way, moves);
                return true;
            }
        }
        false
    }

    /// Opens a node for one instance of an overloaded node that no node in use has room for: the one
    /// without which it is least full and still of most use there.
    pub(super) fn open_for(
        &mut self,
        problem: &mut Problem<'_>,
        (full, from): (u64, usize),
        moves: &mut Vec<Move>,
    ) -> bool {
        let Some((.., new)) = self.unused(problem).first().copied() else { return false };
        let mut movable = self.movable(problem, from, Why::Relief);
        let mean = |i: &InstanceImage| problem.forecast.instance(i.status.instance).mean.get();
        movable.sort_by_key(|i| (Reverse(mean(i)), i.status.instance));
        let ceiling = problem.state.policy().band().ceiling;
        for instance in movable {
            let guest = problem.guest(instance, true);
            // A node that would be as full of it alone is no relief, and would be relieved in turn.
            let fuller = fuller_after(problem, guest.expected, (from, new));
            let gains = fuller.saturating_add(self.noise) < full;
            if gains && problem.fits(new, &guest, ceiling).is_ok() {
                self.go(problem, (instance, &guest), (from, new, ShiftReason::Overload), moves);
                return true;
            }
        }
        false
    }

    /// Empties nodes, those with the fewest instances first, while the others have room for all and the
    /// reserve that the policy asks for is there.
    pub(super) fn empty_some(&mut self, problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
        let policy = problem.state.policy();
        let pause = Millis::new(policy.window().get().saturating_mul(OPEN_WINDOWS));
        let opened = problem.state.opened_last();
        if opened.is_some_and(|opened| problem.now.since(opened) < pause) {
            return;
        }
        // What is emptied stays on and is room, so that the reserve is the same before and after it.
        if reserve::is_missing(problem) {
            return;
        }
        // All that are to be emptied are known before the first is, so that nothing moves twice.
        let chosen = self.superfluous(problem);
        for at in &chosen {
            self.leave(*at);
        }
        let mut tries = 0;
        for at in chosen {
            let left = policy.rebalance_moves().saturating_sub(moves.len());
            if tries >= TRIES_MAX || left == 0 {
                return;
            }
            let mut found = Vec::new();
            if self.empty(problem, at, &mut found) {
                // A node of more instances than a round may move is emptied in several.
                found.truncate(left);
                moves.extend(found);
            } else {
                self.enter(at, &problem.seats[at]);
                tries += 1;
            }
        }
    }

    /// Returns the nodes without which the others would still be below the ceiling, by what seasons
    /// say of the next hour, too: those with the least reserved and the fewest instances first.
    fn superfluous(&self, problem: &Problem<'_>) -> Vec<usize> {
        let mut level = self.level(problem);
        let known = |at: &usize| {
            let seat = &problem.seats[*at];
            let reserved = reserved_share(seat);
            (Reverse(seat.power), reserved, seat.crew.others, self.shares[at], *at)
        };
        let mut candidates: Vec<_> = self.shares.keys().map(known).collect();
        candidates.sort_unstable();
        let mut chosen = Vec::new();
        for (_, _, _, _, at) in candidates {
            let mut without = level.clone();
            without.remove_node(&problem.seats[at]);
            let cpu = without.share_soon().saturating_add(self.of_noise(ROOM_LEFT)) <= self.ceiling;
            if cpu && without.holds_memory() {
                chosen.push(at);
                level = without;
            }
        }
        chosen
    }

    /// Returns the seats in use by the memory that they have left, where memory binds.
    fn by_memory(&self, problem: &Problem<'_>) -> Option<ByMemory> {
        let left = |at: &usize| (memory_left(&problem.seats[*at]), *at);
        let bound = self.level(problem).is_bound_by_memory(self.ceiling);
        bound.then(|| ByMemory(self.shares.keys().map(left).collect()))
    }

    /// Moves everything away from a node; false, and nothing changed, when something has to stay.
    fn empty(&mut self, problem: &mut Problem<'_>, at: usize, moves: &mut Vec<Move>) -> bool {
        let mut leaving: Vec<&InstanceImage> = others(problem, at).collect();
        let again = leaving.iter().filter(|instance| instance.moved.is_some()).count();
        let affordable = again.min(self.allowance.1) <= self.allowance.0;
        if !affordable || !leaving.iter().all(|instance| may_move(problem, instance)) {
            return false;
        }
        let allowance = self.allowance;
        // Where memory binds what is left of it is in pieces: the large ones first, each where it leaves
        // least.
        let mut by_memory = self.by_memory(problem);
        leaving.sort_by_key(|i| {
            let peak = problem.forecast.instance(i.status.instance).peak;
            let memory = by_memory.is_some().then(|| problem.state.promised(i));
            (Reverse(memory), Reverse(peak), i.status.instance)
        });
        let mut before = BTreeMap::from([(at, problem.seats[at].clone())]);
        let ceiling = problem.state.policy().band().ceiling;
        let all = leaving.iter().all(|instance| {
            let guest = problem.guest(instance, true);
            let to = match guest.spec.class {
                // What is reserved grows no more: it goes where it leaves least.
                Class::Critical => best_among(problem, &guest, |to| self.shares.contains_key(&to)),
                Class::Standard | Class::Harvest => {
                    let whom = (&guest, &problem.evenness(&guest));
                    let fits = |to: &usize| {
                        problem.fits_evenly(*to, whom, ceiling).is_ok()
                            && fits_soon(&problem.seats[*to], &guest, ceiling)
                    };
                    if let Some(seats) = &by_memory {
                        seats.from(guest.memory).find(fits)
                    } else {
                        let places = self.ascending().filter(|(_, to)| fits(to));
                        let (id, alike) = (instance.status.instance, self.of_noise(ALIKE));
                        complement::choose(problem, id, alike, places)
                    }
                }
            };
            let Some(to) = to else { return false };
            if let Some(seats) = &mut by_memory {
                seats.take(memory_left(&problem.seats[to]), to, guest.memory);
            }
            before.entry(to).or_insert_with(|| problem.seats[to].clone());
            let way = (at, to, ShiftReason::Consolidate);
            self.go(problem, (instance, &guest), way, moves);
            true
        });
        if !all {
            for (seat, as_it_was) in before {
                if seat != at {
                    self.enter(seat, &as_it_was);
                }
                problem.seats.restore(seat, as_it_was);
            }
            self.unused = None;
            for instance in leaving {
                self.moved.remove(&instance.status.instance);
            }
            self.allowance = allowance;
            moves.clear();
        }
        all
    }
}

/// Seats by the memory that they have left.
#[derive(Debug)]
struct ByMemory(BTreeSet<(Mebibytes, usize)>);

impl ByMemory {
    /// Returns the seats that have so much left, those with the least first.
    fn from(&self, memory: Mebibytes) -> impl Iterator<Item = usize> + '_ {
        self.0.range((memory, 0)..).map(|(_, at)| *at)
    }

    /// Takes memory of a seat.
    fn take(&mut self, left: Mebibytes, at: usize, memory: Mebibytes) {
        self.0.remove(&(left, at));
        self.0.insert((left.saturating_sub(memory), at));
    }
}

fn memory_left(seat: &Seat<'_>) -> Mebibytes {
    seat.node.facts.capacity.memory.saturating_sub(seat.room.memory)
}

/// Says whether an instance that fits on a seat now still does when seasons rise within an hour.
fn fits_soon(seat: &Seat<'_>, guest: &Guest<'_>, ceiling: Permille) -> bool {
    let rise = seat.crew.rise.saturating_add(guest.expected.rise);
    let soon = seat.crew.load.with(guest.expected).risen(rise);
    rise.is_zero() || soon.is_within(seat.line(ceiling))
}

/// Returns the larger of the shares of CPU and memory that are taken where anything is reserved: what is
/// nearly full of reservations finds no other place, however few they are.
fn reserved_share(seat: &Seat<'_>) -> u64 {
    let (room, capacity) = (&seat.room, &seat.node.facts.capacity);
    if room.critical.is_zero() {
        return 0;
    }
    let cpu = share_of(room.critical.get(), capacity.cpu.get());
    cpu.max(share_of(room.memory.get(), capacity.memory.get()))
}

/// Says whether nobody uses a node, and it may be used.
fn is_unused(seat: &Seat<'_>, ceiling: u64) -> bool {
    let idle = seat.crew.others == 0 && seat.occupied.is_none();
    idle && is_known(seat) && share(seat) < ceiling
}

fn rank(at: usize, seat: &Seat<'_>) -> (PowerRank, Reverse<u64>, usize) {
    (seat.power, Reverse(seat.node.facts.capacity.cpu.get()), at)
}

/// Says whether a node may give and take: its agent is there, its use was measured lately, and it may
/// be given something new.
pub(super) fn is_known(seat: &Seat<'_>) -> bool {
    seat.connected && seat.measured && seat.node.is_open()
}

/// Returns how full a node is foreseen to be, in millionths.
pub(super) fn share(seat: &Seat<'_>) -> u64 {
    share_with(seat, seat.crew.load)
}

/// Returns how full the fuller of two nodes would be if an instance went from one to the other, in millionths.
pub(super) fn fuller_after(
    problem: &Problem<'_>,
    expected: InstanceForecast,
    (from, to): (usize, usize),
) -> u64 {
    let (source, destination) = (&problem.seats[from], &problem.seats[to]);
    let left = share_with(source, source.crew.load.without(expected));
    left.max(share_with(destination, destination.crew.load.with(expected)))
}

/// Returns how full a node would be with another load, in millionths.
fn share_with(seat: &Seat<'_>, load: Load) -> u64 {
    share_of(load.peak().get(), seat.node.facts.capacity.cpu.get())
}

fn capacity(problem: &Problem<'_>, at: usize) -> u64 {
    problem.seats[at].node.facts.capacity.cpu.get()
}
