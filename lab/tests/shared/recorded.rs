//! What a scheduler would have recorded while it consolidates nothing, made here and now.

use std::collections::BTreeMap;
use std::convert::Infallible;

use tengyun_engine::{Command, Entry, Move, Outcome, Plan, State, place, predict};
use tengyun_model::{
    At, Capacity, Generation, Incarnation, InstanceId, InstanceStatus, InstanceUsage, Inventory,
    Mebibytes, Millicores, Millis, NodeFacts, NodeId, NodeUsage, OperationId, Phase, Resources,
    Restart, Sequence, Stop, WorkloadSpec,
};

pub(crate) const NODES: u32 = 4;
/// Reports and looks of the recording come so often.
pub(crate) const EVERY: Millis = Millis::from_secs(5);
pub(crate) const BEGIN: At = At::from_millis(1_799_020_800_000);

pub(crate) type Entries = Vec<Result<(Option<Sequence>, Entry), Infallible>>;

/// A scheduler that consolidates nothing, with one idle workload on each of four nodes, and all that
/// it would have recorded.
pub(crate) struct Recorded {
    state: State,
    now: At,
    operations: u128,
    entries: Entries,
}

impl Recorded {
    pub(crate) fn hours(count: u64) -> Entries {
        let mut recorded =
            Self { state: State::new(), now: BEGIN, operations: 0, entries: Vec::new() };
        recorded.enter(Command::BeginEpoch);
        let (operation, values) = (recorded.operation(), knobs(&[("consolidate", 0)]));
        recorded.enter(Command::SetPolicy { operation, values, label: String::new() });
        for number in 1..=NODES {
            recorded.enter(Command::RegisterNode(facts(&format!("n{number}"))));
            recorded.enter(Command::ConnectNode(NodeId::new(number)));
        }
        for name in ["a", "b", "c", "d"] {
            let operation = recorded.operation();
            recorded.enter(Command::ApplyWorkload { operation, spec: Box::new(spec(name)) });
        }
        for _ in 0..count * 3_600_000 / EVERY.get() {
            recorded.tick();
        }
        recorded.entries
    }

    fn operation(&mut self) -> OperationId {
        self.operations += 1;
        OperationId::new(self.operations)
    }

    fn enter(&mut self, command: Command) {
        let entry = Entry { at: self.now, by: None, command };
        let durable = entry.command.is_durable();
        let outcome = self.state.apply(&entry);
        assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
        self.entries.push(Ok((durable.then(|| self.state.sequence()), entry)));
    }

    fn tick(&mut self) {
        self.now = self.now.after(EVERY);
        for number in 1..=NODES {
            let node = NodeId::new(number);
            let used = |instance| InstanceUsage {
                instance,
                cpu: Millicores::new(500),
                memory: Mebibytes::new(100),
                io_bytes: None,
            };
            let instances: Vec<_> = self.state.on_node(node).map(used).collect();
            let cpu = instances.iter().map(|i| i.cpu).sum::<Millicores>();
            let cpu_foreign = Millicores::new(100);
            let cpu = cpu.saturating_add(cpu_foreign);
            let (at, interval) = (self.now, EVERY);
            let usage =
                NodeUsage { at, interval, cpu, cpu_foreign, instances, ..NodeUsage::default() };
            self.enter(Command::ReportUsage { node, usage });
        }
        self.enter(Command::Watch);
        let forecast = predict::forecast(&self.state, self.now);
        let plan = place::plan(&self.state, &forecast, self.now);
        if !plan.moves.is_empty() {
            self.carry_out(plan);
        }
    }

    fn carry_out(&mut self, plan: Plan) {
        let moves = plan.moves.clone();
        self.enter(Command::CommitPlan(plan));
        for step in moves {
            let Move::Start { instance, node } = step else { panic!("{step:?} without a reason") };
            let instances = vec![status(instance, self.now)];
            let (generation, gone) = (Generation::default(), Vec::new());
            self.enter(Command::ObserveInstances { node, generation, instances, gone });
        }
    }
}

pub(crate) fn knobs(values: &[(&str, u64)]) -> BTreeMap<String, u64> {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

fn status(instance: InstanceId, since: At) -> InstanceStatus {
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

fn facts(name: &str) -> NodeFacts {
    NodeFacts {
        name: name.parse().expect("a name"),
        labels: BTreeMap::new(),
        capacity: Capacity {
            cpu: Millicores::new(4000),
            memory: Mebibytes::new(4096),
            disk: Mebibytes::new(10_000),
            pids: 1000,
            counted: BTreeMap::new(),
        },
        inventory: Inventory::default(),
        enforcement: Vec::new(),
    }
}

/// It asks for so much that two do not fit on a node until they were measured.
fn spec(name: &str) -> WorkloadSpec {
    let key = format!("city/lab/app/{name}").parse().expect("a key");
    let plain = WorkloadSpec::service(key, vec!["/bin/true".to_owned()]);
    WorkloadSpec {
        resources: Resources {
            cpu: Millicores::new(2500),
            memory: Mebibytes::new(500),
            pids: 1,
            ..plain.resources
        },
        restart: Restart { backoff_max: Millis::from_secs(1), ..plain.restart },
        stop: Stop { grace: Millis::from_secs(1), ..plain.stop },
        startup: Millis::ZERO,
        ..plain
    }
}
