//! Plans: every move is checked again against the present state; a stale one changes nothing.

use tengyun_model::{At, Class, InstanceId, Kind, MovePolicy, NodeId, Phase, WorkloadId};

use super::State;
use super::ports::open_ports;
use super::workloads::fresh_status;
use crate::command::{Effect, Past, Refusal};
use crate::image::{InstanceImage, InstanceWish, NodeImage, NodeWish, WorkloadWish};
use crate::place::feasible;
use crate::plan::{Move, Plan, ShiftReason, StopReason};
use crate::rollout;

impl State {
    pub(super) fn commit_plan(&mut self, plan: &Plan, at: At) -> Effect {
        let (mut accepted, mut stale) = (0_u32, 0_u32);
        let mut rest = plan.moves.as_slice();
        while !rest.is_empty() {
            let (together, after) = rest.split_at(self.together(rest));
            let hold = self.check_together(together).is_ok();
            for step in together {
                match hold.then(|| self.carry_out_move(step, at)) {
                    Some(Ok(())) => accepted = accepted.saturating_add(1),
                    Some(Err(_)) | None => stale = stale.saturating_add(1),
                }
            }
            rest = after;
        }
        Effect::Planned { accepted, stale }
    }

    pub(super) fn carry_out_move(&mut self, step: &Move, at: At) -> Result<(), Refusal> {
        match *step {
            Move::Start { instance, node } => self.start(instance, node, at),
            Move::Shift { instance, from, to, reason } => {
                self.shift(instance, (from, to), reason, at)
            }
            Move::Stop { instance, reason } => self.stop_by_plan(instance, reason, at),
            Move::Promise { instance, memory, reason } => {
                self.promise(instance, (memory, reason), at)
            }
        }
    }

    /// Says whether a move could be applied to the present state.
    pub fn check_move(&self, step: &Move) -> Result<(), Refusal> {
        match *step {
            Move::Start { instance, node } => {
                self.check_start(instance, node)?;
                self.check_by_itself(&self.instances[&instance])
            }
            Move::Shift { instance, from, to, reason } => {
                self.check_shift(instance, (from, to), reason)
            }
            Move::Stop { instance, reason } => self.check_stop(instance, reason),
            Move::Promise { instance, memory, reason } => {
                self.check_promise(instance, memory, reason)
            }
        }
    }

    pub(super) fn wanted(&self, id: InstanceId) -> Result<&InstanceImage, Refusal> {
        let instance = self.instances.get(&id).ok_or(Refusal::UnknownInstance(id))?;
        match instance.wish {
            InstanceWish::Run => Ok(instance),
            InstanceWish::Stop(_) => Err(Refusal::Stale(Past::InstanceWish)),
        }
    }

    /// Says whether an instance may start on a node that has room; returns it.
    pub(super) fn check_may_start(
        &self,
        id: InstanceId,
        node: NodeId,
    ) -> Result<&InstanceImage, Refusal> {
        let instance = self.wanted(id)?;
        if instance.node.is_some() {
            return Err(Refusal::Stale(Past::Waiting));
        }
        self.check_home(instance, node)?;
        self.check_ready(instance)?;
        Ok(instance)
    }

    fn check_start(&self, id: InstanceId, node: NodeId) -> Result<(), Refusal> {
        let instance = self.check_may_start(id, node)?;
        let spec = self.spec(instance);
        feasible::hard(self, (spec, self.promised(instance)), node, None)?;
        let image = self.nodes.get(&node).ok_or(Refusal::UnknownNode(node))?;
        feasible::volumes(self.volume_need(instance, spec), spec, (image, self.room(node)))
    }

    fn start(&mut self, id: InstanceId, node: NodeId, at: At) -> Result<(), Refusal> {
        self.check_start(id, node)?;
        let open = open_ports(self.spec(&self.instances[&id]));
        let ports = self.choose_ports(open, node);
        let instance = self.instances.get_mut(&id).expect("it was checked a line ago");
        instance.ports = ports;
        instance.node = Some(node);
        instance.placed = at;
        instance.status.phase = Phase::Starting;
        instance.status.since = at;
        self.on_node.entry(node).or_default().insert(id);
        self.derive_start(id, node);
        self.settle(id, at);
        self.touch(node);
        Ok(())
    }

