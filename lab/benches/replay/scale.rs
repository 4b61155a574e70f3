//! The engine at the size it was designed for: passes over a cloud that is measured, and what it holds
//! in memory. Agents obey at once; what instances use is drawn from their ids and the step.

use std::collections::BTreeMap;
use std::time::Instant;

use tengyun_engine::{Command, Effect, Entry, Move, Outcome, State, check, place, predict};
use tengyun_model::{
    At, Capacity, Class, Generation, Incarnation, InstanceId, InstanceStatus, InstanceUsage,
    Inventory, Mebibytes, Millicores, Millis, NodeFacts, NodeId, NodeUsage, OperationId, Phase,
    Resources, Stop, WorkloadSpec,
};

use super::process::{mebibytes, user_secs};

/// Windows that are reported and planned after.
const WINDOWS: u64 = 16;
const WINDOW_SECS: u64 = 300;
const DEPARTMENTS: u32 = 10_000;
const COPIES: u32 = 10;
const BEGIN: At = At::from_millis(1_799_020_800_000);

/// Nodes, and instances by the ten of a workload.
pub(crate) fn limits(nodes: u32, instances: u32) {
    let mut cloud = Cloud::new(nodes);
    let before = mebibytes("VmRSS:");
    let applied = Instant::now();
    for number in 0..instances / COPIES {
        cloud.apply(number);
    }
    println!(
        "\n{nodes} nodes, {instances} instances of {} workloads: applied in {:.1} s",
        instances / COPIES,
        applied.elapsed().as_secs_f64()
    );
    cloud.pass("first pass, everything waits");
    for window in 1..=WINDOWS {
        cloud.report(window);
        cloud.pass(&format!("window {window}"));
    }
    println!("engine state: {} MiB resident", mebibytes("VmRSS:").saturating_sub(before));
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

    /// Plans once, says how long that took, and lets the agents obey.
    fn pass(&mut self, name: &str) {
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
