//! Small values for the tests of this package.

use tengyun_engine::{Command, Entry, Move, NodeWish, Plan, Proof, ShiftReason, State, StopReason};
use tengyun_model::{
    At, BootId, Capacity, CoreMillis, Digest, Generation, Grant, Incarnation, InstanceId,
    InstanceStatus, Inventory, MebibyteSeconds, Mebibytes, Member, MeterKey, MeterRecord,
    Millicores, Millis, NodeFacts, NodeId, NodeName, NodeUsage, OperationId, Phase, Report,
    Resources, Restart, Role, Sequence, Stop, Wisher, WorkloadKey, WorkloadSpec,
};

/// The boot that fixture nodes run.
pub(crate) const BOOT: BootId = BootId::new(7);

/// Every reason to stop.
pub(crate) const STOP_REASONS: [StopReason; 8] = [
    StopReason::NotWanted,
    StopReason::Replaced,
    StopReason::Evicted,
    StopReason::GivenUp,
    StopReason::Drained,
    StopReason::Lost,
    StopReason::Renewed,
    StopReason::Failed,
];

/// A node of 4 cores and 4 GiB.
pub(crate) fn facts(name: &str) -> NodeFacts {
    NodeFacts {
        name: NodeName::new(name).unwrap(),
        labels: [("rack".to_owned(), "r1".to_owned())].into(),
        capacity: Capacity {
            cpu: Millicores::new(4000),
            memory: Mebibytes::new(4096),
            disk: Mebibytes::new(10_000),
            pids: 10_000,
            counted: std::collections::BTreeMap::default(),
        },
        inventory: Inventory { boot_id: BOOT, ..Inventory::default() },
        enforcement: Vec::new(),
    }
}

/// A small service with this many instances.
pub(crate) fn spec(name: &str, instances: u32) -> WorkloadSpec {
    let key = format!("city/finance/ledger/{name}").parse().unwrap();
    let command = vec!["/bin/sleep".to_owned(), "1000".to_owned()];
    let plain = WorkloadSpec::service(key, command);
    WorkloadSpec {
        resources: Resources {
            cpu: Millicores::new(10),
            memory: Mebibytes::new(8),
            pids: 16,
            ..plain.resources
        },
        instances,
        restart: Restart {
            backoff: Millis::new(100),
            backoff_max: Millis::new(1000),
            ..plain.restart
        },
        stop: Stop { grace: Millis::new(1000), ..plain.stop },
        startup: Millis::ZERO,
        ..plain
    }
}

/// The wish to run a workload.
pub(crate) fn apply(operation: u128, spec: WorkloadSpec) -> Command {
    Command::ApplyWorkload { operation: OperationId::new(operation), spec: Box::new(spec) }
}

/// What an agent says of an instance.
pub(crate) fn status(instance: u64, phase: Phase) -> InstanceStatus {
    InstanceStatus {
        instance: InstanceId::new(instance),
        incarnation: Incarnation::new(1),
        phase,
        since: At::from_millis(1),
        pid: Some(100),
        exit: None,
        message: String::new(),
    }
}

/// A cumulative reading.
pub(crate) fn meter(instance: u64, cpu: u64) -> MeterRecord {
    MeterRecord {
        key: MeterKey {
            boot: BOOT,
            instance: InstanceId::new(instance),
            incarnation: Incarnation::new(1),
        },
        cpu: CoreMillis::new(cpu),
        memory: MebibyteSeconds::new(cpu),
        covered: Millis::new(cpu),
        from: At::from_millis(1),
        to: At::from_millis(1 + cpu),
        last: false,
    }
}

/// A report of a node that works by the present assignment.
pub(crate) fn report(state: &State, node: u32, instances: Vec<InstanceStatus>) -> Report {
    let generation = state.node(NodeId::new(node)).map(|n| n.generation).unwrap_or_default();
    Report {
        boot: BOOT,
        epoch: state.epoch(),
        generation,
        usage: NodeUsage { interval: Millis::new(1000), ..NodeUsage::default() },
        instances,
        meters: Vec::new(),
    }
}

