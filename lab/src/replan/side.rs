//! One side of a comparison: the engine plans, agents obey at once, and every copy uses what it used
//! in the recording.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_engine::image::InstanceWish;
use tengyun_engine::{Command, Effect, Entry, NodeWish, Outcome, State, check, place, predict};
use tengyun_model::{
    At, Capacity, Generation, Incarnation, InstanceId, InstanceSketch, InstanceStatus,
    InstanceUsage, Inventory, Mebibytes, Millicores, Millis, NodeFacts, NodeId, NodeUsage,
    OperationId, Phase, UsageHistory, WorkloadId,
};

use super::measure::Meter;
use super::{Copies, ReplanError, SideFigures, Variant};
use crate::fleet::Shape;
use crate::score::Scores;

/// How often it plans when nothing happens: the engine paces its moves by more than that.
const PLAN_EVERY: Millis = Millis::from_secs(5);
/// How often an added node reports.
const REPORT_EVERY: Millis = Millis::from_secs(2);
/// Operation ids of the laboratory begin here, far above those that clients draw.
const OPERATIONS: u128 = u128::MAX - (1 << 32);

/// One side.
#[derive(Debug)]
pub(super) struct Side {
    name: String,
    state: State,
    meter: Meter,
    /// Its nodes by their ids in the recording.
    nodes: BTreeMap<NodeId, NodeId>,
    /// Whether its policy is its own.
    own_policy: bool,
    added: Vec<NodeId>,
    removed: BTreeSet<NodeId>,
    /// Whether to plan at the next occasion, and when it planned last.
    due: bool,
    planned: At,
    reported: At,
    operations: u128,
    refused: u64,
    /// Plans that the second opinion held back.
    pub(super) violations: u64,
}

