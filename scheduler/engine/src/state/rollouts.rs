//! Rollouts in the state: they begin with a new revision, count what fails, and end as it was decided.

use std::collections::BTreeSet;
use std::sync::Arc;

use tengyun_model::{
    At, InstanceId, InstanceStatus, Phase, Revision, Said, WorkloadId, WorkloadKey, WorkloadSpec,
    said,
};

use super::State;
use super::workloads::is_of_same_copies;
use crate::command::{Effect, Past, Refusal};
use crate::image::{InstanceWish, WorkloadImage};
use crate::rollout::{
    Fate, REVISIONS_KEPT, RevisionNote, RolloutImage, Stage, Steer, Verdict, bounded, late_said,
    rolls,
};

impl State {
    /// Makes a new revision the present one and begins to roll it out.
    pub(super) fn begin_revision(&mut self, id: WorkloadId, spec: &WorkloadSpec, at: At) {
        let revision = self.revision_after(&self.workloads[&id], spec);
        let workload = self.workloads.get_mut(&id).expect("only known workloads are revised");
        workload.revisions.insert(revision, Arc::new(spec.clone()));
        supersede(workload);
        workload.revision = revision;
        let fate = if rolls(spec.kind) { Fate::Rolling } else { Fate::Good };
        let note = RevisionNote { applied: at, fate, why: Said::NOTHING };
        workload.notes.insert(revision, Box::new(note));
        if rolls(spec.kind) {
            workload.rollout = Some(RolloutImage::begin(Stage::Advancing, at));
        } else {
            workload.good = Some(revision);
        }
    }

    /// Returns the revision that a workload would have if a specification of it were applied.
    pub fn revision_after(&self, workload: &WorkloadImage, spec: &WorkloadSpec) -> Revision {
        if is_of_same_copies(&workload.revisions[&workload.revision], spec) {
            return workload.revision;
        }
        let newest = workload.notes.keys().last().copied().unwrap_or(workload.revision);
        newest.max(workload.revision).next()
    }

    /// Returns the workloads that are rolled out, by ascending id.
    pub(crate) fn rolling(&self) -> impl Iterator<Item = &WorkloadImage> {
        self.rolling_ids().filter_map(|id| self.workload(id))
    }

    pub(super) fn judge_rollout(
        &mut self,
        (id, revision): (WorkloadId, Revision),
        verdict: Verdict,
        why: &Said,
        at: At,
    ) -> Result<Effect, Refusal> {
        let workload = self.workloads.get_mut(&id).ok_or(Refusal::Stale(Past::Workload))?;
        let under_way = workload.rollout.is_some() && workload.revision == revision;
        let returns = workload.rollout.as_ref().is_some_and(|r| r.stage == Stage::Returning);
        if !under_way || (returns && verdict != Verdict::Complete) {
            return Err(Refusal::Stale(Past::Rollout));
        }
        match verdict {
            Verdict::Complete => {
                workload.rollout = None;
                workload.good = Some(revision);
                note(workload, revision, Fate::Good, &Said::NOTHING);
                self.trim_revisions(id);
            }
            Verdict::Halt => {
                note(workload, revision, Fate::Failed, why);
                if let Some(rollout) = &mut workload.rollout {
                    rollout.stage = Stage::Halted;
                    rollout.why = bounded(why.clone());
                }
            }
            Verdict::Return => {
                let good = workload.good.filter(|good| workload.revisions.contains_key(good));
                let good = good.ok_or(Refusal::Stale(Past::GoodRevision))?;
                note(workload, revision, Fate::Failed, why);
                self.go_back(id, good, at);
            }
        }
        Ok(Effect::Done)
    }

    /// Makes a kept revision the present one again.
    fn go_back(&mut self, id: WorkloadId, to: Revision, at: At) {
        let workload = self.workloads.get_mut(&id).expect("only known workloads are revised");
        supersede(workload);
        workload.revision = to;
        let known = workload.good == Some(to);
        let stage = if known { Stage::Returning } else { Stage::Advancing };
        if !known {
            note(workload, to, Fate::Rolling, &Said::NOTHING);
        }
        workload.rollout = Some(RolloutImage::begin(stage, at));
        self.derive_revisions(id);
        self.scale(id, at);
    }

    pub(super) fn steer_rollout(
        &mut self,
        key: &WorkloadKey,
        steer: Steer,
        at: At,
    ) -> Result<Effect, Refusal> {
        let to = self.check_steer(key, steer)?;
        let id = self.keys[key];
        let workload = self.workloads.get_mut(&id).expect("a keyed workload exists");
        match (steer, &mut workload.rollout) {
            (Steer::Pause, Some(rollout)) => rollout.stage = Stage::Paused,
            (Steer::Resume, Some(rollout)) => {
                *rollout = RolloutImage::begin(Stage::Advancing, at);
                let revision = workload.revision;
                note(workload, revision, Fate::Rolling, &Said::NOTHING);
            }
            (Steer::Pause | Steer::Resume, None) => {}
            (Steer::Undo(_), _) => self.go_back(id, to.expect("it was checked a line ago"), at),
        }
        Ok(Effect::Done)
    }

