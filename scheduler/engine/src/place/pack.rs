//! Packing: waiting instances find nodes.
//!
//! Critical before standard before harvest, those tied to labels before the others, large before small;
//! harvest in turns of its departments; a gang as one, all of it or nothing. Nodes in use come first, the
//! one that ends fullest below the ceiling wins (best fit); an unused node is opened when none of them fits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tengyun_model::{Class, DepartmentPath, Millicores, NodeId, Permille, Revision, WorkloadId};

use super::evenness::Evenness;
use super::gang;
use super::order::Among;
use super::problem::{Guest, Problem, Seat, lives};
use crate::image::{InstanceImage, InstanceWish};
use crate::place::feasible::{self, Room};
use crate::plan::{Move, StopReason, about};
use crate::predict::InstanceForecast;

/// Instances that start together, as guests: one, or all of a gang.
pub(super) type Party<'a> = Vec<(&'a InstanceImage, Guest<'a>)>;

/// So many nodes are looked at in full beside their order, in builds that check themselves.
const LOOK_MAX: usize = 64;

/// Starts what waits, where it fits.
pub(super) fn fill(problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    let state = problem.state;
    let mut waiting: Vec<&InstanceImage> = state.waiting().filter(|i| lives(i)).collect();
    waiting.sort_by_key(|i| {
        let spec = state.spec(i);
        let size = (spec.resources.memory, spec.resources.cpu);
        // Who may go to few nodes chooses before those who may go to any.
        let tied = std::cmp::Reverse(spec.constraints.labels.len());
        (spec.class, tied, std::cmp::Reverse(size), i.status.instance)
    });
    let mut tried = Tried::default();
    let mut harvest = Vec::new();
    let mut gangs = BTreeSet::new();
    // What stops is queued again, and then a gang waits with it: it starts by the next plan.
    let stopped = moves.iter().filter(|step| matches!(step, Move::Stop { .. })).map(about);
    let queued: BTreeSet<WorkloadId> =
        stopped.filter_map(|id| state.instance(id)).map(|stopped| stopped.workload).collect();
    for instance in waiting {
        if state.waits_in_gang(instance)
            && (!gangs.insert(instance.workload) || queued.contains(&instance.workload))
        {
            continue;
        }
        let all = state.starts_with(instance);
        if all.iter().any(|one| state.check_held(one).is_err()) {
            continue;
        }
        let guests: Party<'_> = all.iter().map(|one| (*one, problem.guest(one, false))).collect();
        match guests.as_slice() {
            [(_, guest), ..] if guest.spec.class == Class::Harvest => harvest.push(guests),
            party => seat(problem, party, &mut tried, moves),
        }
    }
    // The room that is being made for a gang is no harvest's meanwhile, or it would be made for ever.
    for (at, guest) in tried.kept.drain(..) {
        problem.seats.put(at, &guest);
    }
    if !harvest.is_empty() {
        fill_harvest(problem, harvest, (&mut tried, moves));
    }
}

/// Starts critical or standard ones that start together, or evicts the harvest that keeps them out.
pub(super) fn seat<'a>(
    problem: &mut Problem<'a>,
    party: &[(&'a InstanceImage, Guest<'a>)],
    tried: &mut Tried<'a>,
    moves: &mut Vec<Move>,
) {
    match party {
        [(instance, guest)] => {
            if tried.is_nowhere(instance, guest) || !start(problem, party, moves) {
                make_room(problem, (instance, guest), tried, moves);
            }
        }
        gang => {
            if !start(problem, gang, moves) {
                gang::make_room(problem, gang, tried, moves);
            }
        }
    }
}

/// Starts those that start together where they fit best; says whether all do, and otherwise none does.
pub(super) fn start<'a>(
    problem: &mut Problem<'a>,
    party: &[(&'a InstanceImage, Guest<'a>)],
    moves: &mut Vec<Move>,
) -> bool {
    let Some(taken) = gang::take_seats(problem, party) else { return false };
    for ((instance, _), at) in party.iter().zip(taken) {
        let (instance, node) = (instance.status.instance, problem.seats[at].node.id);
        moves.push(Move::Start { instance, node });
    }
    true
}

