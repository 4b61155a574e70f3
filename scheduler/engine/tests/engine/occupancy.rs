//! Nodes whose disks or links are busy, where agents measure that.

use tengyun_engine::occupancy::Dimension;
use tengyun_engine::{Command, Refusal, explain, predict};
use tengyun_model::{Class, InstanceId, Millis, NodeId, NodeIo, OnLost, Permille, VolumeSpec};

use crate::cloud::{Cloud, spec};

const WINDOW: Millis = Millis::from_secs(300);

fn disk(permille: u32) -> NodeIo {
    NodeIo { disk_busy: Some(Permille::new(permille)), ..NodeIo::default() }
}

fn network(permille: u32) -> NodeIo {
    NodeIo { network_busy: Some(Permille::new(permille)), ..NodeIo::default() }
}

/// A cloud whose first node runs something and so would be filled first, and whose nodes are so busy.
fn cloud(busy: &[(u32, NodeIo)]) -> Cloud {
    let mut cloud = Cloud::of(2);
    // What is elsewhere stays there.
    cloud.set(&[("consolidate", 0)]);
    cloud.uses.insert("first".to_owned(), 50);
    cloud.apply(spec("first"));
    cloud.settle();
    cloud.io = busy.iter().map(|(node, io)| (NodeId::new(*node), *io)).collect();
    cloud.pass(WINDOW);
    assert_eq!(cloud.layout()[&1], ["first"]);
    cloud
}

fn node_of(cloud: &Cloud, name: &str) -> Option<u32> {
    let mut all = cloud.state.instances();
    let found =
        all.find(|i| cloud.state.spec(i).key.name.as_str() == name).expect("it was applied");
    found.node.map(NodeId::get)
}

/// What is said of the newest instance: in one sentence, of the first node, and what would help.
fn explained(cloud: &Cloud) -> (String, Option<&'static str>, String) {
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let newest = cloud.state.instances().last().expect("there is one").status.instance;
    let said = explain::explain(&cloud.state, &forecast, newest, cloud.now).expect("it exists");
    let refused = said.nodes[0].refusal.as_ref().map(Refusal::code);
    (said.summary.to_string(), refused, said.remedy.to_string())
}

#[test]
fn a_node_that_measures_nothing_or_is_calm_is_filled_first() {
    for io in [NodeIo::default(), disk(800), network(800)] {
        let mut cloud = cloud(&[(1, io)]);
        cloud.apply(spec("new"));
        cloud.settle();
        assert_eq!(node_of(&cloud, "new"), Some(1), "{io:?}");
    }
}

#[test]
fn a_busy_node_gets_nothing_new_until_it_calms() {
    let busy = [
        (disk(900), "disk-busy", Dimension::Disk),
        (network(900), "network-busy", Dimension::Network),
    ];
    for (io, code, what) in busy {
        let mut cloud = cloud(&[(1, io)]);
        let level = cloud.state.occupancy(NodeId::new(1), what, cloud.now);
        assert_eq!(level, Some(Permille::new(900)));
        cloud.apply(spec("elsewhere"));
        cloud.settle();
        assert_eq!(node_of(&cloud, "elsewhere"), Some(2), "{code}");
        assert_eq!(node_of(&cloud, "first"), Some(1), "what is there stays");

        cloud.io.insert(NodeId::new(2), io);
        cloud.pass(WINDOW);
        cloud.apply(spec("waits"));
        cloud.settle();
        assert_eq!(node_of(&cloud, "waits"), None, "{code}");
        let (summary, refused, remedy) = explained(&cloud);
        assert_eq!(refused, Some(code));
        let counts = if what == Dimension::Disk { "2, links on 0" } else { "0, links on 2" };
        assert!(summary.ends_with(counts), "{summary}");
        assert!(remedy.contains("_ceiling"), "{remedy}");

        cloud.io.insert(
            NodeId::new(1),
            NodeIo { disk_busy: Some(Permille::ZERO), network_busy: Some(Permille::ZERO), ..io },
        );
        cloud.pass(Millis::from_secs(20));
        assert_eq!(node_of(&cloud, "waits"), None, "a moment of rest is not calm");
        cloud.pass(Millis::from_secs(60));
        assert_eq!(node_of(&cloud, "waits"), Some(1), "{code}");
    }
}

