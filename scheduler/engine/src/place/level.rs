//! Levelling: foreseen peaks of the nodes in use are kept alike, so that none is above the ceiling while
//! others have room, with few moves and never one that gains nothing.

use std::collections::BTreeSet;

use tengyun_model::{Class, Permille};

use super::fleet::{Fleet, Why, fuller_after};
use super::improve::would_undo;
use super::problem::Problem;
use crate::image::InstanceImage;
use crate::plan::{Move, ShiftReason};

/// Nodes are level when the fullest is less than this part of the noise above their mean, and the
/// emptiest less than twice as much below it; so much in any case.
const DEAD: (u64, u64) = (10, 5000);
/// A move has to lower the fuller of its two nodes by this part of the noise, and so much at least.
const GAIN: (u64, u64) = (8, 3000);
/// Where use hardly varies a node below the ceiling is as safe as any other: only such differences are
/// evened out, by moves that gain so much.
const COARSE: (u64, u64) = (100_000, 50_000);
/// So many of the emptiest nodes are tried as destinations.
const DESTINATIONS: usize = 4;

/// Moves instances from the fullest nodes to the emptiest. Afterwards nodes are level, or the moves of
/// a round are spent, or no move gains anything. Overloaded nodes are relieved in any case.
pub(super) fn level(fleet: &mut Fleet, problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    let policy = problem.state.policy();
    let instances = fleet.ascending().map(|(_, at)| problem.seats[at].crew.others).sum();
    let most = moves.len() + policy.level_moves(instances);
    let mut stuck = BTreeSet::new();
    // What takes stays below what gave, so all that is above the giver is stuck.
    let mut top = (u64::MAX, usize::MAX);
    loop {
        let fullest = fleet.descending_from(top).find(|(_, at)| !stuck.contains(at));
        let Some((full, from)) = fullest else { return };
        top = (full, from);
        let overloaded = fleet.is_overloaded(full);
        if moves.len() >= if overloaded { policy.rebalance_moves() } else { most } {
            return;
        }
        if full <= fleet.ceiling() && (!policy.consolidates() || is_level(fleet, full)) {
            return;
        }
        let moved = shift_one(fleet, problem, (full, from), moves)
            || (overloaded && fleet.open_for(problem, (full, from), moves));
        if !moved {
            stuck.insert(from);
        }
    }
}

/// Says whether the fullest node that can give is hardly fuller than the mean, and none far emptier.
fn is_level(fleet: &Fleet, full: u64) -> bool {
    let mean = fleet.mean();
    let emptiest = fleet.ascending().next().map_or(mean, |(share, _)| share);
    let dead = if fleet.is_steady() { COARSE.0 } else { fleet.of_noise(DEAD) };
    full.saturating_sub(mean) < dead && mean.saturating_sub(emptiest) < 2 * dead
}

/// Moves the one instance of a node that evens it out best with one of the emptiest.
fn shift_one(
    fleet: &mut Fleet,
    problem: &mut Problem<'_>,
    (full, from): (u64, usize),
    moves: &mut Vec<Move>,
) -> bool {
    let overloaded = fleet.is_overloaded(full);
    let why = Why::of(overloaded, Why::Order);
    let mut movable = fleet.movable(problem, from, why);
    // What is reserved grows no more: a node that is full of it is as safe as any other.
    let over = full > fleet.ceiling();
    movable.retain(|i| over || problem.state.spec(i).class != Class::Critical);
    let gain = if fleet.is_steady() && !over { COARSE.1 } else { fleet.of_noise(GAIN) };
    let calm = |at: &usize| *at != from && problem.seats[*at].occupied.is_none();
    let emptiest: Vec<usize> =
        fleet.ascending().map(|(_, at)| at).filter(calm).take(DESTINATIONS).collect();
    for to in emptiest {
        let score = |instance: &&InstanceImage| {
            let expected = problem.forecast.instance(instance.status.instance);
            (fuller_after(problem, expected, (from, to)), instance.status.instance)
        };
        let there = problem.seats[to].node.id;
        let new = |i: &&&InstanceImage| overloaded || !would_undo(problem, i, there);
        let mut ranked: Vec<_> = movable.iter().filter(new).map(|i| (score(i), *i)).collect();
        ranked.retain(|((fuller, _), _)| fuller.saturating_add(gain) <= full);
        ranked.sort_unstable_by_key(|(score, _)| *score);
        for (_, instance) in ranked {
            let guest = problem.guest(instance, true);
            if problem.fits(to, &guest, Permille::WHOLE).is_ok() {
                let reason = if over { ShiftReason::Overload } else { ShiftReason::Consolidate };
                fleet.go(problem, (instance, &guest), (from, to, reason), moves);
                return true;
            }
        }
    }
    false
}
