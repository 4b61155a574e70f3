//! Facts about instances, as the agents of their nodes report them.
//!
//! An agent speaks only of what is on its own node; what it says of anything else is passed over.

use tengyun_model::{
    At, Exit, InstanceId, InstanceStatus, Kind, Millis, NodeId, Phase, RestartMode, WorkloadSpec,
};

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
        let killed = status.exit == Some(Exit::OutOfMemory)
            && !(goes_on && instance.status.exit == status.exit);
        let since = instance.healthy.filter(|_| goes_on);
        let lasted = instance.healthy.map(|since| at.since(since)).unwrap_or_default();
        instance.healthy = (status.phase == Phase::Healthy).then(|| since.unwrap_or(at));
        instance.status = status.clone();
        let wish = instance.wish;
        if killed {
            self.break_promise(status.instance, at);
        }
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
            self.note_revived(status.instance);
            return;
        }
        match wish {
            InstanceWish::Stop(_) => self.remove_instance(status.instance),
            // It ended by itself: its record stays, its room is free.
            InstanceWish::Run => {
                self.touch(node);
                self.end_run(status.instance, at);
                self.note_failed(status.instance, lasted, at);
            }
        }
    }

    /// Notes that a copy of a service failed for good though it is to run. One that was healthy for
    /// long had recovered from what failed before.
    fn note_failed(&mut self, id: InstanceId, lasted: Millis, at: At) {
        let (recovered, instance) = (self.policy.failed_pause_max(), &self.instances[&id]);
        if instance.failed.is_some() || !fails(self.spec(instance), instance.status.phase) {
            return;
        }
        let instance = self.instances.get_mut(&id).expect("it was there a line ago");
        let before = if lasted >= recovered { 0 } else { instance.failures };
        instance.failures = before.saturating_add(1);
        instance.failed = Some(at);
        self.derive_failed(id);
    }

    /// Notes that an instance runs after all that its node had called ended.
    fn note_revived(&mut self, id: InstanceId) {
        let instance = self.instances.get_mut(&id).expect("it was there a line ago");
        if instance.failed.take().is_some() {
            self.derive_revived(id);
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

/// Says whether a copy that ended so is to run all the same.
fn fails(spec: &WorkloadSpec, ended: Phase) -> bool {
    let service = matches!(spec.kind, Kind::Service | Kind::PerNode);
    let again = match spec.restart.mode {
        RestartMode::Always => true,
        RestartMode::OnFailure => ended == Phase::Failed,
        RestartMode::Never => false,
    };
    service && again
}

/// Says whether a status follows the one known: later starts follow earlier ones, an ended start
/// does not run again, and an agent cannot put an instance back into the queue.
fn is_news(known: &InstanceStatus, status: &InstanceStatus) -> bool {
    let order = status.incarnation.cmp(&known.incarnation);
    let follows = order.is_gt() || (order.is_eq() && !known.phase.is_final());
    follows && status.phase != Phase::Waiting && status != known
}
