//! Volumes: what has any stays with them, whatever happens to its node.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use tengyun_engine::image::{HomeFate, InstanceWish};
use tengyun_engine::{
    Command, InstanceImage, NodeWish, Outcome, Proof, Refusal, State, StopReason, explain, predict,
};
use tengyun_model::{
    CopyKey, InstanceId, Mebibytes, Millicores, Millis, NodeId, OnLost, Phase, VolumeSpec,
    WorkloadSpec,
};

use crate::cloud::{Cloud, REPORT, healthy, spec};

fn keeping(name: &str) -> WorkloadSpec {
    let mut keeping = spec(name);
    keeping.volumes = vec![VolumeSpec {
        name: "data".parse().unwrap(),
        path: "data".to_owned(),
        size: Mebibytes::new(4000),
    }];
    keeping
}

fn copy(name: &str) -> CopyKey {
    CopyKey { workload: spec(name).key, ordinal: 0 }
}

fn only(cloud: &Cloud, name: &str) -> InstanceImage {
    let key = spec(name).key;
    let mut all = cloud.state.instances().filter(|i| cloud.state.spec(i).key == key);
    let one = all.next().unwrap().clone();
    assert!(all.next().is_none(), "more than one instance of {name}");
    one
}

fn wish(cloud: &mut Cloud, node: u32, wish: NodeWish) {
    let (operation, node) = (cloud.operation(), NodeId::new(node));
    cloud.must(Command::SetNodeWish { operation, node, wish });
}

/// A cloud of three nodes with one copy that has a volume, on the second.
fn settled() -> Cloud {
    let mut cloud = Cloud::of(3);
    wish(&mut cloud, 1, NodeWish::Cordon);
    wish(&mut cloud, 3, NodeWish::Cordon);
    cloud.apply(keeping("db"));
    cloud.pass(Millis::from_secs(30));
    wish(&mut cloud, 1, NodeWish::Serve);
    wish(&mut cloud, 3, NodeWish::Serve);
    assert_eq!(only(&cloud, "db").node, Some(NodeId::new(2)));
    cloud
}

#[test]
fn a_copy_with_volumes_returns_to_them_after_a_stop_and_after_a_delete() {
    let mut cloud = settled();
    for delete in [false, true] {
        let (operation, key) = (cloud.operation(), spec("db").key);
        cloud.must(if delete {
            Command::DeleteWorkload { operation, key }
        } else {
            Command::StopWorkload { operation, key }
        });
        cloud.pass(REPORT);
        let key = spec("db").key;
        assert!(cloud.state.instances().all(|i| cloud.state.spec(i).key != key));
        assert_eq!(cloud.state.home(&copy("db")), Some(NodeId::new(2)));
        // Another fills the first node: a plan would choose it by load.
        cloud.apply(spec("other"));
        cloud.apply(keeping("db"));
        cloud.pass(Millis::from_secs(10));
        assert_eq!(only(&cloud, "db").node, Some(NodeId::new(2)), "deleted: {delete}");
    }
    let image = cloud.state.image();
    assert_eq!(State::from_image(image.clone()).unwrap().image(), image);
}

#[test]
fn what_has_volumes_never_moves() {
    let mut cloud = settled();
    let id = only(&cloud, "db").status.instance;
    // Not by a drain, even by force.
    for how in [NodeWish::Drain, NodeWish::DrainByForce] {
        wish(&mut cloud, 2, how);
        cloud.pass(Millis::from_secs(600));
        assert_eq!(only(&cloud, "db").status.instance, id, "{how:?}");
        let forecast = predict::forecast(&cloud.state, cloud.now);
        let left = explain::leaving(&cloud.state, &forecast, NodeId::new(2), cloud.now);
        assert_eq!(left[0].state, "keeps-volumes");
    }
    wish(&mut cloud, 2, NodeWish::Serve);
    // Not by an operator.
    let operation = cloud.operation();
    let moved = cloud.try_to(Command::MoveInstance { operation, instance: id, to: NodeId::new(1) });
    assert_eq!(moved, Outcome::Refused(Refusal::KeepsVolumes));
    // Not to empty its node, and not because others crowd it.
    cloud.pass(Millis::from_secs(3600));
    cloud.foreign.insert(NodeId::new(2), 950);
    cloud.uses.insert("db".to_owned(), 300);
    cloud.pass(Millis::from_secs(3600));
    assert_eq!(only(&cloud, "db").status.instance, id);
}

