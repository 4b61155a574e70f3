//! Reconciliation: compares what should run with what does, and says what to do. Pure.
//!
//! It never starts or stops anything itself; the steps are carried out by `run`, which makes no
//! choices. Reconciling again after its steps were carried out gives no further steps.

use std::collections::BTreeMap;

use tengyun_model::{
    AssignedInstance, Exit, HealthCheck, Incarnation, InstanceId, Kind, Millis, OnUnhealthy, Phase,
    RestartMode, WorkloadSpec,
};

use crate::health::{Health, Standing};

/// A process that ran this long was well: its earlier failures no longer lengthen the pause.
pub(crate) const STABLE_AFTER: Millis = Millis::from_secs(60);
/// A group that a kill did not end is killed again after this long: a process stuck in the kernel
/// dies when it comes out, what it forked meanwhile does not.
const KILL_AGAIN: Millis = Millis::from_secs(5);
/// The shortest pause before a restart: whatever is asked for, a program that ends at once must not
/// occupy the server with being started.
const PAUSE_MIN: Millis = Millis::new(100);
/// The pause stops doubling after this many failures in a row; the shift stays far from overflow.
const DOUBLINGS_MAX: u32 = 20;

/// What the agent knows of one instance on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    /// What it was assigned as.
    pub(crate) assigned: AssignedInstance,
    /// Its last start.
    pub(crate) incarnation: Incarnation,
    /// Where that start is in its life.
    pub(crate) life: Life,
    /// How often in a row it ended in failure soon after its start.
    pub(crate) failures: u32,
    /// What the checks of that start said.
    pub(crate) health: Health,
}

/// Where one start of an instance is in its life. Moments are on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// What it needs is brought to the node; nothing of it is there yet.
    Supplying,
    /// Its shim was asked to start it.
    Starting,
    /// Its process runs.
    Running {
        /// Since when.
        since: Millis,
    },
    /// It was asked to end.
    Stopping {
        /// When.
        asked: Millis,
        /// When its whole group was last killed, if it had to be.
        killed: Option<Millis>,
    },
    /// It ended.
    Ended {
        /// How.
        exit: Exit,
        /// When.
        at: Millis,
        /// True when it was asked to.
        stopped: bool,
        /// True once its control group and processes are cleared away.
        cleared: bool,
    },
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start the instance as this incarnation.
    Start(InstanceId, Incarnation),
    /// Ask its process group to end.
    Ask(InstanceId),
    /// Kill every process of its group.
    Kill(InstanceId),
    /// Give up bringing what it needs.
    Abandon(InstanceId),
    /// Clear away what an ended start left: processes and the control group.
    Clear(InstanceId),
    /// Forget the instance: it is cleared and no longer wanted.
    Forget(InstanceId),
}

/// Says what to do, and when to look again if nothing happens before.
pub(crate) fn reconcile(
    desired: &BTreeMap<InstanceId, AssignedInstance>,
    observed: &BTreeMap<InstanceId, Observed>,
    now: Millis,
) -> (Vec<Step>, Option<Millis>) {
    let mut steps = Vec::new();
    let mut wake = None;
    for (id, known) in observed {
        let decided = match desired.get(id) {
            Some(wanted) => keep(wanted, known, now),
            None => retire(*id, known, now),
        };
        match decided {
            Decided::Step(step) => steps.push(step),
            Decided::WaitUntil(moment) => {
                wake = Some(wake.map_or(moment, |earliest: Millis| earliest.min(moment)));
            }
            Decided::Nothing => {}
        }
    }
    let new = desired.keys().filter(|id| !observed.contains_key(id));
    steps.extend(new.map(|id| Step::Start(*id, Incarnation::new(1))));
    // Room is made before it is used.
    steps.sort_by_key(|step| matches!(step, Step::Start(..)));
    (steps, wake)
}

