//! Plans: every move is checked again against the present state; a stale one changes nothing.

use tengyun_model::{At, Class, InstanceId, NodeId, Phase};

use super::State;
use super::workloads::fresh_status;
use crate::command::{Effect, Refusal};
use crate::image::{InstanceImage, InstanceWish};
use crate::place::feasible;
use crate::plan::{Move, Plan, ShiftReason, StopReason};

impl State {
    pub(super) fn commit_plan(&mut self, plan: &Plan, at: At) -> Effect {
        let (mut accepted, mut stale) = (0_u32, 0_u32);
        for step in &plan.moves {
            let done = match *step {
                Move::Start { instance, node } => self.start(instance, node, at),
                Move::Shift { instance, from, to, reason } => {
                    self.shift(instance, (from, to), reason, at)
                }
                Move::Stop { instance, reason } => self.stop_by_plan(instance, reason, at),
            };
            match done {
                Ok(()) => accepted = accepted.saturating_add(1),
                Err(_) => stale = stale.saturating_add(1),
            }
        }
        Effect::Planned { accepted, stale }
    }

    /// Says whether a move could be applied to the present state.
    pub fn check_move(&self, step: &Move) -> Result<(), Refusal> {
        match *step {
            Move::Start { instance, node } => self.check_start(instance, node),
            Move::Shift { instance, from, to, reason } => {
                self.check_shift(instance, (from, to), reason)
            }
            Move::Stop { instance, reason } => self.check_stop(instance, reason),
        }
    }

    fn wanted(&self, id: InstanceId) -> Result<&InstanceImage, Refusal> {
        let instance = self.instances.get(&id).ok_or(Refusal::UnknownInstance(id))?;
        match instance.wish {
            InstanceWish::Run => Ok(instance),
            InstanceWish::Stop(_) => Err(Refusal::Stale("the wish to run the instance")),
        }
    }

    fn check_start(&self, id: InstanceId, node: NodeId) -> Result<(), Refusal> {
        let instance = self.wanted(id)?;
        if instance.node.is_some() {
            return Err(Refusal::Stale("the instance's waiting"));
        }
        feasible::hard(self, self.spec(instance), node, None)
    }

    fn start(&mut self, id: InstanceId, node: NodeId, at: At) -> Result<(), Refusal> {
        self.check_start(id, node)?;
        let instance = self.instances.get_mut(&id).expect("it was checked a line ago");
        instance.node = Some(node);
        instance.placed = at;
        instance.status.phase = Phase::Starting;
        instance.status.since = at;
        self.on_node.entry(node).or_default().insert(id);
        self.derive_start(id, node);
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
            return Err(Refusal::Stale("the place of the instance"));
        }
        if self.replacements.contains_key(&id) || instance.replaces.is_some() {
            return Err(Refusal::Stale("the instance's being alone"));
        }
        let workload = self.workloads.get(&instance.workload).expect("its workload outlives it");
        let outdated = instance.revision != workload.revision;
        let allowed = match reason {
            ShiftReason::Revision => outdated,
            ShiftReason::Consolidate | ShiftReason::Overload => from != to && !outdated,
        };
        if !allowed {
            return Err(Refusal::Stale("the reason of the shift"));
        }
        feasible::hard(self, &workload.revisions[&workload.revision], to, Some(id))
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
        let (workload, ordinal) = (old.workload, old.ordinal);
        let revision = self.workloads[&workload].revision;
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
        });
        if reason != ShiftReason::Revision {
            self.moves_total = self.moves_total.saturating_add(1);
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
                new.status.phase == Phase::Healthy && new.wish == InstanceWish::Run
            }),
            StopReason::Evicted => {
                self.spec(instance).class == Class::Harvest && instance.node.is_some()
            }
            StopReason::GivenUp => {
                instance.replaces.is_some() && instance.status.phase != Phase::Healthy
            }
        };
        if holds { Ok(()) } else { Err(Refusal::Stale("the reason of the stop")) }
    }

    fn stop_by_plan(&mut self, id: InstanceId, reason: StopReason, at: At) -> Result<(), Refusal> {
        self.check_stop(id, reason)?;
        let instance = &self.instances[&id];
        let (workload, old) = (instance.workload, instance.replaces);
        self.stop_instance(id, reason);
        match reason {
            StopReason::Evicted => self.fill(workload, at),
            StopReason::GivenUp => {
                // The old copy stays, and is not tried again before its cooldown.
                if let Some(old) = old.and_then(|old| self.instances.get_mut(&old)) {
                    let (id, before) = (old.status.instance, old.moved.replace(at));
                    self.derive_moved(id, before, at);
                }
                self.detach(id);
            }
            StopReason::NotWanted | StopReason::Replaced => {}
        }
        Ok(())
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
