//! Relief of memory: a node that promises more than it has, because promises were raised, or that has hardly
//! any left, gives something up: harvest first, then the smallest standard instance that suffices.
//!
//! It does nothing for those whose promises are their requests: of these no node ever has too many.

use std::collections::BTreeSet;

use tengyun_model::{Class, InstanceId, Mebibytes, NodeId, Permille};

use super::fleet::is_known;
use super::improve::{has_reported, may_move, others};
use super::problem::{Guest, Problem, lives};
use super::score;
use crate::image::{InstanceImage, InstanceWish};
use crate::place::feasible::Room;
use crate::plan::{Move, ShiftReason, StopReason};

/// A node with more of its memory in use has hardly any left: the kernel reclaims what is used, and a
/// burst is killed. Kubernetes evicts at 100 MiB, Koordinator at 70 %.
const FULL: Permille = Permille::new(950);

/// What a node has to give up: of what it promised, and of what is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Short {
    promised: Mebibytes,
    used: Mebibytes,
}

impl Short {
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    fn without(self, other: Self) -> Self {
        Self {
            promised: self.promised.saturating_sub(other.promised),
            used: self.used.saturating_sub(other.used),
        }
    }
}

/// Relieves every node that is short. Afterwards each has what it needs or is about to, or nothing that it
/// runs may leave.
pub(super) fn relieve(problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    if !has_reported(problem) {
        return;
    }
    let gone: BTreeSet<InstanceId> = moves.iter().map(crate::plan::about).collect();
    let mut left = problem.state.policy().rebalance_moves();
    for at in 0..problem.seats.len() {
        let mut short = short(problem, at);
        if short.is_none() {
            continue;
        }
        for instance in chosen(problem, at, (short, &gone), Class::Harvest) {
            if short.is_none() {
                break;
            }
            let id = instance.status.instance;
            moves.push(Move::Stop { instance: id, reason: StopReason::Evicted });
            short = short.without(size(problem, instance));
        }
        let standard = if short.is_none() {
            Vec::new()
        } else {
            chosen(problem, at, (short, &gone), Class::Standard)
        };
        for instance in standard {
            if short.is_none() || left == 0 {
                break;
            }
            if let Some(step) = shift(problem, at, instance) {
                moves.push(step);
                left -= 1;
                short = short.without(size(problem, instance));
            }
        }
    }
}

/// Says what a node is short of once everything has left that is about to.
pub(crate) fn short(problem: &Problem<'_>, at: usize) -> Short {
    let (state, seat) = (problem.state, &problem.seats[at]);
    let capacity = seat.node.facts.capacity.memory;
    let line = capacity.share(FULL);
    let usage = state.usage(seat.node.id).filter(|_| seat.connected && seat.measured);
    let Some(usage) = usage else { return Short::default() };
    let room = state.room(seat.node.id);
    let taken = room.memory.saturating_add(usage.memory_foreign);
    let by_use = state.policy().memory_by_use();
    if taken <= capacity && !(by_use && usage.memory > line) {
        return Short::default();
    }
    // Where everything counts its request only others than us can be too much, and nothing is done.
    let all = || state.on_node(seat.node.id).filter_map(|id| state.instance(id));
    if !by_use && all().all(|i| i.promise.is_none()) {
        return Short::default();
    }
    let stays = |i: &InstanceImage| stays(problem, i);
    let kept = Room::taken(state, seat.node.id, stays).memory.saturating_add(usage.memory_foreign);
    let here = |id: InstanceId| state.instance(id).filter(|i| i.node == Some(seat.node.id));
    let leaves = |id| here(id).is_some_and(|i| !stays(i));
    let leaving = usage.instances.iter().filter(|used| leaves(used.instance));
    let leaving: Mebibytes = leaving.map(|used| used.memory).sum();
    let used = if by_use { usage.memory.saturating_sub(leaving) } else { Mebibytes::ZERO };
    Short { promised: kept.saturating_sub(capacity), used: used.saturating_sub(line) }
}

