//! After a restore: the journal is older than the world, and until agents have said what they run
//! nothing is started or stopped by it.
//!
//! Invariant: what a node runs and a restored journal does not know runs on until an operator says
//! otherwise (`a_restored_scheduler_stops_nothing_until_it_is_told_to`).

use tengyun_model::{At, Epoch, Generation, InstanceId, Millis, NodeId};

use super::State;
use crate::command::Effect;
use crate::image::RestoreImage;

/// How far numbers jump at least, for a clock that was behind when the backup was made or is now.
const JUMP_MIN: Millis = Millis::from_secs(24 * 3600);
/// Nodes join at most so often.
const NODE_INTERVAL: Millis = Millis::from_secs(1);

impl State {
    /// Returns what is still to be found out after a restore.
    pub fn restored(&self) -> Option<&RestoreImage> {
        self.restored.as_ref()
    }

    /// Says whether nothing may be started or stopped because the journal was just restored.
    pub fn observes(&self) -> bool {
        self.restored.as_ref().is_some_and(|restored| restored.observing)
    }

    /// Says whether a node is told nothing, because it may run what the journal does not know.
    pub fn withholds(&self, node: NodeId) -> bool {
        let held = |r: &RestoreImage| r.observing || r.unsettled.contains(&node);
        self.restored.as_ref().is_some_and(held)
    }

    /// Begins to observe, with numbers that are ahead of all that were given after the backup.
    ///
    /// The lost scheduler gave out less than one epoch, generation and instance id each millisecond,
    /// and less than one node id each second, so the time since the backup is far enough to jump;
    /// and a second restore of the same backup, which is later, jumps farther than the first.
    pub(super) fn restore(&mut self, elapsed: Millis, at: At) -> Effect {
        let jump = elapsed.saturating_add(JUMP_MIN);
        self.epoch = Epoch::new(self.epoch.get().saturating_add(jump.get()));
        let instance = self.next_instance.get().saturating_add(jump.get());
        self.next_instance = InstanceId::new(instance);
        let nodes = u32::try_from(jump.get() / NODE_INTERVAL.get()).unwrap_or(u32::MAX);
        self.next_node = NodeId::new(self.next_node.get().saturating_add(nodes));
        for node in self.nodes.values_mut() {
            let generation = node.generation.get().saturating_add(jump.get());
            node.generation = Generation::new(generation);
        }
        let unsettled = self.nodes.keys().copied().collect();
        self.restored = Some(RestoreImage { at, observing: true, unsettled });
        Effect::Done
    }

    /// Ends the observing, and trusts these nodes.
    pub(super) fn settle_restore(&mut self, nodes: &[NodeId]) -> Effect {
        if let Some(restored) = &mut self.restored {
            restored.observing = false;
            for node in nodes {
                restored.unsettled.remove(node);
            }
            if restored.unsettled.is_empty() {
                self.restored = None;
            }
        }
        Effect::Done
    }

    /// Ends it all: from now on nodes run what the journal says.
    pub(super) fn confirm_restore(&mut self) -> Effect {
        self.restored = None;
        Effect::Done
    }

    /// Doubts a node that joined after a restore: it may have been there before.
    pub(super) fn doubt(&mut self, node: NodeId) {
        if let Some(restored) = &mut self.restored {
            restored.unsettled.insert(node);
        }
    }
}
