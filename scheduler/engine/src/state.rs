//! The state: what the entries made of the cloud.
//!
//! [`State::apply`] is the only way to change it. It is total: it returns an outcome or a refusal, and
//! a refused entry changes nothing but the clock. Durable and volatile state are kept apart:
//! [`State::image`] holds the former only, and equal durable entries give equal images.

mod check;
mod derived;
mod forget;
mod gang;
mod history;
mod homes;
mod image;
mod instances;
mod kinds;
mod ledger;
mod live;
mod members;
mod moves;
mod nodes;
mod operations;
mod policies;
mod ports;
mod promises;
mod provision;
mod ready;
mod register;
mod restore;
mod rollouts;
mod runs;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tengyun_model::{
    AssignedInstance, Assignment, At, Epoch, InstanceId, MeterKey, MeterRecord, NodeId, NodeName,
    NodeUsage, OperationId, Sequence, WorkloadId, WorkloadKey, WorkloadSpec,
};

use crate::command::{Command, Effect, Entry, Outcome, Refusal};
use crate::days::Days;
use crate::image::{
    HomeFate, InstanceImage, InstanceWish, MarginImage, MeterImage, NodeImage, OperationImage,
    PolicyImage, Proof, RestoreImage, WorkloadImage,
};
use crate::policy::Policy;
use crate::predict::{Calibration, Comovement, Drift, Hours, Track};
use derived::Derived;
use homes::Homes;
pub(crate) use homes::VolumeNeed;
use ledger::Ledger;
pub(crate) use live::Live;
pub use live::Moves;
use live::Watch;
use members::Members;
use policies::Policies;
use register::Register;
pub(crate) use workloads::fresh_status;

/// The most nodes; ten times the largest cloud designed for.
pub const NODES_MAX: u64 = 1_000_000;
/// The most workloads.
pub const WORKLOADS_MAX: u64 = 1_000_000;
/// The most instances.
pub const TOTAL_INSTANCES_MAX: u64 = 10_000_000;

/// What the entries made of the cloud.
#[derive(Clone, Debug, Default)]
pub struct State {
    sequence: Sequence,
    at: At,
    epoch: Epoch,
    next_node: NodeId,
    next_workload: WorkloadId,
    next_instance: InstanceId,
    moves_total: u64,
    policy_version: u64,
    policy: Policy,
    policies: Policies,
    /// What is large is boxed: a map keeps room for about twice as many values as it has.
    nodes: BTreeMap<NodeId, Box<NodeImage>>,
    names: BTreeMap<NodeName, NodeId>,
    workloads: BTreeMap<WorkloadId, Box<WorkloadImage>>,
    /// The names are shared with the meters of their workloads.
    keys: BTreeMap<Arc<WorkloadKey>, WorkloadId>,
    instances: Register<InstanceImage>,
    of_workload: BTreeMap<WorkloadId, BTreeSet<InstanceId>>,
    on_node: BTreeMap<NodeId, BTreeSet<InstanceId>>,
    replacements: BTreeMap<InstanceId, InstanceId>,
    operations: BTreeMap<OperationId, OperationImage>,
    operation_order: BTreeSet<(At, OperationId)>,
    meters: BTreeMap<(NodeId, MeterKey), Box<MeterImage>>,
    members: Members,
    live: BTreeMap<NodeId, Box<Live>>,
    derived: Derived,
    last_loss: At,
    watch: Watch,
    /// Copies that stop on drained nodes before they may start elsewhere.
    turns: BTreeMap<(WorkloadId, u32), InstanceId>,
    homes: Homes,
    /// What past forecasts teach; like all that was measured it is of this reign only.
    calibration: Calibration,
    drift: Drift,
    comovement: Comovement,
    hours: Hours,
    ledger: Ledger,
    /// When relief last opened a node that nobody used.
    opened: Option<At>,
    restored: Option<RestoreImage>,
    /// How wide the margin of memory is.
    margin: MarginImage,
    /// The present or next window of each workload that has any; volatile.
    windows: BTreeMap<WorkloadId, (At, At)>,
    /// Civil time, as far as it was told; volatile.
    days: Days,
}

