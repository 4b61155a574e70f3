//! A small cloud for the engine's tests: entries in, outcomes out, agents that obey at once.

use std::collections::{BTreeMap, BTreeSet};

use tengyun_engine::event::Event;
use tengyun_engine::image::{InstanceImage, InstanceWish};
use tengyun_engine::{
    Command, Effect, Entry, Outcome, Plan, Refusal, State, check, event, liveness, place, predict,
    rollout,
};
use tengyun_model::{
    At, Capacity, Exit, Incarnation, InstanceId, InstanceStatus, InstanceUsage, Inventory,
    Mebibytes, Millicores, Millis, NodeFacts, NodeId, NodeIo, NodeUsage, OperationId, Phase,
    Resources, Stop, WorkloadId, WorkloadSpec,
};

/// How often the agents of the tests report.
pub(crate) const REPORT: Millis = Millis::from_secs(5);

/// A state, the entries that made it, and what each workload uses.
pub(crate) struct Cloud {
    pub(crate) state: State,
    pub(crate) entries: Vec<Entry>,
    pub(crate) now: At,
    pub(crate) uses: BTreeMap<String, u64>,
    /// The memory that they use, where that is not 64 MiB.
    pub(crate) memory: BTreeMap<String, u64>,
    /// What others than us use on each node.
    pub(crate) foreign: BTreeMap<NodeId, u64>,
    /// How busy the disks and links of each node are, where that is measured.
    pub(crate) io: BTreeMap<NodeId, NodeIo>,
    /// How many plans may follow each other before nothing moves any more.
    pub(crate) rounds: u32,
    /// Whether losses are judged while time passes.
    pub(crate) watches: bool,
    /// What was told of the entries.
    pub(crate) events: Vec<Event>,
    operations: u128,
}

impl Cloud {
    /// Makes a cloud of nodes `n1`, `n2`, … of one core and 4 GiB each.
    pub(crate) fn of(nodes: u32) -> Self {
        let now = At::from_millis(1_800_000_000_000);
        let (state, entries) = (State::new(), Vec::new());
        let (uses, memory, foreign) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (events, io) = (Vec::new(), BTreeMap::new());
        let (rounds, watches, operations) = (1, false, 0);
        let mut cloud = Self {
            state,
            entries,
            now,
            uses,
            memory,
            foreign,
            io,
            rounds,
            watches,
            events,
            operations,
        };
        cloud.must(Command::BeginEpoch);
        for number in 1..=nodes {
            let Effect::Node(id) = cloud.must(Command::RegisterNode(facts(number))) else {
                panic!("a registered node has an id");
            };
            cloud.must(Command::ConnectNode(id));
        }
        cloud
    }

    pub(crate) fn try_to(&mut self, command: Command) -> Outcome {
        let entry = Entry { at: self.now, by: None, command };
        self.entries.push(entry.clone());
        let glance = event::glance(&self.state, &entry);
        let outcome = self.state.apply(&entry);
        self.events.extend(event::happened(&glance, &self.state, &entry, &outcome));
        outcome
    }

    #[expect(clippy::needless_pass_by_value, reason = "it reads better where commands are made")]
    pub(crate) fn must(&mut self, command: Command) -> Effect {
        match self.try_to(command.clone()) {
            Outcome::Applied(effect) => effect,
            Outcome::Refused(refusal) => panic!("{command:?} was refused: {refusal}"),
        }
    }

    pub(crate) fn operation(&mut self) -> OperationId {
        self.operations += 1;
        OperationId::new(self.operations)
    }

    pub(crate) fn apply(&mut self, spec: WorkloadSpec) -> Effect {
        let operation = self.operation();
        self.must(Command::ApplyWorkload { operation, spec: Box::new(spec) })
    }

    pub(crate) fn refused(&mut self, spec: WorkloadSpec) -> Refusal {
        let operation = self.operation();
        match self.try_to(Command::ApplyWorkload { operation, spec: Box::new(spec) }) {
            Outcome::Refused(refusal) => refusal,
            Outcome::Applied(effect) => panic!("applied: {effect:?}"),
        }
    }

    pub(crate) fn set(&mut self, knobs: &[(&str, u64)]) {
        let values = knobs.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
        let operation = self.operation();
        self.must(Command::SetPolicy { operation, values, label: String::new() });
    }

    pub(crate) fn plan(&self) -> Plan {
        let forecast = predict::forecast(&self.state, self.now);
        let plan = place::plan(&self.state, &forecast, self.now);
        assert_eq!(check::check(&self.state, &plan), [], "the second opinion differs");
        plan
    }

