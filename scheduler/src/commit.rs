//! The one path of every change: decided, journaled, then applied. Nothing else calls
//! [`State::apply`].
//!
//! Invariant: an outcome is returned after its entry is durable
//! (`a_kill_between_append_and_answer_loses_nothing_and_a_retry_changes_nothing`).

use std::sync::Arc;
use std::time::Instant;

use tengyun_engine::{Command, Entry, Outcome, State, event};
use tengyun_model::{At, Sequence, Wisher};

use crate::clock::Clock;
use crate::events::Events;
use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;
use crate::recording::Recorder;

/// Applies one entry; live and replay are this one path.
pub(crate) fn apply(state: &mut State, entry: &Entry) -> Outcome {
    state.apply(entry)
}

/// The state, and the journal that it is made of.
pub(crate) struct Log {
    state: State,
    clock: Clock,
    /// `None` when this scheduler must not write.
    journal: Option<Box<dyn Journal>>,
    snapshot_every: u64,
    snapshot_at: Sequence,
    events: Events,
    /// Keeps volatile entries where somebody asked for it.
    recorder: Option<Recorder>,
    metrics: Arc<Metrics>,
}

impl Log {
    /// Goes on with a recovered state.
    pub(crate) fn new(
        state: State,
        clock: Clock,
        journal: Option<Box<dyn Journal>>,
        snapshot_every: u64,
    ) -> Self {
        let snapshot_at = state.sequence();
        let (events, metrics) = (Events::default(), Arc::default());
        let recorder = None;
        Self { state, clock, journal, snapshot_every, snapshot_at, events, recorder, metrics }
    }

    /// Tells events to a list that outlives this process.
    pub(crate) fn telling(self, events: Events) -> Self {
        Self { events, ..self }
    }

    /// Records volatile entries as well.
    pub(crate) fn recording(self, recorder: Option<Recorder>) -> Self {
        Self { recorder, ..self }
    }

    /// Returns what is counted.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns what happened lately.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Returns the present state.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Returns the present moment.
    pub(crate) fn now(&mut self) -> At {
        self.clock.now()
    }

    /// Makes these commands durable as one commit, then applies them; one outcome each.
    ///
    /// # Errors
    /// After an error nothing was applied and the journal must not be used again.
    pub(crate) fn commit(&mut self, commands: Vec<Command>) -> Result<Vec<Outcome>, JournalError> {
        self.commit_wished(commands.into_iter().map(|command| (command, None)).collect())
    }

