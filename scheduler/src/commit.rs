//! The one path of every change: decided, journaled, then applied. Nothing else calls
//! [`State::apply`].
//!
//! Invariant: an outcome is returned after its entry is durable (`a_kill_between_append_and_answer_loses_nothing`).

use tengyun_engine::{Command, Entry, Outcome, State};
use tengyun_model::{At, Sequence};

use crate::clock::Clock;
use crate::journal::{Journal, JournalError};

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
        Self { state, clock, journal, snapshot_every, snapshot_at }
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
        assert!(commands.iter().all(Command::is_durable), "volatile commands are not journaled");
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let at = self.clock.now();
        let entries: Vec<Entry> =
            commands.into_iter().map(|command| Entry { at, command }).collect();
        let journal = self.journal.as_mut().expect("changes are refused when there is no journal");
        journal.append(self.state.sequence().next(), &entries)?;
        let before = self.state.sequence().get();
        let outcomes: Vec<_> = entries.iter().map(|e| apply(&mut self.state, e)).collect();
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
        apply(&mut self.state, &Entry { at, command })
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
