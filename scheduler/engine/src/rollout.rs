//! Rollouts: how a new revision takes the place of the running one, and how it returns.
//!
//! What happened to new copies is counted in the state; that a rollout is complete, or has failed, is
//! decided here from that state and journaled before it counts, so that a replay decides nothing again.

use std::collections::BTreeSet;

use tengyun_model::{
    At, Kind, Millis, MovePolicy, NodeId, Phase, Revision, Said, WorkloadSpec, said,
};

use crate::command::Command;
use crate::image::{InstanceImage, InstanceWish, NodeImage, WorkloadImage, WorkloadWish};
use crate::plan::StopReason;
use crate::state::State;

/// How many revisions of a workload are kept, besides those that are in use.
pub const REVISIONS_KEPT: usize = 10;
/// The most decisions at a time: after an upgrade every workload is to be judged at once.
const JUDGED_MAX: usize = 256;
/// The longest reason that is kept.
const WHY_BYTES_MAX: usize = 256;

/// A rollout under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutImage {
    /// What it does.
    pub stage: Stage,
    /// Since when.
    pub began: At,
    /// How many copies of the new revision failed.
    pub failures: u32,
    /// How the last of them failed; empty while none did.
    pub why: Said,
}

impl RolloutImage {
    /// Begins at a moment.
    pub(crate) const fn begin(stage: Stage, began: At) -> Self {
        Self { stage, began, failures: 0, why: Said::NOTHING }
    }
}

/// What a rollout does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It replaces copies, a batch at a time.
    Advancing,
    /// An operator paused it.
    Paused,
    /// It failed, and waits for somebody.
    Halted,
    /// It failed or was undone, and the last good revision takes its place again.
    Returning,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 4] = [Self::Advancing, Self::Paused, Self::Halted, Self::Returning];

    /// Returns the word used in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Advancing => "advancing",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::Returning => "returning",
        }
    }
}

/// What became of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionNote {
    /// When it was applied.
    pub applied: At,
    /// What became of it.
    pub fate: Fate,
    /// Why; empty when the fate says all.
    pub why: Said,
}

/// What became of a revision, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It is being rolled out.
    Rolling,
    /// All its copies proved healthy.
    Good,
    /// Too many of its copies failed.
    Failed,
    /// Another took its place before it was complete.
    Superseded,
}

impl Fate {
    /// Every fate.
    pub const ALL: [Self; 4] = [Self::Rolling, Self::Good, Self::Failed, Self::Superseded];

    /// Returns the word used in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Good => "good",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }
}

/// What is decided of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every copy is of the new revision and proved healthy.
    Complete,
    /// It failed, and the last good revision takes its place.
    Return,
    /// It failed, and waits for somebody.
    Halt,
}

/// What an operator wishes of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Steer {
    /// Replace nothing more for now.
    Pause,
    /// Go on; what failed before is forgotten.
    Resume,
    /// Go back to a revision, by default the last good one before the present.
    Undo(Option<Revision>),
}

/// Says whether workloads of a kind are rolled out: those that end by themselves are not.
pub(crate) const fn rolls(kind: Kind) -> bool {
    match kind {
        Kind::Service | Kind::PerNode => true,
        Kind::Job | Kind::Cron => false,
    }
}

/// Says whether copies are renewed where they are, the old one first: those that must not move, and
/// jobs, whose work two copies would do twice.
pub(crate) const fn in_place(spec: &WorkloadSpec) -> bool {
    matches!(spec.kind, Kind::PerNode | Kind::Job) || matches!(spec.move_policy, MovePolicy::Never)
}

/// Says whether the replacement of a copy failed a moment ago.
pub(crate) fn tried_lately(state: &State, instance: &InstanceImage, now: At) -> bool {
    let pause = state.policy().requeue_after();
    instance.moved.is_some_and(|moved| moved > instance.created && now.since(moved) < pause)
}

