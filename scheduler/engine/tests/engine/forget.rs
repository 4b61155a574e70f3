//! Scenarios of forgetting: when a node may leave the register, and what becomes of what it had.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use tengyun_engine::event::EventKind;
use tengyun_engine::{Command, Outcome, Proof, Refusal, State, check};
use tengyun_model::{Kind, Member, Millis, MovePolicy, NodeId, Phase, VolumeSpec};

use crate::cloud::{Cloud, facts, spec};

const FIRST: NodeId = NodeId::new(1);

/// Says the wish and returns why it was refused, if so.
fn forget(cloud: &mut Cloud, node: NodeId, proof: Proof) -> Option<Refusal> {
    let operation = cloud.operation();
    match cloud.try_to(Command::ForgetNode { operation, node, proof }) {
        Outcome::Applied(_) => None,
        Outcome::Refused(refusal) => Some(refusal),
    }
}

fn lose(cloud: &mut Cloud, node: NodeId, proof: Proof) {
    cloud.must(Command::DisconnectNode(node));
    let operation = cloud.operation();
    cloud.must(Command::AcknowledgeLoss { operation, nodes: vec![node], proof });
}

/// What is kept as durable state is the same after a replay, and sound.
fn sound(cloud: &Cloud) {
    assert_eq!(check::check_state(&cloud.state), []);
    let image = cloud.state.image();
    let again = State::from_image(image.clone()).unwrap();
    assert_eq!(again.image(), image);
    assert_eq!(check::check_state(&again), []);
}

#[test]
fn only_a_lost_node_on_which_nothing_may_run_is_forgotten() {
    let mut cloud = Cloud::of(2);
    cloud.set(&[("consolidate", 0)]);
    cloud.apply(spec("web"));
    cloud.pass(Millis::from_secs(30));
    assert_eq!(cloud.layout()[&1], ["web"]);
    assert_eq!(forget(&mut cloud, FIRST, Proof::Silence), Some(Refusal::NotLost(FIRST)));
    lose(&mut cloud, FIRST, Proof::Silence);
    let kept = Refusal::MayStillRun { node: FIRST, instances: 1 };
    assert_eq!(forget(&mut cloud, FIRST, Proof::Silence), Some(kept));
    let nobody = NodeId::new(99);
    assert_eq!(forget(&mut cloud, nobody, Proof::Death), Some(Refusal::UnknownNode(nobody)));
    assert_eq!(forget(&mut cloud, FIRST, Proof::Death), None);
    sound(&cloud);
    assert!(cloud.state.node(FIRST).is_none());
    cloud.settle();
    cloud.pass(Millis::from_secs(30));
    assert_eq!((cloud.layout()[&2].as_slice(), cloud.healthy("web")), (&["web".to_owned()][..], 1));
    let told = cloud.events.iter().find(|e| e.kind == EventKind::NodeForgotten).unwrap();
    assert_eq!(told.node, Some("n1".parse().unwrap()));
    assert!(cloud.events.iter().any(|e| e.kind == EventKind::Queued && e.at == told.at));
}

#[test]
fn a_forgotten_node_that_joins_again_is_another_one() {
    let mut cloud = Cloud::of(1);
    lose(&mut cloud, FIRST, Proof::Silence);
    assert_eq!(forget(&mut cloud, FIRST, Proof::Silence), None);
    sound(&cloud);
    cloud.must(Command::RegisterNode(facts(1)));
    let again = cloud.state.node_named(&"n1".parse().unwrap()).unwrap();
    assert_ne!(again.id, FIRST, "its agent may have an assignment of the old one");
    assert!(cloud.state.member(&Member::Node("n1".parse().unwrap())).is_none());
}

#[test]
fn volumes_and_copies_that_belong_to_a_node_go_with_it() {
    let mut cloud = Cloud::of(2);
    cloud.set(&[("consolidate", 0)]);
    let mut everywhere = spec("everywhere");
    (everywhere.kind, everywhere.move_policy) = (Kind::PerNode, MovePolicy::Never);
    cloud.apply(everywhere);
    let mut keeps = spec("keeps");
    keeps.move_policy = MovePolicy::Never;
    let size = tengyun_model::Mebibytes::new(10);
    keeps.volumes =
        vec![VolumeSpec { name: "data".parse().unwrap(), path: "data".to_owned(), size }];
    keeps.constraints.labels = [("node".to_owned(), "n1".to_owned())].into();
    cloud.apply(keeps);
    cloud.pass(Millis::from_secs(30));
    assert_eq!(cloud.layout()[&1], ["everywhere", "keeps"]);
    // What had ended there is part of what happened.
    let mut job = spec("job");
    (job.kind, job.move_policy) = (Kind::Job, MovePolicy::Never);
    job.command.push("end".to_owned());
    job.constraints.labels = [("node".to_owned(), "n1".to_owned())].into();
    cloud.apply(job);
    cloud.pass(Millis::from_secs(30));
    lose(&mut cloud, FIRST, Proof::Silence);
    assert!(forget(&mut cloud, FIRST, Proof::Silence).is_some());
    assert_eq!(forget(&mut cloud, FIRST, Proof::Death), None);
    sound(&cloud);
    assert_eq!(cloud.state.homes().count(), 0);
    let everywhere = cloud.state.instances().filter(|i| i.node.is_none());
    let waiting: Vec<String> =
        everywhere.map(|i| cloud.state.spec(i).key.name.to_string()).collect();
    assert_eq!(waiting, ["keeps"], "it may start elsewhere, the copy of the node may not");
    let ended = cloud.state.instances().filter(|i| i.status.phase == Phase::Succeeded);
    assert_eq!(ended.count(), 1);
    cloud.pass(Millis::from_secs(30));
    assert_eq!(cloud.healthy("everywhere"), 1);
}

#[test]
fn a_node_with_volumes_that_are_kept_is_not_forgotten_on_silence_alone() {
    let mut cloud = Cloud::of(1);
    let mut keeps = spec("keeps");
    keeps.move_policy = MovePolicy::Never;
    let size = tengyun_model::Mebibytes::new(10);
    keeps.volumes =
        vec![VolumeSpec { name: "data".parse().unwrap(), path: "data".to_owned(), size }];
    let key = keeps.key.clone();
    cloud.apply(keeps);
    cloud.pass(Millis::from_secs(30));
    let operation = cloud.operation();
    cloud.must(Command::StopWorkload { operation, key });
    cloud.pass(Millis::from_secs(10));
    lose(&mut cloud, FIRST, Proof::Silence);
    let kept = Refusal::HasVolumes { node: FIRST, copies: 1 };
    assert_eq!(forget(&mut cloud, FIRST, Proof::Silence), Some(kept));
}
