//! Scenarios of per-node workloads and of workloads that depend on others.

use tengyun_engine::explain::{explain, leaving};
use tengyun_engine::{Command, Effect, NodeWish, Outcome, Proof, Refusal, predict};
use tengyun_model::{Class, Kind, Mebibytes, Millicores, Millis, MovePolicy, NodeId, WorkloadSpec};

use crate::cloud::{self, Cloud, facts, spec};
use crate::operate::wish;

fn everywhere(name: &str) -> WorkloadSpec {
    let mut one = spec(name);
    one.kind = Kind::PerNode;
    one.move_policy = MovePolicy::Never;
    one.resources.cpu = Millicores::new(20);
    one
}

fn join(cloud: &mut Cloud, number: u32) {
    let Effect::Node(id) = cloud.must(Command::RegisterNode(facts(number))) else {
        panic!("a registered node has an id");
    };
    cloud.must(Command::ConnectNode(id));
}

fn nodes_of(cloud: &Cloud, name: &str) -> Vec<u32> {
    let layout = cloud.layout();
    let has = |names: &Vec<String>| names.iter().any(|n| n == name);
    layout.into_iter().filter(|(_, names)| has(names)).map(|(node, _)| node).collect()
}

#[test]
fn a_per_node_workload_is_on_every_matching_node_and_on_those_that_join_later() {
    let mut cloud = Cloud::of(2);
    cloud.apply(everywhere("all"));
    let mut odd = everywhere("odd");
    odd.constraints.labels.insert("rack".to_owned(), "r1".to_owned());
    cloud.apply(odd);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(nodes_of(&cloud, "all"), [1, 2]);
    assert_eq!(nodes_of(&cloud, "odd"), [1]);
    join(&mut cloud, 3);
    join(&mut cloud, 4);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(nodes_of(&cloud, "all"), [1, 2, 3, 4]);
    assert_eq!(nodes_of(&cloud, "odd"), [1, 3]);
    // A node whose labels change gets and loses what belongs to them.
    let mut changed = facts(1);
    changed.labels.insert("rack".to_owned(), "r0".to_owned());
    cloud.must(Command::RegisterNode(changed));
    let mut changed = facts(2);
    changed.labels.insert("rack".to_owned(), "r1".to_owned());
    cloud.must(Command::RegisterNode(changed));
    cloud.pass(Millis::from_secs(10));
    assert_eq!(nodes_of(&cloud, "odd"), [2, 3]);
}

#[test]
fn copies_of_a_per_node_workload_are_not_moved_and_keep_no_node_in_use() {
    let mut cloud = Cloud::of(3);
    cloud.apply(everywhere("all"));
    for number in 1..=3 {
        let mut app = spec(&format!("app{number}"));
        app.constraints.labels.insert("node".to_owned(), format!("n{number}"));
        cloud.uses.insert(format!("app{number}"), 30);
        cloud.apply(app);
    }
    cloud.pass(Millis::from_secs(30));
    for number in 1..=3 {
        cloud.apply(spec(&format!("app{number}")));
    }
    cloud.pass(Millis::from_secs(3600));
    assert_eq!(nodes_of(&cloud, "all"), [1, 2, 3]);
    let apps = cloud.layout().values().filter(|names| names.len() > 1).count();
    assert_eq!(apps, 1, "the applications were gathered: {:?}", cloud.layout());
    let copy = cloud.state.instances().find(|i| i.ordinal == 1).unwrap().status.instance;
    let operation = cloud.operation();
    let command = Command::MoveInstance { operation, instance: copy, to: NodeId::new(2) };
    let only = Refusal::OnlyThere(NodeId::new(1));
    assert_eq!(cloud.try_to(command), Outcome::Refused(only));
}

#[test]
fn a_cordon_keeps_per_node_copies_and_a_drain_leaves_them() {
    let mut cloud = Cloud::of(2);
    cloud.apply(everywhere("all"));
    cloud.apply(spec("app"));
    cloud.pass(Millis::from_secs(30));
    let at = nodes_of(&cloud, "app")[0];
    wish(&mut cloud, at, NodeWish::Cordon);
    cloud.pass(Millis::from_secs(30));
    assert_eq!(nodes_of(&cloud, "all"), [1, 2]);
    for how in [NodeWish::Drain, NodeWish::DrainByForce] {
        wish(&mut cloud, at, how);
        cloud.pass(Millis::from_secs(120));
        assert_eq!(nodes_of(&cloud, "all"), [1, 2]);
        assert_eq!(nodes_of(&cloud, "app"), [3 - at]);
        let forecast = predict::forecast(&cloud.state, cloud.now);
        assert_eq!(leaving(&cloud.state, &forecast, NodeId::new(at), cloud.now), []);
    }
    // What is applied now waits for the closed node, and says so.
    cloud.apply(everywhere("late"));
    cloud.pass(Millis::from_secs(10));
    assert_eq!(nodes_of(&cloud, "late"), [3 - at]);
    let waiting = cloud.state.instances().find(|i| i.node.is_none()).unwrap().status.instance;
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let explained = explain(&cloud.state, &forecast, waiting, cloud.now).unwrap();
    let summary = explained.summary.to_string();
    assert_eq!(summary, format!("waits for n{at}, where it belongs: is drained"));
}

