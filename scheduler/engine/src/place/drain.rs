//! Draining: everything that may move leaves a node that operators drain.
//!
//! A replacement is healthy elsewhere before the old copy stops; harvest is evicted and queued again.
//! What must not move stays until an operator insists, and then stops before it starts elsewhere, so
//! that it never runs twice.

use tengyun_model::{Class, Kind, MovePolicy, Phase};

use super::pack;
use super::problem::{Problem, Seat, lives};
use crate::image::{InstanceImage, NodeImage, NodeWish};
use crate::plan::{Move, ShiftReason, StopReason};

/// What becomes of an instance on a drained node next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It stops, and is queued again at once.
    Evict,
    /// It stops when a place elsewhere is sure, and starts there.
    StopFirst,
    /// Its replacement starts elsewhere.
    Replace,
    /// It leaves in another way: it ends, is replaced already, or is rescued or renewed.
    Otherwise,
    /// It was moved or tried just now.
    Rest,
    /// It must not move.
    Stay,
    /// Its volumes are here.
    Keep,
    /// It may move in its window only, which is not open.
    Window,
}

/// Says how an instance leaves its drained node.
pub(crate) fn leave(problem: &Problem<'_>, instance: &InstanceImage) -> Leave {
    let state = problem.state;
    let spec = state.spec(instance);
    let workload = state.workload(instance.workload).expect("its workload outlives it");
    if !lives(instance) || !state.is_alone(instance) || state.is_on_lost(instance) {
        return Leave::Otherwise;
    }
    if !spec.volumes.is_empty() {
        return Leave::Keep;
    }
    if spec.class == Class::Harvest {
        return Leave::Evict;
    }
    if spec.kind == Kind::PerNode {
        return Leave::Stay;
    }
    let wish = instance.node.map(|node| problem.seats[problem.seat_of(node)].node.wish);
    let forced = wish == Some(NodeWish::DrainByForce);
    match spec.move_policy {
        MovePolicy::Never if forced => return Leave::StopFirst,
        MovePolicy::Never => return Leave::Stay,
        MovePolicy::Window if !forced && !state.may_move_now(workload.id, problem.now) => {
            return Leave::Window;
        }
        MovePolicy::Window | MovePolicy::Any => {}
    }
    if instance.status.phase == Phase::BackingOff {
        return Leave::StopFirst;
    }
    if instance.revision != workload.revision {
        return Leave::Otherwise;
    }
    // One whose replacement failed is not tried again at once.
    let pause = state.policy().requeue_after();
    if instance.moved.is_some_and(|moved| problem.now.since(moved) < pause) {
        return Leave::Rest;
    }
    Leave::Replace
}

/// Moves what may move away from drained nodes, within the budget of moves under way.
pub(super) fn drain(problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    let state = problem.state;
    let mut left = state.policy().moves_per_pass().saturating_sub(state.moves_under_way());
    let drained = |s: &Seat<'_>| s.node.wish.is_drain() && s.node.loss.is_none();
    let nodes: Vec<_> = problem.seats.iter().filter(|s| drained(s)).map(|s| s.node.id).collect();
    for from in nodes {
        for id in state.on_node(from) {
            let instance = state.instance(id).expect("the index names instances that exist");
            let way = leave(problem, instance);
            let step = match way {
                Leave::Otherwise | Leave::Rest | Leave::Stay | Leave::Keep | Leave::Window => {
                    continue;
                }
                Leave::Evict => Move::Stop { instance: id, reason: StopReason::Evicted },
                Leave::StopFirst | Leave::Replace if left == 0 => continue,
                Leave::StopFirst | Leave::Replace => {
                    let Some(to) = take_seat(problem, instance) else { continue };
                    left -= 1;
                    if way == Leave::Replace {
                        let reason = ShiftReason::Drain;
                        Move::Shift { instance: id, from, to, reason }
                    } else {
                        Move::Stop { instance: id, reason: StopReason::Drained }
                    }
                }
            };
            moves.push(step);
        }
    }
}

/// Rehearses a drain: sees a node as if it were wished so, which the others take nothing from yet, and
/// changes nothing else. Afterwards [`leave`] and [`take_seat`] say what would become of what is there.
pub(crate) fn rehearse<'a>(problem: &mut Problem<'a>, drained: &'a NodeImage) {
    let at = problem.seat_of(drained.id);
    problem.seats.see(at, drained);
}

/// Takes a seat elsewhere for an instance of a drained node; none when it fits nowhere.
pub(crate) fn take_seat(
    problem: &mut Problem<'_>,
    instance: &InstanceImage,
) -> Option<tengyun_model::NodeId> {
    problem.state.check_held(instance).ok()?;
    let guest = problem.guest(instance, true);
    let at = pack::take_seat(problem, &guest)?;
    Some(problem.seats[at].node.id)
}
