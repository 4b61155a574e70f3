//! What the agent knows of its instances: facts as they come in, and what to report of them.
//!
//! Facts only: what to do about them is `reconcile`'s, and a fact about a start that has been
//! overtaken by a later one is dropped.

use std::collections::BTreeMap;

use tengyun_model::{
    AssignedInstance, At, Exit, Incarnation, InstanceId, InstanceStatus, Millis, Phase,
};

use crate::clock::Clock;
use crate::health::{Answer, Health, Standing};
use crate::reconcile::{Life, Observed, failures_after, phase};
use crate::run::{Preparation, RunKey, RunTarget};
use crate::shim::record::{self, Ended, Started};

/// What is told of an instance besides its life.
#[derive(Clone, Debug, Default)]
struct Note {
    since: At,
    pid: Option<u32>,
    started: Option<Millis>,
    exit: Option<Exit>,
    message: String,
}

/// All instances the agent knows.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    known: BTreeMap<InstanceId, Observed>,
    notes: BTreeMap<InstanceId, Note>,
}

impl Instances {
    /// Returns what `reconcile` looks at.
    pub(crate) const fn observed(&self) -> &BTreeMap<InstanceId, Observed> {
        &self.known
    }

    /// Returns the newest start of an instance.
    pub(crate) fn target(&self, id: InstanceId) -> Option<RunTarget> {
        self.known.get(&id).map(|known| RunTarget::of(&known.assigned, known.incarnation))
    }

    /// Notes that a start begins.
    pub(crate) fn starting(
        &mut self,
        assigned: AssignedInstance,
        incarnation: Incarnation,
        now: At,
    ) -> &Observed {
        let id = assigned.instance;
        let before = self.known.get(&id);
        let same = before.filter(|known| known.assigned.revision == assigned.revision);
        let failures = same.map_or(0, |known| known.failures);
        let note = self.notes.entry(id).or_default();
        *note = Note { since: now, exit: note.exit, ..Note::default() };
        let (life, health) = (Life::Starting, Health::default());
        let observed = Observed { assigned, incarnation, life, failures, health };
        self.known.insert(id, observed);
        &self.known[&id]
    }

    /// Notes that what an instance needs is being brought.
    pub(crate) fn supplying(&mut self, id: InstanceId, needs: String) {
        if let Some(known) = self.known.get_mut(&id) {
            known.life = Life::Supplying;
            self.notes.entry(id).or_default().message = needs;
        }
    }

    /// Notes that it is there; returns what to prepare, unless that was given up meanwhile.
    pub(crate) fn supplied(&mut self, key: RunKey) -> Option<Preparation> {
        let known = newest(&mut self.known, key)?;
        if known.life != Life::Supplying {
            return None;
        }
        known.life = Life::Starting;
        self.notes.entry(key.instance).or_default().message.clear();
        Some(Preparation {
            incarnation: known.incarnation,
            assigned: known.assigned.clone(),
            failures: known.failures,
        })
    }

    /// Notes that bringing it was given up: nothing of the start was ever there.
    pub(crate) fn abandoned(&mut self, id: InstanceId, clock: &Clock) {
        if let Some(known) = self.known.get_mut(&id) {
            let at = clock.monotonic();
            let exit = Exit::NotStarted;
            known.life = Life::Ended { exit, at, stopped: true, cleared: true };
        }
    }

    /// Takes over a start that an earlier agent began.
    pub(crate) fn adopt(
        &mut self,
        assigned: AssignedInstance,
        incarnation: Incarnation,
        (failures, healthy): (u32, bool),
        now: At,
    ) {
        let id = assigned.instance;
        self.notes.insert(id, Note { since: now, ..Note::default() });
        let (life, health) = (Life::Starting, Health::adopted(healthy));
        let observed = Observed { assigned, incarnation, life, failures, health };
        self.known.insert(id, observed);
    }

    /// Notes that a process runs; false when the start is no longer the newest.
    pub(crate) fn started(&mut self, key: RunKey, started: &Started, clock: &Clock) -> bool {
        let Some(known) = newest(&mut self.known, key) else { return false };
        let since = Millis::new(started.monotonic_millis);
        known.life = Life::Running { since };
        let note = self.notes.entry(key.instance).or_default();
        note.since = clock.at(since);
        note.pid = Some(started.pid);
        note.started = Some(since);
        true
    }

