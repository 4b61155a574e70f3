//! Facts about instances, as the agents of their nodes report them.
//!
//! An agent speaks only of what is on its own node; what it says of anything else is passed over.

use tengyun_model::{At, Exit, InstanceId, InstanceStatus, NodeId, Phase};

use super::State;
use super::rollouts::stumbled;
use crate::image::InstanceWish;
use crate::plan::StopReason;

impl State {
    pub(super) fn observe(
        &mut self,
        node: NodeId,
        statuses: &[InstanceStatus],
        gone: &[InstanceId],
        at: At,
    ) {
        for status in statuses {
            self.observe_one(node, status, at);
        }
        for id in gone {
            self.observe_gone(node, *id, at);
        }
    }

    fn observe_one(&mut self, node: NodeId, status: &InstanceStatus, at: At) {
        let Some(instance) = self.instances.get_mut(&status.instance) else { return };
        if instance.node != Some(node) || !is_news(&instance.status, status) {
            return;
        }
        let ended = instance.status.phase.is_final();
        let stumbled = stumbled(&instance.status, status);
        let goes_on = instance.status.incarnation == status.incarnation;
        let since = instance.healthy.filter(|_| goes_on);
        instance.healthy = (status.phase == Phase::Healthy).then(|| since.unwrap_or(at));
        instance.status = status.clone();
        let wish = instance.wish;
        if let Some(why) = stumbled {
            self.count_failure(status.instance, why);
        }
        if ended != status.phase.is_final() {
            self.sum_up_room(node);
        }
        if let (Some(Exit::PortTaken(port)), false) = (status.exit, status.phase.is_final()) {
            self.port_is_foreign(status.instance, port, at);
        }
        if !status.phase.is_final() {
            return;
        }
        match wish {
            InstanceWish::Stop(_) => self.remove_instance(status.instance),
            // It ended by itself: its record stays, its room is free.
            InstanceWish::Run => {
                self.touch(node);
                self.end_run(status.instance, at);
            }
        }
    }

    /// An instance is no longer on its node: it was stopped, or its node lost it.
    fn observe_gone(&mut self, node: NodeId, id: InstanceId, at: At) {
        let Some(instance) = self.instances.get(&id) else { return };
        if instance.node != Some(node) {
            return;
        }
        match instance.wish {
            InstanceWish::Stop(_) => self.remove_instance(id),
            InstanceWish::Run if instance.status.phase.is_final() => {}
            InstanceWish::Run => {
                let workload = instance.workload;
                self.instances.get_mut(&id).expect("it was there a line ago").wish =
                    InstanceWish::Stop(StopReason::NotWanted);
                self.derive_leaving(id);
                self.remove_instance(id);
                self.fill(workload, at);
            }
        }
    }
}

/// Says whether a status follows the one known: later starts follow earlier ones, an ended start
/// does not run again, and an agent cannot put an instance back into the queue.
fn is_news(known: &InstanceStatus, status: &InstanceStatus) -> bool {
    let order = status.incarnation.cmp(&known.incarnation);
    let follows = order.is_gt() || (order.is_eq() && !known.phase.is_final());
    follows && status.phase != Phase::Waiting && status != known
}