/// Starts waiting harvest, each time of the department whose harvest asks for least so far: a
/// department that queues a thousand jobs does not keep another's one waiting.
fn fill_harvest<'a>(
    problem: &mut Problem<'a>,
    waiting: Vec<Party<'a>>,
    (tried, moves): (&mut Tried<'_>, &mut Vec<Move>),
) {
    let state = problem.state;
    let mut runs: BTreeMap<&DepartmentPath, Millicores> = BTreeMap::new();
    let running = state.instances().filter(|i| i.node.is_some() && lives(i));
    for spec in running.map(|i| state.spec(i)).filter(|s| s.class == Class::Harvest) {
        let sum = runs.entry(&spec.key.department).or_default();
        *sum = sum.saturating_add(spec.resources.cpu);
    }
    let mut queues: BTreeMap<&DepartmentPath, VecDeque<_>> = BTreeMap::new();
    for party in waiting {
        let Some(spec) = party.first().map(|(_, guest)| guest.spec) else { continue };
        queues.entry(&spec.key.department).or_default().push_back(party);
    }
    loop {
        let asked = |d: &DepartmentPath| runs.get(d).copied().unwrap_or_default();
        let Some((_, next)) = queues.keys().map(|d| (asked(d), *d)).min() else { return };
        let queue = queues.get_mut(next).expect("it was chosen among these");
        let Some(party) = queue.pop_front() else {
            queues.remove(next);
            continue;
        };
        let single = if let [one] = party.as_slice() { Some(*one) } else { None };
        if single.is_some_and(|(instance, guest)| tried.is_nowhere(instance, &guest)) {
            continue;
        }
        if start(problem, &party, moves) {
            let sum = runs.entry(next).or_default();
            let asked: Millicores = party.iter().map(|(_, guest)| guest.spec.resources.cpu).sum();
            *sum = sum.saturating_add(asked);
        } else if let Some((instance, guest)) = single {
            tried.note(instance, &guest, 0);
        }
    }
}

/// What became of guests that found no seat, so that guests that are alike are tried once: within a pass
/// seats only become fuller.
#[derive(Debug, Default)]
pub(super) struct Tried<'a> {
    /// Nodes from which harvest was evicted, or which are being left.
    pub(super) evicted: BTreeSet<NodeId>,
    /// Seats from which anything could be evicted, or is leaving.
    yielding: Option<Vec<usize>>,
    /// Where gangs will be once that has left.
    pub(super) kept: Vec<(usize, Guest<'a>)>,
    /// By workload and revision: what was foreseen of the guest, and how many of those seats were
    /// tried for it.
    nowhere: BTreeMap<(WorkloadId, Revision), (InstanceForecast, usize)>,
}

impl Tried<'_> {
    /// Says whether one like this found no seat.
    fn is_nowhere(&self, instance: &InstanceImage, guest: &Guest<'_>) -> bool {
        self.known(instance, guest).is_some()
    }

    fn known(&self, instance: &InstanceImage, guest: &Guest<'_>) -> Option<usize> {
        let (expected, tried) = self.nowhere.get(&(instance.workload, instance.revision))?;
        (is_plain(guest) && *expected == guest.expected).then_some(*tried)
    }

    fn note(&mut self, instance: &InstanceImage, guest: &Guest<'_>, tried: usize) {
        if is_plain(guest) {
            let key = (instance.workload, instance.revision);
            self.nowhere.insert(key, (guest.expected, tried));
        }
    }
}

/// Says whether a guest that found no seat cannot find one later in the pass: where copies are spread
/// another copy may let it, and every copy has volumes of its own.
pub(crate) fn is_plain(guest: &Guest<'_>) -> bool {
    guest.spec.constraints.spread.is_none() && guest.volumes.is_none()
}

/// Takes the seat that an instance should have, if there is one.
pub(crate) fn take_seat<'a>(problem: &mut Problem<'a>, guest: &Guest<'a>) -> Option<usize> {
    let at = find_seat(problem, guest)?;
    problem.seats.put(at, guest);
    Some(at)
}

/// Returns the best of the seats in use that are `allowed` for an instance.
pub(super) fn best_among(
    problem: &mut Problem<'_>,
    guest: &Guest<'_>,
    allowed: impl Fn(usize) -> bool,
) -> Option<usize> {
    let (class, band) = (guest.spec.class, problem.state.policy().band());
    problem.seats.sort_for(class, band);
    problem.look_up(guest);
    let problem = &*problem;
    let order = problem.seats.order(class).expect("it was made just now");
    let whom = (guest, &problem.evenness(guest));
    let fits = |at: usize| allowed(at) && problem.fits_evenly(at, whom, band.ceiling).is_ok();
    order.best(&problem.seats, guest, Among::Used, fits)
}