    /// Says whether a rollout may be steered so, and where an undo goes to.
    pub(super) fn check_steer(
        &self,
        key: &WorkloadKey,
        steer: Steer,
    ) -> Result<Option<Revision>, Refusal> {
        let workload = self.workload_keyed(key);
        let workload = workload.ok_or_else(|| Refusal::UnknownWorkload(key.clone()))?;
        let stage = workload.rollout.as_ref().map(|rollout| rollout.stage);
        let none = || Refusal::NoRollout(key.clone());
        match steer {
            Steer::Pause => match stage {
                Some(Stage::Advancing | Stage::Paused) => Ok(None),
                Some(Stage::Halted | Stage::Returning) | None => Err(none()),
            },
            Steer::Resume => match stage {
                Some(Stage::Paused | Stage::Halted) => Ok(None),
                Some(Stage::Advancing | Stage::Returning) | None => Err(none()),
            },
            Steer::Undo(wanted) => {
                let spec = &workload.revisions[&workload.revision];
                let earlier = |to: &Revision| {
                    let known = workload.revisions.contains_key(to) && rolls(spec.kind);
                    known && *to != workload.revision
                };
                let to = wanted.or_else(|| undo_target(workload)).filter(earlier);
                to.map(Some).ok_or_else(|| Refusal::NoRevision(key.clone()))
            }
        }
    }

    /// Counts a copy of the revision that is rolled out as failed.
    pub(super) fn count_failure(&mut self, id: InstanceId, why: Said) {
        let Some(instance) = self.instances.get(&id) else { return };
        let workload = self.workloads.get_mut(&instance.workload).expect("its workload exists");
        let counts = instance.revision == workload.revision && instance.wish == InstanceWish::Run;
        if let Some(rollout) = workload.rollout.as_mut().filter(|_| counts) {
            match rollout.stage {
                Stage::Advancing | Stage::Paused => {
                    rollout.failures = rollout.failures.saturating_add(1);
                    rollout.why = bounded(why);
                }
                Stage::Halted | Stage::Returning => {}
            }
        }
    }

    /// Counts a replacement that is given up because it took too long; how others failed was counted
    /// when it was observed, and a lost node says nothing of what ran there.
    pub(super) fn count_given_up(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get(&id) else { return };
        let counted = matches!(instance.status.phase, Phase::BackingOff | Phase::Failed);
        let old = instance.replaces.and_then(|old| self.instances.get(&old));
        let renews = old.is_some_and(|old| old.revision != instance.revision);
        if renews && !counted && !self.is_on_lost(instance) {
            let ended = instance.status.phase.is_final();
            let late = || late_said(instance, self.spec(instance));
            let why = if ended { said!(WhyEnded, id) } else { late() };
            self.count_failure(id, why);
        }
    }

    /// Forgets the revisions that nothing needs: in use, present, good and the newest ones stay.
    pub(super) fn trim_revisions(&mut self, id: WorkloadId) {
        let mut kept: BTreeSet<Revision> =
            self.of_workload(id).map(|i| self.instances[&i].revision).collect();
        let workload = self.workloads.get_mut(&id).expect("an instance's workload exists");
        kept.insert(workload.revision);
        kept.extend(workload.good);
        kept.extend(workload.notes.keys().rev().take(REVISIONS_KEPT));
        workload.revisions.retain(|revision, _| kept.contains(revision));
        workload.notes.retain(|revision, _| kept.contains(revision));
        self.derive_revisions(id);
    }
}

/// Returns the revision that an undo goes to: of the good ones the newest before the present, or the
/// last good one when the present is none.
fn undo_target(workload: &WorkloadImage) -> Option<Revision> {
    if workload.good.is_some_and(|good| good != workload.revision) {
        return workload.good;
    }
    let good = workload.notes.iter().rev().filter(|(_, note)| note.fate == Fate::Good);
    good.map(|(revision, _)| *revision).find(|revision| *revision < workload.revision)
}

/// Notes that the present revision was left before it was complete.
fn supersede(workload: &mut WorkloadImage) {
    let (revision, applied) = (workload.revision, workload.applied);
    let rolling = workload.rollout.is_some();
    let fate = if rolling { Fate::Rolling } else { Fate::Good };
    let unnoted = || Box::new(RevisionNote { applied, fate, why: Said::NOTHING });
    let note = workload.notes.entry(revision).or_insert_with(unnoted);
    if note.fate == Fate::Rolling {
        note.fate = Fate::Superseded;
    }
}

fn note(workload: &mut WorkloadImage, revision: Revision, fate: Fate, why: &Said) {
    let applied = workload.applied;
    let unnoted = || Box::new(RevisionNote { applied, fate, why: Said::NOTHING });
    let note = workload.notes.entry(revision).or_insert_with(unnoted);
    note.fate = fate;
    note.why = bounded(why.clone());
}

/// Says how an instance failed between two statuses, in words; nothing when it did not.
pub(super) fn stumbled(known: &InstanceStatus, status: &InstanceStatus) -> Option<Said> {
    let id = status.instance;
    let down = |phase: Phase| matches!(phase, Phase::BackingOff | Phase::Failed);
    let again = status.incarnation > known.incarnation && known.incarnation.get() > 0;
    let missed = again && !down(known.phase) && !known.phase.is_final();
    if (down(status.phase) && !down(known.phase)) || missed {
        let exit = status.exit.map_or(Said::NOTHING, |exit| said!(Because, Said::from(exit)));
        let message = match status.message.as_str() {
            "" => Said::NOTHING,
            message => said!(Aside, message),
        };
        return Some(said!(WhyFailed, id, exit, message));
    }
    let sinks = matches!(status.phase, Phase::Running | Phase::Unhealthy);
    let sank = known.phase == Phase::Healthy && sinks;
    let why = match status.message.as_str() {
        "" => Said::NOTHING,
        message => said!(Because, message),
    };
    sank.then(|| said!(WhySank, id, why))
}
