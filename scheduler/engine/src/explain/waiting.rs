//! What a waiting instance waits for besides room, and how a renewal goes on.

use tengyun_model::{Said, said};

use super::rollout::{NoRoom, within};
use super::verdict;
use crate::command::Refusal;
use crate::image::InstanceImage;
use crate::place::problem::Problem;
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