    /// Plans and commits, and asserts that planning again soon moves nothing.
    pub(crate) fn settle(&mut self) -> Plan {
        let first = self.plan();
        let mut plan = first.clone();
        for _ in 0..self.rounds {
            if plan.moves.is_empty() {
                break;
            }
            let gangs = self.waiting_gangs();
            let effect = self.must(Command::CommitPlan(plan.clone()));
            for gang in gangs.values() {
                let starts =
                    |id: &&InstanceId| self.state.instance(**id).is_some_and(|i| i.node.is_some());
                let started = gang.iter().filter(starts).count();
                assert!(started == 0 || started == gang.len(), "a part of {gang:?}: {plan:?}");
            }
            assert!(matches!(effect, Effect::Planned { stale: 0, .. }), "{effect:?} of {plan:?}");
            assert_eq!(check::check_state(&self.state), [], "the state is not sound");
            plan = self.plan();
        }
        assert_eq!(plan.moves, [], "planning again moved something");
        first
    }

    /// The instances of each gang that wait and may start anywhere.
    fn waiting_gangs(&self) -> BTreeMap<WorkloadId, Vec<InstanceId>> {
        let mut gangs: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let waits = |i: &&InstanceImage| {
            let wanted = i.wish == InstanceWish::Run && self.state.spec(i).gang;
            wanted && i.node.is_none() && i.home.is_none()
        };
        for instance in self.state.instances().filter(waits) {
            gangs.entry(instance.workload).or_default().push(instance.status.instance);
        }
        gangs
    }

    /// Lets all agents run what is assigned and stop what is not.
    pub(crate) fn obey_all(&mut self) {
        let nodes: Vec<NodeId> = self.state.nodes().map(|n| n.id).collect();
        for node in nodes {
            self.obey(node);
        }
    }

    /// Lets time pass until the next report of all agents.
    pub(crate) fn report_all(&mut self) {
        self.now = self.now.after(REPORT);
        let nodes: Vec<NodeId> = self.state.nodes().map(|n| n.id).collect();
        for node in nodes {
            self.report(node);
        }
    }

    /// Lets time pass in so many longer steps, each of one report that holds for all of it.
    pub(crate) fn pass_in_steps(&mut self, step: Millis, steps: u32) {
        for _ in 0..steps {
            self.now = self.now.after(step);
            let nodes: Vec<NodeId> = self.state.nodes().map(|n| n.id).collect();
            for node in nodes {
                self.obey(node);
                self.report_for(node, step);
            }
            self.settle();
        }
    }

