//! What is still to be found out after a restore, as operators see it.

use tengyun_model::{NodeId, Said, said};
use tengyun_proto::v1;

use super::View;

/// The most strangers of one answer; the sentence counts all of them.
const STRANGERS_MAX: usize = 1000;

impl View<'_> {
    /// Says what is still to be found out; empty when nothing is.
    pub(super) fn restore(&self) -> Said {
        let Some(restored) = self.state.restored() else { return Said::NOTHING };
        let reported = self.links.reported();
        let (heard, nodes) = (reported.nodes(self.state), self.state.nodes().count());
        let strangers = reported.strangers(self.state).count();
        let missing = reported.missing(self.state);
        let found = said!(StatusFound, heard, nodes, strangers, missing);
        if restored.observing {
            return said!(StatusObserves, found);
        }
        let late = restored.unsettled.len();
        said!(StatusUnsettled, late, found)
    }

    /// Lists what runs and is not known.
    pub(super) fn strangers(&self) -> Vec<v1::StrangerView> {
        let name = |node: NodeId| self.state.node(node).map(|n| n.facts.name.to_string());
        let all = self.links.reported().strangers(self.state).take(STRANGERS_MAX);
        all.map(|(node, status)| v1::StrangerView {
            node: node.get(),
            node_name: name(node).unwrap_or_default(),
            status: Some(status.into()),
        })
        .collect()
    }
}