#[test]
fn a_stale_measurement_keeps_nobody_out() {
    let mut cloud = cloud(&[(1, disk(1000)), (2, disk(1000))]);
    cloud.apply(spec("new"));
    cloud.settle();
    assert_eq!(node_of(&cloud, "new"), None);
    // The agents go on reporting, and measure no disks any more.
    cloud.io.clear();
    cloud.pass(Millis::from_secs(60));
    assert_eq!(node_of(&cloud, "new"), None, "it is fresh for a minute");
    cloud.pass(Millis::from_secs(10));
    assert_eq!(node_of(&cloud, "new"), Some(1));
    assert_eq!(cloud.state.occupancy(NodeId::new(1), Dimension::Disk, cloud.now), None);
}

#[test]
fn ceilings_are_knobs_and_a_whole_one_is_off() {
    let mut cloud = cloud(&[(1, disk(900)), (2, disk(900))]);
    cloud.set(&[("disk_busy_ceiling", 1000)]);
    cloud.io.clear();
    cloud.io.insert(NodeId::new(1), disk(1000));
    cloud.pass(WINDOW);
    cloud.apply(spec("new"));
    cloud.settle();
    assert_eq!(node_of(&cloud, "new"), Some(1));
    assert_eq!(cloud.state.occupied(NodeId::new(1), cloud.now), None);
    cloud.set(&[("disk_busy_ceiling", 200)]);
    cloud.io.insert(NodeId::new(1), disk(201));
    cloud.pass(WINDOW);
    let occupied = cloud.state.occupied(NodeId::new(1), cloud.now).unwrap();
    assert_eq!((occupied.what, occupied.share), (Dimension::Disk, Permille::new(201)));
}

#[test]
fn harvest_waits_for_calm_and_what_is_critical_does_not() {
    let mut cloud = cloud(&[(1, disk(900)), (2, network(1000))]);
    let harvest = tengyun_model::WorkloadSpec { class: Class::Harvest, ..spec("harvest") };
    cloud.apply(harvest);
    let critical = tengyun_model::WorkloadSpec { class: Class::Critical, ..spec("critical") };
    cloud.apply(critical);
    cloud.settle();
    assert_eq!(node_of(&cloud, "harvest"), None);
    assert_eq!(node_of(&cloud, "critical"), Some(1), "busy disks are better than no disks");
    let mut cloud = self::cloud(&[(1, disk(900))]);
    cloud.apply(tengyun_model::WorkloadSpec { class: Class::Critical, ..spec("critical") });
    cloud.settle();
    assert_eq!(node_of(&cloud, "critical"), Some(2), "a calm node comes first");
}

#[test]
fn a_copy_comes_home_to_its_volumes_however_busy_the_node_is() {
    let mut cloud = cloud(&[]);
    let volume = VolumeSpec {
        name: "data".parse().unwrap(),
        path: "data".to_owned(),
        size: tengyun_model::Mebibytes::new(10),
    };
    let keeper = tengyun_model::WorkloadSpec {
        volumes: vec![volume],
        on_lost: OnLost::Wait,
        ..spec("keeper")
    };
    cloud.apply(keeper.clone());
    cloud.settle();
    assert_eq!(node_of(&cloud, "keeper"), Some(1));
    cloud.io = [(NodeId::new(1), disk(1000)), (NodeId::new(2), disk(1000))].into();
    cloud.pass(WINDOW);
    // A new revision stops it and starts it where its volumes are.
    let renewed = tengyun_model::WorkloadSpec { command: vec!["/bin/false".to_owned()], ..keeper };
    cloud.rounds = 9;
    cloud.apply(renewed);
    cloud.pass(Millis::from_secs(60));
    let newest = cloud.state.instances().last().unwrap();
    assert_eq!((newest.revision.get(), newest.node), (2, Some(NodeId::new(1))));
}

#[test]
fn an_operator_moves_what_the_planner_would_not_and_replay_asks_nobody() {
    let mut cloud = cloud(&[(2, disk(1000))]);
    let operation = cloud.operation();
    let first = InstanceId::new(1);
    cloud.must(Command::MoveInstance { operation, instance: first, to: NodeId::new(2) });
    let mut again = tengyun_engine::State::new();
    for entry in cloud.entries.iter().filter(|entry| entry.command.is_durable()) {
        again.apply(entry);
    }
    assert_eq!(again.image(), cloud.state.image());
    assert_eq!(again.occupancy(NodeId::new(2), Dimension::Disk, cloud.now), None);
}
