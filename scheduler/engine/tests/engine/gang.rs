//! Gangs: instances that start all at once or not at all.

use crate::cloud::{Cloud, facts, spec};
use tengyun_engine::{
    Command, Effect, Move, NodeWish, Outcome, Refusal, StopReason, explain, predict,
};
use tengyun_model::{
    Class, InstanceId, Kind, Mebibytes, Millis, MovePolicy, NodeId, VolumeSpec, WorkloadSpec,
};

/// A gang of which one node holds one instance.
fn gang(name: &str, instances: u32) -> WorkloadSpec {
    let mut gang = spec(name);
    gang.resources.memory = Mebibytes::new(3000);
    (gang.instances, gang.gang) = (instances, true);
    gang
}

fn join(cloud: &mut Cloud, number: u32) {
    cloud.must(Command::RegisterNode(facts(number)));
    cloud.must(Command::ConnectNode(NodeId::new(number)));
}

fn wish(cloud: &mut Cloud, node: u32, wish: NodeWish) {
    let operation = cloud.operation();
    cloud.must(Command::SetNodeWish { operation, node: NodeId::new(node), wish });
}

/// What is said of the first waiting instance, and what would help it.
fn explained(cloud: &Cloud) -> (String, String) {
    let waiting = cloud.state.instances().find(|i| i.node.is_none());
    let id = waiting.expect("somebody waits").status.instance;
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let explained = explain::explain(&cloud.state, &forecast, id, cloud.now).expect("it is there");
    (explained.summary.to_string(), explained.remedy.to_string())
}

fn starts(moves: &[Move]) -> usize {
    moves.iter().filter(|step| matches!(step, Move::Start { .. })).count()
}

fn evicted(moves: &[Move]) -> usize {
    let evicts = |step: &&Move| matches!(step, Move::Stop { reason: StopReason::Evicted, .. });
    moves.iter().filter(evicts).count()
}

#[test]
fn a_gang_of_which_all_but_one_fit_waits_as_a_whole_and_then_starts_in_one_plan() {
    let mut cloud = Cloud::of(3);
    cloud.apply(gang("gang", 4));
    assert_eq!(cloud.settle().moves, []);
    let (summary, remedy) = explained(&cloud);
    assert_eq!(
        summary,
        "waits with its gang of 4 as a whole (gang: true): 3 would fit now, the first that does \
         not lacks: n1: wants 3000 MiB memory, 1096 MiB left"
    );
    assert_eq!(remedy, "lower resources.memory to at most 1096 MiB to fit on n1, or add a node");
    join(&mut cloud, 4);
    assert_eq!(starts(&cloud.settle().moves), 4);
    assert_eq!(cloud.layout().len(), 4);
}

#[test]
fn what_comes_after_a_gang_that_does_not_fit_takes_the_room() {
    let mut cloud = Cloud::of(3);
    cloud.apply(gang("gang", 4));
    let mut others = gang("others", 3);
    others.gang = false;
    cloud.apply(others);
    assert_eq!(starts(&cloud.settle().moves), 3);
    let names: Vec<_> = cloud.layout().into_values().flatten().collect();
    assert_eq!(names, ["others", "others", "others"]);
    assert!(explained(&cloud).0.contains("gang of 4 as a whole (gang: true): 0 would fit"));
}

#[test]
fn a_gang_that_is_spread_starts_evenly_or_not_at_all() {
    // Racks r1, r0 and r1, two instances a node: r0 holds two, so r1 takes three at most.
    let mut cloud = Cloud::of(3);
    let mut spread = gang("gang", 6);
    spread.resources.memory = Mebibytes::new(1500);
    spread.constraints.spread = Some("rack".to_owned());
    cloud.apply(spread.clone());
    assert_eq!(cloud.settle().moves, []);
    spread.instances = 5;
    cloud.apply(spread);
    assert_eq!(starts(&cloud.settle().moves), 5);
    assert_eq!(cloud.layout()[&2].len(), 2, "{:?}", cloud.layout());
}