    /// Does so, and records who wished each of them.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub(crate) fn commit_wished(
        &mut self,
        commands: Vec<(Command, Option<Wisher>)>,
    ) -> Result<Vec<Outcome>, JournalError> {
        let durable = commands.iter().all(|(command, _)| command.is_durable());
        assert!(durable, "volatile commands are not journaled");
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let at = self.clock.now();
        let entries: Vec<Entry> =
            commands.into_iter().map(|(command, by)| Entry { at, by, command }).collect();
        let journal = self.journal.as_mut().expect("changes are refused when there is no journal");
        let began = Instant::now();
        journal.append(self.state.sequence().next(), &entries)?;
        self.metrics.append.observe(began.elapsed());
        let before = self.state.sequence().get();
        let outcomes: Vec<_> = entries.iter().map(|e| self.enter(e)).collect();
        self.events.keep();
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        let after = self.state.sequence().get();
        assert_eq!(after, before.saturating_add(count), "state and journal count the same entries");
        if after.saturating_sub(self.snapshot_at.get()) >= self.snapshot_every {
            self.snapshot()?;
        }
        Ok(outcomes)
    }

    /// Applies a volatile command, which is not journaled.
    pub(crate) fn note(&mut self, command: Command) -> Outcome {
        assert!(!command.is_durable(), "durable commands are journaled");
        let at = self.clock.now();
        let entry = Entry { at, by: None, command };
        let outcome = self.enter(&entry);
        if let Some(recorder) = &mut self.recorder {
            recorder.keep(&self.state, &entry);
        }
        self.events.keep();
        outcome
    }

    /// Applies an entry and tells what it made happen.
    fn enter(&mut self, entry: &Entry) -> Outcome {
        let glance = event::glance(&self.state, entry);
        let outcome = apply(&mut self.state, entry);
        let happened = event::happened(&glance, &self.state, entry, &outcome);
        self.metrics.count_events(&happened);
        self.events.tell(happened);
        outcome
    }

    /// Keeps a snapshot, unless the newest one is of the present state.
    pub(crate) fn snapshot(&mut self) -> Result<(), JournalError> {
        let sequence = self.state.sequence();
        let Some(journal) = self.journal.as_mut().filter(|_| sequence > self.snapshot_at) else {
            return Ok(());
        };
        journal.save_snapshot(&self.state.image())?;
        self.snapshot_at = sequence;
        Ok(())
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("sequence", &self.state.sequence()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{apply as wish, facts, spec};
    use crate::journal::{SqliteJournal, snapshot};
    use crate::replay::recover;

    fn place() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        (dir, path)
    }

    fn log(path: &std::path::Path, snapshot_every: u64) -> Log {
        let mut journal = SqliteJournal::open(path).unwrap();
        let recovered = recover(&mut journal, &path.with_extension("marker"), apply).unwrap();
        let clock = Clock::start(recovered.at);
        Log::new(recovered.state, clock, Some(Box::new(journal)), snapshot_every)
    }

    /// A journal that keeps what it is given and then says that it could not, as when the process
    /// is killed between the append and the answer.
    struct Dying(SqliteJournal);

    impl Journal for Dying {
        fn append(&mut self, first: Sequence, entries: &[Entry]) -> Result<(), JournalError> {
            self.0.append(first, entries)?;
            Err(JournalError::InUse { path: "killed".to_owned() })
        }

        fn save_snapshot(&mut self, image: &tengyun_engine::Image) -> Result<(), JournalError> {
            self.0.save_snapshot(image)
        }

        fn load_snapshot(&mut self) -> Result<Option<tengyun_engine::Image>, JournalError> {
            self.0.load_snapshot()
        }

        fn verify(&mut self) -> Result<(), JournalError> {
            self.0.verify()
        }

        fn replay(
            &mut self,
            after: Sequence,
            visit: &mut dyn FnMut(Sequence, Entry) -> bool,
        ) -> Result<(), JournalError> {
            self.0.replay(after, visit)
        }
    }

    #[test]
    fn a_kill_between_append_and_answer_loses_nothing_and_a_retry_changes_nothing() {
        let (_dir, path) = place();
        let journal = Dying(SqliteJournal::open(&path).unwrap());
        let clock = Clock::start(At::default());
        let mut dying = Log::new(State::new(), clock, Some(Box::new(journal)), 100);
        assert!(dying.commit(vec![wish(1, spec("web", 3))]).is_err());
        assert_eq!(dying.state().instances().count(), 0, "what failed was applied");
        drop(dying);
        let mut again = log(&path, 100);
        assert_eq!(again.state().instances().count(), 3);
        let outcomes = again.commit(vec![wish(1, spec("web", 3))]).unwrap();
        assert!(matches!(outcomes[..], [Outcome::Applied(_)]), "{outcomes:?}");
        assert_eq!(again.state().instances().count(), 3, "the wish was applied twice");
    }

    #[test]
    fn the_state_after_a_restart_is_the_live_state_with_and_without_snapshots() {
        for snapshot_every in [1, 2, 1000] {
            let (_dir, path) = place();
            let mut live = log(&path, snapshot_every);
            live.commit(vec![Command::BeginEpoch, Command::RegisterNode(facts("n1"))]).unwrap();
            live.commit(vec![wish(1, spec("web", 2))]).unwrap();
            live.commit(vec![wish(2, spec("web", 5)), wish(3, spec("api", 1))]).unwrap();
            let bytes = snapshot::encode(&live.state().image());
            drop(live);
            let again = log(&path, snapshot_every);
            assert_eq!(snapshot::encode(&again.state().image()), bytes);
        }
    }

    #[test]
    fn volatile_commands_leave_the_durable_state_alone() {
        let (_dir, path) = place();
        let mut log = log(&path, 100);
        log.commit(vec![Command::RegisterNode(facts("n1"))]).unwrap();
        let bytes = snapshot::encode(&log.state().image());
        log.note(Command::ConnectNode(tengyun_model::NodeId::new(1)));
        assert_eq!(snapshot::encode(&log.state().image()), bytes);
    }

    #[test]
    #[should_panic(expected = "volatile commands are not journaled")]
    fn a_volatile_command_cannot_be_committed() {
        let (_dir, path) = place();
        let node = tengyun_model::NodeId::new(1);
        log(&path, 100).commit(vec![Command::ConnectNode(node)]).unwrap();
    }
}