impl State {
    /// Makes the state before the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies an entry. Total: it never fails and never panics on input.
    pub fn apply(&mut self, entry: &Entry) -> Outcome {
        if entry.command.is_durable() {
            self.sequence = self.sequence.next();
            self.at = self.at.max(entry.at);
        }
        match self.carry_out(&entry.command, entry.at) {
            Ok(effect) => Outcome::Applied(effect),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn carry_out(&mut self, command: &Command, at: At) -> Result<Effect, Refusal> {
        self.validate(command)?;
        match command {
            Command::BeginEpoch => {
                self.epoch = self.epoch.next();
                self.watch.begin(at);
                Ok(Effect::Done)
            }
            Command::RegisterNode(facts) => Ok(self.register_node(facts, at)),
            Command::SetNodeWish { .. }
            | Command::MoveInstance { .. }
            | Command::AcknowledgeLoss { .. }
            | Command::ReleaseWorkload { .. }
            | Command::ForgetNode { .. }
            | Command::DeleteVolumes { .. }
            | Command::ForgetVolumes { .. } => self.operate(command, at),
            Command::DeclareLost(node) => {
                self.blame(*node, at);
                self.lose(*node, Proof::Silence, at);
                self.last_loss = at;
                Ok(Effect::Done)
            }
            Command::DeclareReturned(node) => {
                self.take_back(*node);
                Ok(Effect::Done)
            }
            Command::SetPolicy { operation, values, label } => {
                self.once(*operation, at, |state| state.set_policy(values, label, at))
            }
            Command::ObserveInstances { node, instances, gone, .. } => {
                self.observe(*node, instances, gone, at);
                Ok(Effect::Done)
            }
            Command::CommitPlan(plan) => Ok(self.commit_plan(plan, at)),
            Command::AcknowledgeMeters { node, meters } => {
                self.keep_meters(*node, meters);
                Ok(Effect::Done)
            }
            Command::CreateToken { token, grant, expires } => {
                Ok(self.members.create(*token, grant, *expires, at))
            }
            Command::RedeemToken { token, member, key } => {
                self.redeem_token(*token, member, *key, at)
            }
            Command::RevokeMember { operation, member } => {
                self.once(*operation, at, |state| state.members.revoke(member, at))
            }
            Command::ApplyWorkload { .. }
            | Command::StopWorkload { .. }
            | Command::DeleteWorkload { .. }
            | Command::JudgeRollout { .. }
            | Command::SteerRollout { .. }
            | Command::FireRun { .. } => self.live_on(command, at),
            Command::Restore { elapsed } => Ok(self.restore(*elapsed, at)),
            Command::SettleRestore(nodes) => Ok(self.settle_restore(nodes)),
            Command::ConfirmRestore { operation } => {
                self.once(*operation, at, |state| Ok(state.confirm_restore()))
            }
            Command::ReportUsage { .. }
            | Command::ReportHistory { .. }
            | Command::ConnectNode(_)
            | Command::DisconnectNode(_)
            | Command::NoteWindows(_)
            | Command::NoteDays(_)
            | Command::Watch => Ok(self.perceive(command, at)),
        }
    }

    /// Takes in what is volatile.
    fn perceive(&mut self, command: &Command, at: At) -> Effect {
        match command {
            Command::ReportUsage { node, usage } => self.report_usage(*node, usage, at),
            Command::ReportHistory { node, history } => self.report_history(*node, history, at),
            Command::ConnectNode(node) => self.live.entry(*node).or_default().connect(at),
            Command::DisconnectNode(node) => self.live.entry(*node).or_default().disconnect(),
            Command::NoteWindows(windows) => self.windows.clone_from(windows),
            Command::NoteDays(stretches) => self.days = Days::of(stretches),
            Command::Watch => self.look_around(at),
            other => unreachable!("{other:?} is durable"),
        }
        Effect::Done
    }

    /// Carries out what is decided and wished of workloads, their rollouts and runs.
    fn live_on(&mut self, command: &Command, at: At) -> Result<Effect, Refusal> {
        match command {
            Command::ApplyWorkload { operation, spec } => {
                self.once(*operation, at, |state| Ok(state.apply_workload(spec, at)))
            }
            Command::StopWorkload { operation, key } => {
                self.once(*operation, at, |state| state.stop_workload(key, at))
            }
            Command::DeleteWorkload { operation, key } => {
                self.once(*operation, at, |state| state.delete_workload(key))
            }
            Command::JudgeRollout { workload, revision, verdict, why } => {
                let judged = self.judge_rollout((*workload, *revision), *verdict, why, at);
                self.derive_revisions(*workload);
                judged
            }
            Command::SteerRollout { operation, key, steer } => {
                self.once(*operation, at, |state| state.steer_rollout(key, *steer, at))
            }
            Command::FireRun { workload, scheduled, missed } => {
                self.fire_run(*workload, *scheduled, *missed, at)
            }
            other => unreachable!("{other:?} is carried out with the others"),
        }
    }

    fn set_policy(
        &mut self,
        values: &BTreeMap<String, u64>,
        label: &str,
        at: At,
    ) -> Result<Effect, Refusal> {
        let by_use = self.policy.memory_by_use();
        self.policy = Policy::new(values.clone())?;
        if self.policy.memory_by_use() && !by_use {
            self.begin_promises(at);
        }
        self.policy_version = self.policy_version.saturating_add(1);
        self.policies.enter(PolicyImage {
            version: self.policy_version,
            at,
            label: label.to_owned(),
            values: self.policy.values().clone(),
        });
        // The band is part of every assignment.
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.touch(node);
        }
        Ok(Effect::Done)
    }

    fn keep_meters(&mut self, node: NodeId, meters: &[MeterRecord]) {
        for record in meters {
            let known = self.meters.get_mut(&(node, record.key));
            if let Some(known) = known {
                // A cumulative reading never falls: an older one says nothing new.
                let newer = record.cpu >= known.record.cpu
                    && record.memory >= known.record.memory
                    && (record.last || !known.record.last);
                if newer {
                    known.record = *record;
                }
                continue;
            }
            let instance = self.instances.get(&record.key.instance);
            if let Some(instance) = instance.filter(|i| i.node == Some(node)) {
                let known = self.keys.get_key_value(&self.spec(instance).key);
                let (key, _) = known.expect("a workload that has an instance has a name");
                let image = MeterImage { node, key: Arc::clone(key), record: *record };
                self.meters.insert((node, record.key), Box::new(image));
            }
        }
    }

    /// Marks the assignment of a node as changed.
    fn touch(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.generation = node.generation.next();
        }
    }
}