/// Returns the seat that an instance should have. What is critical goes where disks or links are busy rather
/// than nowhere: they are busiest when much was lost and comes back.
pub(super) fn find_seat(problem: &mut Problem<'_>, guest: &Guest<'_>) -> Option<usize> {
    let found = calm_seat(problem, guest);
    let critical = guest.spec.class == Class::Critical && !guest.presses;
    if found.is_some() || !critical || problem.seats.iter().all(|seat| seat.occupied.is_none()) {
        return found;
    }
    calm_seat(problem, &Guest { presses: true, ..*guest })
}

/// Returns the seat that an instance should have where it is calm; as [`best_seat`], by the order of seats.
fn calm_seat(problem: &mut Problem<'_>, guest: &Guest<'_>) -> Option<usize> {
    let (class, band) = (guest.spec.class, problem.state.policy().band());
    problem.look_up(guest);
    if !problem.seats.is_worth_sorting() || problem.state.policy().prefers_low_power() {
        return best_seat(problem, guest);
    }
    problem.seats.sort_for(class, band);
    let problem = &*problem;
    if problem.seats.order(class).is_some_and(|order| order.may_need_a_whole_node(guest)) {
        return best_seat(problem, guest);
    }
    let order = problem.seats.order(class).expect("it was made just now");
    let whom = (guest, &problem.evenness(guest));
    let find = |among: Among, line: Permille| {
        let fits = |at: usize| problem.fits_evenly(at, whom, line).is_ok();
        order.best(&problem.seats, guest, among, fits)
    };
    let found = match class {
        Class::Harvest if problem.seats.any_used() => find(Among::Used, band.target),
        Class::Harvest => find(Among::All, band.target),
        Class::Critical | Class::Standard => {
            find(Among::Used, band.ceiling).or_else(|| find(Among::Unused, band.ceiling))
        }
    };
    // Small clouds, such as those of tests, are looked at in full beside it.
    debug_assert!(
        problem.seats.len() > LOOK_MAX || found == best_seat(problem, guest),
        "seat {found:?} for {guest:?}, looked up {:?}",
        best_seat(problem, guest)
    );
    found
}

/// Returns the seat that an instance should take, by looking at all.
pub(crate) fn best_seat(problem: &Problem<'_>, guest: &Guest<'_>) -> Option<usize> {
    best_seat_of(problem, guest, |_| true)
}

/// Returns the seat that an instance should take of those that are `asked`, by looking at all.
pub(crate) fn best_seat_of(
    problem: &Problem<'_>,
    guest: &Guest<'_>,
    asked: impl Fn(usize) -> bool,
) -> Option<usize> {
    let band = problem.state.policy().band();
    if guest.spec.class == Class::Harvest {
        let takes = |p: &Problem<'_>, at: usize| asked(at) && p.takes_harvest(&p.seats[at]);
        return choose(problem, guest, band.target, takes);
    }
    let in_use = |p: &Problem<'_>, at: usize| asked(at) && p.seats[at].crew.others > 0;
    choose(problem, guest, band.ceiling, in_use)
        .or_else(|| choose(problem, guest, band.ceiling, |_, at| asked(at)))
}

