//! What operators wish of instances and nodes that is asked of what is measured too, before it is journaled.

use std::collections::BTreeSet;

use tengyun_engine::{Command, NodeImage, Outcome, Proof, Refusal, explain, liveness, predict};
use tengyun_model::{InstanceId, NodeId, OperationId, Wisher};

use super::Writer;
use crate::desk::{Answer, Moved};
use crate::journal::JournalError;

impl Writer {
    /// Asks what is measured before a move is journaled; what is durable is asked again there.
    pub(super) fn move_instance(
        &mut self,
        (command, by): (Command, Option<Wisher>),
        id: InstanceId,
        to: NodeId,
    ) -> Moved {
        let now = self.log.now();
        let state = self.log.state();
        let known = command.operation().is_some_and(|known| state.operation(known).is_some());
        let decided = if known {
            None
        } else {
            let forecast = predict::forecast(state, now);
            let decided = explain::wished(state, &forecast, (id, to), now).map_err(|refusal| {
                Box::new((refusal, explain::elsewhere(state, &forecast, id, now)))
            })?;
            Some(Box::new(decided))
        };
        let (answer, outcome) = Answer::pair();
        self.wish((command, by), false, (decided, answer));
        Ok(outcome)
    }

    /// Takes an operator's word that nodes are lost; of one that is there it is refused.
    pub(super) fn acknowledge_loss(
        &mut self,
        (operation, by): (OperationId, Option<Wisher>),
        mut nodes: Vec<NodeId>,
        proof: Proof,
    ) -> Result<Result<Vec<NodeId>, Refusal>, JournalError> {
        self.flush()?;
        let now = self.log.now();
        let state = self.log.state();
        if state.operation(operation).is_some() {
            // The answer was lost; what was asked is done.
            let lost = state.nodes().filter(|n| n.loss.is_some());
            return Ok(Ok(lost.map(|n| n.id).collect()));
        }
        if nodes.is_empty() {
            let weaker = |n: &NodeImage| n.loss.is_some_and(|loss| loss.proof < proof);
            let silent: BTreeSet<NodeId> = liveness::silent(state, now).collect();
            let all = state.nodes().filter(|n| silent.contains(&n.id) || weaker(n));
            nodes = all.map(|n| n.id).collect();
        }
        if let Some(there) = nodes.iter().find(|n| state.connected(**n)) {
            return Ok(Err(Refusal::NodeThere(*there)));
        }
        let command = Command::AcknowledgeLoss { operation, nodes: nodes.clone(), proof };
        if let Err(refusal) = state.validate(&command) {
            return Ok(Err(refusal));
        }
        let outcomes = self.log.commit_wished(vec![(command, by)])?;
        self.plan_soon();
        Ok(match outcomes.into_iter().next() {
            Some(Outcome::Refused(refusal)) => Err(refusal),
            Some(Outcome::Applied(_)) | None => Ok(nodes),
        })
    }
}