#[test]
fn a_lost_node_s_per_node_copy_starts_nowhere_else() {
    let mut cloud = Cloud::of(3);
    let mut all = everywhere("all");
    all.on_lost = tengyun_model::OnLost::Restart;
    cloud.apply(all);
    cloud.pass(Millis::from_secs(30));
    cloud.must(Command::DisconnectNode(NodeId::new(2)));
    let operation = cloud.operation();
    let nodes = vec![NodeId::new(2)];
    cloud.must(Command::AcknowledgeLoss { operation, nodes, proof: Proof::Death });
    cloud.pass(Millis::from_secs(300));
    assert_eq!(cloud.state.instances().count(), 3);
    assert!(cloud.state.instances().all(|i| i.node.is_some_and(|n| n.get() == i.ordinal)));
}

#[test]
fn a_per_node_copy_takes_its_room_before_others_and_harvest_makes_room_for_it() {
    let mut cloud = Cloud::of(1);
    let mut harvest = spec("harvest");
    harvest.class = Class::Harvest;
    harvest.resources.memory = Mebibytes::new(4000);
    cloud.apply(harvest);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout()[&1], ["harvest"]);
    cloud.apply(everywhere("all"));
    cloud.pass(Millis::from_secs(20));
    assert_eq!(cloud.layout()[&1], ["all"]);
}

#[test]
fn a_per_node_workload_is_renewed_in_place_a_node_at_a_time() {
    let mut cloud = Cloud::of(4);
    let all = everywhere("all");
    cloud.apply(all.clone());
    cloud.pass(Millis::from_secs(60));
    for (word, revision) in [("good", 2), ("crash", 2)] {
        let mut next = all.clone();
        next.command.push(word.to_owned());
        cloud.apply(next);
        for _ in 0..100 {
            cloud.pass(cloud::REPORT);
            assert!(cloud.healthy("all") >= 3, "{word}: more than one copy was away");
        }
        assert_eq!(cloud.revisions("all"), [revision; 4], "{word}");
        assert_eq!(cloud.healthy("all"), 4, "{word}");
    }
    assert_eq!(cloud.told("rollout-returned").len(), 1);
}

#[test]
fn what_makes_no_sense_of_a_per_node_workload_is_refused() {
    let mut cloud = Cloud::of(1);
    let field = |refusal| match refusal {
        Refusal::BadField { field, .. } => field,
        other => panic!("{other:?}"),
    };
    let mut wrong = everywhere("all");
    wrong.move_policy = MovePolicy::Any;
    assert_eq!(field(cloud.refused(wrong)), "move");
    let mut wrong = everywhere("all");
    wrong.class = Class::Harvest;
    assert_eq!(field(cloud.refused(wrong)), "class");
    let mut wrong = everywhere("all");
    wrong.instances = 2;
    assert_eq!(field(cloud.refused(wrong)), "instances");
    let mut wrong = everywhere("all");
    wrong.constraints.spread = Some("rack".to_owned());
    assert_eq!(field(cloud.refused(wrong)), "constraints.spread");
}

fn depends(name: &str, on: &[&str]) -> WorkloadSpec {
    let mut one = spec(name);
    one.depends_on = on.iter().map(|on| spec(on).key).collect();
    one
}

#[test]
fn nothing_starts_before_what_it_depends_on_is_ready() {
    let mut cloud = Cloud::of(2);
    cloud.apply(depends("web", &["api"]));
    cloud.apply(depends("api", &["database", "migration"]));
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout().len(), 0, "the database is missing");
    let summary = |cloud: &Cloud, name: &str| {
        let id = cloud.state.workload_keyed(&spec(name).key).unwrap().id;
        let id = cloud.state.of_workload(id).next().unwrap();
        let forecast = predict::forecast(&cloud.state, cloud.now);
        explain(&cloud.state, &forecast, id, cloud.now).unwrap().summary.to_string()
    };
    let missing = "waits: it depends on city/test/app/database, which is not there";
    assert_eq!(summary(&cloud, "api"), missing);
    let mut database = spec("database");
    database.command.push("hang".to_owned());
    cloud.apply(database);
    let mut migration = spec("migration");
    migration.kind = Kind::Job;
    migration.command.push("hang".to_owned());
    cloud.apply(migration.clone());
    cloud.pass(Millis::from_secs(20));
    let unhealthy = "waits: it depends on city/test/app/database, which has no healthy copy";
    assert_eq!(summary(&cloud, "api"), unhealthy);
    cloud.apply(spec("database"));
    cloud.pass(Millis::from_secs(60));
    let unfinished = "waits: it depends on city/test/app/migration, which has not ended well";
    assert_eq!(summary(&cloud, "api"), unfinished);
    migration.command.push("end".to_owned());
    cloud.apply(migration);
    cloud.pass(Millis::from_secs(60));
    assert_eq!((cloud.healthy("api"), cloud.healthy("web")), (1, 1));
    // What depends on it goes on when it is away again.
    let operation = cloud.operation();
    cloud.must(Command::StopWorkload { operation, key: spec("database").key });
    cloud.pass(Millis::from_secs(60));
    assert_eq!(cloud.healthy("api"), 1);
}

#[test]
fn workloads_that_depend_on_each_other_in_a_circle_are_refused() {
    let mut cloud = Cloud::of(1);
    assert!(matches!(cloud.refused(depends("a", &["a"])), Refusal::Circle(_)));
    cloud.apply(depends("a", &["b"]));
    cloud.apply(depends("b", &["c"]));
    let refusal = cloud.refused(depends("c", &["d", "a"]));
    assert!(matches!(refusal, Refusal::Circle(_)), "{refusal:?}");
    cloud.apply(depends("c", &["d"]));
    assert!(matches!(cloud.refused(depends("d", &["a"])), Refusal::Circle(_)));
}
