//! The engine at the size it was designed for: passes over a cloud that is measured, and what it holds
//! in memory. Agents obey at once; what instances use is drawn from their ids and the step.

use std::collections::BTreeMap;
use std::time::Instant;

use tengyun_engine::{Command, Effect, Entry, Move, Outcome, State, check, place, predict};
use tengyun_model::{
    At, BootId, Capacity, Class, CoreMillis, Generation, Incarnation, InstanceId, InstanceStatus,
    InstanceUsage, Inventory, MebibyteSeconds, Mebibytes, MeterKey, MeterRecord, Millicores,
    Millis, NodeFacts, NodeId, NodeUsage, OperationId, Phase, Resources, Stop, WorkloadSpec,
};

use super::process::{mebibytes, user_secs};

const WINDOW_SECS: u64 = 300;
const DEPARTMENTS: u32 = 10_000;
const COPIES: u32 = 10;
const BEGIN: At = At::from_millis(1_799_020_800_000);

/// The design's limits: what the state may take, and a pass over it once everything runs.
const STATE_MEBIBYTES_MAX: u64 = 1024;
const PASS_SECS_MAX: f64 = 4.0;

/// The engine at its limits; fails above them. What it holds is seen rightly only by a process that did
/// nothing else before.
pub(crate) fn limits() {
    let slowest = grow(100_000, 1_000_000, 16);
    assert!(slowest.pass_secs <= PASS_SECS_MAX, "a pass took {:.2} CPU s", slowest.pass_secs);
    assert!(slowest.held <= STATE_MEBIBYTES_MAX, "the state takes {} MiB", slowest.held);
}

/// A tenth of that for more than half a day, after which seasons are learnt of all that vary.
pub(crate) fn seasons() {
    grow(10_000, 100_000, 150);
}

/// The slowest pass after the first one, and the mebibytes that the state held after all of them.
struct Grown {
    pass_secs: f64,
    held: u64,
}

/// Nodes, and instances by the ten of a workload; so many windows are reported and planned after.
fn grow(nodes: u32, instances: u32, windows: u64) -> Grown {
    let before = mebibytes("VmRSS:");
    let held = || mebibytes("VmRSS:").saturating_sub(before);
    let mut cloud = Cloud::new(nodes);
    println!("\n{nodes} nodes: {} MiB", held());
    let applied = Instant::now();
    for number in 0..instances / COPIES {
        cloud.apply(number);
    }
    println!(
        "{instances} instances of {} workloads: applied in {:.1} s, {} MiB",
        instances / COPIES,
        applied.elapsed().as_secs_f64(),
        held()
    );
    cloud.pass("first pass, everything waits");
    println!("placed: {} MiB", held());
    let mut grown = Grown { pass_secs: 0.0, held: 0 };
    for window in 1..=windows {
        cloud.report(window);
        grown.pass_secs = grown.pass_secs.max(cloud.pass(&format!("window {window}")));
    }
    grown.held = held();
    let most = mebibytes("VmHWM:").saturating_sub(before);
    println!("engine state: {} MiB resident, {most} at most with the work of a pass", grown.held);
    cloud.meter();
    println!("engine state with a journaled meter of each instance: {} MiB resident", held());
    grown
}

struct Cloud {
    state: State,
    now: At,
    operations: u128,
}

impl Cloud {
    fn new(nodes: u32) -> Self {
        let mut cloud = Self { state: State::new(), now: BEGIN, operations: 0 };
        cloud.must(Command::BeginEpoch);
        for number in 0..nodes {
            if let Effect::Node(node) = cloud.must(Command::RegisterNode(facts(number))) {
                cloud.must(Command::ConnectNode(node));
            }
        }
        cloud
    }

    fn apply(&mut self, number: u32) {
        self.operations += 1;
        let operation = OperationId::new(self.operations);
        self.must(Command::ApplyWorkload { operation, spec: Box::new(spec(number)) });
    }

    /// Every node reports what its instances used in a window.
    fn report(&mut self, window: u64) {
        let began = Instant::now();
        self.now = BEGIN.after(Millis::from_secs(WINDOW_SECS * window));
        let nodes: Vec<NodeId> = self.state.nodes().map(|n| n.id).collect();
        for node in nodes {
            let used = |instance: InstanceId| InstanceUsage {
                instance,
                cpu: Millicores::new(use_of(instance, window)),
                memory: Mebibytes::new(700),
                io_bytes: None,
            };
            let instances: Vec<InstanceUsage> = self.state.on_node(node).map(used).collect();
            let usage = NodeUsage {
                at: self.now,
                interval: Millis::from_secs(WINDOW_SECS),
                cpu: instances.iter().map(|i| i.cpu).sum(),
                cpu_foreign: Millicores::new(200),
                instances,
                ..NodeUsage::default()
            };
            self.must(Command::ReportUsage { node, usage });
        }
        println!("window {window}: reports taken in {:.2} s", began.elapsed().as_secs_f64());
    }

