//! The record of decisions: what was known when an instance got its node, by a plan or because an operator
//! wished it. It is made by walking the moves in their own order through the very state and forecast that
//! they were decided on, before they are committed, and it decides nothing.
//!
//! Invariant: it is bounded (`the_record_is_bounded_and_keeps_the_newest`).

use std::collections::{BTreeMap, VecDeque};

use tengyun_model::{At, InstanceId, Millicores, NodeId};

use super::line;
use crate::bound;
use crate::place::pack::best_seat_of;
use crate::place::problem::{Guest, Problem};
use crate::plan::{Move, Plan, ShiftReason};
use crate::predict::{Forecast, InstanceForecast};
use crate::state::State;

/// So many decisions are kept: a day's of a cloud of 10,000 instances, and some megabytes.
const DECISIONS_MAX: usize = 10_000;
/// So many nodes are looked at for the alternatives of one plan, so that a record never costs what a plan
/// does. Beyond it decisions have no runner-up.
const LOOKS_MAX: usize = 200_000;
/// In a cloud of more instances the bound is found out only when something is moved for it.
const BOUND_MAX: usize = 20_000;

/// Why and by which figures an instance got its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When it was decided.
    pub at: At,
    /// The instance.
    pub instance: InstanceId,
    /// Where the copy before it was; none when it was placed and not moved.
    pub from: Option<NodeId>,
    /// Its node.
    pub to: NodeId,
    /// Why it was moved, or that an operator placed it; none when a plan placed it.
    pub reason: Option<ShiftReason>,
    /// What it was expected to use.
    pub expected: InstanceForecast,
    /// What was added to its mean there.
    pub margin: Millicores,
    /// What the node was foreseen to use at most before, and with it.
    pub peak: (Millicores, Millicores),
    /// What the node could be filled to by one of its class.
    pub bound: Millicores,
    /// What the node that it left was foreseen to use at most before, and without it; zero otherwise.
    pub left: (Millicores, Millicores),
    /// The nodes that were in use by others than harvest when the plan was made.
    pub in_use: usize,
    /// The proven bound on nodes needed, where it was found out.
    pub needed: Option<u64>,
    /// Where it would have gone otherwise, where that was found out and there was anywhere.
    pub runner_up: Option<RunnerUp>,
}

/// The next best node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerUp {
    /// Which.
    pub node: NodeId,
    /// What it would have been foreseen to use at most.
    pub peak: Millicores,
    /// What it could have been filled to.
    pub bound: Millicores,
}

/// Says by which figures a plan decides each start and shift, in its order. A shift is told of the copy
/// that leaves; [`Decisions::keep`] knows the one that comes.
pub fn decided(state: &State, forecast: &Forecast, plan: &Plan, now: At) -> Vec<Decision> {
    let orders = |step: &Move| match step {
        Move::Shift { reason, .. } => is_order(*reason),
        Move::Start { .. } | Move::Stop { .. } | Move::Promise { .. } => false,
    };
    let ordered = plan.moves.iter().any(orders);
    let mut scribe = Scribe::new(Problem::new(state, forecast, now), ordered);
    plan.moves.iter().filter_map(|step| scribe.write(Step::of(step, None)?)).collect()
}

/// Says by which figures an operator was granted a move.
pub(super) fn by_hand(problem: Problem<'_>, step: &Move) -> Option<Decision> {
    Scribe::new(problem, false).write(Step::of(step, Some(ShiftReason::Operator))?)
}

/// What brings an instance to a node.
#[derive(Clone, Copy)]
struct Step {
    instance: InstanceId,
    from: Option<NodeId>,
    to: NodeId,
    reason: Option<ShiftReason>,
}

impl Step {
    /// Takes a move that brings an instance to a node; `placed` is why one starts.
    fn of(step: &Move, placed: Option<ShiftReason>) -> Option<Self> {
        match *step {
            Move::Start { instance, node } => {
                Some(Self { instance, from: None, to: node, reason: placed })
            }
            Move::Shift { instance, from, to, reason } => {
                Some(Self { instance, from: Some(from), to, reason: Some(reason) })
            }
            Move::Stop { .. } | Move::Promise { .. } => None,
        }
    }
}

/// Walks through moves and writes down by which figures each was decided.
struct Scribe<'a> {
    problem: Problem<'a>,
    in_use: usize,
    needed: Option<u64>,
    looks: usize,
}

impl<'a> Scribe<'a> {
    fn new(problem: Problem<'a>, ordered: bool) -> Self {
        let known = problem.state.instances().take(BOUND_MAX + 1).count() <= BOUND_MAX;
        let bound = || bound::nodes_needed(problem.state, problem.forecast).nodes;
        let needed = (known || ordered).then(bound);
        let in_use = problem.seats.iter().filter(|seat| seat.crew.others > 0).count();
        Self { problem, in_use, needed, looks: LOOKS_MAX }
    }

