//! After a restore: what agents say they run, held against what the restored journal says.
//!
//! What was said is volatile, as all reports are; what is concluded from it is decided here and
//! journaled before it counts. Nothing here stops or starts anything.

use std::collections::BTreeMap;

use tengyun_engine::image::InstanceWish;
use tengyun_engine::{Command, State};
use tengyun_model::{InstanceId, InstanceStatus, NodeId};

/// The share of the known nodes that must have reported before the observing ends by itself.
const REPORTED_PERMILLE: usize = 950;

/// What nodes said since this scheduler started, while a restore has loose ends.
#[derive(Debug, Default)]
pub(crate) struct Reported(BTreeMap<NodeId, Vec<InstanceStatus>>);

impl Reported {
    /// Remembers what a node runs.
    pub(crate) fn take(&mut self, state: &State, node: NodeId, instances: &[InstanceStatus]) {
        if state.restored().is_none() {
            self.0.clear();
            return;
        }
        let running = instances.iter().filter(|said| said.phase.may_run());
        self.0.insert(node, running.cloned().collect());
    }

    /// Returns how many of the known nodes have reported.
    pub(crate) fn nodes(&self, state: &State) -> usize {
        self.0.keys().filter(|node| state.node(**node).is_some()).count()
    }

    /// Returns what runs and is not known, or known to be elsewhere.
    pub(crate) fn strangers<'a>(
        &'a self,
        state: &'a State,
    ) -> impl Iterator<Item = (NodeId, &'a InstanceStatus)> {
        let all = self.0.iter().flat_map(|(node, said)| said.iter().map(|status| (*node, status)));
        all.filter(|(node, status)| is_stranger(state, *node, status))
    }

    /// Counts what the journal wants and says to run on nodes that reported and do not have it.
    pub(crate) fn missing(&self, state: &State) -> usize {
        let runs_there = |node: NodeId, id: InstanceId| {
            self.0.get(&node).is_none_or(|said| said.iter().any(|status| status.instance == id))
        };
        let wanted =
            state.instances().filter(|i| i.wish == InstanceWish::Run && i.status.phase.may_run());
        wanted.filter(|i| i.node.is_some_and(|n| !runs_there(n, i.status.instance))).count()
    }

    /// Concludes what can be: that the observing ends, or that late nodes are as the journal says.
    ///
    /// The observing ends by itself when nearly all nodes have reported and run nothing unknown. What
    /// is missing may have been moved to a node that has not reported, so then all must have.
    pub(crate) fn conclude(&self, state: &State) -> Option<Command> {
        let restored = state.restored()?;
        let clean = |node: &NodeId| {
            self.0.get(node).is_some_and(|said| !said.iter().any(|s| is_stranger(state, *node, s)))
        };
        let settled: Vec<NodeId> = restored.unsettled.iter().copied().filter(clean).collect();
        if !restored.observing {
            return (!settled.is_empty()).then_some(Command::SettleRestore(settled));
        }
        let fleet = state.nodes().filter(|n| n.loss.is_none()).count();
        let nearly_all = fleet > 0
            && settled.len().saturating_mul(1000) >= fleet.saturating_mul(REPORTED_PERMILLE);
        let complete = settled.len() >= fleet || self.missing(state) == 0;
        let known = self.strangers(state).next().is_none();
        (nearly_all && complete && known).then_some(Command::SettleRestore(settled))
    }
}

fn is_stranger(state: &State, node: NodeId, status: &InstanceStatus) -> bool {
    let known = state.instance(status.instance);
    status.phase.may_run() && known.is_none_or(|known| known.node != Some(node))
}

#[cfg(test)]
mod tests {
    use tengyun_engine::{Entry, Move, Plan};
    use tengyun_model::{Epoch, Generation, Millis, OperationId, Phase};

    use super::*;
    use crate::commit;
    use crate::fixture::{apply, facts, spec, status};

    fn enter(state: &mut State, command: Command) {
        let at = state.at().after(Millis::new(1));
        let outcome = commit::apply(state, &Entry { at, by: None, command });
        assert!(matches!(outcome, tengyun_engine::Outcome::Applied(_)), "{outcome:?}");
    }

