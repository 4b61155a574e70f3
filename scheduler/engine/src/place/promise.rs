//! Promises: how much memory each instance counts, by what it was measured to use.
//!
//! What needs more gets it at once, before anything else is planned; what needs less gives it back when
//! nothing else is to do, and only by measurements that are fresh and go back for long enough.

use tengyun_model::{Class, Mebibytes, Phase};

use super::problem::{Problem, lives};
use crate::image::InstanceImage;
use crate::plan::{Move, PromiseReason};
use crate::predict::Profile;
use crate::predict::memory::MemoryTerms;
use crate::state::State;

/// A promise is changed when it differs by this part of itself: smaller steps are noise, and each is an
/// entry of the journal.
const STEP: u64 = 10;
/// The most promises changed by one plan; the next one goes on.
const PROMISES_MAX: usize = 4096;

/// Raises the promises that are too small. Afterwards none is below what its instance used or is expected
/// to, and none below the request where the policy asks for that.
pub(super) fn raise(problem: &Problem<'_>, moves: &mut Vec<Move>) {
    let (state, terms) = (problem.state, problem.state.memory_terms(problem.now));
    for instance in state.with_promises() {
        let placed = instance.node.is_some() && lives(instance);
        if moves.len() >= PROMISES_MAX || !placed || state.lent(instance).is_zero() {
            continue;
        }
        let id = instance.status.instance;
        let profile = state.profile(id).expect("every instance has one");
        let raised = raised(&terms, instance, (profile, state.promised(instance)));
        if let Some((memory, reason)) = raised {
            moves.push(Move::Promise { instance: id, memory, reason });
        }
    }
}

fn raised(
    terms: &MemoryTerms,
    instance: &InstanceImage,
    (profile, present): (&Profile, Mebibytes),
) -> Option<(Mebibytes, PromiseReason)> {
    if !terms.by_use || profile.class == Class::Critical {
        return Some((profile.memory, PromiseReason::Withdrawn));
    }
    if profile.missed {
        return Some((profile.memory, PromiseReason::Missed));
    }
    let misses = instance.promise.as_ref().map_or(0, |promise| promise.misses);
    let peak = profile.track.as_ref()?.peaks.peak();
    let wanted = terms.wanted(peak, misses, profile.memory);
    let enough = wanted.get() <= present.get().saturating_add(present.get() / STEP);
    (!enough).then_some((wanted, PromiseReason::Used))
}

/// Lowers the promises that are too large, where that is allowed.
pub(super) fn lower(problem: &Problem<'_>, moves: &mut Vec<Move>) {
    let (state, terms) = (problem.state, problem.state.memory_terms(problem.now));
    if !terms.by_use {
        return;
    }
    for (instance, profile) in state.profiled() {
        if moves.len() >= PROMISES_MAX {
            return;
        }
        if let Some(memory) = lowered(problem, &terms, (instance, profile)) {
            let (instance, reason) = (instance.status.instance, PromiseReason::Used);
            moves.push(Move::Promise { instance, memory, reason });
        }
    }
}

fn lowered(
    problem: &Problem<'_>,
    terms: &MemoryTerms,
    (instance, profile): (&InstanceImage, &Profile),
) -> Option<Mebibytes> {
    let state = problem.state;
    let rests = instance.node.is_none() || instance.status.phase != Phase::Healthy;
    if rests || profile.class == Class::Critical || !lives(instance) {
        return None;
    }
    let track = profile.track.as_ref()?;
    let fresh = problem.now.since(track.last()) <= terms.stale;
    let known = track.peaks.history(track.last()) >= terms.history_min;
    if !fresh || !known || !State::may_lower(instance.promise.as_deref(), problem.now) {
        return None;
    }
    let misses = instance.promise.as_ref().map_or(0, |promise| promise.misses);
    let wanted = terms.wanted(track.peaks.peak(), misses, profile.memory);
    let present = state.promised(instance);
    let less = wanted.get() < present.get() - present.get().div_ceil(STEP);
    (less && state.is_alone(instance) && !state.is_on_lost(instance)).then_some(wanted)
}
