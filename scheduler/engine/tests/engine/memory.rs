//! Memory by use: promises follow what is measured where the policy lets them, and what goes wrong is borne
//! by those who went wrong.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use tengyun_engine::{Command, InstanceImage, Move, PromiseReason, ShiftReason, State, StopReason};
use tengyun_model::{Class, Exit, Mebibytes, Millis, NodeId, Phase, WorkloadSpec};

use crate::cloud::{Cloud, spec};

const MINUTE: Millis = Millis::from_secs(60);
const HOUR: Millis = Millis::from_secs(3600);
/// Long enough for a history, and for margins that begin wide to have become narrow.
const KNOBS: [(&str, u64); 3] =
    [("memory_by_use", 1), ("memory_history_min_seconds", 300), ("memory_margin", 10)];

fn of_memory(name: &str, class: Class, memory: u64) -> WorkloadSpec {
    let mut spec = spec(name);
    spec.class = class;
    spec.resources.memory = Mebibytes::new(memory);
    spec
}

/// A cloud of nodes of 4 GiB on which memory counts by use, and on which nothing else moves anything.
fn cloud(nodes: u32) -> Cloud {
    let mut cloud = Cloud::of(nodes);
    let still = [("consolidate", 0), ("reports_before_rebalance", 500)];
    cloud.set(&[KNOBS.as_slice(), still.as_slice()].concat());
    cloud.rounds = 6;
    cloud
}

fn only<'a>(cloud: &'a Cloud, name: &str) -> &'a InstanceImage {
    let named = |i: &&InstanceImage| cloud.state.spec(i).key.name.as_str() == name;
    cloud.state.instances().find(named).unwrap()
}

fn promised(cloud: &Cloud, name: &str) -> u64 {
    cloud.state.promised(only(cloud, name)).get()
}

/// Every move that was committed.
fn moves(cloud: &Cloud) -> Vec<Move> {
    let plans = cloud.entries.iter().filter_map(|entry| match &entry.command {
        Command::CommitPlan(plan) => Some(plan.moves.clone()),
        _ => None,
    });
    plans.flatten().collect()
}

fn replays(cloud: &Cloud) {
    let mut replayed = State::new();
    for entry in cloud.entries.iter().filter(|entry| entry.command.is_durable()) {
        replayed.apply(entry);
    }
    let image = cloud.state.image();
    assert_eq!(replayed.image(), image);
    assert_eq!(State::from_image(image.clone()).unwrap().image(), image);
}

/// An hour in which the node runs a critical, a standard and a harvest instance of 1000 MiB each.
fn three() -> Cloud {
    let mut cloud = cloud(2);
    for class in Class::ALL {
        cloud.apply(of_memory(class.as_str(), class, 1000));
        cloud.memory.insert(class.as_str().to_owned(), 400);
    }
    cloud.pass(MINUTE);
    cloud
}

#[test]
fn promises_follow_use_once_there_is_history_and_critical_keeps_its_request() {
    let mut cloud = three();
    assert_eq!(promised(&cloud, "standard"), 1000, "a minute is no history");
    cloud.pass(Millis::from_secs(300));
    assert_eq!(promised(&cloud, "critical"), 1000);
    // The margin begins sixteen times as wide as the policy says.
    let (standard, harvest) = (promised(&cloud, "standard"), promised(&cloud, "harvest"));
    assert!((460..=465).contains(&standard), "{standard}");
    assert_eq!(harvest, standard);
    // A peak is followed before it is missed, and not given up within a day.
    cloud.memory.insert("standard".to_owned(), 455);
    cloud.pass(MINUTE);
    assert!(
        (500..=530).contains(&promised(&cloud, "standard")),
        "{}",
        promised(&cloud, "standard")
    );
    cloud.memory.insert("standard".to_owned(), 100);
    cloud.pass(HOUR);
    assert!(promised(&cloud, "standard") >= 500);
    let missed = |step: &Move| matches!(step, Move::Promise { reason: PromiseReason::Missed, .. });
    assert!(!moves(&cloud).iter().any(missed));
    replays(&cloud);
}

#[test]
fn nothing_is_promised_by_use_unless_the_policy_says_so() {
    let mut cloud = Cloud::of(1);
    cloud.set(&[("memory_history_min_seconds", 300)]);
    cloud.apply(of_memory("standard", Class::Standard, 1000));
    cloud.pass(HOUR);
    assert_eq!(promised(&cloud, "standard"), 1000);
    assert_eq!(only(&cloud, "standard").promise, None);
}