    fn check_shift(
        &self,
        id: InstanceId,
        (from, to): (NodeId, NodeId),
        reason: ShiftReason,
    ) -> Result<(), Refusal> {
        let instance = self.wanted(id)?;
        if instance.node != Some(from) || instance.status.phase.is_final() {
            return Err(Refusal::Stale(Past::Place));
        }
        if !self.is_alone(instance) {
            return Err(Refusal::Stale(Past::Alone));
        }
        if self.is_on_lost(instance) {
            return Err(Refusal::NodeLost);
        }
        self.check_home(instance, to)?;
        let workload = self.workloads.get(&instance.workload).expect("its workload outlives it");
        if self.renews_by_stopping(instance) {
            return Err(Refusal::KeepsVolumes);
        }
        let outdated = instance.revision != workload.revision;
        let allowed = match reason {
            ShiftReason::Revision => outdated,
            ShiftReason::Consolidate | ShiftReason::Overload | ShiftReason::Memory => {
                from != to && !outdated
            }
            ShiftReason::Drain => from != to && self.node_wish(instance).is_drain(),
            ShiftReason::Operator => from != to,
        };
        if !allowed {
            return Err(Refusal::Stale(Past::ShiftReason));
        }
        self.check_held(instance)?;
        let spec = &workload.revisions[&workload.revision];
        feasible::hard(self, (spec, self.copy_memory(instance)), to, Some(id))
    }

    fn shift(
        &mut self,
        id: InstanceId,
        (from, to): (NodeId, NodeId),
        reason: ShiftReason,
        at: At,
    ) -> Result<(), Refusal> {
        self.check_shift(id, (from, to), reason)?;
        let old = &self.instances[&id];
        let (workload, ordinal, again) = (old.workload, old.ordinal, old.moved.is_some());
        let revision = self.workloads[&workload].revision;
        let promise = old.promise.clone().filter(|_| old.revision == revision);
        let open = open_ports(&self.workloads[&workload].revisions[&revision]);
        let ports = self.choose_ports(open, to);
        if reason == ShiftReason::Overload && self.on_node(to).next().is_none() {
            self.opened = Some(at);
        }
        let new = self.insert_instance(|new| InstanceImage {
            workload,
            ordinal,
            revision,
            node: Some(to),
            wish: InstanceWish::Run,
            replaces: Some(id),
            status: fresh_status(new, Phase::Starting, at),
            created: at,
            placed: at,
            moved: Some(at),
            ports,
            home: None,
            healthy: None,
            failures: 0,
            failed: None,
            promise,
        });
        if matches!(reason, ShiftReason::Overload | ShiftReason::Consolidate) {
            let daily = self.daily_moves();
            // The first move of an instance brings it where it belongs; only repeated ones are owed.
            if again {
                self.ledger.enter(at, daily);
            }
        }
        if reason != ShiftReason::Revision {
            self.moves_total = self.moves_total.saturating_add(1);
            self.ledger.count(at);
            self.inherit_track(id, new);
        }
        self.touch(to);
        Ok(())
    }

    fn check_stop(&self, id: InstanceId, reason: StopReason) -> Result<(), Refusal> {
        let instance = self.wanted(id)?;
        let holds = match reason {
            // Departments say what is not wanted, not plans.
            StopReason::NotWanted => false,
            StopReason::Replaced => self.replacements.get(&id).is_some_and(|new| {
                let new = &self.instances[new];
                let runs = new.status.phase == Phase::Healthy && !self.is_on_lost(new);
                runs && new.wish == InstanceWish::Run
            }),
            StopReason::Evicted => {
                self.spec(instance).class == Class::Harvest && instance.node.is_some()
            }
            StopReason::GivenUp => {
                let runs = instance.status.phase == Phase::Healthy && !self.is_on_lost(instance);
                instance.replaces.is_some() && (!runs || self.is_taken_back(instance))
            }
            StopReason::Renewed => self.may_be_renewed(instance),
            StopReason::Drained => self.may_be_drained(instance),
            StopReason::Failed => self.may_be_tried_anew(instance),
            StopReason::Lost => self.is_alone(instance) && self.may_leave_lost(instance),
        };
        if holds { Ok(()) } else { Err(Refusal::Stale(Past::StopReason)) }
    }

    /// Says whether a replacement is of a revision that was left, while its old copy is right.
    pub(crate) fn is_taken_back(&self, instance: &InstanceImage) -> bool {
        let present = self.workloads[&instance.workload].revision;
        let old = instance.replaces.and_then(|old| self.instances.get(&old));
        let right = |old: &InstanceImage| old.revision == present && old.wish == InstanceWish::Run;
        instance.revision != present && old.is_some_and(right)
    }

    /// Says whether copies of an instance are renewed where they are, the old one first: those that
    /// must not move, jobs, and those that keep volumes.
    pub(crate) fn renews_in_place(&self, instance: &InstanceImage) -> bool {
        let workload = &self.workloads[&instance.workload];
        rollout::in_place(&workload.revisions[&workload.revision])
            || self.renews_by_stopping(instance)
    }

