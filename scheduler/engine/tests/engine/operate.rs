//! Scenarios of what operators wish of nodes and instances: cordon, drain, move.

use tengyun_engine::explain::{Decisions, explain, leaving, rehearsed, wished};
use tengyun_engine::image::InstanceWish;
use tengyun_engine::{
    Command, Move, NodeWish, Outcome, Refusal, ShiftReason, State, check, predict,
};
use tengyun_model::{Class, InstanceId, Mebibytes, Millicores, Millis, MovePolicy, NodeId, Phase};

use crate::cloud::{self, Cloud, spec};

pub(crate) fn wish(cloud: &mut Cloud, node: u32, wish: NodeWish) {
    let operation = cloud.operation();
    cloud.must(Command::SetNodeWish { operation, node: NodeId::new(node), wish });
}

/// Two workloads of some copies each on the first node of three.
fn crowded(copies: u32) -> Cloud {
    let mut cloud = Cloud::of(3);
    cloud.set(&[("consolidate", 0)]);
    for name in ["one", "two"] {
        let mut app = spec(name);
        app.instances = copies;
        app.resources.cpu = Millicores::new(8);
        app.resources.memory = Mebibytes::new(32);
        cloud.apply(app);
    }
    cloud.pass(Millis::from_secs(60));
    assert_eq!(cloud.layout().keys().copied().collect::<Vec<_>>(), [1]);
    cloud
}

fn healthy_copies(cloud: &Cloud, name: &str) -> usize {
    let healthy = |i: &&tengyun_engine::InstanceImage| {
        cloud.state.spec(i).key.name.as_str() == name
            && i.status.phase == Phase::Healthy
            && i.wish == InstanceWish::Run
    };
    cloud.state.instances().filter(healthy).count()
}

#[test]
fn a_cordoned_node_gets_nothing_new_and_keeps_what_it_has() {
    let mut cloud = Cloud::of(2);
    cloud.apply(spec("before"));
    cloud.pass(Millis::from_secs(10));
    let at = *cloud.layout().keys().next().unwrap();
    wish(&mut cloud, at, NodeWish::Cordon);
    cloud.apply(spec("after"));
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout()[&at], ["before"]);
    assert_eq!(cloud.layout().len(), 2);
    wish(&mut cloud, 3 - at, NodeWish::Cordon);
    cloud.apply(spec("third"));
    cloud.pass(Millis::from_secs(10));
    let waiting = cloud.state.instances().find(|i| i.node.is_none()).unwrap().status.instance;
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let explained = explain(&cloud.state, &forecast, waiting, cloud.now).unwrap();
    let codes: Vec<&str> =
        explained.nodes.iter().map(|n| n.refusal.as_ref().unwrap().code()).collect();
    assert_eq!(codes, ["node-not-open", "node-not-open"]);
    assert!(explained.remedy.to_string().contains("tengyun uncordon n1"), "{}", explained.remedy);
    wish(&mut cloud, at, NodeWish::Serve);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout()[&at], ["before", "third"]);
}

#[test]
fn the_second_opinion_sees_zones_that_would_be_mixed() {
    let mut cloud = Cloud::of(2);
    let mut app = spec("secret");
    app.constraints.labels.insert("node".to_owned(), "n2".to_owned());
    cloud.apply(app);
    let mut plan = cloud.plan();
    let [Move::Start { instance, node }] = plan.moves.as_mut_slice() else { panic!("{plan:?}") };
    assert_eq!(*node, NodeId::new(2));
    *node = NodeId::new(1);
    let expected = check::Violation::Mislabelled(*instance, *node);
    assert_eq!(check::check(&cloud.state, &plan), [expected]);
}

#[test]
fn a_drained_node_gets_nothing_new() {
    let mut cloud = crowded(3);
    wish(&mut cloud, 1, NodeWish::Drain);
    for step in 0..40 {
        let fresh = cloud.state.instances().map(|i| i.status.instance).max().unwrap();
        cloud.apply(spec(&format!("new{step}")));
        cloud.pass(cloud::REPORT);
        let on: Vec<_> = cloud.state.on_node(NodeId::new(1)).filter(|i| *i > fresh).collect();
        assert_eq!(on, [], "something new came to the drained node");
    }
    assert_eq!(cloud.state.on_node(NodeId::new(1)).count(), 0, "it is empty");
}