    /// Notes an end; false when the start is no longer the newest or its end is known.
    pub(crate) fn ended(&mut self, key: RunKey, ended: &Ended, clock: &Clock) -> bool {
        let Some(known) = newest(&mut self.known, key) else { return false };
        if matches!(known.life, Life::Ended { .. }) {
            return false;
        }
        let note = self.notes.entry(key.instance).or_default();
        let unhealthy = known.health.is_ending();
        let exit = if unhealthy { Exit::Unhealthy } else { ended.exit() };
        let stopped = ended.asked && !unhealthy;
        let message = if unhealthy { note.message.clone() } else { ended.message.clone() };
        // The monotonic clock of another boot says nothing here.
        let this_boot = record::is_this_boot(&ended.boot);
        let at = if this_boot { Millis::new(ended.monotonic_millis) } else { clock.monotonic() };
        let ran = note.started.map_or(Millis::ZERO, |started| at.saturating_sub(started));
        if !stopped {
            known.failures = failures_after(known.failures, exit, ran);
        }
        known.life = Life::Ended { exit, at, stopped, cleared: false };
        *note = Note { since: clock.at(at), exit: Some(exit), message, ..Note::default() };
        true
    }

    /// Counts an answer of a health check; returns whether the instance is healthy when that changed.
    pub(crate) fn checked(&mut self, key: RunKey, answer: &Answer, clock: &Clock) -> Option<bool> {
        let known = newest(&mut self.known, key)?;
        let Life::Running { since } = known.life else { return None };
        let check = known.assigned.spec.health.as_ref()?;
        let starting = clock.monotonic().saturating_sub(since) < known.assigned.spec.startup;
        if !known.health.note(check, answer, starting) {
            return None;
        }
        let healthy = known.health.standing() == Standing::Passing;
        let note = self.notes.entry(key.instance).or_default();
        note.since = clock.now();
        note.message = answer.reason(check);
        Some(healthy)
    }

    /// Notes that the instance was asked to end.
    pub(crate) fn asked(&mut self, id: InstanceId, clock: &Clock) {
        if let Some(known) = self.known.get_mut(&id) {
            known.health.asked();
        }
        self.stopping(id, clock, |asked, _| Life::Stopping { asked, killed: None });
    }

    /// Notes that the whole group was killed.
    pub(crate) fn killed(&mut self, id: InstanceId, clock: &Clock) {
        let now = clock.monotonic();
        self.stopping(id, clock, |asked, _| Life::Stopping { asked, killed: Some(now) });
    }

    fn stopping(&mut self, id: InstanceId, clock: &Clock, next: impl FnOnce(Millis, Life) -> Life) {
        let Some(known) = self.known.get_mut(&id) else { return };
        let asked = match known.life {
            Life::Stopping { asked, .. } => asked,
            Life::Running { .. } => {
                if let Some(note) = self.notes.get_mut(&id) {
                    note.since = clock.now();
                }
                clock.monotonic()
            }
            Life::Supplying | Life::Starting | Life::Ended { .. } => return,
        };
        known.life = next(asked, known.life);
    }

    /// Notes that an ended start was cleared away.
    pub(crate) fn cleared(&mut self, key: RunKey) {
        if let Some(known) = newest(&mut self.known, key)
            && let Life::Ended { cleared, .. } = &mut known.life
        {
            *cleared = true;
        }
    }

    /// Forgets an instance.
    pub(crate) fn forget(&mut self, id: InstanceId) {
        self.known.remove(&id);
        self.notes.remove(&id);
    }

    /// Shortens the grace of every instance: the agent itself is about to end.
    pub(crate) fn shorten_grace(&mut self, longest: Millis) {
        for known in self.known.values_mut() {
            let grace = &mut known.assigned.spec.stop.grace;
            *grace = (*grace).min(longest);
        }
    }

