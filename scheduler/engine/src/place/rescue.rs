//! Rescuing: what a lost node ran is queued again, where that is allowed.
//!
//! An instance whose node is silent may still run. Only what its department lets start elsewhere is
//! given up, and everything once an operator knows that the node is off; the rest waits.

use super::problem::{Problem, lives};
use crate::plan::{Move, StopReason};

/// Gives up what lost nodes ran. Afterwards no instance on a lost node is wanted that may be
/// elsewhere, unless its workload is held or a replacement is on its way.
pub(super) fn rescue(problem: &mut Problem<'_>, moves: &mut Vec<Move>) {
    let state = problem.state;
    for node in state.nodes().filter(|n| n.loss.is_some()) {
        for id in state.on_node(node.id) {
            let instance = state.instance(id).expect("the index names instances that exist");
            let alone = state.is_alone(instance);
            let held = state.check_held(instance).is_err();
            if lives(instance) && alone && !held && state.leaves_lost(instance) {
                problem.give_up(instance);
                moves.push(Move::Stop { instance: id, reason: StopReason::Lost });
            }
        }
    }
}