#[test]
fn a_drain_of_fifty_instances_never_leaves_fewer_healthy_copies_than_asked() {
    let mut cloud = crowded(25);
    wish(&mut cloud, 1, NodeWish::Drain);
    let mut steps = 0;
    while cloud.state.on_node(NodeId::new(1)).count() > 0 {
        cloud.pass(cloud::REPORT);
        for name in ["one", "two"] {
            assert!(healthy_copies(&cloud, name) >= 25, "{name} had too few");
        }
        let moving = cloud.state.instances().filter(|i| i.replaces.is_some()).count();
        assert!(moving <= 8, "{moving} are more than the budget of moves");
        steps += 1;
        assert!(steps < 100, "the drain does not end");
    }
    assert_eq!(cloud.state.instances().count(), 50);
}

#[test]
fn harvest_on_a_drained_node_is_evicted_and_queued_again() {
    let mut cloud = Cloud::of(1);
    let mut harvest = spec("harvest");
    harvest.class = Class::Harvest;
    cloud.apply(harvest);
    cloud.pass(Millis::from_secs(10));
    cloud.rounds = 2;
    wish(&mut cloud, 1, NodeWish::Drain);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout().len(), 0);
    assert_eq!(cloud.state.instances().filter(|i| i.node.is_none()).count(), 1);
    wish(&mut cloud, 1, NodeWish::Serve);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout()[&1], ["harvest"]);
}

#[test]
fn what_must_not_move_leaves_a_drained_node_by_force_only_and_never_runs_twice() {
    let mut cloud = Cloud::of(2);
    let mut single = spec("single");
    single.move_policy = MovePolicy::Never;
    cloud.apply(single);
    cloud.pass(Millis::from_secs(60));
    let id = cloud.state.instances().next().unwrap().status.instance;
    let at = cloud.state.instance(id).unwrap().node.unwrap();
    wish(&mut cloud, at.get(), NodeWish::Drain);
    cloud.pass(Millis::from_secs(600));
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let left = leaving(&cloud.state, &forecast, at, cloud.now);
    assert_eq!(left.iter().map(|l| l.state).collect::<Vec<_>>(), ["must-not-move"]);
    let explained = explain(&cloud.state, &forecast, id, cloud.now).unwrap();
    assert!(explained.remedy.to_string().contains("--force"), "{}", explained.remedy);
    wish(&mut cloud, at.get(), NodeWish::DrainByForce);
    // The old copy is told to stop, and while it has not, no other starts.
    cloud.settle();
    let stopping = cloud.state.instance(id).unwrap();
    assert!(matches!(stopping.wish, InstanceWish::Stop(_)), "{stopping:?}");
    cloud.settle();
    assert!(cloud.state.instances().all(|i| i.status.instance == id || i.node.is_none()));
    cloud.pass(Millis::from_secs(15));
    let placed: Vec<_> = cloud.state.instances().filter_map(|i| i.node).collect();
    assert_eq!(placed, [NodeId::new(3 - at.get())]);
}

#[test]
fn an_operator_moves_an_instance_where_it_fits() {
    let mut cloud = crowded(1);
    let id = cloud.state.instances().next().unwrap().status.instance;
    let operation = cloud.operation();
    let command = Command::MoveInstance { operation, instance: id, to: NodeId::new(3) };
    cloud.must(command.clone());
    assert!(cloud.state.replacement_of(id).is_some());
    cloud.must(command);
    cloud.pass(Millis::from_secs(20));
    assert_eq!(cloud.layout()[&3].len(), 1);
    assert!(cloud.state.instance(id).is_none(), "the old copy is gone");
    let happened: Vec<&str> =
        cloud.events.iter().filter(|e| e.instance == Some(id)).map(|e| e.kind.as_str()).collect();
    assert_eq!(happened, ["placed", "healthy", "moving", "moved", "stopped"]);
}

