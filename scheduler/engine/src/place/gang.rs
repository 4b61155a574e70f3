//! Gangs: instances that find seats all at once, or none of them does.
//!
//! What is tried for a gang is undone where a part of it does not fit, so that the rest of the plan never
//! sees a part of one, and nothing is evicted for it.

use std::collections::BTreeMap;

use tengyun_model::Class;

use super::feasible::{self, Room};
use super::pack::{Tried, evict_all, find_seat, holds, take_seat, yielding};
use super::problem::{Guest, Problem, Seat};
use crate::image::{InstanceImage, InstanceWish};
use crate::plan::Move;

/// Seats as they were before something was tried.
type Before<'a> = BTreeMap<usize, Seat<'a>>;

/// Takes a seat for each guest, or for none.
pub(super) fn take_seats<'a>(
    problem: &mut Problem<'a>,
    party: &[(&'a InstanceImage, Guest<'a>)],
) -> Option<Vec<usize>> {
    // Most start by themselves, and have nothing to undo.
    if let [(_, guest)] = party {
        return take_seat(problem, guest).map(|at| vec![at]);
    }
    let mut before = Before::new();
    let taken = seat_all(problem, party, &mut before);
    if taken.is_none() {
        restore(problem, before);
    }
    taken
}

/// Takes a seat for each guest until one finds none, and keeps what the seats were.
fn seat_all<'a>(
    problem: &mut Problem<'a>,
    party: &[(&'a InstanceImage, Guest<'a>)],
    before: &mut Before<'a>,
) -> Option<Vec<usize>> {
    let mut taken = Vec::with_capacity(party.len());
    for (_, guest) in party {
        let at = find_seat(problem, guest)?;
        before.entry(at).or_insert_with(|| problem.seats[at].clone());
        problem.seats.put(at, guest);
        taken.push(at);
    }
    Some(taken)
}

fn restore<'a>(problem: &mut Problem<'a>, before: Before<'a>) {
    for (at, as_it_was) in before {
        problem.seats.restore(at, as_it_was);
    }
}

/// Evicts the harvest that keeps a gang out, where all of it would fit without that. Where what leaves
/// already makes the room it is waited for.
pub(super) fn make_room<'a>(
    problem: &mut Problem<'a>,
    party: &[(&'a InstanceImage, Guest<'a>)],
    tried: &mut Tried<'a>,
    moves: &mut Vec<Move>,
) {
    let state = problem.state;
    let harvest = |i: &InstanceImage| state.spec(i).class == Class::Harvest;
    let mut before = Before::new();
    for at in yielding(problem) {
        // What is made free there is for somebody else.
        if !tried.evicted.contains(&problem.seats[at].node.id) {
            before.insert(at, problem.seats[at].clone());
            let room = problem.room(at, |i| i.wish == InstanceWish::Run && !harvest(i));
            problem.seats.make(at, room);
        }
    }
    if before.is_empty() {
        return;
    }
    let taken = seat_all(problem, party, &mut before);
    restore(problem, before);
    let Some(taken) = taken else { return };
    let mut by_seat: BTreeMap<usize, Vec<&Guest<'_>>> = BTreeMap::new();
    for ((_, guest), at) in party.iter().zip(&taken) {
        by_seat.entry(*at).or_default().push(guest);
    }
    let mut waits = false;
    for (at, guests) in by_seat {
        if hold(problem, at, (problem.room(at, |_| true), &guests)) {
            continue;
        }
        waits = true;
        tried.evicted.insert(problem.seats[at].node.id);
        if !hold(problem, at, (problem.room(at, |i| i.wish == InstanceWish::Run), &guests)) {
            evict_all(problem, at, moves);
        }
    }
    let seated = party.iter().zip(taken).map(|((instance, guest), at)| (*instance, *guest, at));
    if waits {
        tried.kept.extend(seated.map(|(_, guest, at)| (at, guest)));
        return;
    }
    // Looking for seats as if there were no harvest found some where it is in nobody's way.
    for (instance, guest, at) in seated {
        let (instance, node) = (instance.status.instance, problem.seats[at].node.id);
        problem.seats.put(at, &guest);
        moves.push(Move::Start { instance, node });
    }
}

/// Says whether all guests would fit on a seat on which so much is taken.
fn hold(problem: &Problem<'_>, at: usize, (mut room, guests): (Room, &[&Guest<'_>])) -> bool {
    guests.iter().all(|guest| {
        let node = problem.seats[at].node;
        let fits = holds(problem, at, &room, guest)
            && feasible::volumes(guest.volumes, guest.spec, (node, &room)).is_ok();
        room.take(guest.spec, &BTreeMap::new());
        let space = guest.volumes.map(|need| need.space).unwrap_or_default();
        room.disk = room.disk.saturating_add(space);
        fits
    })
}
