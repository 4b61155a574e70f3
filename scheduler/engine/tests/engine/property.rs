//! Properties of any history: whatever happens in whatever order, nothing is promised twice, planning
//! again moves nothing, replay gives the same state, and no input makes the engine panic.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use proptest::prelude::*;
use tengyun_engine::{
    Command, Effect, Entry, NodeWish, Outcome, Proof, State, Steer, Verdict, check, explain, place,
    predict,
};
use tengyun_model::{
    At, Class, Concurrency, CopyKey, Days, Digest, Exit, Grant, Incarnation, InstanceId,
    InstanceStatus, InstanceUsage, Kind, Mebibytes, Member, Millicores, Millis, MovePolicy, NodeId,
    NodeUsage, OnLost, OperationId, Phase, PortSpec, Revision, Role, Said, Schedule, VolumeSpec,
    Window, WorkloadId, WorkloadKey, WorkloadSpec,
};

use crate::cloud::{Cloud, REPORT, facts, spec};
use crate::history::any_history;

/// Nodes and workloads of one history: few, so that things happen to the same ones again.
const NODES: u32 = 4;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Plans that may follow each other at one moment. What a plan leaves to the next: room that it made,
/// copies that are spread while others of them are given up, and rebalancing, which waits until
/// nothing else is to do.
const ROUNDS: u32 = 6;