#[test]
fn a_renewal_stops_the_old_copy_before_the_new_one_starts_beside_its_volumes() {
    let mut cloud = settled();
    let mut newer = keeping("db");
    newer.resources.cpu = Millicores::new(200);
    cloud.apply(newer);
    let plan = cloud.settle();
    assert_eq!(plan.moves.len(), 1, "{plan:?}");
    let all: Vec<InstanceImage> = cloud.state.instances().cloned().collect();
    assert_eq!(all[0].wish, InstanceWish::Stop(StopReason::Renewed));
    assert_eq!((all[1].node, all[1].status.phase), (None, Phase::Waiting));
    // While the old one may run the new one waits.
    cloud.now = cloud.now.after(Millis::from_secs(60));
    assert_eq!(cloud.settle().moves, []);
    cloud.pass(Millis::from_secs(10));
    let new = only(&cloud, "db");
    assert_eq!((new.node, new.revision.get()), (Some(NodeId::new(2)), 2));
}

#[test]
fn copies_with_volumes_are_renewed_one_after_the_other() {
    let mut cloud = Cloud::of(3);
    let mut db = keeping("db");
    db.instances = 3;
    cloud.apply(db.clone());
    cloud.pass(Millis::from_secs(30));
    let homes: Vec<_> = cloud.state.homes().map(|h| (h.copy.ordinal, h.node)).collect();
    db.command.push("newer".to_owned());
    cloud.apply(db);
    let is_healthy = |i: &&InstanceImage| i.status.phase == Phase::Healthy;
    for _ in 0..20 {
        cloud.pass(REPORT);
        assert!(cloud.state.instances().filter(is_healthy).count() >= 2);
    }
    assert!(cloud.state.instances().all(|i| i.revision.get() == 2));
    let after: Vec<_> = cloud.state.homes().map(|h| (h.copy.ordinal, h.node)).collect();
    assert_eq!(after, homes);
}

#[test]
fn a_lost_node_keeps_its_copy_until_an_operator_knows_that_it_is_dead() {
    let mut cloud = settled();
    let mut restart = keeping("db");
    restart.on_lost = OnLost::Restart;
    assert!(matches!(cloud.refused(restart), Refusal::BadField { field: "on_lost", .. }));
    cloud.must(Command::DisconnectNode(NodeId::new(2)));
    cloud.must(Command::DeclareLost(NodeId::new(2)));
    cloud.pass(Millis::from_secs(600));
    assert_eq!(only(&cloud, "db").node, Some(NodeId::new(2)));
    // Stopped and wanted again it waits for its volumes all the same.
    let (operation, key) = (cloud.operation(), spec("db").key);
    cloud.must(Command::StopWorkload { operation, key });
    cloud.apply(keeping("db"));
    cloud.pass(Millis::from_secs(600));
    let waiting: Vec<_> = cloud.state.instances().filter(|i| i.node.is_none()).collect();
    assert_eq!(waiting.len(), 1);
    let (operation, nodes) = (cloud.operation(), vec![NodeId::new(2)]);
    cloud.must(Command::AcknowledgeLoss { operation, nodes, proof: Proof::Death });
    cloud.pass(Millis::from_secs(30));
    let new = cloud.state.home(&copy("db")).unwrap();
    assert_ne!(new, NodeId::new(2), "it starts elsewhere, empty");
    // The old volumes are still on the node that came back, and nobody's home.
    cloud.must(Command::ConnectNode(NodeId::new(2)));
    cloud.must(Command::DeclareReturned(NodeId::new(2)));
    cloud.pass(Millis::from_secs(600));
    assert_eq!(only(&cloud, "db").node, Some(new));
    let fates: Vec<_> = cloud.state.homes().map(|h| (h.node, h.fate)).collect();
    assert!(fates.contains(&(NodeId::new(2), HomeFate::Abandoned)), "{fates:?}");
}