    /// Journals a reading of the meter of every instance.
    fn meter(&mut self) {
        let nodes: Vec<NodeId> = self.state.nodes().map(|n| n.id).collect();
        for node in nodes {
            let read = |instance| MeterRecord {
                key: MeterKey { boot: BootId::new(1), instance, incarnation: Incarnation::new(1) },
                cpu: CoreMillis::new(1),
                memory: MebibyteSeconds::new(1),
                covered: Millis::from_secs(1),
                from: BEGIN,
                to: self.now,
                last: false,
            };
            let meters = self.state.on_node(node).map(read).collect();
            self.must(Command::AcknowledgeMeters { node, meters });
        }
    }

    /// Plans once, lets the agents obey, and says how many seconds of a core the plan took.
    fn pass(&mut self, name: &str) -> f64 {
        let (began, begun) = (Instant::now(), user_secs());
        let forecast = predict::forecast(&self.state, self.now);
        let forecast_secs = user_secs() - begun;
        let plan = place::plan(&self.state, &forecast, self.now);
        let plan_secs = user_secs() - begun - forecast_secs;
        let violations = check::check(&self.state, &plan);
        let (pass_secs, wall) = (user_secs() - begun, began.elapsed().as_secs_f64());
        assert!(violations.is_empty(), "{violations:?}");
        let moves = plan.moves.len();
        let mut started: BTreeMap<NodeId, Vec<InstanceId>> = BTreeMap::new();
        let mut shifted = Vec::new();
        for step in &plan.moves {
            match *step {
                Move::Start { instance, node } => started.entry(node).or_default().push(instance),
                Move::Shift { instance, .. } => shifted.push(instance),
                Move::Stop { .. } | Move::Promise { .. } => {}
            }
        }
        self.must(Command::CommitPlan(plan));
        let replacements = shifted.iter().filter_map(|old| self.state.replacement_of(*old));
        for (new, old) in replacements.zip(&shifted).collect::<Vec<_>>() {
            self.replace(new, *old);
        }
        for (node, instances) in started {
            let instances = instances.into_iter().map(|id| healthy(id, self.now)).collect();
            self.observe(node, instances, Vec::new());
        }
        println!(
            "{name}: forecast {forecast_secs:.2} CPU s, plan {plan_secs:.2}, pass with the second \
             opinion {pass_secs:.2} ({wall:.2} s wall), {moves} moves, {} nodes in use",
            self.state.nodes().filter(|n| self.state.on_node(n.id).next().is_some()).count()
        );
        pass_secs
    }

    /// The new copy is healthy, and the old one stops.
    fn replace(&mut self, new: InstanceId, old: InstanceId) {
        let node = |id: InstanceId| self.state.instance(id).and_then(|i| i.node);
        let (Some(to), Some(from)) = (node(new), node(old)) else { return };
        self.observe(to, vec![healthy(new, self.now)], Vec::new());
        let reason = tengyun_engine::StopReason::Replaced;
        let moves = vec![Move::Stop { instance: old, reason }];
        let plan = tengyun_engine::Plan { base: self.state.sequence(), moves };
        self.must(Command::CommitPlan(plan));
        self.observe(from, Vec::new(), vec![old]);
    }

    fn observe(&mut self, node: NodeId, instances: Vec<InstanceStatus>, gone: Vec<InstanceId>) {
        let generation = Generation::default();
        self.must(Command::ObserveInstances { node, generation, instances, gone });
    }

    fn must(&mut self, command: Command) -> Effect {
        match self.state.apply(&Entry { at: self.now, by: None, command }) {
            Outcome::Applied(effect) => effect,
            Outcome::Refused(refusal) => panic!("refused: {refusal}"),
        }
    }
}

/// A tenth of what was asked for on average, each instance at its own level, noisy.
fn use_of(instance: InstanceId, window: u64) -> u64 {
    let draw = |seed: u64| {
        let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let level = 20 + draw(instance.get()) % 400;
    level * (500 + draw(instance.get() * 1009 + window) % 1000) / 1000
}

fn facts(number: u32) -> NodeFacts {
    NodeFacts {
        name: format!("node-{number:06}").parse().expect("letters, digits and a dash"),
        labels: BTreeMap::new(),
        capacity: Capacity {
            cpu: Millicores::new(32_000),
            // No two generations of servers show quite the same memory.
            memory: Mebibytes::new(131_072 - u64::from(number % 17)),
            disk: Mebibytes::MAX,
            pids: u64::MAX,
            counted: BTreeMap::new(),
        },
        inventory: Inventory::default(),
        enforcement: Vec::new(),
    }
}

fn spec(number: u32) -> WorkloadSpec {
    let key = format!("city/d{:05}/w{number:06}", number % DEPARTMENTS);
    let key = key.parse().expect("letters, digits and slashes");
    let plain = WorkloadSpec::service(key, vec!["/usr/bin/serve".to_owned()]);
    WorkloadSpec {
        class: if number.is_multiple_of(10) { Class::Critical } else { Class::Standard },
        resources: Resources {
            cpu: Millicores::new(
                [500, 1000, 2000, 2500][usize::try_from(number % 4).expect("small")],
            ),
            memory: Mebibytes::new(1024 + u64::from(number % 5) * 512),
            pids: 100,
            ..plain.resources
        },
        instances: COPIES,
        stop: Stop { grace: Millis::from_secs(5), ..plain.stop },
        startup: Millis::from_secs(1),
        ..plain
    }
}

fn healthy(instance: InstanceId, since: At) -> InstanceStatus {
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
