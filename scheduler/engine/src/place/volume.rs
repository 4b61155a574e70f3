//! Renewing what keeps volumes: nothing else may hold them, so the old copy stops before the new one
//! starts, and the next copy of the workload follows when that one is healthy.

use std::collections::BTreeSet;

use tengyun_model::{Phase, WorkloadId};

use super::problem::{Problem, lives};
use crate::image::{InstanceImage, InstanceWish, NodeImage};
use crate::plan::{Move, StopReason};

/// Stops copies of an older revision whose workload has volumes, one at a time for each workload.
pub(super) fn renew(problem: &Problem<'_>, moves: &mut Vec<Move>) {
    let state = problem.state;
    if !state.has_old_revisions() {
        return;
    }
    let mut busy: BTreeSet<WorkloadId> =
        state.instances().filter(|i| is_under_way(problem, i)).map(|i| i.workload).collect();
    for instance in state.instances().filter(|i| lives(i) && i.node.is_some()) {
        let id = instance.status.instance;
        let may = !busy.contains(&instance.workload)
            && state.check_renewal(instance)
            && instance.node.and_then(|n| state.node(n)).is_some_and(NodeImage::is_open);
        if may {
            busy.insert(instance.workload);
            moves.push(Move::Stop { instance: id, reason: StopReason::Renewed });
        }
    }
}

/// Says whether an instance is on its way from an old revision to the present one.
fn is_under_way(problem: &Problem<'_>, instance: &InstanceImage) -> bool {
    let state = problem.state;
    let ended = instance.status.phase.is_final();
    match instance.wish {
        InstanceWish::Stop(StopReason::Renewed) => !ended,
        InstanceWish::Stop(_) => false,
        InstanceWish::Run => {
            let present = state.workload(instance.workload).map(|w| w.revision);
            present == Some(instance.revision) && !ended && instance.status.phase != Phase::Healthy
        }
    }
}