/// Says whether an instance is neither ended nor about to leave its node.
fn stays(problem: &Problem<'_>, instance: &InstanceImage) -> bool {
    let replaced = problem.state.replacement_of(instance.status.instance).is_some();
    instance.wish == InstanceWish::Run && !replaced
}

/// Returns how much an instance would leave.
fn size(problem: &Problem<'_>, instance: &InstanceImage) -> Short {
    let track = problem.state.profile(instance.status.instance).and_then(|p| p.track.as_ref());
    let used = track.map(|track| track.memory).unwrap_or_default();
    Short { promised: problem.state.promised(instance), used }
}

/// Returns what of a class may leave a node, in the order in which it should: the smallest that suffices
/// first, then larger ones; where none suffices the largest first.
fn chosen<'a>(
    problem: &Problem<'a>,
    at: usize,
    (short, gone): (Short, &BTreeSet<InstanceId>),
    class: Class,
) -> Vec<&'a InstanceImage> {
    let state: &'a _ = problem.state;
    let harvest = || {
        let here = state.on_node(problem.seats[at].node.id);
        let here = here.map(|id| state.instance(id).expect("the index names instances that exist"));
        let of = here.filter(|i| state.spec(i).class == Class::Harvest && lives(i));
        of.filter(|i| state.is_alone(i)).collect::<Vec<_>>()
    };
    let standard = || {
        let movable = others(problem, at).filter(|i| state.spec(i).class == Class::Standard);
        movable.filter(|i| may_leave(problem, i)).collect::<Vec<_>>()
    };
    let mut all = if class == Class::Harvest { harvest() } else { standard() };
    all.retain(|i| !gone.contains(&i.status.instance));
    all.sort_by_key(|i| {
        let (size, id) = (size(problem, i), i.status.instance);
        let amount = size.promised.get().max(size.used.get());
        let suffices = short.without(size).is_none();
        (!suffices, if suffices { amount } else { u64::MAX - amount }, id)
    });
    all
}

/// Says whether an instance may be replaced elsewhere now; one whose replacement failed rests.
fn may_leave(problem: &Problem<'_>, instance: &InstanceImage) -> bool {
    let pause = problem.state.policy().requeue_after();
    let tried = instance.moved.is_some_and(|moved| problem.now.since(moved) < pause);
    !tried && problem.state.is_alone(instance) && may_move(problem, instance)
}

/// Finds another node for an instance: of those in use the best, else of the others.
fn shift(problem: &mut Problem<'_>, from: usize, instance: &InstanceImage) -> Option<Move> {
    let guest = problem.guest(instance, true);
    problem.state.check_held(instance).ok()?;
    let to = destination(problem, from, &guest)?;
    let ends = |at: usize| -> NodeId { problem.seats[at].node.id };
    let (id, source, target) = (instance.status.instance, ends(from), ends(to));
    problem.seats.put(to, &guest);
    problem.seats.release(from, guest.expected);
    let reason = ShiftReason::Memory;
    Some(Move::Shift { instance: id, from: source, to: target, reason })
}

fn destination(problem: &Problem<'_>, from: usize, guest: &Guest<'_>) -> Option<usize> {
    let ceiling = problem.state.policy().band().ceiling;
    let whom = (guest, &problem.evenness(guest));
    let best = |in_use: bool| {
        let seats = (0..problem.seats.len()).filter(|at| *at != from);
        let takes = seats.filter(|at| {
            let seat = &problem.seats[*at];
            let fits = is_known(seat) && (seat.crew.others > 0) == in_use;
            fits && problem.fits_evenly(*at, whom, ceiling).is_ok() && short(problem, *at).is_none()
        });
        takes.max_by_key(|at| score::of(&problem.seats[*at], guest, ceiling))
    };
    best(true).or_else(|| best(false))
}
