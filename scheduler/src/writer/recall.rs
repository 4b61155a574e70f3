//! What agents remember of use: noted, so that a new scheduler knows what the one before it knew. It
//! decides nothing; how much of it is believed is the engine's word.

use tengyun_engine::{Command, State};
use tengyun_model::{NodeId, UsageHistory};
use tracing::debug;

use super::Writer;
use crate::desk::Attached;
use crate::dispatch::LinkId;

impl Writer {
    /// Notes what the agent of a node remembers.
    pub(super) fn recall(&mut self, node: NodeId, link: LinkId, mut history: UsageHistory) {
        if !self.links.is_present(node, link) {
            debug!(%node, "history of a displaced stream passed over");
            return;
        }
        let strangers = leave_out_strangers(self.log.state(), node, &mut history);
        if strangers > 0 {
            debug!(%node, strangers, "history of instances that are not on the node");
        }
        self.log.metrics().count_sketches(history.instances.len(), strangers);
        self.log.note(Command::ReportHistory { node, history });
    }

    /// Says what a stream is told that became the one of its node.
    pub(super) fn attached(&self, node: NodeId) -> Attached {
        let state = self.log.state();
        Attached { node, epoch: state.epoch(), window: state.policy().window() }
    }
}

/// Leaves out what an agent says of instances that are not on its node; returns how many there were.
fn leave_out_strangers(state: &State, node: NodeId, history: &mut UsageHistory) -> usize {
    let all = history.instances.len();
    let here = |id| state.instance(id).is_some_and(|instance| instance.node == Some(node));
    history.instances.retain(|each| here(each.instance));
    all.saturating_sub(history.instances.len())
}

#[cfg(test)]
mod tests {
    use tengyun_engine::{Entry, Move, Plan};
    use tengyun_model::{At, InstanceId, InstanceSketch, Millis, Peaks, Sketch};

    use super::*;
    use crate::commit;
    use crate::fixture::{apply, facts, spec};

    #[test]
    fn an_agent_remembers_nothing_of_instances_that_are_not_on_its_node() {
        let mut state = State::new();
        let enter = |state: &mut State, command| {
            commit::apply(state, &Entry { at: At::from_millis(1), by: None, command });
        };
        enter(&mut state, Command::BeginEpoch);
        enter(&mut state, Command::RegisterNode(facts("n1")));
        enter(&mut state, Command::RegisterNode(facts("n2")));
        enter(&mut state, apply(1, spec("web", 3)));
        let start = |id, node| Move::Start { instance: InstanceId::new(id), node };
        let moves = vec![start(1, NodeId::new(1)), start(2, NodeId::new(2))];
        let base = state.sequence();
        enter(&mut state, Command::CommitPlan(Plan { base, moves }));
        let (sketch, peaks) = (Sketch::default(), Peaks::default());
        let of =
            |id| InstanceSketch { instance: InstanceId::new(id), sketch: sketch.clone(), peaks };
        // The second is elsewhere, the third waits, and nobody knows the last.
        let instances = [1, 2, 3, 99].map(of).to_vec();
        let window = Millis::from_secs(300);
        let mut history = UsageHistory { at: At::default(), window, foreign: None, instances };
        assert_eq!(leave_out_strangers(&state, NodeId::new(1), &mut history), 3);
        assert_eq!(history.instances, [of(1)]);
    }
}
