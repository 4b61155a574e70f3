//! Retiring: old copies whose replacement is healthy, and replacements that never became so.

use tengyun_model::Phase;

use super::problem::{Problem, lives};
use crate::image::{InstanceImage, InstanceWish};
use crate::plan::{Move, StopReason};
use crate::rollout;

/// Stops what is to be stopped. Afterwards no instance that is replaced by a healthy one is wanted.
pub(super) fn retire(problem: &Problem<'_>, moves: &mut Vec<Move>) {
    let state = problem.state;
    for new in state.replacing().filter(|i| i.wish == InstanceWish::Run) {
        let Some(old) = new.replaces.and_then(|old| state.instance(old)) else { continue };
        let (instance, reason) = match fate(problem, old, new) {
            Fate::Pending => continue,
            Fate::Proven => (old.status.instance, StopReason::Replaced),
            Fate::Failed => (new.status.instance, StopReason::GivenUp),
        };
        moves.push(Move::Stop { instance, reason });
    }
}

/// What became of a replacement.
enum Fate {
    /// It is not known yet, or the old copy stops already.
    Pending,
    /// It took the place of the old copy.
    Proven,
    /// It did not, or is no longer wanted.
    Failed,
}

fn fate(problem: &Problem<'_>, old: &InstanceImage, new: &InstanceImage) -> Fate {
    let state = problem.state;
    let (lost, spec) = (state.is_on_lost(new), state.spec(new));
    if state.is_taken_back(new) {
        return Fate::Failed;
    }
    let renews = new.revision != old.revision;
    if new.status.phase == Phase::Healthy && !lost {
        // A new revision has to stay healthy for a while before the old copy is given up for it.
        let trusted = !renews || rollout::proven(new, spec, problem.now);
        let stops = old.wish != InstanceWish::Run;
        return if trusted && !stops { Fate::Proven } else { Fate::Pending };
    }
    // One that may take long to start is given that time too.
    let timeout = state.policy().replacement_timeout().saturating_add(spec.startup);
    let timeout = if renews { rollout::patience(spec) } else { timeout };
    let late = problem.now.since(new.placed) > timeout;
    let crashed = renews && new.status.phase == Phase::BackingOff;
    if lost || late || crashed || !lives(new) { Fate::Failed } else { Fate::Pending }
}