#[test]
fn a_gang_with_volumes_waits_for_the_home_of_each() {
    let mut cloud = Cloud::of(3);
    let mut kept = gang("gang", 4);
    let name = "data".parse().expect("a name");
    let size = Mebibytes::new(6000);
    kept.volumes = vec![VolumeSpec { name, path: "data".to_owned(), size }];
    kept.resources.memory = Mebibytes::new(100);
    cloud.apply(kept.clone());
    assert_eq!(cloud.settle().moves, [], "the disks hold three");
    assert_eq!(cloud.state.homes().count(), 0);
    kept.instances = 3;
    cloud.apply(kept.clone());
    assert_eq!(starts(&cloud.settle().moves), 3);
    let before = cloud.layout();
    let operation = cloud.operation();
    cloud.must(Command::StopWorkload { operation, key: kept.key.clone() });
    cloud.pass(Millis::from_secs(10));
    wish(&mut cloud, 2, NodeWish::Cordon);
    cloud.apply(kept);
    assert_eq!(cloud.settle().moves, [], "the home of one takes nothing new");
    assert!(explained(&cloud).0.contains("2 would fit now"), "{:?}", explained(&cloud));
    wish(&mut cloud, 2, NodeWish::Serve);
    assert_eq!(starts(&cloud.settle().moves), 3);
    assert_eq!(cloud.layout(), before);
}

/// Two nodes that harvest fills, one instance each.
fn full_of_harvest() -> Cloud {
    let mut cloud = Cloud::of(2);
    let mut harvest = gang("harvest", 2);
    (harvest.class, harvest.gang) = (Class::Harvest, false);
    cloud.apply(harvest);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout().len(), 2);
    cloud
}

#[test]
fn harvest_is_evicted_for_the_whole_of_a_gang_and_never_for_a_part() {
    let mut cloud = full_of_harvest();
    cloud.apply(gang("gang", 3));
    assert_eq!(cloud.settle().moves, [], "two of three would fit");
    cloud.apply(gang("gang", 2));
    assert_eq!(evicted(&cloud.settle().moves), 2);
    cloud.pass(Millis::from_secs(10));
    let names: Vec<_> = cloud.layout().into_values().flatten().collect();
    assert_eq!(names, ["gang", "gang"]);
}

#[test]
fn room_that_is_made_for_a_gang_is_not_given_to_harvest_again() {
    let mut cloud = full_of_harvest();
    cloud.apply(gang("gang", 2));
    assert_eq!(evicted(&cloud.settle().moves), 2);
    // One of the two is gone before the other.
    let gone: Vec<InstanceId> = cloud.state.on_node(NodeId::new(1)).collect();
    let (node, generation) = (NodeId::new(1), cloud.state.node(NodeId::new(1)).unwrap().generation);
    cloud.must(Command::ObserveInstances { node, generation, instances: Vec::new(), gone });
    assert_eq!(cloud.settle().moves, [], "the gang waits for the other node");
    cloud.pass(Millis::from_secs(10));
    let names: Vec<_> = cloud.layout().into_values().flatten().collect();
    assert_eq!(names, ["gang", "gang"]);
}

#[test]
fn harvest_that_leaves_the_room_stays() {
    let mut cloud = full_of_harvest();
    let mut small = gang("gang", 2);
    small.resources.memory = Mebibytes::new(1000);
    cloud.apply(small);
    let moves = cloud.settle().moves;
    assert_eq!((starts(&moves), evicted(&moves)), (2, 0));
}

#[test]
fn a_gang_of_harvest_starts_as_a_whole_and_keeps_no_other_waiting() {
    let mut cloud = Cloud::of(1);
    let mut harvest = gang("gang", 3);
    harvest.class = Class::Harvest;
    harvest.resources.memory = Mebibytes::new(2000);
    cloud.apply(harvest.clone());
    let mut one = spec("one");
    one.class = Class::Harvest;
    cloud.apply(one);
    assert_eq!(starts(&cloud.settle().moves), 1);
    assert_eq!(cloud.layout()[&1], ["one"]);
    join(&mut cloud, 2);
    assert_eq!(starts(&cloud.settle().moves), 3, "{:?}", cloud.layout());
}

#[test]
fn one_that_a_running_gang_loses_starts_again_by_itself() {
    let mut cloud = Cloud::of(3);
    cloud.apply(gang("gang", 3));
    cloud.pass(Millis::from_secs(10));
    let node = NodeId::new(1);
    let gone: Vec<InstanceId> = cloud.state.on_node(node).collect();
    let generation = cloud.state.node(node).unwrap().generation;
    cloud.must(Command::ObserveInstances { node, generation, instances: Vec::new(), gone });
    assert_eq!(starts(&cloud.settle().moves), 1);
    assert_eq!(cloud.layout().len(), 3);
}