fn department() -> Role {
    Role::Department("city/finance".parse().unwrap())
}

fn token(of: u8, grant: Grant) -> Command {
    Command::CreateToken { token: Digest::new([of; 32]), grant, expires: At::from_millis(60_000) }
}

fn redeem(of: u8, member: Member) -> Command {
    Command::RedeemToken { token: Digest::new([of; 32]), member, key: Digest::new([9; 32]) }
}

/// One entry of every durable kind, as a scheduler would write them.
pub(crate) fn story() -> Vec<Entry> {
    let one = NodeId::new(1);
    let start = |instance| Move::Start { instance: InstanceId::new(instance), node: one };
    let plan = |moves| Command::CommitPlan(Plan { base: Sequence::new(3), moves });
    let observe = |instances, gone| Command::ObserveInstances {
        node: one,
        generation: Generation::new(2),
        instances,
        gone,
    };
    let key = spec("web", 2).key;
    let first = vec![
        Command::BeginEpoch,
        Command::RegisterNode(facts("n1")),
        Command::RegisterNode(facts("n2")),
        apply(1, spec("web", 2)),
        plan(vec![start(1), start(2)]),
        observe(vec![status(1, Phase::Healthy), status(2, Phase::Running)], vec![]),
        Command::AcknowledgeMeters { node: one, meters: vec![meter(1, 500)] },
        Command::SetPolicy {
            operation: OperationId::new(2),
            values: [("moves_per_pass".to_owned(), 2)].into(),
            label: "two at a time".to_owned(),
        },
        plan(vec![
            Move::Shift {
                instance: InstanceId::new(1),
                from: one,
                to: NodeId::new(2),
                reason: ShiftReason::Consolidate,
            },
            Move::Stop { instance: InstanceId::new(2), reason: StopReason::Evicted },
        ]),
        observe(vec![], vec![InstanceId::new(2)]),
        Command::SetNodeWish {
            operation: OperationId::new(5),
            node: NodeId::new(2),
            wish: NodeWish::Drain,
        },
        Command::DeclareLost(one),
        Command::DeclareReturned(one),
    ];
    let commands = first.into_iter().chain(wishes(one, key)).enumerate();
    let by = |i: usize| match i % 3 {
        0 => None,
        1 => Some(Wisher::Local(1000)),
        _ => Some(Wisher::Person("dora".parse().unwrap(), department())),
    };
    let at = |i: usize| At::from_millis(1000 + 10 * u64::try_from(i).unwrap());
    commands.map(|(i, command)| Entry { at: at(i), by: by(i), command }).collect()
}

/// What people wish later on.
fn wishes(one: NodeId, key: WorkloadKey) -> Vec<Command> {
    vec![
        Command::AcknowledgeLoss {
            operation: OperationId::new(6),
            nodes: vec![one],
            proof: Proof::Death,
        },
        Command::MoveInstance {
            operation: OperationId::new(7),
            instance: InstanceId::new(4),
            to: one,
        },
        Command::ReleaseWorkload { operation: OperationId::new(8), key: key.clone() },
        Command::StopWorkload { operation: OperationId::new(3), key: key.clone() },
        Command::DeleteWorkload { operation: OperationId::new(4), key },
        token(1, Grant::NewNode),
        token(2, Grant::Node("n2".parse().unwrap())),
        token(3, Grant::Person("dora".parse().unwrap(), department())),
        redeem(2, Member::Node("n2".parse().unwrap())),
        redeem(3, Member::Person("dora".parse().unwrap())),
        Command::RevokeMember {
            operation: OperationId::new(9),
            member: Member::Node("n2".parse().unwrap()),
        },
        Command::Restore { elapsed: Millis::from_secs(60) },
        Command::SettleRestore(vec![one]),
        Command::ConfirmRestore { operation: OperationId::new(10) },
        Command::ForgetNode {
            operation: OperationId::new(11),
            node: NodeId::new(2),
            proof: Proof::Death,
        },
    ]
}