    fn write(&mut self, step: Step) -> Option<Decision> {
        let Step { instance, from, to, reason } = step;
        let problem = &mut self.problem;
        let image = problem.state.instance(instance)?;
        let guest = problem.guest(image, from.is_some());
        let way =
            Way { from: from.map(|node| problem.seat_of(node)), to: problem.seat_of(to), reason };
        let runner_up = self.looks.checked_sub(problem.seats.len()).and_then(|left| {
            self.looks = left;
            runner_up(problem, &guest, &way)
        });
        let (peak, left) = walk(problem, &guest, &way);
        // An operator may fill a node to the ceiling with whatever it is.
        let line = match reason {
            Some(ShiftReason::Operator) => problem.state.policy().band().ceiling,
            Some(_) | None => line(problem, &guest).1,
        };
        Some(Decision {
            at: problem.now,
            instance,
            from,
            to,
            reason,
            expected: guest.expected,
            margin: problem.forecast.margin(instance, Some(to)),
            peak,
            bound: problem.seats[way.to].line(line),
            left,
            in_use: self.in_use,
            needed: self.needed,
            runner_up,
        })
    }
}

/// From where to where, as seats.
struct Way {
    from: Option<usize>,
    to: usize,
    reason: Option<ShiftReason>,
}

/// Says whether a shift is for the sake of order.
const fn is_order(reason: ShiftReason) -> bool {
    match reason {
        ShiftReason::Consolidate | ShiftReason::Overload => true,
        ShiftReason::Memory
        | ShiftReason::Revision
        | ShiftReason::Drain
        | ShiftReason::Operator => false,
    }
}

/// Brings a guest where it goes, and returns the peaks there and where it was, before and after.
fn walk<'a>(
    problem: &mut Problem<'a>,
    guest: &Guest<'a>,
    way: &Way,
) -> ((Millicores, Millicores), (Millicores, Millicores)) {
    let filled = |problem: &Problem<'_>, at: usize| problem.seats[at].filled(guest.spec.class);
    let (before, mut left) = (filled(problem, way.to), Default::default());
    problem.seats.put(way.to, guest);
    let after = filled(problem, way.to);
    // In other shifts the old copy counts until it has stopped.
    if let (Some(from), true) = (way.from, way.reason.is_some_and(is_order)) {
        let full = filled(problem, from);
        problem.seats.release(from, guest.expected);
        left = (full, filled(problem, from));
    }
    ((before, after), left)
}

/// Finds where a guest would have gone otherwise: for the sake of order to the emptiest of the nodes in
/// use that take it, else to the one that packing likes best.
fn runner_up(problem: &Problem<'_>, guest: &Guest<'_>, way: &Way) -> Option<RunnerUp> {
    let other = |at: usize| at != way.to && Some(at) != way.from;
    let (_, line) = line(problem, guest);
    let at = if way.reason.is_some_and(is_order) {
        let fits = |at: &usize| {
            let used = problem.seats[*at].crew.others > 0;
            used && other(*at) && problem.fits(*at, guest, line).is_ok()
        };
        let share = |at: &usize| {
            let seat = &problem.seats[*at];
            let cpu = u128::from(seat.node.facts.capacity.cpu.get().max(1));
            (u128::from(seat.peak().get()) * 1_000_000 / cpu, seat.node.id)
        };
        (0..problem.seats.len()).filter(fits).min_by_key(share)
    } else {
        best_seat_of(problem, guest, other)
    }?;
    let seat = &problem.seats[at];
    let peak = seat.peak_with(guest.spec, guest.expected);
    Some(RunnerUp { node: seat.node.id, peak, bound: seat.line(line) })
}

/// The newest decisions, by the instance that came of each. Of this reign: none outlives the process.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    of: BTreeMap<InstanceId, Decision>,
    order: VecDeque<InstanceId>,
}

impl Decisions {
    /// Keeps the decisions of moves that were just committed; those that were stale by then are not.
    pub fn keep(&mut self, state: &State, decided: Vec<Decision>) {
        for mut decision in decided {
            if decision.from.is_some() {
                let Some(new) = state.replacement_of(decision.instance) else { continue };
                decision.instance = new;
            }
            let there = state.instance(decision.instance).and_then(|instance| instance.node);
            if there == Some(decision.to) {
                self.enter(decision);
            }
        }
    }

    fn enter(&mut self, decision: Decision) {
        let id = decision.instance;
        // An instance gets its node once: what comes later was stale.
        if self.of.contains_key(&id) {
            return;
        }
        self.of.insert(id, decision);
        self.order.push_back(id);
        while self.order.len() > DECISIONS_MAX {
            let oldest = self.order.pop_front();
            oldest.and_then(|oldest| self.of.remove(&oldest));
        }
    }

    /// Returns the decision that gave an instance its node, while it is kept.
    pub fn of(&self, id: InstanceId) -> Option<&Decision> {
        self.of.get(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(instance: u64) -> Decision {
        Decision {
            at: At::from_millis(instance),
            instance: InstanceId::new(instance),
            from: None,
            to: NodeId::new(1),
            reason: None,
            expected: InstanceForecast::default(),
            margin: Millicores::ZERO,
            peak: Default::default(),
            bound: Millicores::ZERO,
            left: Default::default(),
            in_use: 1,
            needed: None,
            runner_up: None,
        }
    }

    #[test]
    fn the_record_is_bounded_and_keeps_the_newest() {
        let mut record = Decisions::default();
        let most = u64::try_from(DECISIONS_MAX).unwrap();
        for instance in 1..=most + 5 {
            record.enter(decision(instance));
        }
        record.enter(decision(most + 5));
        assert_eq!((record.of.len(), record.order.len()), (DECISIONS_MAX, DECISIONS_MAX));
        assert_eq!(record.of(InstanceId::new(5)), None);
        assert!(record.of(InstanceId::new(6)).is_some());
        assert!(record.of(InstanceId::new(most + 5)).is_some());
    }
}