    /// Lets time pass in reports: agents run what is assigned, stop what is not, and report use.
    pub(crate) fn pass(&mut self, time: Millis) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = self.now.after(REPORT);
            let nodes: Vec<NodeId> = self.state.nodes().map(|n| n.id).collect();
            for node in nodes.into_iter().filter(|n| self.state.connected(*n)).collect::<Vec<_>>() {
                self.obey(node);
                self.report(node);
            }
            if self.watches {
                self.look();
            }
            self.judge();
            self.settle();
        }
    }

    /// Judges rollouts and journals what follows.
    pub(crate) fn judge(&mut self) {
        for command in rollout::judge(&self.state, self.now) {
            self.must(command);
        }
    }

    /// Says how many copies of a workload are healthy and wanted.
    pub(crate) fn healthy(&self, name: &str) -> usize {
        let all = self
            .state
            .instances()
            .filter(|i| i.status.phase == Phase::Healthy && i.wish == InstanceWish::Run);
        all.filter(|i| self.state.spec(i).key.name.as_str() == name).count()
    }

    /// The revisions of a workload's instances, in order.
    pub(crate) fn revisions(&self, name: &str) -> Vec<u32> {
        let all = self.state.instances();
        let of = all.filter(|i| self.state.spec(i).key.name.as_str() == name);
        of.map(|i| i.revision.get()).collect()
    }

    /// What was told of a workload, as kinds and messages.
    pub(crate) fn told(&self, kind: &str) -> Vec<String> {
        self.events.iter().filter(|e| e.kind == kind).map(|e| e.message.to_string()).collect()
    }

    /// Looks who is silent and journals what follows.
    pub(crate) fn look(&mut self) {
        self.must(Command::Watch);
        for command in liveness::judge(&self.state, self.now) {
            self.must(command);
        }
    }

    fn obey(&mut self, node: NodeId) {
        let assignment = self.state.assignment(node).expect("the node exists");
        let wanted: BTreeSet<InstanceId> =
            assignment.instances.iter().map(|i| i.instance).collect();
        let here: Vec<InstanceId> = self.state.on_node(node).collect();
        let gone = here.iter().copied().filter(|i| !wanted.contains(i)).collect();
        let fresh = |id: &&InstanceId| {
            let phase = self.state.instance(**id).expect("it is on the node").status.phase;
            phase != Phase::Healthy && !phase.is_final()
        };
        let started = wanted.iter().filter(fresh).map(|id| self.behave(*id)).collect();
        let generation = assignment.generation;
        self.must(Command::ObserveInstances { node, generation, instances: started, gone });
        if !assignment.removed.is_empty() {
            self.must(Command::ForgetVolumes { node, copies: assignment.removed });
        }
    }

    /// What becomes of an instance, as the last word of its command says.
    fn behave(&self, id: InstanceId) -> InstanceStatus {
        let instance = self.state.instance(id).expect("it is assigned");
        let word = self.state.spec(instance).command.last().map(String::as_str);
        let mut status = healthy(id, self.now);
        match word {
            Some("crash") => {
                status.phase = Phase::BackingOff;
                status.exit = Some(Exit::Code(3));
            }
            Some("hang") => status.phase = Phase::Running,
            Some("end") => {
                status.phase = Phase::Succeeded;
                status.exit = Some(Exit::Code(0));
            }
            _ => {}
        }
        status
    }

    fn report(&mut self, node: NodeId) {
        self.report_for(node, REPORT);
    }

    fn report_for(&mut self, node: NodeId, interval: Millis) {
        let used = |id| {
            let instance = self.state.instance(id)?;
            let name = self.state.spec(instance).key.name.to_string();
            let cpu = Millicores::new(self.uses.get(&name).copied().unwrap_or_default());
            let memory = self.memory.get(&name).copied().unwrap_or(64);
            Some(InstanceUsage {
                instance: id,
                cpu,
                memory: Mebibytes::new(memory),
                io_bytes: None,
            })
        };
        let instances: Vec<InstanceUsage> = self.state.on_node(node).filter_map(used).collect();
        let cpu_foreign = Millicores::new(self.foreign.get(&node).copied().unwrap_or_default());
        let ours: Millicores = instances.iter().map(|i| i.cpu).sum();
        let usage = NodeUsage {
            at: self.now,
            interval,
            cpu: ours.saturating_add(cpu_foreign),
            cpu_foreign,
            memory: instances.iter().map(|i| i.memory).sum(),
            instances,
            io: self.io.get(&node).copied().unwrap_or_default(),
            ..NodeUsage::default()
        };
        self.must(Command::ReportUsage { node, usage });
    }

    /// The names of the workloads on each node that runs any.
    pub(crate) fn layout(&self) -> BTreeMap<u32, Vec<String>> {
        let mut layout: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for instance in self.state.instances() {
            if let Some(node) = instance.node {
                let name = self.state.spec(instance).key.name.to_string();
                layout.entry(node.get()).or_default().push(name);
            }
        }
        for names in layout.values_mut() {
            names.sort();
        }
        layout
    }
}

pub(crate) fn healthy(instance: InstanceId, since: At) -> InstanceStatus {
    InstanceStatus {
        instance,
        incarnation: Incarnation::new(1),
        phase: Phase::Healthy,
        since,
        pid: Some(1),
        exit: None,
        message: String::new(),
    }
}

pub(crate) fn facts(number: u32) -> NodeFacts {
    NodeFacts {
        name: format!("n{number}").parse().expect("a name"),
        labels: BTreeMap::from([
            ("node".to_owned(), format!("n{number}")),
            ("rack".to_owned(), format!("r{}", number % 2)),
        ]),
        capacity: Capacity {
            cpu: Millicores::new(1000),
            memory: Mebibytes::new(4096),
            disk: Mebibytes::new(10_000),
            pids: 10_000,
            counted: BTreeMap::from([("licence".parse().expect("a name"), 2)]),
        },
        inventory: Inventory::default(),
        enforcement: Vec::new(),
    }
}

/// A standard service of one instance, 100 m and 512 MiB.
pub(crate) fn spec(name: &str) -> WorkloadSpec {
    let key = format!("city/test/app/{name}").parse().expect("a key");
    let plain = WorkloadSpec::service(key, vec!["/bin/true".to_owned()]);
    WorkloadSpec {
        resources: Resources {
            memory: Mebibytes::new(512),
            disk: Mebibytes::new(10),
            pids: 100,
            ..plain.resources
        },
        stop: Stop { grace: Millis::from_secs(5), ..plain.stop },
        startup: Millis::from_secs(1),
        ..plain
    }
}