/// One thing that may happen.
#[derive(Clone, Debug)]
enum Happening {
    Apply(Box<WorkloadSpec>),
    Stop(usize),
    Delete(usize),
    Use(usize, u64),
    Memory(usize, u64),
    ByUse(u64),
    Foreign(u32, u64),
    Pass(u64),
    Away(u32),
    Back(u32),
    End(usize, i32),
    Lose(usize),
    Knob(&'static str, u64),
    Wish(u32, NodeWish),
    Move(usize, u32),
    Dead(u32),
    Release(usize),
    Reboot(u32),
    Taken(usize),
    Remove(usize),
    Steer(usize, Steer),
    Fire(usize, bool),
    Windows(u64),
}

fn a_name() -> impl Strategy<Value = usize> {
    0..NAMES.len()
}

fn a_class() -> impl Strategy<Value = Class> {
    prop_oneof![1 => Just(Class::Critical), 3 => Just(Class::Standard), 1 => Just(Class::Harvest)]
}

fn a_spec() -> impl Strategy<Value = Box<WorkloadSpec>> {
    let sizes = (10..900_u64, 16..2000_u64, 0..4_u32);
    let wishes = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let extras = (0..5_u8, prop::option::of(0..4000_u64));
    (a_name(), a_class(), sizes, wishes, extras).prop_map(|(name, class, sizes, wishes, extras)| {
        let (cpu, memory, instances) = sizes;
        let (port, spread, apart, stays) = wishes;
        let (open, volume) = extras;
        // A workload keeps its class for life.
        let mut spec = spec(&format!("{}-{class}", NAMES[name]));
        spec.class = class;
        spec.resources.cpu = Millicores::new(cpu);
        spec.resources.memory = Mebibytes::new(memory);
        spec.instances = instances;
        if port {
            spec.ports = vec![PortSpec { name: "http".parse().unwrap(), number: Some(80) }];
        }
        for number in 0..open {
            // Some name a number that would be chosen for others, so that both meet.
            let fixed = (number == 3).then_some(20_001 + u16::try_from(memory % 3).unwrap());
            let name = format!("open-{number}").parse().unwrap();
            spec.ports.push(PortSpec { name, number: fixed });
        }
        spec.constraints.spread = spread.then(|| "rack".to_owned());
        if cpu % 4 == 0 {
            spec.constraints.labels.insert("rack".to_owned(), format!("r{}", memory % 2));
        }
        if apart {
            spec.constraints.anti_affinity = vec![key(name + 1, class)];
        }
        spec.move_policy = if stays { MovePolicy::Never } else { MovePolicy::Any };
        spec.rollout.batch = 1 + instances / 2;
        spec.rollout.failure_limit = 1 + instances % 2;
        spec.rollout.auto_return = cpu % 5 > 0;
        // Revisions that crash, hang or end, beside good ones.
        let words = ["good", "crash", "hang", "end", "other"];
        spec.command.push(words[usize::try_from(cpu % 5).unwrap()].to_owned());
        if memory % 3 == 0 {
            spec.depends_on = vec![key(name + 2, class)];
        }
        if memory % 7 == 0 && !stays {
            let window = Window { days: Days::ALL, from: 0, to: 60, time_zone: None };
            (spec.move_policy, spec.window) = (MovePolicy::Window, Some(window));
        }
        be_of_kind(&mut spec, name);
        let alone = matches!(spec.kind, Kind::Cron | Kind::PerNode);
        spec.gang = memory % 4 == 1 && instances > 1 && !alone;
        spec.on_lost = if memory % 2 == 0 { OnLost::Restart } else { OnLost::Wait };
        if let Some(size) = volume.filter(|_| spec.kind != Kind::Cron) {
            spec.on_lost = OnLost::Wait;
            spec.volumes = vec![VolumeSpec {
                name: "data".parse().unwrap(),
                path: "data".to_owned(),
                size: Mebibytes::new(size),
            }];
        }
        Box::new(spec)
    })
}

/// A workload keeps its kind for life, too: the last names are of the others.
fn be_of_kind(spec: &mut WorkloadSpec, name: usize) {
    spec.kind = match (NAMES[name], spec.class) {
        ("c", _) => Kind::Job,
        ("d", _) => Kind::Cron,
        ("e", Class::Critical | Class::Standard) => Kind::PerNode,
        _ => return,
    };
    spec.window = None;
    if spec.kind == Kind::Job {
        spec.move_policy = MovePolicy::Never;
        return;
    }
    spec.instances = 1;
    spec.constraints.spread = None;
    spec.move_policy = MovePolicy::Never;
    if spec.kind == Kind::Cron {
        let all = [Concurrency::Forbid, Concurrency::Replace, Concurrency::Allow];
        spec.schedule = Some(Schedule {
            cron: "* * * * *".to_owned(),
            time_zone: None,
            concurrency: all[usize::try_from(spec.resources.cpu.get() % 3).unwrap()],
            starting_deadline: Millis::from_secs(60),
            runs_kept: 2,
        });
    }
}

fn key(name: usize, class: Class) -> WorkloadKey {
    format!("city/test/app/{}-{class}", NAMES[name % NAMES.len()]).parse().unwrap()
}

fn a_happening() -> impl Strategy<Value = Happening> {
    let node = || 1..=NODES;
    let knob = prop_oneof![
        (0..=1_u64).prop_map(|on| Happening::Knob("consolidate", on)),
        (1..600_u64).prop_map(|s| Happening::Knob("history_min_seconds", s)),
        (1..8_u64).prop_map(|n| Happening::Knob("moves_per_pass", n)),
        (0..60_u64).prop_map(|s| Happening::Knob("consolidate_interval_seconds", s)),
        (0..6_u64).prop_map(|n| Happening::Knob("port_last", 20_000 + n)),
        (0..3_u64).prop_map(|n| Happening::Knob("reserve", n)),
    ];
    prop_oneof![
        4 => a_spec().prop_map(Happening::Apply),
        1 => (0..15_usize).prop_map(Happening::Stop),
        1 => (0..15_usize).prop_map(Happening::Delete),
        4 => (0..15_usize, 0..700_u64).prop_map(|(n, cpu)| Happening::Use(n, cpu)),
        3 => (0..15_usize, 0..2100_u64).prop_map(|(n, memory)| Happening::Memory(n, memory)),
        2 => (0..3_u64).prop_map(Happening::ByUse),
        2 => (300..600_u64).prop_map(Happening::Pass),
        2 => (node(), 0..1200_u64).prop_map(|(n, cpu)| Happening::Foreign(n, cpu)),
        6 => (1..120_u64).prop_map(Happening::Pass),
        1 => node().prop_map(Happening::Away),
        2 => node().prop_map(Happening::Back),
        2 => (0..20_usize, 0..2_i32).prop_map(|(i, code)| Happening::End(i, code)),
        1 => (0..20_usize).prop_map(Happening::Lose),
        1 => knob,
        2 => (node(), a_wish()).prop_map(|(n, wish)| Happening::Wish(n, wish)),
        1 => (0..20_usize, node()).prop_map(|(i, n)| Happening::Move(i, n)),
        1 => node().prop_map(Happening::Dead),
        1 => (0..15_usize).prop_map(Happening::Release),
        1 => node().prop_map(Happening::Reboot),
        1 => (0..20_usize).prop_map(Happening::Taken),
        1 => (0..20_usize).prop_map(Happening::Remove),
        2 => (0..15_usize, a_steer()).prop_map(|(n, steer)| Happening::Steer(n, steer)),
        3 => (0..15_usize, any::<bool>()).prop_map(|(n, missed)| Happening::Fire(n, missed)),
        1 => (0..300_u64).prop_map(Happening::Windows),
    ]
}

fn a_steer() -> impl Strategy<Value = Steer> {
    prop_oneof![
        Just(Steer::Pause),
        Just(Steer::Resume),
        Just(Steer::Undo(None)),
        (0..6_u32).prop_map(|to| Steer::Undo(Some(Revision::new(to)))),
    ]
}

fn a_wish() -> impl Strategy<Value = NodeWish> {
    prop_oneof![
        3 => Just(NodeWish::Serve),
        1 => Just(NodeWish::Cordon),
        1 => Just(NodeWish::Drain),
        1 => Just(NodeWish::DrainByForce),
    ]
}

/// Every workload name with every class.
fn names() -> Vec<String> {
    let of = |class: Class| NAMES.map(|name| format!("{name}-{class}"));
    Class::ALL.into_iter().flat_map(of).collect()
}

/// Chooses among the instances that have a node.
fn pick(cloud: &Cloud, at: usize) -> Option<(InstanceStatus, NodeId)> {
    let placed = cloud.state.instances().filter_map(|i| Some((i.status.clone(), i.node?)));
    let mut all: Vec<_> = placed.collect();
    (!all.is_empty()).then(|| all.swap_remove(at % all.len()))
}

fn happen(cloud: &mut Cloud, happening: Happening) {
    let names = names();
    let key =
        |at: usize| -> WorkloadKey { format!("city/test/app/{}", names[at]).parse().unwrap() };
    let operation = cloud.operation();
    match happening {
        Happening::Apply(spec) => {
            cloud.try_to(Command::ApplyWorkload { operation, spec });
        }
        Happening::Stop(at) => {
            cloud.try_to(Command::StopWorkload { operation, key: key(at) });
        }
        Happening::Delete(at) => {
            cloud.try_to(Command::DeleteWorkload { operation, key: key(at) });
        }
        Happening::Use(at, cpu) => {
            cloud.uses.insert(names[at].clone(), cpu);
        }
        Happening::Memory(at, memory) => {
            cloud.memory.insert(names[at].clone(), memory);
        }
        Happening::ByUse(by_use) => cloud.set(&[
            ("memory_by_use", by_use.min(1)),
            ("memory_history_min_seconds", 300),
            ("memory_margin", 20),
        ]),
        Happening::Foreign(node, cpu) => {
            cloud.foreign.insert(NodeId::new(node), cpu);
        }
        Happening::Pass(secs) => cloud.pass(Millis::from_secs(secs)),
        Happening::Away(node) => {
            cloud.must(Command::DisconnectNode(NodeId::new(node)));
        }
        Happening::Back(node) => {
            cloud.must(Command::ConnectNode(NodeId::new(node)));
        }
        Happening::End(at, code) => {
            let Some((mut status, node)) = pick(cloud, at) else { return };
            status.phase = if code == 0 { Phase::Succeeded } else { Phase::Failed };
            status.exit = Some(Exit::Code(code));
            status.incarnation = status.incarnation.next();
            observe(cloud, node, vec![status], Vec::new());
        }
        Happening::Lose(at) => {
            let Some((status, node)) = pick(cloud, at) else { return };
            observe(cloud, node, Vec::new(), vec![status.instance]);
        }
        Happening::Knob(name, value) => cloud.set(&[(name, value)]),
        Happening::Wish(node, wish) => {
            cloud.must(Command::SetNodeWish { operation, node: NodeId::new(node), wish });
        }
        Happening::Move(at, to) => {
            let Some((status, _)) = pick(cloud, at) else { return };
            let (instance, to) = (status.instance, NodeId::new(to));
            cloud.try_to(Command::MoveInstance { operation, instance, to });
        }
        Happening::Dead(node) => {
            let nodes = vec![NodeId::new(node)];
            let proof = Proof::Death;
            cloud.must(Command::AcknowledgeLoss { operation, nodes, proof });
        }
        Happening::Release(at) => {
            cloud.try_to(Command::ReleaseWorkload { operation, key: key(at) });
        }
        other => live_on(cloud, other),
    }
}

/// What happens to rollouts, runs, windows, ports and volumes, and to nodes that are rebooted.
fn live_on(cloud: &mut Cloud, happening: Happening) {
    let names = names();
    let key =
        |at: usize| -> WorkloadKey { format!("city/test/app/{}", names[at]).parse().unwrap() };
    match happening {
        Happening::Taken(at) => {
            // Only what runs can find its port taken; what had ended has freed it for others.
            let found = pick(cloud, at).filter(|(status, _)| !status.phase.is_final());
            if let Some((status, node)) = found {
                take_port(cloud, status, node);
            }
        }
        Happening::Remove(at) => {
            let operation = cloud.operation();
            remove_volumes(cloud, operation, at);
        }
        Happening::Reboot(node) => {
            let mut facts = facts(node);
            let boot = cloud.now.millis().into();
            facts.inventory.boot_id = tengyun_model::BootId::new(boot);
            cloud.must(Command::RegisterNode(facts));
        }
        Happening::Steer(at, steer) => {
            let operation = cloud.operation();
            cloud.try_to(Command::SteerRollout { operation, key: key(at), steer });
        }
        Happening::Fire(at, missed) => {
            let known = cloud.state.workload_keyed(&key(at)).map(|w| w.id);
            let workload = known.unwrap_or_default();
            cloud.try_to(Command::FireRun { workload, scheduled: cloud.now, missed });
        }
        Happening::Windows(secs) => {
            let until = cloud.now.after(Millis::from_secs(secs));
            let all = cloud.state.workloads().map(|w| (w.id, (cloud.now, until))).collect();
            cloud.must(Command::NoteWindows(all));
        }
        other => panic!("{other:?} happens with the others"),
    }
}

/// Another program listens on a port that was chosen for an instance, if one was.
fn take_port(cloud: &mut Cloud, mut status: InstanceStatus, node: NodeId) {
    let instance = cloud.state.instance(status.instance).unwrap();
    let Some(port) = instance.ports.values().next().copied() else { return };
    status.phase = Phase::BackingOff;
    status.exit = Some(Exit::PortTaken(port));
    status.incarnation = status.incarnation.next();
    observe(cloud, node, vec![status], Vec::new());
}

fn remove_volumes(cloud: &mut Cloud, operation: OperationId, at: usize) {
    let homes: Vec<_> = cloud.state.homes().map(|h| (h.copy.clone(), h.node)).collect();
    if !homes.is_empty() {
        let (copy, node) = homes[at % homes.len()].clone();
        cloud.try_to(Command::DeleteVolumes { operation, copy, node });
    }
}

fn observe(cloud: &mut Cloud, node: NodeId, instances: Vec<InstanceStatus>, gone: Vec<InstanceId>) {
    let generation = cloud.state.node(node).unwrap().generation;
    cloud.must(Command::ObserveInstances { node, generation, instances, gone });
}

/// Applies the durable entries of a cloud to a new state.
fn replay(cloud: &Cloud) -> State {
    let mut replayed = State::new();
    for entry in cloud.entries.iter().filter(|e| e.command.is_durable()) {
        replayed.apply(entry);
    }
    replayed
}

/// Anything an agent may say of an instance.
fn a_status(instance: impl Strategy<Value = InstanceId>) -> impl Strategy<Value = InstanceStatus> {
    let phase = prop_oneof![
        Just(Phase::Waiting),
        Just(Phase::Starting),
        Just(Phase::Healthy),
        Just(Phase::BackingOff),
        Just(Phase::Stopping),
        Just(Phase::Succeeded),
        Just(Phase::Failed),
        Just(Phase::Stopped),
        Just(Phase::Unhealthy),
    ];
    (instance, any::<u32>(), phase).prop_map(|(instance, incarnation, phase)| InstanceStatus {
        instance,
        incarnation: Incarnation::new(incarnation),
        phase,
        since: At::from_millis(u64::MAX),
        pid: None,
        exit: None,
        message: String::new(),
    })
}

/// Any command, however senseless.
fn any_command() -> impl Strategy<Value = Command> {
    let node = || prop_oneof![(0..6_u32), any::<u32>()].prop_map(NodeId::new);
    let instance = || prop_oneof![(0..12_u64), any::<u64>()].prop_map(InstanceId::new);
    let statuses = prop::collection::vec(a_status(instance()), 0..6);
    let gone = prop::collection::vec(instance(), 0..4);
    let amount = || prop_oneof![0..2000_u64, Just(u64::MAX)];
    let used = (instance(), amount(), amount()).prop_map(|(instance, cpu, memory)| InstanceUsage {
        instance,
        cpu: Millicores::new(cpu),
        memory: Mebibytes::new(memory),
        io_bytes: None,
    });
    let uses = prop::collection::vec(used, 0..6);
    prop_oneof![
        (node(), statuses, gone).prop_map(|(node, instances, gone)| Command::ObserveInstances {
            node,
            generation: tengyun_model::Generation::new(u64::MAX),
            instances,
            gone
        }),
        (node(), amount(), amount(), amount(), uses).prop_map(
            |(node, at, interval, cpu, instances)| {
                let at = At::from_millis(at);
                let (cpu, interval) = (Millicores::new(cpu), Millis::new(interval));
                let cpu_foreign = cpu;
                let usage =
                    NodeUsage { at, interval, cpu, cpu_foreign, instances, ..NodeUsage::default() };
                Command::ReportUsage { node, usage }
            }
        ),
        node().prop_map(Command::ConnectNode),
        node().prop_map(Command::DisconnectNode),
        (0..6_u32).prop_map(|n| Command::RegisterNode(facts(n))),
        node().prop_map(Command::DeclareLost),
        node().prop_map(Command::DeclareReturned),
        Just(Command::Watch),
        (any::<u128>(), node(), a_wish()).prop_map(|(id, node, wish)| Command::SetNodeWish {
            operation: OperationId::new(id),
            node,
            wish
        }),
        (any::<u128>(), instance(), node()).prop_map(|(id, instance, to)| {
            Command::MoveInstance { operation: OperationId::new(id), instance, to }
        }),
        (any::<u128>(), prop::collection::vec(node(), 0..3)).prop_map(|(id, nodes)| {
            let operation = OperationId::new(id);
            Command::AcknowledgeLoss { operation, nodes, proof: Proof::Silence }
        }),
        prop_oneof![a_member_s_command(), a_command_about_volumes(), a_life_s_command()],
        any_history(),
        Just(Command::BeginEpoch),
    ]
}

/// Any command about volumes, of copies that may have some.
fn a_command_about_volumes() -> impl Strategy<Value = Command> {
    let node = || (0..4_u32).prop_map(NodeId::new);
    let copy = || {
        let copy = (a_name(), a_class(), 0..2_u32);
        copy.prop_map(|(name, class, ordinal)| CopyKey { workload: key(name, class), ordinal })
    };
    prop_oneof![
        (any::<u128>(), copy(), node()).prop_map(|(id, copy, node)| {
            Command::DeleteVolumes { operation: OperationId::new(id), copy, node }
        }),
        (node(), prop::collection::vec(copy(), 0..3))
            .prop_map(|(node, copies)| Command::ForgetVolumes { node, copies }),
    ]
}

/// Any command about rollouts, runs and windows.
fn a_life_s_command() -> impl Strategy<Value = Command> {
    let workload = || (0..5_u32).prop_map(WorkloadId::new);
    let revision = (0..4_u32).prop_map(Revision::new);
    let verdict = prop_oneof![Just(Verdict::Complete), Just(Verdict::Return), Just(Verdict::Halt)];
    let at = || any::<u64>().prop_map(At::from_millis);
    let steered = (any::<u128>(), 0..15_usize, a_steer());
    prop_oneof![
        (workload(), revision, verdict, ".{0,300}").prop_map(
            |(workload, revision, verdict, why)| Command::JudgeRollout {
                workload,
                revision,
                verdict,
                why: Said::verbatim(why)
            }
        ),
        steered.prop_map(|(id, name, steer)| Command::SteerRollout {
            operation: OperationId::new(id),
            key: key(name, Class::Standard),
            steer
        }),
        (workload(), at(), any::<bool>()).prop_map(|(workload, scheduled, missed)| {
            Command::FireRun { workload, scheduled, missed }
        }),
        (workload(), at(), at()).prop_map(|(workload, from, until)| {
            Command::NoteWindows([(workload, (from, until))].into())
        }),
    ]
}

/// Any command about tokens and members, of a few so that they meet.
fn a_member_s_command() -> impl Strategy<Value = Command> {
    let digest = || (0..4_u8).prop_map(|of| Digest::new([of; 32]));
    let node = || (0..6_u32).prop_map(|n| facts(n).name);
    let person = || Just("alice".parse::<tengyun_model::Name>().unwrap());
    let member = || prop_oneof![node().prop_map(Member::Node), person().prop_map(Member::Person)];
    let grant = prop_oneof![
        Just(Grant::NewNode),
        node().prop_map(Grant::Node),
        person().prop_map(|name| Grant::Person(name, Role::Viewer)),
    ];
    let expires = prop_oneof![Just(0_u64), Just(u64::MAX)].prop_map(At::from_millis);
    prop_oneof![
        (digest(), grant, expires).prop_map(|(token, grant, expires)| Command::CreateToken {
            token,
            grant,
            expires
        }),
        (digest(), member(), digest()).prop_map(|(token, member, key)| Command::RedeemToken {
            token,
            member,
            key
        }),
        (any::<u128>(), member()).prop_map(|(id, member)| Command::RevokeMember {
            operation: OperationId::new(id),
            member
        }),
    ]
}

proptest! {
    /// `Cloud::settle` asserts after every step: no node over its capacity, no copy twice, no stale
    /// move, and planning again moves nothing.
    #[test]
    fn any_history_keeps_every_promise_and_can_be_replayed(
        history in prop::collection::vec(a_happening(), 1..40),
    ) {
        let mut cloud = Cloud::of(NODES);
        cloud.rounds = ROUNDS;
        cloud.watches = true;
        for happening in history {
            happen(&mut cloud, happening);
            cloud.settle();
        }
        let image = cloud.state.image();
        prop_assert_eq!(&replay(&cloud).image(), &image);
        prop_assert_eq!(&State::from_image(image.clone()).unwrap().image(), &image);
        let forecast = predict::forecast(&cloud.state, cloud.now);
        for instance in cloud.state.instances() {
            let id = instance.status.instance;
            prop_assert!(explain::explain(&cloud.state, &forecast, id, cloud.now).is_some());
        }
    }

    #[test]
    fn the_order_of_what_is_reported_together_is_irrelevant(
        history in prop::collection::vec(a_happening(), 1..25),
        uses in prop::collection::vec((1..30_u64, 0..900_u64), 1..10),
    ) {
        let mut cloud = Cloud::of(NODES);
        cloud.rounds = ROUNDS;
        cloud.watches = true;
        for happening in history {
            happen(&mut cloud, happening);
            cloud.settle();
        }
        let used = |(id, cpu): &(u64, u64)| InstanceUsage {
            instance: InstanceId::new(*id),
            cpu: Millicores::new(*cpu),
            memory: Mebibytes::new(1),
            io_bytes: None,
        };
        // One sample an instance: two of one instance in one report would be a sequence.
        let mut instances: Vec<_> = uses.iter().map(used).collect();
        instances.sort_by_key(|u| u.instance);
        instances.dedup_by_key(|u| u.instance);
        let after = |instances: Vec<InstanceUsage>| {
            let mut state = cloud.state.clone();
            for node in 1..=NODES {
                let node = NodeId::new(node);
                let usage = NodeUsage {
                    at: cloud.now, interval: REPORT, instances: instances.clone(),
                    ..NodeUsage::default()
                };
                let command = Command::ReportUsage { node, usage };
                state.apply(&Entry { at: cloud.now, by: None, command });
            }
            let forecast = predict::forecast(&state, cloud.now);
            (place::plan(&state, &forecast, cloud.now), state.image())
        };
        let forwards = after(instances.clone());
        instances.reverse();
        prop_assert_eq!(forwards, after(instances));
    }

    #[test]
    fn no_input_makes_the_engine_panic_or_promise_too_much(
        commands in prop::collection::vec(prop_oneof![
            any_command().prop_map(Some), Just(None)
        ], 1..60),
        specs in prop::collection::vec(a_spec(), 1..4),
    ) {
        let mut cloud = Cloud::of(3);
        for spec in specs {
            let operation = cloud.operation();
            cloud.try_to(Command::ApplyWorkload { operation, spec });
        }
        for command in commands {
            if let Some(command) = command {
                cloud.try_to(command);
            } else {
                let plan = cloud.plan();
                let effect = cloud.must(Command::CommitPlan(plan));
                let sound = matches!(effect, Effect::Planned { stale: 0, .. });
                prop_assert!(sound, "{:?}", effect);
            }
            prop_assert_eq!(check::check_state(&cloud.state), vec![]);
        }
        prop_assert_eq!(replay(&cloud).image(), cloud.state.image());
        let refused = cloud.try_to(Command::ConnectNode(NodeId::new(u32::MAX)));
        prop_assert!(matches!(refused, Outcome::Refused(_)));
    }
}