/// Carries out what an operator wishes, and records it.
fn by_hand(cloud: &mut Cloud, decisions: &mut Decisions, (id, to): (InstanceId, NodeId)) {
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let decided = wished(&cloud.state, &forecast, (id, to), cloud.now).expect("it may go there");
    let operation = cloud.operation();
    cloud.must(Command::MoveInstance { operation, instance: id, to });
    decisions.keep(&cloud.state, vec![decided]);
}

#[test]
fn what_an_operator_moves_or_places_is_recorded_with_its_figures() {
    let (mut cloud, mut decisions) = (Cloud::of(3), Decisions::default());
    let (cores, node) = (Millicores::new, NodeId::new);
    let mut app = spec("app");
    app.resources.cpu = cores(200);
    cloud.apply(app);
    let first = cloud.state.instances().next().unwrap().status.instance;
    by_hand(&mut cloud, &mut decisions, (first, node(2)));
    let told = decisions.of(first).unwrap();
    assert_eq!((told.from, told.to), (None, node(2)));
    assert_eq!(told.reason, Some(ShiftReason::Operator), "a plan did not place it");
    assert_eq!((told.peak, told.bound), ((cores(0), cores(200)), cores(800)));
    assert_eq!(told.runner_up.map(|other| other.node), Some(node(1)));
    assert_eq!((told.in_use, told.needed, told.at), (0, Some(1), cloud.now));
    cloud.pass(Millis::from_secs(10));
    by_hand(&mut cloud, &mut decisions, (first, node(3)));
    let second = cloud.state.replacement_of(first).unwrap();
    let told = decisions.of(second).unwrap();
    assert_eq!((told.from, told.to), (Some(node(2)), node(3)));
    assert_eq!((told.reason, told.in_use), (Some(ShiftReason::Operator), 1));
    assert!(told.peak.0 < told.peak.1 && told.peak.1 <= told.bound, "{told:?}");
    assert_eq!(told.left, Default::default(), "the old copy counts until it has stopped");
    assert_eq!(decisions.of(first).map(|of| of.from), Some(None), "the first is kept too");
}

#[test]
fn harvest_that_an_operator_places_may_fill_a_node_to_the_ceiling() {
    let mut cloud = Cloud::of(1);
    let mut app = spec("app");
    app.class = Class::Harvest;
    cloud.apply(app);
    let id = cloud.state.instances().next().unwrap().status.instance;
    let mut decisions = Decisions::default();
    by_hand(&mut cloud, &mut decisions, (id, NodeId::new(1)));
    assert_eq!(decisions.of(id).map(|of| of.bound), Some(Millicores::new(800)));
}

#[test]
fn a_move_to_where_it_does_not_fit_is_refused_with_numbers() {
    let mut cloud = crowded(1);
    let mut large = spec("large");
    large.resources.memory = Mebibytes::new(4090);
    cloud.apply(large);
    cloud.pass(Millis::from_secs(10));
    let large = cloud.state.instances().last().unwrap().status.instance;
    let small = cloud.state.instances().next().unwrap().status.instance;
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let ask = |id: InstanceId, to: u32| {
        let code = wished(&cloud.state, &forecast, (id, NodeId::new(to)), cloud.now);
        code.unwrap_err().code()
    };
    assert_eq!(ask(large, 1), "no-memory");
    assert_eq!(ask(small, 1), "already-there");
    assert_eq!(ask(small, 9), "unknown-node");
    let operation = cloud.operation();
    let command = Command::MoveInstance { operation, instance: large, to: NodeId::new(1) };
    let refused = cloud.try_to(command);
    assert!(matches!(refused, Outcome::Refused(Refusal::NoMemory { .. })), "{refused:?}");
}

#[test]
fn a_new_revision_does_not_stay_on_a_cordoned_node() {
    let mut cloud = crowded(1);
    wish(&mut cloud, 1, NodeWish::Cordon);
    let mut app = spec("one");
    app.resources.memory = Mebibytes::new(64);
    cloud.apply(app);
    let plan = cloud.plan();
    let to = plan.moves.iter().find_map(|m| match m {
        Move::Shift { to, reason: ShiftReason::Revision, .. } => Some(to.get()),
        _ => None,
    });
    assert!(to.is_some_and(|to| to != 1), "{plan:?}");
}