/// Says whether a copy has been healthy for so long that it is trusted.
pub(crate) fn proven(instance: &InstanceImage, spec: &WorkloadSpec, now: At) -> bool {
    match instance.status.phase {
        Phase::Healthy => {
            instance.healthy.is_none_or(|since| now.since(since) >= spec.rollout.healthy)
        }
        Phase::Succeeded => true,
        Phase::Waiting
        | Phase::Starting
        | Phase::Running
        | Phase::Unhealthy
        | Phase::BackingOff
        | Phase::Stopping
        | Phase::Failed
        | Phase::Stopped => false,
    }
}

/// Returns how long after its placing a new copy must be healthy.
pub(crate) fn patience(spec: &WorkloadSpec) -> Millis {
    spec.startup.saturating_add(spec.rollout.deadline)
}

/// Cuts a reason where what a program said is too long to keep.
pub(crate) fn bounded(why: Said) -> Said {
    why.bounded(WHY_BYTES_MAX)
}

/// The copies of a workload while it is rolled out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Copies wanted.
    pub wanted: usize,
    /// Of the present revision and placed.
    pub renewed: usize,
    /// Of these, those that proved healthy.
    pub proven: usize,
    /// Of another revision and still there.
    pub old: usize,
}

/// Counts the copies of a workload. What is on lost nodes cannot be renewed and counts for nothing.
pub fn copies(state: &State, workload: &WorkloadImage, now: At) -> Copies {
    let spec = &workload.revisions[&workload.revision];
    let mut copies = Copies { wanted: state.ordinals(workload.id).len(), ..Copies::default() };
    for instance in state.of_workload(workload.id).filter_map(|id| state.instance(id)) {
        if state.is_on_lost(instance) || instance.node.is_none() {
            continue;
        }
        if instance.revision != workload.revision {
            copies.old += usize::from(!instance.status.phase.is_final());
        } else if instance.wish == InstanceWish::Run {
            copies.renewed += 1;
            copies.proven += usize::from(proven(instance, spec, now));
        }
    }
    copies
}

/// Returns the copies that are under way: what is renewed, and new ones that have not proved healthy.
pub(crate) fn under_way(state: &State, workload: &WorkloadImage, now: At) -> BTreeSet<u32> {
    let spec = &workload.revisions[&workload.revision];
    let busy = |i: &&InstanceImage| {
        if state.is_on_lost(i) || state.is_taken_back(i) {
            return false;
        }
        let failed = i.revision != workload.revision && tried_lately(state, i, now);
        let new = i.revision == workload.revision && i.wish == InstanceWish::Run;
        let unproven = i.node.is_some() && !i.status.phase.is_final() && !proven(i, spec, now);
        let returns = i.node.is_none() && i.home.is_some_and(|home| awaited(state, i, home, now));
        let leaves = i.wish == InstanceWish::Stop(StopReason::Renewed);
        failed || i.replaces.is_some() || leaves || (new && (unproven || returns))
    };
    let all = state.of_workload(workload.id).filter_map(|id| state.instance(id));
    all.filter(busy).map(|i| i.ordinal).collect()
}

/// Says whether a copy is about to start on its node. One of a per-node workload may wait for long
/// where a node is closed, away or full, and then holds nobody up.
fn awaited(state: &State, instance: &InstanceImage, home: NodeId, now: At) -> bool {
    let spec = state.spec(instance);
    let open = state.node(home).is_some_and(NodeImage::is_open) && state.connected(home);
    let fresh = now.since(instance.created) <= patience(spec);
    spec.kind != Kind::PerNode || (open && fresh)
}

/// Returns how many more copies may be renewed now.
pub(crate) fn budget(state: &State, workload: &WorkloadImage, now: At) -> usize {
    let spec = &workload.revisions[&workload.revision];
    if let Some(rollout) = &workload.rollout {
        let failed = workload.good.is_some() && rollout.failures >= spec.rollout.failure_limit;
        match rollout.stage {
            Stage::Paused | Stage::Halted => return 0,
            // It is about to be judged.
            Stage::Advancing if failed => return 0,
            Stage::Advancing | Stage::Returning => {}
        }
    }
    let batch = usize::try_from(spec.rollout.batch).unwrap_or(usize::MAX);
    batch.saturating_sub(under_way(state, workload, now).len())
}