/// What can be read.
impl State {
    /// Returns the number of durable entries applied.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Returns the moment of the newest durable entry.
    pub fn at(&self) -> At {
        self.at
    }

    /// Returns the present reign.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns the policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns how often the policy was set.
    pub fn policy_version(&self) -> u64 {
        self.policy_version
    }

    /// Returns the versions of the policy that are kept, the oldest first.
    pub fn policies(&self) -> impl DoubleEndedIterator<Item = &PolicyImage> {
        self.policies.all()
    }

    /// Returns one version of the policy.
    pub fn policy_of(&self, version: u64) -> Result<&PolicyImage, Refusal> {
        let kept = self.policies.all().find(|kept| kept.version == version);
        kept.ok_or(Refusal::NoPolicyVersion(version))
    }

    /// Returns the shifts ever accepted.
    pub fn moves_total(&self) -> u64 {
        self.moves_total
    }

    /// Returns every node by ascending id.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeImage> {
        self.nodes.values().map(Box::as_ref)
    }

    /// Returns one node.
    pub fn node(&self, id: NodeId) -> Option<&NodeImage> {
        self.nodes.get(&id).map(Box::as_ref)
    }

    /// Returns the node with a name.
    pub fn node_named(&self, name: &NodeName) -> Option<&NodeImage> {
        self.names.get(name).and_then(|id| self.node(*id))
    }

    /// Returns when a node was last declared lost.
    pub fn last_loss(&self) -> At {
        self.last_loss
    }

    /// Returns since when this reign can hear its agents: its start, or the end of its last pause.
    pub fn listening_since(&self) -> At {
        self.watch.since
    }

    /// Returns the nodes that had not been heard for long when the scheduler looked last.
    pub fn suspects(&self) -> &BTreeSet<NodeId> {
        &self.watch.suspects
    }

    /// Returns every workload by ascending id.
    pub fn workloads(&self) -> impl Iterator<Item = &WorkloadImage> {
        self.workloads.values().map(Box::as_ref)
    }

    /// Returns one workload.
    pub fn workload(&self, id: WorkloadId) -> Option<&WorkloadImage> {
        self.workloads.get(&id).map(Box::as_ref)
    }

    /// Returns the workload with a key.
    pub fn workload_keyed(&self, key: &WorkloadKey) -> Option<&WorkloadImage> {
        self.keys.get(key).and_then(|id| self.workload(*id))
    }

    /// Returns every instance by ascending id.
    pub fn instances(&self) -> impl Iterator<Item = &InstanceImage> {
        self.instances.values()
    }

    /// Returns the newest instance id given.
    pub(crate) fn next_instance(&self) -> InstanceId {
        self.next_instance
    }

    /// Returns the instances that came after one, by ascending id.
    pub(crate) fn instances_after(&self, id: InstanceId) -> impl Iterator<Item = &InstanceImage> {
        self.instances.after(id)
    }

    /// Returns one instance.
    pub fn instance(&self, id: InstanceId) -> Option<&InstanceImage> {
        self.instances.get(&id)
    }

    /// Returns the ports that an instance occupies, with their numbers.
    pub fn ports(&self, instance: &InstanceImage) -> Vec<tengyun_model::PortSpec> {
        numbered(self.spec(instance), instance).ports
    }

    /// Returns the specification that an instance of this state runs.
    pub fn spec(&self, instance: &InstanceImage) -> &WorkloadSpec {
        let workload = self.workloads.get(&instance.workload).expect("its workload outlives it");
        workload.revisions.get(&instance.revision).expect("a revision in use is kept")
    }

    /// Returns the instances of a workload by ascending id.
    pub fn of_workload(&self, id: WorkloadId) -> impl Iterator<Item = InstanceId> + '_ {
        self.of_workload.get(&id).into_iter().flatten().copied()
    }

    /// Returns the instances on a node by ascending id, ended ones too.
    pub fn on_node(&self, id: NodeId) -> impl Iterator<Item = InstanceId> + '_ {
        self.on_node.get(&id).into_iter().flatten().copied()
    }

    /// Returns the copy that is to replace an instance, while both live.
    pub fn replacement_of(&self, id: InstanceId) -> Option<InstanceId> {
        self.replacements.get(&id).copied()
    }

    /// Returns every journaled meter.
    pub fn meters(&self) -> impl Iterator<Item = &MeterImage> {
        self.meters.values().map(Box::as_ref)
    }

    /// Returns one journaled meter.
    pub fn meter(&self, node: NodeId, key: MeterKey) -> Option<&MeterImage> {
        self.meters.get(&(node, key)).map(Box::as_ref)
    }

    /// Returns what came of an operation, while it is remembered.
    pub fn operation(&self, id: OperationId) -> Option<&OperationImage> {
        self.operations.get(&id)
    }

    /// Says whether a node's agent is there.
    pub fn connected(&self, id: NodeId) -> bool {
        self.live.get(&id).is_some_and(|live| live.connected())
    }

    /// Returns when a node's agent was heard last, in this reign.
    pub fn seen(&self, id: NodeId) -> Option<At> {
        self.live.get(&id).and_then(|live| live.seen())
    }

    /// Returns the newest use of a node, in this reign.
    pub fn usage(&self, id: NodeId) -> Option<&NodeUsage> {
        self.live.get(&id).and_then(|live| live.usage())
    }

    /// Returns what should run on a node.
    pub fn assignment(&self, id: NodeId) -> Option<Assignment> {
        let node = self.nodes.get(&id)?;
        let wanted = |id: InstanceId| {
            let instance = &self.instances[&id];
            let runs = instance.wish == InstanceWish::Run && !instance.status.phase.is_final();
            runs.then(|| AssignedInstance {
                instance: id,
                ordinal: instance.ordinal,
                revision: instance.revision,
                spec: numbered(self.spec(instance), instance),
            })
        };
        let removed = self.homes_on(id).filter(|home| home.fate == HomeFate::Removing);
        Some(Assignment {
            node: id,
            epoch: self.epoch,
            generation: node.generation,
            band: self.policy.band(),
            instances: self.on_node(id).filter_map(wanted).collect(),
            removed: removed.map(|home| home.copy.clone()).collect(),
        })
    }

    /// Returns the stretches of civil time that were told last.
    pub fn stretches(&self) -> &[crate::days::Stretch] {
        self.days.stretches()
    }

    pub(crate) fn days(&self) -> &Days {
        &self.days
    }

    pub(crate) fn foreign(&self, id: NodeId) -> Option<&Track> {
        self.live.get(&id).and_then(|live| live.foreign())
    }
}

/// Fills the ports that a specification leaves open with those chosen for an instance.
fn numbered(spec: &WorkloadSpec, instance: &InstanceImage) -> WorkloadSpec {
    let mut spec = spec.clone();
    for port in spec.ports.iter_mut().filter(|port| port.number.is_none()) {
        port.number = instance.ports.get(&port.name).copied();
    }
    spec
}
