//! Why an instance counts the memory that it counts, and which nodes have too little of it.

use tengyun_model::{At, InstanceId, Mebibytes, NodeName};

use crate::place::problem::Problem;
use crate::place::relieve::short;
use crate::state::State;

/// What an instance counts of memory, and what that rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// What it asks for, which is its limit.
    pub request: Mebibytes,
    /// What it counts on its node.
    pub promised: Mebibytes,
    /// The highest working set that was measured and still counts; nothing while none was.
    pub peak: Mebibytes,
    /// What is added to that, in thousandths of it.
    pub margin: u64,
    /// Until when it counts its request because it used more than it was promised.
    pub until: Option<At>,
}

/// Says what an instance counts of memory; `None` when there is no such instance.
pub fn counted(state: &State, id: InstanceId, now: At) -> Option<Counted> {
    let instance = state.instance(id)?;
    let track = state.profile(id).and_then(|profile| profile.track.as_ref());
    let misses = instance.promise.as_ref().map_or(0, |promise| promise.misses);
    Some(Counted {
        request: state.spec(instance).resources.memory,
        promised: state.promised(instance),
        peak: track.map(|track| track.peaks.peak()).unwrap_or_default(),
        margin: state.memory_terms(now).margin_of(misses),
        until: State::paused_until(instance).filter(|until| *until > now),
    })
}

/// What all instances count of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What those ask for that count their use, and what they count.
    pub request: Mebibytes,
    /// What they count.
    pub promised: Mebibytes,
    /// The margin of all, in thousandths.
    pub margin: u64,
    /// Nodes that promise more than they have, or have hardly any left.
    pub short: Vec<NodeName>,
}

/// Says how memory stands that is counted by its use; nothing where none is and none was.
pub(super) fn standing(problem: &Problem<'_>) -> Option<Standing> {
    let state = problem.state;
    if !state.policy().memory_by_use() && state.with_promises().len() == 0 {
        return None;
    }
    let seats = (0..problem.seats.len()).filter(|at| !short(problem, *at).is_none());
    let request = |i| state.spec(i).resources.memory;
    Some(Standing {
        request: state.with_promises().map(request).sum(),
        promised: state.with_promises().map(|i| state.promised(i)).sum(),
        margin: state.memory_terms(problem.now).margin,
        short: seats.map(|at| problem.seats[at].node.facts.name.clone()).collect(),
    })
}