/// Decides which rollouts are complete and which have failed; each decision is to be journaled.
pub fn judge(state: &State, now: At) -> Vec<Command> {
    let rolling = state.rolling().filter(|w| w.wish == WorkloadWish::Run);
    let decided = rolling.filter_map(|workload| {
        let (verdict, why) = judge_one(state, workload, now)?;
        let (workload, revision) = (workload.id, workload.revision);
        Some(Command::JudgeRollout { workload, revision, verdict, why })
    });
    decided.take(JUDGED_MAX).collect()
}

fn judge_one(state: &State, workload: &WorkloadImage, now: At) -> Option<(Verdict, Said)> {
    let rollout = workload.rollout.as_ref()?;
    let spec = &workload.revisions[&workload.revision];
    if matches!(rollout.stage, Stage::Advancing | Stage::Paused) && workload.good.is_some() {
        let late = late(state, workload, now);
        let late_count = u32::try_from(late.len()).unwrap_or(u32::MAX);
        if rollout.failures.saturating_add(late_count) >= spec.rollout.failure_limit {
            let verdict = if spec.rollout.auto_return { Verdict::Return } else { Verdict::Halt };
            let why = late.into_iter().next().unwrap_or_else(|| rollout.why.clone());
            return Some((verdict, why));
        }
    }
    if matches!(rollout.stage, Stage::Paused | Stage::Halted) {
        return None;
    }
    let copies = copies(state, workload, now);
    let all = copies.old == 0 && copies.proven == copies.renewed;
    let some = copies.proven > 0 || copies.wanted == 0;
    (all && some).then_some((Verdict::Complete, Said::NOTHING))
}

/// Says of each new copy whose time is over, and that nothing replaces, that it is late.
fn late(state: &State, workload: &WorkloadImage, now: At) -> Vec<Said> {
    let spec = &workload.revisions[&workload.revision];
    let overdue = |i: &&InstanceImage| {
        let Some(node) = i.node else { return false };
        i.revision == workload.revision
            && i.wish == InstanceWish::Run
            && i.replaces.is_none()
            && matches!(i.status.phase, Phase::Starting | Phase::Running | Phase::Unhealthy)
            // A copy that ran well before the rollout began says nothing of it.
            && i.created >= workload.rollout.as_ref().map_or(At::default(), |r| r.began)
            && now.since(i.placed) > patience(spec)
            && state.connected(node)
            && !state.is_on_lost(i)
    };
    let all = state.of_workload(workload.id).filter_map(|id| state.instance(id));
    all.filter(overdue).map(|i| late_said(i, spec)).collect()
}

/// Says that a copy took too long.
pub(crate) fn late_said(instance: &InstanceImage, spec: &WorkloadSpec) -> Said {
    said!(WhyLate, instance.status.instance, patience(spec).get() / 1000)
}

/// Says where a rollout stands, in one sentence; empty when nothing is rolled out.
pub fn summary(state: &State, workload: &WorkloadImage, now: At) -> Said {
    let Some(rollout) = &workload.rollout else { return Said::NOTHING };
    let spec = &workload.revisions[&workload.revision];
    let copies = copies(state, workload, now);
    let (revision, proven, wanted) = (workload.revision, copies.proven, copies.wanted);
    let failures = match rollout.failures {
        0 => Said::NOTHING,
        n => said!(RolloutFailures, n, rollout.why.clone()),
    };
    match rollout.stage {
        Stage::Advancing => {
            let waits = match spec.move_policy {
                MovePolicy::Window if copies.old > 0 && !state.may_move_now(workload.id, now) => {
                    said!(RolloutWindow)
                }
                MovePolicy::Never | MovePolicy::Window | MovePolicy::Any => Said::NOTHING,
            };
            said!(RolloutAdvances, revision, proven, wanted, failures, waits)
        }
        Stage::Paused => said!(RolloutPaused, revision, proven, wanted, failures),
        Stage::Halted => said!(RolloutHalted, revision, rollout.why.clone()),
        Stage::Returning => {
            let failed = workload.notes.iter().rev().find(|(_, note)| note.fate == Fate::Failed);
            let why = failed.map_or(Said::NOTHING, |(failed, note)| {
                said!(RolloutFailed, failed, note.why.clone())
            });
            said!(RolloutReturns, revision, proven, wanted, why)
        }
    }
}
