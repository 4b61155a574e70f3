//! A recorded journal, replayed: the same durable entries give the same state, and whoever kept the
//! journal's snapshots can be asked whether they are that state. It plans nothing.

use std::collections::BTreeMap;

use tengyun_engine::{Command, Entry, Outcome, State};
use tengyun_model::{At, Sequence};

use crate::number::wide;

/// What a journal holds.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// The state that its entries make.
    pub state: State,
    /// Its entries.
    pub entries: u64,
    /// The moments of its first and last entry.
    pub span: Option<(At, At)>,
    /// Entries by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Entries that the state refused, by the word of the refusal.
    pub refused: BTreeMap<&'static str, u64>,
    /// Moves of plans that held, and that were stale when they were applied.
    pub moves: (u64, u64),
}

impl Journal {
    /// Replays entries, and shows the state after each of them. It ends at the first fault.
    ///
    /// # Errors
    /// What the source of the entries says; the journal then holds what stands before it.
    pub fn replay<E>(
        &mut self,
        entries: impl Iterator<Item = Result<(Sequence, Entry), E>>,
        mut after: impl FnMut(Sequence, &State),
    ) -> Result<(), E> {
        for read in entries {
            let (sequence, entry) = read?;
            self.apply(&entry);
            after(sequence, &self.state);
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry) {
        self.entries += 1;
        let first = self.span.map_or(entry.at, |(first, _)| first);
        self.span = Some((first, entry.at));
        *self.kinds.entry(kind(&entry.command)).or_default() += 1;
        let outcome = self.state.apply(entry);
        match outcome {
            Outcome::Applied(tengyun_engine::Effect::Planned { accepted, stale }) => {
                self.moves.0 += u64::from(accepted);
                self.moves.1 += u64::from(stale);
            }
            Outcome::Applied(_) => {}
            Outcome::Refused(refusal) => *self.refused.entry(refusal.code()).or_default() += 1,
        }
    }

    /// Returns how many nodes, workloads and instances the state knows.
    pub fn counts(&self) -> (u64, u64, u64) {
        let state = &self.state;
        let instances = wide(state.instances().count());
        (wide(state.nodes().count()), wide(state.workloads().count()), instances)
    }
}

/// Says roughly what an entry is: a fact, a wish or a decision.
fn kind(command: &Command) -> &'static str {
    match command {
        Command::CommitPlan(_) | Command::DeclareLost(_) | Command::DeclareReturned(_) => {
            "decisions"
        }
        other if other.operation().is_some() => "wishes",
        _ => "facts",
    }
}

#[cfg(test)]
mod tests {
    use tengyun_model::{NodeId, OperationId, WorkloadKey};

    use super::*;

    #[test]
    fn a_replay_counts_what_it_refuses_and_ends_at_a_fault() {
        let key: WorkloadKey = "a/b/c".parse().unwrap();
        let stop = Command::StopWorkload { operation: OperationId::new(1), key };
        let entry = |command, at| Entry { at: At::from_millis(at), by: None, command };
        let entries = [
            Ok((Sequence::new(1), entry(Command::BeginEpoch, 5))),
            Ok((Sequence::new(2), entry(stop, 7))),
            Ok((Sequence::new(3), entry(Command::DeclareLost(NodeId::new(9)), 8))),
            Err("torn"),
            Ok((Sequence::new(4), entry(Command::BeginEpoch, 9))),
        ];
        let mut journal = Journal::default();
        let mut seen = Vec::new();
        let fault = journal
            .replay(entries.into_iter(), |s, state| seen.push((s.get(), state.sequence().get())));
        assert_eq!(fault, Err("torn"));
        assert_eq!(seen, [(1, 1), (2, 2), (3, 3)]);
        assert_eq!(journal.entries, 3);
        assert_eq!(journal.span, Some((At::from_millis(5), At::from_millis(8))));
        assert_eq!(journal.refused, [("unknown-node", 1), ("unknown-workload", 1)].into());
        assert_eq!(journal.kinds, [("decisions", 1), ("facts", 1), ("wishes", 1)].into());
    }
}