/// Returns the phase to report.
pub(crate) fn phase(known: &Observed, now: Millis) -> Phase {
    match known.life {
        Life::Supplying | Life::Starting => Phase::Starting,
        Life::Running { since } => {
            let started = now.saturating_sub(since) >= known.assigned.spec.startup;
            match (&known.assigned.spec.health, known.health.standing()) {
                (None, _) if started => Phase::Healthy,
                (None, _) | (Some(_), Standing::Unknown) => Phase::Running,
                (Some(_), Standing::Passing) => Phase::Healthy,
                (Some(_), Standing::Failing) => Phase::Unhealthy,
            }
        }
        // Why it ends is said for as long as it does.
        Life::Stopping { .. } if known.health.is_ending() => Phase::Unhealthy,
        Life::Stopping { .. } => Phase::Stopping,
        Life::Ended { stopped: true, .. } => Phase::Stopped,
        Life::Ended { exit, .. } => match after_end(&known.assigned.spec, exit) {
            AfterEnd::Again => Phase::BackingOff,
            AfterEnd::Succeeded => Phase::Succeeded,
            AfterEnd::Failed => Phase::Failed,
        },
    }
}

/// Counts the failures in a row after a start has ended.
pub(crate) fn failures_after(before: u32, exit: Exit, ran: Millis) -> u32 {
    if exit.is_success() {
        0
    } else if ran >= STABLE_AFTER {
        1
    } else {
        before.saturating_add(1)
    }
}

enum Decided {
    Step(Step),
    WaitUntil(Millis),
    Nothing,
}

/// Decides about a wanted instance.
fn keep(wanted: &AssignedInstance, known: &Observed, now: Millis) -> Decided {
    let id = wanted.instance;
    let outdated = wanted.revision != known.assigned.revision;
    match known.life {
        Life::Supplying if outdated => Decided::Step(Step::Abandon(id)),
        Life::Supplying | Life::Starting => Decided::Nothing,
        Life::Running { .. } if outdated || is_to_restart(known) => Decided::Step(Step::Ask(id)),
        // What its checks say comes as a fact.
        Life::Running { .. } if known.assigned.spec.health.is_some() => Decided::Nothing,
        Life::Running { since } => {
            let healthy_at = since.saturating_add(known.assigned.spec.startup);
            if healthy_at > now { Decided::WaitUntil(healthy_at) } else { Decided::Nothing }
        }
        // It was unwanted for a while and is wanted again: it ends, then it starts again.
        Life::Stopping { .. } => retire(id, known, now),
        Life::Ended { cleared: false, .. } => Decided::Step(Step::Clear(id)),
        Life::Ended { exit, at, stopped, cleared: true } => {
            let at_once = stopped || outdated;
            let again = at_once || after_end(&known.assigned.spec, exit) == AfterEnd::Again;
            let pause =
                if at_once { Millis::ZERO } else { pause(&known.assigned.spec, known.failures) };
            let start_at = at.saturating_add(pause);
            match (again, start_at > now) {
                (true, true) => Decided::WaitUntil(start_at),
                (true, false) => Decided::Step(Step::Start(id, known.incarnation.next())),
                (false, _) => Decided::Nothing,
            }
        }
    }
}

/// Says whether an instance ends because it is not healthy, and starts again.
fn is_to_restart(known: &Observed) -> bool {
    let spec = &known.assigned.spec;
    let restarts = |check: &HealthCheck| match check.on_unhealthy {
        OnUnhealthy::Restart => after_end(spec, Exit::Unhealthy) == AfterEnd::Again,
        OnUnhealthy::Report => false,
    };
    known.health.standing() == Standing::Failing && spec.health.as_ref().is_some_and(restarts)
}