/// What is told of each instance in a rehearsal of the first node's drain: its workload, what becomes of it
/// and where it goes.
fn rehearse(cloud: &Cloud, force: bool) -> Vec<(String, &'static str, Option<NodeId>)> {
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let told = rehearsed(&cloud.state, &forecast, (NodeId::new(1), force), cloud.now);
    told.into_iter().map(|it| (it.key.name.to_string(), it.state, it.to)).collect()
}

#[test]
fn a_drain_that_is_rehearsed_changes_nothing_and_comes_to_be() {
    let mut cloud = crowded(2);
    for name in ["tied", "never", "harvest"] {
        let mut app = spec(name);
        app.resources.cpu = Millicores::new(8);
        match name {
            "tied" => drop(app.constraints.labels.insert("node".to_owned(), "n1".to_owned())),
            "never" => app.move_policy = MovePolicy::Never,
            _ => app.class = Class::Harvest,
        }
        cloud.apply(app);
    }
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout().keys().copied().collect::<Vec<_>>(), [1]);
    let before = cloud.state.image();
    let told = rehearse(&cloud, false);
    let of =
        |name: &str| told.iter().find(|(of, ..)| of == name).map(|(_, state, to)| (*state, *to));
    assert_eq!(of("tied"), Some(("waits", None)), "no other node may take it");
    assert_eq!(of("never"), Some(("must-not-move", None)));
    assert_eq!(of("harvest"), Some(("stopping", None)));
    let forced = rehearse(&cloud, true);
    let never = forced.iter().find(|(name, ..)| name == "never").unwrap();
    assert!(never.1 == "moving" && never.2.is_some_and(|to| to != NodeId::new(1)), "{never:?}");
    assert_eq!(cloud.state.image(), before, "a rehearsal changed something");
    // Of a node that nobody knows nothing is told.
    let forecast = predict::forecast(&cloud.state, cloud.now);
    assert_eq!(rehearsed(&cloud.state, &forecast, (NodeId::new(9), false), cloud.now), []);
    wish(&mut cloud, 1, NodeWish::Drain);
    let plan = cloud.plan();
    let went = plan.moves.iter().filter_map(|step| match *step {
        Move::Shift { instance, to, reason: ShiftReason::Drain, .. } => {
            let instance = cloud.state.instance(instance).unwrap();
            Some((cloud.state.spec(instance).key.name.to_string(), "moving", Some(to)))
        }
        _ => None,
    });
    let foretold = told.iter().filter(|(_, state, _)| *state == "moving");
    assert_eq!(went.collect::<Vec<_>>(), foretold.cloned().collect::<Vec<_>>());
    assert_eq!(told.iter().filter(|(.., to)| to.is_some()).count(), 4);
}

#[test]
fn a_rehearsed_drain_spreads_copies_over_the_racks_that_would_be_left() {
    let mut cloud = Cloud::of(3);
    cloud.set(&[("consolidate", 0)]);
    let mut app = spec("app");
    (app.instances, app.constraints.spread) = (2, Some("rack".to_owned()));
    cloud.apply(app);
    cloud.pass(Millis::from_secs(10));
    // The second node is the only one of its rack: without it copies may be together in the other.
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let told = rehearsed(&cloud.state, &forecast, (NodeId::new(2), false), cloud.now);
    assert_eq!(told.iter().map(|it| it.state).collect::<Vec<_>>(), ["moving"], "{told:?}");
    wish(&mut cloud, 2, NodeWish::Drain);
    let plan = cloud.plan();
    let [Move::Shift { to, .. }] = plan.moves[..] else { panic!("one is moved: {plan:?}") };
    assert_eq!(told[0].to, Some(to));
}

#[test]
fn what_operators_wish_survives_replay() {
    let mut cloud = crowded(2);
    wish(&mut cloud, 1, NodeWish::Drain);
    wish(&mut cloud, 2, NodeWish::Cordon);
    cloud.pass(Millis::from_secs(30));
    let mut replayed = State::new();
    for entry in cloud.entries.iter().filter(|e| e.command.is_durable()) {
        replayed.apply(entry);
    }
    assert_eq!(replayed.image(), cloud.state.image());
    assert_eq!(replayed.node(NodeId::new(2)).unwrap().wish, NodeWish::Cordon);
}
