//! Trying anew: a service's copy that failed for good though it is to run is queued again after a pause,
//! which doubles with each failure. A broken node or a broken program costs a little, and less and less.

use super::problem::Problem;
use crate::plan::{Move, StopReason};

/// Gives up the instances whose pause is over. Afterwards none is left that failed longer ago than its
/// pause, unless its workload is held.
pub(super) fn anew(problem: &Problem<'_>, moves: &mut Vec<Move>) {
    let state = problem.state;
    let rested = state.failed().filter(|i| {
        let pause = state.policy().failed_pause(i.failures);
        let over = i.failed.is_some_and(|at| problem.now.since(at) >= pause);
        over && state.may_be_tried_anew(i) && state.check_held(i).is_ok()
    });
    let stop = |id| Move::Stop { instance: id, reason: StopReason::Failed };
    moves.extend(rested.map(|i| stop(i.status.instance)));
}