/// Decides about an instance that is no longer wanted.
fn retire(id: InstanceId, known: &Observed, now: Millis) -> Decided {
    match known.life {
        Life::Supplying => Decided::Step(Step::Abandon(id)),
        // Its shim answers soon; then it can be asked.
        Life::Starting => Decided::Nothing,
        Life::Running { .. } => Decided::Step(Step::Ask(id)),
        Life::Stopping { asked, killed } => {
            let kill_at = killed.map_or_else(
                || asked.saturating_add(known.assigned.spec.stop.grace),
                |killed| killed.saturating_add(KILL_AGAIN),
            );
            if kill_at > now { Decided::WaitUntil(kill_at) } else { Decided::Step(Step::Kill(id)) }
        }
        Life::Ended { cleared: false, .. } => Decided::Step(Step::Clear(id)),
        Life::Ended { cleared: true, .. } => Decided::Step(Step::Forget(id)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AfterEnd {
    Again,
    Succeeded,
    Failed,
}

fn after_end(spec: &WorkloadSpec, exit: Exit) -> AfterEnd {
    let success = exit.is_success();
    let runs_to_its_end = matches!(spec.kind, Kind::Job | Kind::Cron);
    match spec.restart.mode {
        RestartMode::Always | RestartMode::OnFailure if success && runs_to_its_end => {
            AfterEnd::Succeeded
        }
        RestartMode::Always => AfterEnd::Again,
        RestartMode::OnFailure if !success => AfterEnd::Again,
        RestartMode::OnFailure | RestartMode::Never => {
            if success {
                AfterEnd::Succeeded
            } else {
                AfterEnd::Failed
            }
        }
    }
}

/// Returns the pause before the next start: it doubles with each failure up to the longest one.
fn pause(spec: &WorkloadSpec, failures: u32) -> Millis {
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    let pause = spec.restart.backoff.saturating_mul(1 << doublings);
    pause.min(spec.restart.backoff_max).max(PAUSE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::assigned;

    const NOW: Millis = Millis::from_secs(1000);

    fn known(life: Life) -> (InstanceId, Observed) {
        let assigned = assigned(7);
        let incarnation = Incarnation::new(3);
        (
            assigned.instance,
            Observed { assigned, incarnation, life, failures: 2, health: Health::default() },
        )
    }

    fn steps(wanted: bool, life: Life) -> (Vec<Step>, Option<Millis>) {
        let (id, known) = known(life);
        let desired =
            if wanted { BTreeMap::from([(id, known.assigned.clone())]) } else { BTreeMap::new() };
        reconcile(&desired, &BTreeMap::from([(id, known)]), NOW)
    }

    fn ended(exit: Exit, at: Millis, cleared: bool) -> Life {
        Life::Ended { exit, at, stopped: false, cleared }
    }

    #[test]
    fn a_new_instance_starts_once() {
        let wanted = assigned(7);
        let id = wanted.instance;
        let desired = BTreeMap::from([(id, wanted)]);
        let (steps, _) = reconcile(&desired, &BTreeMap::new(), NOW);
        assert_eq!(steps, [Step::Start(id, Incarnation::new(1))]);
        assert_eq!(self::steps(true, Life::Starting).0, []);
    }

    #[test]
    fn a_wanted_running_instance_is_left_alone() {
        let life = Life::Running { since: Millis::ZERO };
        assert_eq!(steps(true, life), (vec![], None));
    }

    #[test]
    fn what_is_being_supplied_is_given_up_when_it_is_unwanted_or_outdated() {
        let (id, observed) = known(Life::Supplying);
        assert_eq!(phase(&observed, NOW), Phase::Starting);
        assert_eq!(steps(true, Life::Supplying), (vec![], None));
        assert_eq!(steps(false, Life::Supplying).0, [Step::Abandon(id)]);
        let mut wanted = observed.assigned.clone();
        wanted.revision = wanted.revision.next();
        let desired = BTreeMap::from([(id, wanted)]);
        let decided = reconcile(&desired, &BTreeMap::from([(id, observed)]), NOW);
        assert_eq!(decided.0, [Step::Abandon(id)]);
    }

    #[test]
    fn health_is_looked_at_when_the_start_up_time_ends() {
        let life = Life::Running { since: NOW };
        assert_eq!(steps(true, life), (vec![], Some(NOW.saturating_add(Millis::new(100)))));
        assert_eq!(phase(&known(life).1, NOW), Phase::Running);
        assert_eq!(phase(&known(life).1, NOW.saturating_add(Millis::new(100))), Phase::Healthy);
    }

    #[test]
    fn an_unwanted_instance_is_asked_then_killed_then_cleared_then_forgotten() {
        let id = known(Life::Starting).0;
        assert_eq!(steps(false, Life::Running { since: NOW }).0, [Step::Ask(id)]);
        let asked = Life::Stopping { asked: NOW, killed: None };
        let grace = Millis::from_secs(2);
        assert_eq!(steps(false, asked), (vec![], Some(NOW.saturating_add(grace))));
        let late = Life::Stopping { asked: NOW.saturating_sub(grace), killed: None };
        assert_eq!(steps(false, late).0, [Step::Kill(id)]);
        let killed = Life::Stopping { asked: NOW, killed: Some(NOW) };
        assert_eq!(steps(false, killed), (vec![], Some(NOW.saturating_add(KILL_AGAIN))));
        let stuck = Life::Stopping { asked: NOW, killed: Some(NOW.saturating_sub(KILL_AGAIN)) };
        assert_eq!(steps(false, stuck).0, [Step::Kill(id)]);
        assert_eq!(steps(false, ended(Exit::Signal(9), NOW, false)).0, [Step::Clear(id)]);
        assert_eq!(steps(false, ended(Exit::Signal(9), NOW, true)).0, [Step::Forget(id)]);
    }

    #[test]
    fn a_failed_service_starts_again_after_a_pause_that_doubled() {
        let id = known(Life::Starting).0;
        let life = ended(Exit::Code(1), NOW, true);
        // The fixture pauses 100 ms at first and has failed twice.
        assert_eq!(steps(true, life), (vec![], Some(NOW.saturating_add(Millis::new(200)))));
        let earlier = ended(Exit::Code(1), NOW.saturating_sub(Millis::new(200)), true);
        assert_eq!(steps(true, earlier).0, [Step::Start(id, Incarnation::new(4))]);
    }

    #[test]
    fn the_pause_has_a_longest_length_and_never_overflows() {
        let spec = assigned(7).spec;
        assert_eq!(pause(&spec, 0), Millis::new(100));
        assert_eq!(pause(&spec, u32::MAX), spec.restart.backoff_max);
        let mut hasty = spec;
        hasty.restart.backoff = Millis::ZERO;
        hasty.restart.backoff_max = Millis::ZERO;
        assert_eq!(pause(&hasty, 9), PAUSE_MIN);
    }

    #[test]
    fn an_instance_that_is_wanted_again_ends_and_starts_without_a_pause() {
        let id = known(Life::Starting).0;
        let life = Life::Ended { exit: Exit::Signal(15), at: NOW, stopped: true, cleared: true };
        assert_eq!(steps(true, life).0, [Step::Start(id, Incarnation::new(4))]);
    }

    #[test]
    fn a_new_revision_ends_the_old_process_and_starts_at_once() {
        let revise = |life| {
            let (id, known) = known(life);
            let mut wanted = known.assigned.clone();
            wanted.revision = wanted.revision.next();
            wanted.spec.restart.mode = RestartMode::Never;
            reconcile(&BTreeMap::from([(id, wanted)]), &BTreeMap::from([(id, known)]), NOW).0
        };
        let id = known(Life::Starting).0;
        assert_eq!(revise(Life::Running { since: NOW }), [Step::Ask(id)]);
        let start = Step::Start(id, Incarnation::new(4));
        assert_eq!(revise(ended(Exit::Code(1), NOW, true)), [start]);
    }

    #[test]
    fn stops_come_before_starts() {
        let (id, running) = known(Life::Running { since: NOW });
        let new = assigned(1);
        let (steps, _) = reconcile(
            &BTreeMap::from([(new.instance, new.clone())]),
            &BTreeMap::from([(id, running)]),
            NOW,
        );
        assert_eq!(steps, [Step::Ask(id), Step::Start(new.instance, Incarnation::new(1))]);
    }

    #[test]
    fn what_comes_after_the_end_follows_kind_and_mode() {
        use RestartMode::{Always, Never, OnFailure};
        let cases = [
            (Kind::Service, Always, 0, Phase::BackingOff),
            (Kind::Service, Always, 1, Phase::BackingOff),
            (Kind::Service, OnFailure, 0, Phase::Succeeded),
            (Kind::Service, OnFailure, 1, Phase::BackingOff),
            (Kind::Service, Never, 0, Phase::Succeeded),
            (Kind::Service, Never, 1, Phase::Failed),
            (Kind::Job, Always, 0, Phase::Succeeded),
            (Kind::Job, Always, 1, Phase::BackingOff),
            (Kind::Job, OnFailure, 0, Phase::Succeeded),
            (Kind::Job, OnFailure, 1, Phase::BackingOff),
            (Kind::Job, Never, 0, Phase::Succeeded),
            (Kind::Job, Never, 1, Phase::Failed),
        ];
        for (kind, mode, code, expected) in cases {
            let (_, mut known) = known(ended(Exit::Code(code), NOW, true));
            known.assigned.spec.kind = kind;
            known.assigned.spec.restart.mode = mode;
            assert_eq!(phase(&known, NOW), expected, "{kind} {mode:?} {code}");
        }
    }

    #[test]
    fn a_stable_run_forgives_earlier_failures() {
        assert_eq!(failures_after(5, Exit::Code(1), STABLE_AFTER), 1);
        assert_eq!(failures_after(5, Exit::Code(1), Millis::ZERO), 6);
        assert_eq!(failures_after(5, Exit::Code(0), Millis::ZERO), 0);
    }
}
