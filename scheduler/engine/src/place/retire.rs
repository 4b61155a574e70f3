//! Retiring: old copies whose replacement is healthy, and replacements that never became so.

use tengyun_model::Phase;

use super::problem::{Problem, lives};
use crate::image::{InstanceImage, InstanceWish};
use crate::plan::{Move, StopReason};

/// Stops what is to be stopped. Afterwards no instance that is replaced by a healthy one is wanted.
pub(super) fn retire(problem: &Problem<'_>, moves: &mut Vec<Move>) {
    let timeout = problem.state.policy().replacement_timeout();
    // One that may take long to start is given that time too.
    let patience = |new: &InstanceImage| timeout.saturating_add(problem.state.spec(new).startup);
    for new in problem.state.replacing().filter(|i| i.wish == InstanceWish::Run) {
        let Some(old) = new.replaces.and_then(|old| problem.state.instance(old)) else { continue };
        let (old_id, new_id) = (old.status.instance, new.status.instance);
        let lost = problem.state.is_on_lost(new);
        if new.status.phase == Phase::Healthy && !lost {
            if old.wish == InstanceWish::Run {
                moves.push(Move::Stop { instance: old_id, reason: StopReason::Replaced });
            }
        } else if lost || problem.now.since(new.placed) > patience(new) || !lives(new) {
            moves.push(Move::Stop { instance: new_id, reason: StopReason::GivenUp });
        }
    }
}