#[test]
fn more_instances_of_a_gang_that_runs_start_with_each_other() {
    let mut cloud = Cloud::of(3);
    cloud.apply(gang("gang", 2));
    assert_eq!(starts(&cloud.settle().moves), 2);
    cloud.apply(gang("gang", 4));
    assert_eq!(cloud.settle().moves, [], "one of two more would fit");
    join(&mut cloud, 4);
    assert_eq!(starts(&cloud.settle().moves), 2);
}

#[test]
fn nobody_starts_a_part_of_a_gang_by_hand() {
    let mut cloud = Cloud::of(2);
    cloud.apply(gang("gang", 3));
    let instance = cloud.state.instances().next().unwrap().status.instance;
    let operation = cloud.operation();
    let by_hand = Command::MoveInstance { operation, instance, to: NodeId::new(1) };
    assert_eq!(cloud.try_to(by_hand), Outcome::Refused(Refusal::InGang(3)));
}

#[test]
fn a_stale_plan_starts_no_part_of_a_gang() {
    let mut cloud = Cloud::of(3);
    cloud.apply(gang("gang", 3));
    let plan = cloud.plan();
    assert_eq!(starts(&plan.moves), 3);
    wish(&mut cloud, 3, NodeWish::Cordon);
    let effect = cloud.must(Command::CommitPlan(plan.clone()));
    assert_eq!(effect, Effect::Planned { accepted: 0, stale: 3 });
    wish(&mut cloud, 3, NodeWish::Serve);
    // Nor does one that was made when the gang was smaller.
    cloud.apply(gang("gang", 4));
    let effect = cloud.must(Command::CommitPlan(plan));
    assert_eq!(effect, Effect::Planned { accepted: 0, stale: 3 });
    assert!(cloud.layout().is_empty());
}

#[test]
fn what_does_not_wait_with_others_is_no_gang() {
    let mut cloud = Cloud::of(1);
    let refused = cloud.refused(gang("one", 1)).to_string();
    assert!(refused.contains("gang") && refused.contains("2 instances"), "{refused}");
    let mut everywhere = gang("everywhere", 1);
    (everywhere.kind, everywhere.move_policy) = (Kind::PerNode, MovePolicy::Never);
    let refused = cloud.refused(everywhere).to_string();
    assert!(refused.contains("service or job"), "{refused}");
}

#[test]
fn whether_it_is_a_gang_changes_without_a_new_revision() {
    let mut cloud = Cloud::of(3);
    cloud.apply(gang("gang", 4));
    assert_eq!(cloud.settle().moves, []);
    let mut loose = gang("gang", 4);
    loose.gang = false;
    cloud.apply(loose);
    assert_eq!(starts(&cloud.settle().moves), 3);
    assert_eq!(cloud.revisions("gang"), [1, 1, 1, 1]);
}

#[test]
fn one_that_is_queued_again_by_the_same_plan_is_waited_for() {
    let mut cloud = Cloud::of(4);
    let on = |rack: &str, instances| {
        let mut spec = spec("app");
        spec.constraints.labels.insert("rack".to_owned(), rack.to_owned());
        spec.instances = instances;
        spec
    };
    cloud.rounds = 3;
    cloud.apply(on("r0", 1));
    cloud.settle();
    // The old copy stops for its revision to come, and the new one waits with that from then on.
    let mut more = on("r1", 2);
    more.gang = true;
    more.rollout.batch = 2;
    let (name, size) = ("data".parse().unwrap(), Mebibytes::new(1));
    more.volumes = vec![VolumeSpec { name, path: "data".to_owned(), size }];
    cloud.apply(more);
    let first = cloud.settle();
    let renewed = |step: &Move| matches!(step, Move::Stop { reason: StopReason::Renewed, .. });
    assert!(first.moves.iter().any(renewed) && starts(&first.moves) == 0, "{first:?}");
    cloud.pass(Millis::from_secs(30));
    assert_eq!(cloud.healthy("app"), 2);
}