#[test]
fn what_the_policy_no_longer_allows_counts_its_request_at_once() {
    let mut cloud = three();
    cloud.pass(Millis::from_secs(400));
    assert!(promised(&cloud, "standard") < 1000);
    cloud.set(&[]);
    let plan = cloud.settle();
    let withdrawn =
        |step: &Move| matches!(step, Move::Promise { reason: PromiseReason::Withdrawn, .. });
    assert!(plan.moves.len() == 2 && plan.moves.iter().all(withdrawn), "{plan:?}");
    assert_eq!(promised(&cloud, "standard"), 1000);
    replays(&cloud);
}

#[test]
fn what_uses_more_than_it_was_promised_counts_its_request_for_a_day_and_then_for_two() {
    let mut cloud = three();
    cloud.pass(Millis::from_secs(400));
    let miss = |cloud: &mut Cloud| {
        cloud.memory.insert("standard".to_owned(), 990);
        cloud.pass(MINUTE);
        cloud.memory.insert("standard".to_owned(), 30);
        let promise = only(cloud, "standard").promise.as_deref().copied().unwrap();
        assert_eq!((promise.memory.get(), promise.missed), (1000, Some(promise.since)));
        promise.misses
    };
    assert_eq!(miss(&mut cloud), 1);
    assert_eq!(cloud.told("memory-missed").len(), 1);
    // A lower promise is refused within the day, whoever makes it.
    let instance = only(&cloud, "standard").status.instance;
    let lower = |cloud: &mut Cloud| {
        let memory = Mebibytes::new(500);
        let moves = vec![Move::Promise { instance, memory, reason: PromiseReason::Used }];
        let base = cloud.state.sequence();
        let plan = tengyun_engine::Plan { base, moves };
        let effect = cloud.must(Command::CommitPlan(plan));
        matches!(effect, tengyun_engine::Effect::Planned { accepted: 1, stale: 0 })
    };
    let day = Millis::from_secs(86_400);
    cloud.now = cloud.now.after(Millis::from_secs(23 * 3600));
    assert!(!lower(&mut cloud));
    cloud.now = cloud.now.after(HOUR);
    assert!(lower(&mut cloud));
    assert_eq!(miss(&mut cloud), 2);
    cloud.now = cloud.now.after(day).after(HOUR);
    assert!(!lower(&mut cloud), "the second pause is twice as long");
    cloud.now = cloud.now.after(day);
    assert!(lower(&mut cloud));
    replays(&cloud);
}

#[test]
fn a_kill_for_want_of_memory_counts_as_four_misses_and_widens_every_margin() {
    let mut cloud = three();
    cloud.pass(Millis::from_secs(400));
    let (instance, node) = {
        let instance = only(&cloud, "standard");
        (instance.status.clone(), instance.node.unwrap())
    };
    let mut status = instance;
    status.phase = Phase::BackingOff;
    status.exit = Some(Exit::OutOfMemory);
    let generation = cloud.state.node(node).unwrap().generation;
    let instances = vec![status];
    let before = cloud.state.image().margin;
    cloud.must(Command::ObserveInstances { node, generation, instances, gone: Vec::new() });
    let promise = only(&cloud, "standard").promise.as_deref().copied().unwrap();
    assert_eq!((promise.memory.get(), promise.misses), (1000, 4));
    let after = cloud.state.image().margin;
    assert!(after.width >= before.width && after.at > before.at, "{before:?} {after:?}");
    replays(&cloud);
}

#[test]
fn nothing_is_lowered_or_placed_by_what_is_not_measured_now() {
    let mut cloud = three();
    cloud.pass(Millis::from_secs(400));
    let before = promised(&cloud, "standard");
    assert!(before < 500);
    // 4096 less 1000 and two promises leave more than 2000, and less than that by request.
    let node = only(&cloud, "standard").node.unwrap();
    for number in 1..=2 {
        if NodeId::new(number) != node {
            cloud.must(Command::DisconnectNode(NodeId::new(number)));
        }
    }
    cloud.now = cloud.now.after(Millis::from_secs(61));
    cloud.apply(of_memory("late", Class::Standard, 2000));
    assert_eq!(cloud.settle().moves, [], "use of a minute ago promises nothing to others");
    assert_eq!(promised(&cloud, "standard"), before, "and nothing is taken back by it");
    cloud.pass(MINUTE);
    assert_eq!(only(&cloud, "late").node, Some(node));
    replays(&cloud);
}

