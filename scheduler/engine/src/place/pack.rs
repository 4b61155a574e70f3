//! Packing: waiting instances find nodes.
//!
//! Critical before standard before harvest, those tied to labels before the others, large before small;
//! harvest in turns of its departments. Nodes in use come first, the one that ends fullest below the
//! ceiling wins (best fit); an unused node is opened when none of them fits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tengyun_model::{Class, DepartmentPath, InstanceId, Millicores, NodeId, Permille};

use super::problem::{Guest, Problem, Seat, lives};
use crate::image::{InstanceImage, InstanceWish};
use crate::place::feasible::Room;
use crate::plan::{Move, StopReason};

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
    let mut evicted = BTreeSet::new();
    let mut harvest = Vec::new();
    for instance in waiting {
        let id = instance.status.instance;
        if state.check_held(instance).is_err() {
            continue;
        }
        let guest = problem.guest(instance, false);
        if guest.spec.class == Class::Harvest {
            harvest.push((instance, guest));
        } else if !start(problem, (id, &guest), moves) {
            make_room(problem, &guest, &mut evicted, moves);
        }
    }
    if !harvest.is_empty() {
        fill_harvest(problem, harvest, moves);
    }
}

/// Starts an instance where it fits best; says whether it does anywhere.
fn start<'a>(
    problem: &mut Problem<'a>,
    (id, guest): (InstanceId, &Guest<'a>),
    moves: &mut Vec<Move>,
) -> bool {
    let Some(at) = best_seat(problem, guest) else { return false };
    let seat = &mut problem.seats[at];
    moves.push(Move::Start { instance: id, node: seat.node.id });
    seat.put(guest);
    true
}

/// Starts waiting harvest, each time of the department whose harvest asks for least so far: a
/// department that queues a thousand jobs does not keep another's one waiting.
fn fill_harvest<'a>(
    problem: &mut Problem<'a>,
    waiting: Vec<(&'a InstanceImage, Guest<'a>)>,
    moves: &mut Vec<Move>,
) {
    let state = problem.state;
    let mut runs: BTreeMap<&DepartmentPath, Millicores> = BTreeMap::new();
    let running = state.instances().filter(|i| i.node.is_some() && lives(i));
    for spec in running.map(|i| state.spec(i)).filter(|s| s.class == Class::Harvest) {
        let sum = runs.entry(&spec.key.department).or_default();
        *sum = sum.saturating_add(spec.resources.cpu);
    }
    let mut queues: BTreeMap<&DepartmentPath, VecDeque<_>> = BTreeMap::new();
    for (instance, guest) in waiting {
        queues.entry(&guest.spec.key.department).or_default().push_back((instance, guest));
    }
    loop {
        let asked = |d: &DepartmentPath| runs.get(d).copied().unwrap_or_default();
        let Some((_, next)) = queues.keys().map(|d| (asked(d), *d)).min() else { return };
        let queue = queues.get_mut(next).expect("it was chosen among these");
        let Some((instance, guest)) = queue.pop_front() else {
            queues.remove(next);
            continue;
        };
        if start(problem, (instance.status.instance, &guest), moves) {
            let sum = runs.entry(next).or_default();
            *sum = sum.saturating_add(guest.spec.resources.cpu);
        }
    }
}

/// Returns the seat that an instance should take.
pub(crate) fn best_seat(problem: &Problem<'_>, guest: &Guest<'_>) -> Option<usize> {
    let band = problem.state.policy().band();
    if guest.spec.class == Class::Harvest {
        return choose(problem, guest, band.target, |p, at| p.takes_harvest(&p.seats[at]));
    }
    let in_use = |p: &Problem<'_>, at: usize| p.seats[at].crew.others > 0;
    choose(problem, guest, band.ceiling, in_use)
        .or_else(|| choose(problem, guest, band.ceiling, |_, _| true))
}

/// Chooses among the seats allowed the one that leaves least below the line.
pub(super) fn choose(
    problem: &Problem<'_>,
    guest: &Guest<'_>,
    line: Permille,
    allowed: impl Fn(&Problem<'_>, usize) -> bool,
) -> Option<usize> {
    let fits = |at: &usize| allowed(problem, *at) && problem.fits(*at, guest, line).is_ok();
    let score = |at: &usize| super::score::of(&problem.seats[*at], guest, line);
    (0..problem.seats.len()).filter(fits).max_by_key(score)
}

/// Evicts the harvest that keeps a dearer instance out, where evicting all of it would help.
fn make_room(
    problem: &Problem<'_>,
    guest: &Guest<'_>,
    evicted: &mut BTreeSet<NodeId>,
    moves: &mut Vec<Move>,
) {
    let state = problem.state;
    let ceiling = state.policy().band().ceiling;
    let home = guest.volumes.and_then(|need| need.home);
    let takes = |s: &&Seat<'_>| {
        let at_home = home.is_none_or(|home| home == s.node.id);
        s.connected && s.node.is_open() && at_home && !evicted.contains(&s.node.id)
    };
    for (at, seat) in problem.seats.iter().enumerate().filter(|(_, seat)| takes(seat)) {
        let stays = |i: &InstanceImage| {
            i.wish == InstanceWish::Run && state.spec(i).class != Class::Harvest
        };
        let room = Room::taken(state, seat.node.id, stays);
        let fits = room.fits(guest.spec, &seat.node.facts.capacity).is_ok()
            && problem.keeps_apart(at, guest).is_ok()
            && seat.peak_with(guest.spec, guest.expected) <= seat.line(ceiling);
        if !fits {
            continue;
        }
        evicted.insert(seat.node.id);
        // Room that is being left already is waited for, not made twice.
        let leaving = Room::taken(state, seat.node.id, |i| i.wish == InstanceWish::Run);
        if leaving.fits(guest.spec, &seat.node.facts.capacity).is_err() {
            for id in state.on_node(seat.node.id) {
                let instance = state.instance(id).expect("the index names instances that exist");
                if lives(instance) && state.spec(instance).class == Class::Harvest {
                    moves.push(Move::Stop { instance: id, reason: StopReason::Evicted });
                }
            }
        }
        return;
    }
}