#[test]
fn volumes_count_as_disk_until_they_are_removed_by_an_operator_s_word() {
    let mut cloud = Cloud::of(1);
    cloud.apply(keeping("one"));
    cloud.apply(keeping("two"));
    cloud.apply(keeping("three"));
    cloud.pass(Millis::from_secs(10));
    let placed = cloud.state.instances().filter(|i| i.node.is_some()).count();
    assert_eq!(placed, 2, "10,000 MiB hold two of 4010");
    let (node, copy) = (NodeId::new(1), copy("one"));
    let delete = |cloud: &mut Cloud| {
        let (operation, copy) = (cloud.operation(), copy.clone());
        cloud.try_to(Command::DeleteVolumes { operation, copy, node })
    };
    let user = only(&cloud, "one").status.instance;
    assert_eq!(delete(&mut cloud), Outcome::Refused(Refusal::VolumesInUse(user)));
    let (operation, key) = (cloud.operation(), spec("one").key);
    cloud.must(Command::DeleteWorkload { operation, key });
    cloud.pass(Millis::from_secs(10));
    assert_eq!(only(&cloud, "three").node, None, "the volumes are still there");
    assert!(matches!(delete(&mut cloud), Outcome::Applied(_)));
    assert_eq!(cloud.state.assignment(node).unwrap().removed, std::slice::from_ref(&copy));
    cloud.settle();
    assert_eq!(only(&cloud, "three").node, None, "they are until their node has removed them");
    cloud.pass(Millis::from_secs(10));
    assert_eq!(only(&cloud, "three").node, Some(node));
    assert!(matches!(delete(&mut cloud), Outcome::Refused(Refusal::UnknownVolumes(_))));
    let kinds: Vec<&str> = cloud.events.iter().map(|e| e.kind.as_str()).collect();
    assert!(kinds.contains(&"volumes-removing") && kinds.contains(&"volumes-removed"));
}

#[test]
fn a_copy_that_waits_for_its_volumes_is_explained() {
    let mut cloud = settled();
    let (operation, key) = (cloud.operation(), spec("db").key);
    cloud.must(Command::StopWorkload { operation, key });
    cloud.pass(REPORT);
    wish(&mut cloud, 2, NodeWish::Cordon);
    cloud.apply(keeping("db"));
    cloud.pass(REPORT);
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let id = only(&cloud, "db").status.instance;
    let explained = explain::explain(&cloud.state, &forecast, id, cloud.now).unwrap();
    assert!(
        explained.summary.to_string().starts_with("waits for n2, where its volumes are"),
        "{explained:?}"
    );
    assert_eq!(explained.nodes[0].refusal, Some(Refusal::VolumesElsewhere(NodeId::new(2))));
    assert!(explained.remedy.to_string().contains("uncordon n2"), "{}", explained.remedy);
}

#[test]
fn a_replacement_that_is_not_healthy_does_not_take_over() {
    let mut cloud = Cloud::of(1);
    cloud.apply(spec("web"));
    cloud.pass(Millis::from_secs(10));
    let mut newer = spec("web");
    newer.command.push("newer".to_owned());
    newer.rollout.healthy = Millis::ZERO;
    cloud.apply(newer);
    cloud.settle();
    let new = cloud.state.instances().find(|i| i.replaces.is_some()).unwrap().status.instance;
    let observe = |cloud: &mut Cloud, phase: Phase, message: &str| {
        let status = tengyun_model::InstanceStatus {
            phase,
            message: message.to_owned(),
            ..healthy(new, cloud.now)
        };
        let node = NodeId::new(1);
        let generation = cloud.state.node(node).unwrap().generation;
        let (instances, gone) = (vec![status], Vec::new());
        cloud.must(Command::ObserveInstances { node, generation, instances, gone });
        cloud.settle()
    };
    assert_eq!(observe(&mut cloud, Phase::Unhealthy, "status 503 of /").moves, []);
    let told = cloud.events.iter().find(|e| e.kind == "unhealthy").expect("it is told");
    assert_eq!(told.message.to_string(), "status 503 of /");
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let old = cloud.state.instance(InstanceId::new(1)).unwrap();
    assert_eq!(old.wish, InstanceWish::Run, "the old copy stays");
    let explained = explain::explain(&cloud.state, &forecast, new, cloud.now).unwrap();
    assert!(explained.summary.to_string().contains("replace"), "{}", explained.summary);
    observe(&mut cloud, Phase::Healthy, "");
    cloud.pass(Millis::from_secs(20));
    assert_eq!(cloud.state.instance(InstanceId::new(1)), None, "the new copy has proved itself");
    assert_eq!(cloud.healthy("web"), 1);
}