    /// Says what to report of every instance, in ascending order of ids.
    pub(crate) fn statuses(
        &self,
        wanted: &BTreeMap<InstanceId, AssignedInstance>,
        now: Millis,
    ) -> Vec<InstanceStatus> {
        let status = |(id, known): (&InstanceId, &Observed)| {
            let note = self.notes.get(id).cloned().unwrap_or_default();
            let phase = match phase(known, now) {
                // It was stopped by an agent that ended, and starts again now.
                Phase::Stopped if wanted.contains_key(id) => Phase::Starting,
                other => other,
            };
            InstanceStatus {
                instance: *id,
                incarnation: known.incarnation,
                phase,
                since: note.since,
                pid: note.pid,
                exit: note.exit,
                message: note.message,
            }
        };
        self.known.iter().map(status).collect()
    }
}

/// Returns what is known of an instance if the key names its newest start.
fn newest(known: &mut BTreeMap<InstanceId, Observed>, key: RunKey) -> Option<&mut Observed> {
    known.get_mut(&key.instance).filter(|known| known.incarnation == key.incarnation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::assigned;
    use crate::shim::record::How;

    fn key(incarnation: u32) -> RunKey {
        RunKey { instance: InstanceId::new(7), incarnation: Incarnation::new(incarnation) }
    }

    fn started() -> Started {
        Started { pid: 42, monotonic_millis: record::monotonic().get(), ..Started::default() }
    }

    fn instances(clock: &Clock) -> Instances {
        let mut instances = Instances::default();
        instances.starting(assigned(7), Incarnation::new(2), clock.now());
        instances
    }

    fn status(instances: &Instances, wanted: bool) -> InstanceStatus {
        let wanted = wanted.then(|| (InstanceId::new(7), assigned(7))).into_iter().collect();
        instances.statuses(&wanted, record::monotonic()).remove(0)
    }

    #[test]
    fn facts_about_an_earlier_start_are_dropped() {
        let clock = Clock::start();
        let mut instances = instances(&clock);
        assert!(!instances.started(key(1), &started(), &clock));
        assert!(!instances.ended(key(1), &Ended::now(How::Code, String::new()), &clock));
        assert_eq!(status(&instances, true).phase, Phase::Starting);
        assert!(instances.started(key(2), &started(), &clock));
        assert_eq!(status(&instances, true).pid, Some(42));
    }

    #[test]
    fn an_end_is_counted_once_and_has_no_pid() {
        let clock = Clock::start();
        let mut instances = instances(&clock);
        instances.started(key(2), &started(), &clock);
        let ended = Ended { number: 3, ..Ended::now(How::Code, "words".to_owned()) };
        assert!(instances.ended(key(2), &ended, &clock));
        assert!(!instances.ended(key(2), &ended, &clock));
        let status = status(&instances, true);
        assert_eq!((status.phase, status.pid), (Phase::BackingOff, None));
        assert_eq!((status.exit, status.message.as_str()), (Some(Exit::Code(3)), "words"));
        assert_eq!(instances.observed()[&InstanceId::new(7)].failures, 1);
    }

    #[test]
    fn a_wanted_stop_is_no_failure_and_is_not_reported_as_final() {
        let clock = Clock::start();
        let mut instances = instances(&clock);
        instances.started(key(2), &started(), &clock);
        instances.asked(InstanceId::new(7), &clock);
        assert_eq!(status(&instances, false).phase, Phase::Stopping);
        let ended = Ended { asked: true, number: 15, ..Ended::now(How::Signal, String::new()) };
        instances.ended(key(2), &ended, &clock);
        assert_eq!(status(&instances, false).phase, Phase::Stopped);
        assert_eq!(status(&instances, true).phase, Phase::Starting, "it starts again");
        assert_eq!(instances.observed()[&InstanceId::new(7)].failures, 0);
    }

    #[test]
    fn a_new_revision_starts_without_old_failures() {
        let clock = Clock::start();
        let mut instances = instances(&clock);
        instances.ended(key(2), &Ended::now(How::NotStarted, String::new()), &clock);
        let same = instances.starting(assigned(7), Incarnation::new(3), clock.now());
        assert_eq!(same.failures, 1);
        let mut revised = assigned(7);
        revised.revision = revised.revision.next();
        let revised = instances.starting(revised, Incarnation::new(4), clock.now());
        assert_eq!(revised.failures, 0);
    }
}