    /// Twenty nodes, an instance on each of the first two, restored an hour later.
    fn restored() -> State {
        let mut state = State::new();
        enter(&mut state, Command::BeginEpoch);
        for n in 1..=20 {
            enter(&mut state, Command::RegisterNode(facts(&format!("n{n}"))));
        }
        enter(&mut state, apply(1, spec("web", 2)));
        let start =
            |n: u32| Move::Start { instance: InstanceId::new(u64::from(n)), node: NodeId::new(n) };
        let plan = Plan { base: state.sequence(), moves: vec![start(1), start(2)] };
        enter(&mut state, Command::CommitPlan(plan));
        let instances = vec![status(1, Phase::Healthy)];
        let node = NodeId::new(1);
        let generation = Generation::new(2);
        let seen = Command::ObserveInstances { node, generation, instances, gone: vec![] };
        enter(&mut state, seen);
        enter(&mut state, Command::Restore { elapsed: Millis::from_secs(3600) });
        enter(&mut state, Command::BeginEpoch);
        state
    }

    fn report(reported: &mut Reported, state: &State, nodes: std::ops::RangeInclusive<u32>) {
        for n in nodes {
            let own = if n <= 2 { vec![status(u64::from(n), Phase::Healthy)] } else { vec![] };
            reported.take(state, NodeId::new(n), &own);
        }
    }

    #[test]
    fn numbers_jump_ahead_of_all_that_was_given_since_the_backup() {
        let state = restored();
        let hour = 3_600_000;
        assert!(state.epoch() > Epoch::new(hour));
        assert!(state.nodes().all(|n| n.generation > Generation::new(hour)));
        assert!(state.image().next_instance > InstanceId::new(hour));
        assert!(state.image().next_node > NodeId::new(3600));
        let mut again = restored();
        enter(&mut again, Command::Restore { elapsed: Millis::from_secs(3601) });
        assert!(again.epoch() > state.epoch(), "a second restore is ahead of the first");
    }

    #[test]
    fn the_observing_ends_when_nearly_all_nodes_run_what_is_known() {
        let mut state = restored();
        let mut reported = Reported::default();
        report(&mut reported, &state, 1..=18);
        assert_eq!(reported.conclude(&state), None, "90 % are not enough");
        report(&mut reported, &state, 19..=19);
        let Some(command) = reported.conclude(&state) else { panic!("95 % are enough") };
        enter(&mut state, command);
        assert!(!state.observes());
        let (heard, silent) = (NodeId::new(19), NodeId::new(20));
        assert_eq!((state.withholds(heard), state.withholds(silent)), (false, true));
        reported.take(&state, silent, &[]);
        let command = reported.conclude(&state);
        assert_eq!(command, Some(Command::SettleRestore(vec![silent])));
        enter(&mut state, command.unwrap());
        assert_eq!(state.restored(), None);
    }

    #[test]
    fn what_is_unknown_or_elsewhere_keeps_the_observing_until_an_operators_word() {
        let mut state = restored();
        let mut reported = Reported::default();
        report(&mut reported, &state, 1..=20);
        // One that was never known, and one that was moved here from node 1.
        let found = [status(99, Phase::Running), status(1, Phase::Healthy)];
        reported.take(&state, NodeId::new(3), &found);
        assert_eq!(reported.strangers(&state).count(), 2);
        assert_eq!(reported.conclude(&state), None);
        enter(&mut state, Command::ConfirmRestore { operation: OperationId::new(7) });
        assert!(!state.withholds(NodeId::new(3)));
        let again = Command::ConfirmRestore { operation: OperationId::new(8) };
        assert!(state.validate(&again).is_err(), "nothing waits any more");
    }

    #[test]
    fn what_is_missing_may_run_where_nobody_has_reported() {
        let state = restored();
        let mut reported = Reported::default();
        report(&mut reported, &state, 1..=19);
        reported.take(&state, NodeId::new(1), &[]);
        assert_eq!(reported.missing(&state), 1);
        assert_eq!(reported.conclude(&state), None, "it may run on node 20");
        report(&mut reported, &state, 20..=20);
        assert!(reported.conclude(&state).is_some(), "it runs nowhere");
    }

    #[test]
    fn a_node_that_joins_after_a_restore_is_doubted() {
        let mut state = restored();
        enter(&mut state, Command::RegisterNode(facts("late")));
        let late = state.node_named(&facts("late").name).unwrap().id;
        assert!(state.withholds(late));
    }

    #[test]
    fn ended_instances_are_no_strangers() {
        let state = restored();
        let mut reported = Reported::default();
        reported.take(&state, NodeId::new(3), &[status(99, Phase::Failed)]);
        assert_eq!(reported.strangers(&state).count(), 0);
    }
}