/// A node on which two standard and a harvest instance of 2000 MiB each were promised half of it.
fn crowded(nodes: u32) -> (Cloud, NodeId) {
    let mut cloud = cloud(nodes);
    for node in 2..=nodes {
        let (operation, wish) = (cloud.operation(), tengyun_engine::NodeWish::Cordon);
        cloud.must(Command::SetNodeWish { operation, node: NodeId::new(node), wish });
    }
    for (name, class) in [("a", Class::Standard), ("b", Class::Standard), ("h", Class::Harvest)] {
        cloud.memory.insert(name.to_owned(), 800);
        cloud.apply(of_memory(name, class, 2000));
        cloud.pass(Millis::from_secs(400));
    }
    let node = NodeId::new(1);
    assert!(["a", "b", "h"].iter().all(|name| only(&cloud, name).node == Some(node)));
    for node in 2..=nodes {
        let (operation, wish) = (cloud.operation(), tengyun_engine::NodeWish::Serve);
        cloud.must(Command::SetNodeWish { operation, node: NodeId::new(node), wish });
    }
    (cloud, node)
}

#[test]
fn a_node_that_promises_too_much_evicts_harvest_before_it_moves_anything() {
    let (mut cloud, _) = crowded(1);
    let began = cloud.entries.len();
    for name in ["a", "b"] {
        cloud.memory.insert(name.to_owned(), 1500);
    }
    cloud.pass(MINUTE);
    assert_eq!((promised(&cloud, "a"), promised(&cloud, "b")), (2000, 2000));
    assert_eq!(only(&cloud, "h").node, None, "it waits for room");
    let of = |step: &Move| matches!(step, Move::Stop { reason: StopReason::Evicted, .. });
    cloud.entries.drain(..began);
    assert_eq!(moves(&cloud).iter().filter(|step| of(step)).count(), 1);
}

#[test]
fn a_node_that_promises_too_much_replaces_the_smallest_that_suffices_elsewhere() {
    let (mut cloud, node) = crowded(2);
    let (operation, key) = (cloud.operation(), only(&cloud, "h").status.instance);
    let key = cloud.state.spec(cloud.state.instance(key).unwrap()).key.clone();
    cloud.must(Command::StopWorkload { operation, key });
    cloud.pass(MINUTE);
    cloud.memory.insert("c".to_owned(), 300);
    cloud.apply(of_memory("c", Class::Standard, 1800));
    cloud.pass(Millis::from_secs(400));
    assert_eq!(only(&cloud, "c").node, Some(node));
    for name in ["a", "b"] {
        cloud.memory.insert(name.to_owned(), 1500);
    }
    cloud.pass(MINUTE);
    assert_eq!((promised(&cloud, "a"), promised(&cloud, "b")), (2000, 2000));
    let relief = |step: &&Move| matches!(step, Move::Shift { reason: ShiftReason::Memory, .. });
    let moves = moves(&cloud);
    let moved: Vec<&Move> = moves.iter().filter(relief).collect();
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert_ne!(only(&cloud, "c").node, Some(node));
    assert_eq!(cloud.healthy("c"), 1);
    replays(&cloud);
}

#[test]
fn a_node_whose_memory_is_used_up_gives_up_what_makes_enough_room() {
    let (mut cloud, node) = crowded(2);
    let (operation, key) = (cloud.operation(), only(&cloud, "h").status.instance);
    let key = cloud.state.spec(cloud.state.instance(key).unwrap()).key.clone();
    cloud.must(Command::StopWorkload { operation, key });
    cloud.pass(MINUTE);
    // Both count what they ask for, which fits; what they use leaves the node less than a twentieth.
    for name in ["a", "b"] {
        cloud.memory.insert(name.to_owned(), 1980);
    }
    cloud.pass(MINUTE);
    let here = ["a", "b"].iter().filter(|name| only(&cloud, name).node == Some(node)).count();
    assert_eq!(here, 1);
    replays(&cloud);
}
