//! Why a rollout does not go on: copies for whose new revision there is no room.

use tengyun_model::{MovePolicy, Said, WorkloadId};

use super::{NodeVerdict, advice, refused, remedy, verdict};
use crate::image::{InstanceImage, WorkloadImage};
use crate::place::pack::best_seat;
use crate::place::problem::{Problem, lives};
use crate::place::renew::fits_instead;
use crate::predict::Forecast;
use crate::rollout::Stage;
use crate::state::State;

/// Copies that wait for room while their workload is rolled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// How many.
    pub copies: usize,
    /// The nearest change that would help the first of them.
    pub remedy: Said,
}

/// Says which copies of a workload no node has room for; nothing when its rollout can go on.
pub fn no_room(
    state: &State,
    forecast: &Forecast,
    id: WorkloadId,
    now: tengyun_model::At,
) -> Option<NoRoom> {
    let workload = state.workload(id)?;
    within(&Problem::new(state, forecast, now), workload)
}

/// Does so in a problem that is posed already.
pub(super) fn within(problem: &Problem<'_>, workload: &WorkloadImage) -> Option<NoRoom> {
    let state = problem.state;
    let goes_on = match workload.rollout.as_ref()?.stage {
        Stage::Advancing | Stage::Returning => true,
        Stage::Paused | Stage::Halted => false,
    };
    let spec = &workload.revisions[&workload.revision];
    let closed =
        spec.move_policy == MovePolicy::Window && !state.may_move_now(workload.id, problem.now);
    if !goes_on || closed {
        return None;
    }
    let all = state.of_workload(workload.id).filter_map(|id| state.instance(id));
    let waits = |i: &&InstanceImage| {
        let outdated = i.revision != workload.revision;
        let old = i.node.is_some() && outdated && !state.is_on_lost(i);
        let new = i.node.is_none() && !outdated && state.check_ready(i).is_ok();
        lives(i) && state.is_alone(i) && (old || new)
    };
    let stuck: Vec<Said> = all.filter(waits).filter_map(|i| lacks(problem, i)).collect();
    let copies = stuck.len();
    stuck.into_iter().next().map(|remedy| NoRoom { copies, remedy })
}

/// Says what would help a copy; nothing when it finds room.
fn lacks(problem: &Problem<'_>, instance: &InstanceImage) -> Option<Said> {
    let state = problem.state;
    let guest = problem.guest(instance, instance.node.is_some());
    if let Some(node) = instance.node.filter(|_| state.renews_in_place(instance)) {
        if fits_instead(problem, instance) {
            return None;
        }
        let at = problem.seat_of(node);
        let seat = &problem.seats[at];
        let refusal = problem.fits(at, &guest, state.policy().band().ceiling).err();
        let name = &seat.node.facts.name;
        return Some(refusal.map_or(Said::NOTHING, |no| advice(name, &no, seat.foreign)));
    }
    if best_seat(problem, &guest).is_some() {
        return None;
    }
    // The node where the old copy is could take the new one beside it.
    let asked = |at| {
        let refusal = refused(problem, at, &guest);
        NodeVerdict { refusal, ..verdict(problem, at, instance, &guest) }
    };
    let verdicts: Vec<NodeVerdict> = (0..problem.seats.len()).map(asked).collect();
    Some(remedy(problem, &verdicts))
}