impl Side {
    /// Branches off from what happened until now.
    pub(super) fn branch<E: std::error::Error + 'static>(
        past: &State,
        variant: &Variant,
        (at, step): (At, Millis),
    ) -> Result<Self, ReplanError<E>> {
        let mut side = Self {
            name: variant.name.clone(),
            state: past.clone(),
            meter: Meter::new(past, step, at),
            nodes: past.nodes().map(|n| (n.id, n.id)).collect(),
            own_policy: variant.knobs.is_some(),
            added: Vec::new(),
            removed: BTreeSet::new(),
            due: true,
            planned: at,
            reported: at,
            operations: OPERATIONS,
            refused: 0,
            violations: 0,
        };
        if let Some(values) = variant.knobs.clone() {
            let (operation, label) = (side.operation(), String::new());
            side.must("the policy", at, Command::SetPolicy { operation, values, label })?;
        }
        for (number, shape) in variant.add.iter().enumerate() {
            let facts = facts(number + 1, *shape);
            if let Effect::Node(id) = side.must("a node", at, Command::RegisterNode(facts))? {
                side.must("a connection", at, Command::ConnectNode(id))?;
                side.added.push(id);
            }
        }
        for name in &variant.remove {
            let known = side.state.node_named(name).map(|n| n.id);
            let node = known.ok_or_else(|| ReplanError::UnknownNode(name.clone()))?;
            let (operation, wish) = (side.operation(), NodeWish::DrainByForce);
            side.must("a drain", at, Command::SetNodeWish { operation, node, wish })?;
            side.removed.insert(node);
        }
        Ok(side)
    }

    fn operation(&mut self) -> OperationId {
        self.operations += 1;
        OperationId::new(self.operations)
    }

    fn must<E: std::error::Error + 'static>(
        &mut self,
        what: &'static str,
        at: At,
        command: Command,
    ) -> Result<Effect, ReplanError<E>> {
        match self.state.apply(&Entry { at, by: None, command }) {
            Outcome::Applied(effect) => Ok(effect),
            Outcome::Refused(refusal) => {
                Err(ReplanError::Refused { what, refusal: refusal.to_string() })
            }
        }
    }

    fn enter(&mut self, at: At, command: Command) -> Option<Effect> {
        match self.state.apply(&Entry { at, by: None, command }) {
            Outcome::Applied(effect) => Some(effect),
            Outcome::Refused(_) => {
                self.refused += 1;
                None
            }
        }
    }

    /// Lets copies end, fail or recover here as they did there, and agents remember what they did there.
    /// `past` is the state before the entry.
    pub(super) fn mirror(&mut self, past: &State, entry: &Entry) {
        match &entry.command {
            Command::ObserveInstances { instances, .. } => {
                self.mirror_phases(past, instances, entry.at);
            }
            Command::ReportHistory { node, history } => {
                self.recall(past, *node, history, entry.at);
            }
            _ => {}
        }
    }

    /// What is not ours is remembered of the same node, and what a copy used wherever it is here.
    fn recall(&mut self, past: &State, node: NodeId, history: &UsageHistory, at: At) {
        let nothing = UsageHistory { foreign: None, instances: Vec::new(), ..history.clone() };
        let mut told: BTreeMap<NodeId, UsageHistory> = BTreeMap::new();
        if let Some(here) = self.nodes.get(&node) {
            let foreign = history.foreign.clone();
            told.insert(*here, UsageHistory { foreign, ..nothing.clone() });
        }
        for each in &history.instances {
            let Some(there) = past.instance(each.instance) else { continue };
            let ids = self.state.of_workload(there.workload);
            for instance in ids.filter_map(|id| self.state.instance(id)) {
                let Some(node) = instance.node.filter(|_| instance.ordinal == there.ordinal) else {
                    continue;
                };
                let instance = instance.status.instance;
                let part = told.entry(node).or_insert_with(|| nothing.clone());
                part.instances.push(InstanceSketch { instance, ..each.clone() });
            }
        }
        for (node, history) in told {
            self.enter(at, Command::ReportHistory { node, history });
        }
    }

    fn mirror_phases(&mut self, past: &State, instances: &[InstanceStatus], at: At) {
        for status in instances {
            let Some(there) = past.instance(status.instance) else { continue };
            let by_itself = match status.phase {
                Phase::Succeeded | Phase::Failed | Phase::BackingOff | Phase::Unhealthy => true,
                Phase::Running | Phase::Healthy => {
                    matches!(there.status.phase, Phase::BackingOff | Phase::Unhealthy)
                }
                Phase::Waiting | Phase::Starting | Phase::Stopping | Phase::Stopped => false,
            };
            if by_itself && there.wish == InstanceWish::Run {
                self.observe((there.workload, there.ordinal), status, at);
            }
        }
    }

    fn observe(&mut self, copy: (WorkloadId, u32), status: &InstanceStatus, at: At) {
        let ids: Vec<InstanceId> = self.state.of_workload(copy.0).collect();
        for id in ids {
            let Some(here) = self.state.instance(id).filter(|i| i.ordinal == copy.1) else {
                continue;
            };
            let Some(node) = here.node else { continue };
            let incarnation = status.incarnation.max(here.status.incarnation);
            let status = InstanceStatus { instance: id, incarnation, ..status.clone() };
            self.enter(at, observation(node, vec![status], Vec::new()));
        }
    }

    /// Takes an entry of the recording: facts and wishes hold here too, decisions do not.
    pub(super) fn take(&mut self, entry: &Entry, registered: Option<NodeId>, copies: &Copies) {
        self.meter.advance(&self.state, entry.at);
        match &entry.command {
            Command::ReportUsage { node, usage } => {
                if let Some(here) = self.nodes.get(node).copied() {
                    self.report(here, usage, entry.at, copies);
                }
            }
            Command::Watch => {
                self.enter(entry.at, Command::Watch);
                self.report_added(entry.at, copies);
                self.plan(entry.at);
            }
            Command::RegisterNode(_) => {
                let effect = self.enter(entry.at, entry.command.clone());
                if let (Some(Effect::Node(here)), Some(there)) = (effect, registered) {
                    self.nodes.insert(there, here);
                }
            }
            command => {
                if let Some(command) = self.translate(command) {
                    // A workload that is deleted is gone when its agents obeyed.
                    self.obey(entry.at);
                    self.due = true;
                    self.enter(entry.at, command);
                }
            }
        }
    }

    /// Returns what a command of the recording means here; nothing for decisions and what came of
    /// them, and for what is different here.
    fn translate(&self, command: &Command) -> Option<Command> {
        let node = |id: &NodeId| self.nodes.get(id).copied();
        Some(match command {
            Command::CommitPlan(_)
            | Command::ObserveInstances { .. }
            | Command::AcknowledgeMeters { .. }
            | Command::ReportHistory { .. }
            | Command::MoveInstance { .. } => return None,
            Command::SetPolicy { .. } if self.own_policy => return None,
            Command::ConnectNode(id) => Command::ConnectNode(node(id)?),
            Command::DisconnectNode(id) => Command::DisconnectNode(node(id)?),
            Command::DeclareLost(id) => Command::DeclareLost(node(id)?),
            Command::DeclareReturned(id) => Command::DeclareReturned(node(id)?),
            Command::SetNodeWish { operation, node: id, wish } => {
                let node = node(id).filter(|n| !self.removed.contains(n))?;
                Command::SetNodeWish { operation: *operation, node, wish: *wish }
            }
            Command::AcknowledgeLoss { operation, nodes, proof } => {
                let nodes = nodes.iter().filter_map(node).collect();
                Command::AcknowledgeLoss { operation: *operation, nodes, proof: *proof }
            }
            other => other.clone(),
        })
    }

    /// Reports what a node has to do here: the same foreign work, and the copies that are here.
    fn report(&mut self, node: NodeId, usage: &NodeUsage, at: At, copies: &Copies) {
        let mut instances = Vec::new();
        let (mut cpu, mut memory) = (usage.cpu_foreign, usage.memory_foreign);
        for id in self.state.on_node(node) {
            let Some(instance) = self.state.instance(id) else { continue };
            let ended = instance.status.phase.is_final() || instance.replaces.is_some();
            let used = copies.get(&(instance.workload, instance.ordinal));
            if let Some((used_cpu, used_memory)) = used.copied().filter(|_| !ended) {
                instances.push(InstanceUsage {
                    instance: id,
                    cpu: used_cpu,
                    memory: used_memory,
                    io_bytes: None,
                });
                cpu = cpu.saturating_add(used_cpu);
                memory = memory.saturating_add(used_memory);
            }
        }
        self.meter.report(&self.state, node, cpu, usage.interval);
        let usage = NodeUsage { cpu, memory, instances, ..usage.clone() };
        self.enter(at, Command::ReportUsage { node, usage });
    }

    /// Added nodes report as others do; nothing foreign runs there.
    fn report_added(&mut self, at: At, copies: &Copies) {
        let interval = at.since(self.reported);
        if interval < REPORT_EVERY {
            return;
        }
        self.reported = at;
        for node in self.added.clone() {
            let usage = NodeUsage { at, interval, ..NodeUsage::default() };
            self.report(node, &usage, at, copies);
        }
    }

    fn plan(&mut self, now: At) {
        if !self.due && now.since(self.planned) < PLAN_EVERY {
            return;
        }
        (self.due, self.planned) = (false, now);
        self.obey(now);
        let forecast = predict::forecast(&self.state, now);
        let plan = place::plan(&self.state, &forecast, now);
        if plan.moves.is_empty() {
            return;
        }
        if !check::check(&self.state, &plan).is_empty() {
            self.violations += 1;
            return;
        }
        self.due = true;
        self.enter(now, Command::CommitPlan(plan));
        self.obey(now);
    }

    /// The agents that are there start and stop what they should.
    fn obey(&mut self, now: At) {
        let mut changes: BTreeMap<NodeId, (Vec<InstanceStatus>, Vec<InstanceId>)> = BTreeMap::new();
        for instance in self.state.instances() {
            let Some(node) = instance.node.filter(|n| self.state.connected(*n)) else { continue };
            let status = &instance.status;
            match (instance.wish, status.phase) {
                (InstanceWish::Stop(_), _) => {
                    changes.entry(node).or_default().1.push(status.instance);
                }
                (InstanceWish::Run, Phase::Starting | Phase::Running) => {
                    let incarnation = status.incarnation.max(Incarnation::new(1));
                    let phase = Phase::Healthy;
                    let healthy =
                        InstanceStatus { incarnation, phase, since: now, ..status.clone() };
                    changes.entry(node).or_default().0.push(healthy);
                }
                (InstanceWish::Run, _) => {}
            }
        }
        for (node, (instances, gone)) in changes {
            self.enter(now, observation(node, instances, gone));
        }
    }

    /// Ends, and says what it came to.
    pub(super) fn finish(self, last: At) -> (SideFigures, Scores) {
        self.meter.finish(&self.state, last, (self.name, self.refused))
    }
}

fn observation(node: NodeId, instances: Vec<InstanceStatus>, gone: Vec<InstanceId>) -> Command {
    Command::ObserveInstances { node, generation: Generation::default(), instances, gone }
}

fn facts(number: usize, shape: Shape) -> NodeFacts {
    NodeFacts {
        name: format!("what-if-{number}").parse().expect("letters, digits and dashes"),
        labels: BTreeMap::new(),
        capacity: Capacity {
            cpu: Millicores::new(shape.cpu.get()),
            memory: Mebibytes::new(shape.memory.get()),
            disk: Mebibytes::MAX,
            pids: u64::MAX,
            counted: BTreeMap::new(),
        },
        inventory: Inventory::default(),
        enforcement: Vec::new(),
    }
}