    /// Says whether an instance may stop so that its workload's newer revision starts in its place.
    fn may_be_renewed(&self, instance: &InstanceImage) -> bool {
        let workload = &self.workloads[&instance.workload];
        let spec = &workload.revisions[&workload.revision];
        let open = instance.node.and_then(|n| self.node(n)).is_some_and(NodeImage::is_open);
        open && instance.revision != workload.revision
            && spec.kind != Kind::Cron
            && self.renews_in_place(instance)
            && self.is_alone(instance)
            && !self.is_on_lost(instance)
            && !workload.is_held()
    }

    /// Says whether an instance neither replaces another nor is being replaced.
    pub(crate) fn is_alone(&self, instance: &InstanceImage) -> bool {
        let replaced = self.replacements.contains_key(&instance.status.instance);
        instance.replaces.is_none() && !replaced
    }

    /// Says whether an instance may stop on a drained node before it starts elsewhere: one that does
    /// not run anyhow, or one that must not run twice and that an operator insists on.
    pub(crate) fn may_be_drained(&self, instance: &InstanceImage) -> bool {
        let wish = self.node_wish(instance);
        let spec = self.spec(instance);
        if spec.kind == Kind::PerNode {
            return false;
        }
        let stays = spec.move_policy == MovePolicy::Never;
        let rests = instance.status.phase == Phase::BackingOff;
        self.is_alone(instance)
            && self.spec(instance).volumes.is_empty()
            && match wish {
                NodeWish::Serve | NodeWish::Cordon => false,
                NodeWish::Drain => rests && !stays,
                NodeWish::DrainByForce => rests || stays,
            }
    }

    fn stop_by_plan(&mut self, id: InstanceId, reason: StopReason, at: At) -> Result<(), Refusal> {
        self.check_stop(id, reason)?;
        if reason == StopReason::GivenUp {
            self.count_given_up(id);
        }
        let instance = &self.instances[&id];
        let (workload, old) = (instance.workload, instance.replaces);
        let renews = reason == StopReason::Renewed;
        let failures = instance.failures;
        let home = (instance.ordinal, self.home_after(instance).filter(|_| renews));
        self.stop_instance(id, reason);
        match reason {
            StopReason::Evicted | StopReason::Lost => self.fill(workload, at),
            StopReason::Failed => self.try_anew((workload, home.0), failures, at),
            StopReason::Drained => {
                // One that was gone at once leaves its turn at once.
                if let Some(instance) = self.instances.get(&id) {
                    self.turns.insert((workload, instance.ordinal), id);
                }
                self.fill(workload, at);
            }
            StopReason::Renewed => {
                if self.instances.contains_key(&id) {
                    self.turns.insert((workload, home.0), id);
                }
                let homes = home.1.map(|node| (home.0, node)).into_iter().collect();
                self.fill_homes(workload, &homes, at);
            }
            StopReason::GivenUp => {
                // The old copy stays, and is not tried again before its cooldown.
                if let Some(old) = old.and_then(|old| self.instances.get_mut(&old)) {
                    let (id, before) = (old.status.instance, old.moved.replace(at));
                    self.derive_moved(id, before, at);
                }
                self.detach(id);
                // An old copy that stops, too, leaves its place to a new one.
                self.fill(workload, at);
            }
            StopReason::NotWanted | StopReason::Replaced => {}
        }
        Ok(())
    }

    /// Says whether an instance failed for good and may make place for a new one of its copy.
    pub(crate) fn may_be_tried_anew(&self, instance: &InstanceImage) -> bool {
        let wanted = self.workloads[&instance.workload].wish == WorkloadWish::Run;
        instance.failed.is_some() && wanted && self.is_alone(instance)
    }

    /// Queues a copy again that failed so often in a row.
    fn try_anew(&mut self, (workload, ordinal): (WorkloadId, u32), failures: u32, at: At) {
        let before = self.next_instance;
        self.fill(workload, at);
        let new =
            self.instances_after(before).find(|i| (i.workload, i.ordinal) == (workload, ordinal));
        let new = new.map(|i| i.status.instance);
        if let Some(new) = new.and_then(|id| self.instances.get_mut(&id)) {
            new.failures = failures;
        }
    }

    /// Undoes the tie between a replacement and the copy it was to replace.
    fn detach(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.get_mut(&id)
            && let Some(old) = instance.replaces.take()
        {
            self.replacements.remove(&old);
        }
    }
}
