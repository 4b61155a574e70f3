//! What a waiting instance waits for besides room, and how a renewal goes on.

use tengyun_model::{NodeName, Said, said};

use super::rollout::{NoRoom, within};
use super::{NodeVerdict, advice, nearest, verdict};
use crate::command::Refusal;
use crate::image::InstanceImage;
use crate::place::pack::{is_plain, take_seat, will_fit};
use crate::place::problem::{Guest, Problem};
use crate::rollout;

/// Says what a waiting instance waits for; nothing when any node would do.
pub(super) fn waiting(problem: &Problem<'_>, instance: &InstanceImage) -> Option<Said> {
    let state = problem.state;
    if let Err(refusal) = state.check_ready(instance) {
        return Some(said!(WaitsFor, refusal.said()));
    }
    let home = state.bound_to(instance)?;
    let at = problem.seat_of(home);
    let guest = problem.guest(instance, false);
    let verdict = verdict(problem, at, instance, &guest);
    let name = &problem.seats[at].node.facts.name;
    Some(if let Some(refusal) = verdict.refusal {
        said!(WaitsHome, name, refusal.said())
    } else {
        said!(StartsHome, name)
    })
}

/// Says what would help a waiting instance; nothing where it only has to wait.
pub(super) fn remedy(
    problem: &Problem<'_>,
    instance: &InstanceImage,
    nodes: &[NodeVerdict],
) -> Said {
    let state = problem.state;
    match state.check_ready(instance) {
        Err(Refusal::DependsOn { .. }) => return said!(DoMendDependency),
        // An earlier copy or run of it is about to end.
        Err(_) => return Said::NOTHING,
        Ok(()) => {}
    }
    if let Some(home) = state.bound_to(instance) {
        let seat = &problem.seats[problem.seat_of(home)];
        let there = nodes.iter().find(|n| n.node == home).and_then(|n| n.refusal.as_ref());
        let helps = |why| advice(&seat.node.facts.name, why, seat.foreign);
        return there.map_or(Said::NOTHING, helps);
    }
    let starts_soon = nodes.iter().any(|n| n.refusal.is_none());
    if starts_soon || is_made_for(problem, instance).is_some() {
        return Said::NOTHING;
    }
    super::remedy(problem, nodes)
}

/// Names the node where a waiting instance fits once what is leaving has left.
pub(super) fn is_made_for<'a>(
    problem: &Problem<'a>,
    instance: &InstanceImage,
) -> Option<&'a NodeName> {
    let guest = problem.guest(instance, false);
    let at = (0..problem.seats.len()).find(|at| will_fit(problem, *at, &guest))?;
    Some(&problem.seats[at].node.facts.name)
}

/// What keeps a whole gang from starting.
pub(super) struct Gang {
    /// It in one sentence.
    pub(super) said: Said,
    /// The nearest change that would help the first that does not fit.
    pub(super) remedy: Said,
}

/// Says what keeps the gang from starting that an instance waits with; nothing when it waits with no
/// other or all of them would fit now.
pub(super) fn gang(problem: &Problem<'_>, instance: &InstanceImage) -> Option<Gang> {
    let state = problem.state;
    let all = state.starts_with(instance);
    if all.len() < 2 {
        return None;
    }
    let (mut trial, mut fit, mut first) = (problem.clone(), 0_usize, None);
    for member in &all {
        if let Err(refusal) = state.check_held(member) {
            first.get_or_insert((refusal.said(), Said::NOTHING));
            continue;
        }
        let guest = trial.guest(member, false);
        if take_seat(&mut trial, &guest).is_some() {
            fit += 1;
        } else if first.is_none() {
            first = Some(lacks(&trial, member, &guest));
        } else if is_plain(&guest) {
            // All that are like it find no seat either.
            break;
        }
    }
    let (lacks, remedy) = first?;
    Some(Gang { said: said!(WaitsGang, all.len(), fit, lacks), remedy })
}

/// Says what an instance lacks on the node that is nearest to taking it, and what would help.
fn lacks(problem: &Problem<'_>, instance: &InstanceImage, guest: &Guest<'_>) -> (Said, Said) {
    let verdict = |at| verdict(problem, at, instance, guest);
    let nodes: Vec<NodeVerdict> = (0..problem.seats.len()).map(verdict).collect();
    let lacks = nearest(&nodes).map(|(node, refusal)| said!(ErrorWith, &node.name, refusal.said()));
    (lacks.unwrap_or_else(|| said!(WaitsNobody)), super::remedy(problem, &nodes))
}

/// Says how the renewal of a copy goes on; empty when it is of the present revision.
pub(super) fn renewal(problem: &Problem<'_>, instance: &InstanceImage) -> Said {
    let state = problem.state;
    let Some(workload) = state.workload(instance.workload) else { return Said::NOTHING };
    let summary = rollout::summary(state, workload, problem.now);
    if summary.is_empty() {
        return summary;
    }
    if let Some(NoRoom { copies, remedy }) = stuck(problem, instance) {
        let tail = said!(RolloutNoRoom, copies, remedy);
        return said!(Further, said!(Joined, summary, tail));
    }
    said!(Further, summary)
}

/// Says which copies of its workload a copy of an older revision waits with for room.
pub(super) fn stuck(problem: &Problem<'_>, instance: &InstanceImage) -> Option<NoRoom> {
    let workload = problem.state.workload(instance.workload)?;
    let outdated = instance.revision != workload.revision && instance.node.is_some();
    if outdated { within(problem, workload) } else { None }
}

/// Says for how long a copy rests that failed for good; nothing of others.
pub(super) fn rest(problem: &Problem<'_>, instance: &InstanceImage) -> Option<Said> {
    let failures = instance.failures;
    let rested = problem.now.since(instance.failed?);
    let left = problem.state.policy().failed_pause(failures).saturating_sub(rested);
    Some(said!(Further, Refusal::Rests { failures, left }.said()))
}