/// Chooses among the seats allowed the one that leaves least below the line.
fn choose(
    problem: &Problem<'_>,
    guest: &Guest<'_>,
    line: Permille,
    allowed: impl Fn(&Problem<'_>, usize) -> bool,
) -> Option<usize> {
    let whom = (guest, &problem.evenness(guest));
    let fits = |at: &usize| allowed(problem, *at) && problem.fits_evenly(*at, whom, line).is_ok();
    let score = |at: &usize| super::score::of(&problem.seats[*at], guest, line);
    (0..problem.seats.len()).filter(fits).max_by_key(score)
}

/// Evicts the harvest that keeps a dearer instance out, where evicting all of it would help.
fn make_room(
    problem: &Problem<'_>,
    (instance, guest): (&InstanceImage, &Guest<'_>),
    tried: &mut Tried<'_>,
    moves: &mut Vec<Move>,
) {
    let home = guest.volumes.and_then(|need| need.home);
    let first = tried.known(instance, guest).unwrap_or(0);
    let yielding = tried.yielding.take().unwrap_or_else(|| yielding(problem));
    let whom = (guest, &problem.evenness(guest));
    let takes = |at: usize| {
        let node = problem.seats[at].node.id;
        let at_home = home.is_none_or(|home| home == node);
        at_home && !tried.evicted.contains(&node) && would_fit(problem, at, whom)
    };
    let found = (first..yielding.len()).find(|place| takes(yielding[*place]));
    if let Some(place) = found {
        let at = yielding[place];
        tried.evicted.insert(problem.seats[at].node.id);
        evict(problem, at, guest, moves);
    }
    tried.note(instance, guest, found.map_or(yielding.len(), |place| place + 1));
    tried.yielding = Some(yielding);
}

/// Returns the seats that have harvest, or anything that leaves, and that something new may come to.
pub(super) fn yielding(problem: &Problem<'_>) -> Vec<usize> {
    let left: BTreeSet<NodeId> = problem.state.leaving().filter_map(|i| i.node).collect();
    let yields = |seat: &Seat<'_>| {
        let any = seat.crew.has_harvest() || left.contains(&seat.node.id);
        any && seat.connected && seat.node.is_open() && seat.occupied.is_none()
    };
    let seats = problem.seats.iter().enumerate();
    seats.filter(|(_, seat)| yields(seat)).map(|(at, _)| at).collect()
}

/// Says whether a guest would fit without the harvest that is there, and without what leaves.
pub(super) fn would_fit(
    problem: &Problem<'_>,
    at: usize,
    (guest, evenness): (&Guest<'_>, &Evenness<'_>),
) -> bool {
    let (state, seat) = (problem.state, &problem.seats[at]);
    let stays =
        |i: &InstanceImage| i.wish == InstanceWish::Run && state.spec(i).class != Class::Harvest;
    let room = problem.room(at, stays);
    holds(problem, at, &room, guest)
        && problem.keeps_apart(at, (guest, evenness)).is_ok()
        && seat.peak_with(guest.spec, guest.expected) <= seat.line(state.policy().band().ceiling)
}

/// Says whether a guest fits once what is leaving a seat has left.
pub(crate) fn will_fit(problem: &Problem<'_>, at: usize, guest: &Guest<'_>) -> bool {
    let seat = &problem.seats[at];
    let home = guest.volumes.and_then(|need| need.home);
    if !seat.connected || !seat.node.is_open() || home.is_some_and(|home| home != seat.node.id) {
        return false;
    }
    let line = match guest.spec.class {
        Class::Harvest => problem.state.policy().band().target,
        Class::Critical | Class::Standard => problem.state.policy().band().ceiling,
    };
    if guest.spec.class == Class::Harvest && !problem.takes_harvest(seat) {
        return false;
    }
    let leaves = |id| problem.state.instance(id).is_some_and(|i| i.wish != InstanceWish::Run);
    let room = problem.room(at, |i| i.wish == InstanceWish::Run);
    problem.state.on_node(seat.node.id).any(leaves)
        && guest.check_calm(seat).is_ok()
        && holds(problem, at, &room, guest)
        && feasible::volumes(guest.volumes, guest.spec, (seat.node, &room)).is_ok()
        && problem.keeps_apart(at, (guest, &problem.evenness(guest))).is_ok()
        && seat.peak_with(guest.spec, guest.expected) <= seat.line(line)
}

/// Says whether a guest and its ports would fit on a seat on which so much is taken.
pub(super) fn holds(problem: &Problem<'_>, at: usize, room: &Room, guest: &Guest<'_>) -> bool {
    let node = problem.seats[at].node;
    room.fits_counting((guest.spec, guest.memory), &node.facts.capacity).is_ok()
        && feasible::ports(problem.state, guest.spec, (node.id, room)).is_ok()
}

/// Evicts all harvest of a seat, unless what leaves already makes the room.
fn evict(problem: &Problem<'_>, at: usize, guest: &Guest<'_>, moves: &mut Vec<Move>) {
    // Room that is being left already is waited for, not made twice.
    let leaving = problem.room(at, |i| i.wish == InstanceWish::Run);
    if holds(problem, at, &leaving, guest) {
        return;
    }
    evict_all(problem, at, moves);
}

/// Evicts all harvest of a seat.
pub(super) fn evict_all(problem: &Problem<'_>, at: usize, moves: &mut Vec<Move>) {
    let state = problem.state;
    for id in state.on_node(problem.seats[at].node.id) {
        let instance = state.instance(id).expect("the index names instances that exist");
        if lives(instance) && state.spec(instance).class == Class::Harvest {
            moves.push(Move::Stop { instance: id, reason: StopReason::Evicted });
        }
    }
}

#[cfg(test)]
mod tests {
    use tengyun_model::{
        At, Capacity, Constraints, Inventory, Mebibytes, NodeFacts, OperationId, Resources,
        WorkloadSpec,
    };

    use super::*;
    use crate::command::{Command, Entry};
    use crate::predict;
    use crate::random::Random;
    use crate::state::State;

    fn facts(number: u64, random: &mut Random) -> NodeFacts {
        let devices = [0, 0, 0, 4][usize::try_from(random.below(4)).unwrap()];
        NodeFacts {
            name: format!("n{number}").parse().unwrap(),
            labels: BTreeMap::from([("zone".to_owned(), format!("z{}", random.below(3)))]),
            capacity: Capacity {
                cpu: Millicores::new(4000 * (1 + random.below(3))),
                memory: Mebibytes::new(4096 + random.below(3) * 4096 + random.below(9)),
                disk: Mebibytes::new(1 << 20),
                pids: 1000,
                counted: BTreeMap::from([("gpu".parse().unwrap(), devices)]),
            },
            inventory: Inventory::default(),
            enforcement: Vec::new(),
        }
    }

    fn spec(number: u64, random: &mut Random) -> WorkloadSpec {
        let classes = [Class::Critical, Class::Standard, Class::Standard, Class::Harvest];
        let spread = (random.below(4) == 0).then(|| "zone".to_owned());
        let gpu = (random.below(6) == 0).then(|| ("gpu".parse().unwrap(), 1 + random.below(2)));
        let key = format!("a/b/w{number}").parse().unwrap();
        let plain = WorkloadSpec::service(key, vec!["/bin/true".to_owned()]);
        WorkloadSpec {
            class: classes[usize::try_from(random.below(4)).unwrap()],
            resources: Resources {
                cpu: Millicores::new(random.below(1500)),
                memory: Mebibytes::new(1 + random.below(1500)),
                pids: 1,
                ..plain.resources
            },
            counted: gpu.into_iter().collect(),
            constraints: Constraints { spread, ..Constraints::default() },
            instances: 1 + u32::try_from(random.below(4)).unwrap(),
            ..plain
        }
    }

    fn cloud(random: &mut Random) -> State {
        let mut state = State::new();
        let mut must = |command: Command| {
            let outcome =
                state.apply(&Entry { at: At::from_millis(1_800_000_000_000), by: None, command });
            assert!(matches!(outcome, crate::Outcome::Applied(_)), "{outcome:?}");
        };
        must(Command::BeginEpoch);
        for number in 1..=70 {
            must(Command::RegisterNode(facts(number, random)));
            must(Command::ConnectNode(NodeId::new(u32::try_from(number).unwrap())));
        }
        for number in 0..120 {
            let spec = Box::new(spec(number, random));
            must(Command::ApplyWorkload { operation: OperationId::new(u128::from(number)), spec });
        }
        state
    }

    #[test]
    fn the_order_finds_the_seat_that_looking_at_all_finds() {
        let (mut placed, mut nowhere, mut ordered) = (0, 0, 0);
        for seed in 0..12 {
            let mut random = Random(seed);
            let state = cloud(&mut random);
            let forecast = predict::forecast(&state, state.at());
            let mut problem = Problem::new(&state, &forecast, state.at());
            for instance in state.waiting() {
                let mut guest = problem.guest(instance, false);
                let mean = Millicores::new(random.below(4000));
                let deviation = Millicores::new(random.below(300));
                guest.expected = InstanceForecast { mean, deviation, ..guest.expected };
                let found = find_seat(&mut problem, &guest);
                assert_eq!(found, best_seat(&problem, &guest), "seed {seed}, {guest:?}");
                ordered += u32::from(problem.seats.order(guest.spec.class).is_some());
                match found {
                    Some(at) => problem.seats.put(at, &guest),
                    None => nowhere += 1,
                }
                placed += u32::from(found.is_some());
                // What leaves gives CPU back, and the order has to follow.
                if let Some(at) = found.filter(|_| random.below(5) == 0) {
                    problem.seats.release(at, guest.expected);
                }
            }
        }
        assert!(placed > 1000 && nowhere > 100, "{placed} placed, {nowhere} not");
        assert!(ordered > placed + nowhere - 12 * 10, "{ordered} by the order");
    }
}
