//! Ports that the state chooses: unique on a node, kept, avoided where others listen.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::collections::BTreeSet;

use tengyun_engine::{Command, Refusal, State, explain, predict};
use tengyun_model::{
    Class, Exit, InstanceId, Mebibytes, Millis, NodeId, Phase, PortSpec, WorkloadSpec,
};

use crate::cloud::{Cloud, healthy, spec};

fn serving(name: &str, instances: u32) -> WorkloadSpec {
    let mut serving = spec(name);
    serving.instances = instances;
    serving.resources.memory = Mebibytes::new(64);
    serving.ports = vec![PortSpec { name: "http".parse().unwrap(), number: None }];
    serving
}

/// The chosen ports of everything wanted, by ascending instance.
fn chosen(cloud: &Cloud) -> Vec<u16> {
    let instances = cloud.state.instances();
    instances.flat_map(|i| i.ports.values().copied().collect::<Vec<_>>()).collect()
}

#[test]
fn chosen_ports_are_unique_and_part_of_the_assignment() {
    let mut cloud = Cloud::of(1);
    cloud.apply(serving("web", 3));
    cloud.pass(Millis::from_secs(5));
    assert_eq!(chosen(&cloud), [20_000, 20_001, 20_002]);
    let assignment = cloud.state.assignment(NodeId::new(1)).unwrap();
    let numbers = assignment.instances.iter().map(|i| i.spec.ports[0].number.unwrap());
    assert_eq!(numbers.collect::<Vec<_>>(), [20_000, 20_001, 20_002]);
    let image = cloud.state.image();
    let again = State::from_image(image.clone()).unwrap();
    assert_eq!(again.image(), image);
    assert_eq!(again.assignment(NodeId::new(1)), Some(assignment));
}

#[test]
fn a_port_that_is_free_again_is_the_last_to_be_chosen_again() {
    let mut cloud = Cloud::of(1);
    cloud.set(&[("port_last", 20_004)]);
    let mut seen = Vec::new();
    for round in 0..7 {
        cloud.apply(serving(&format!("web{round}"), 1));
        cloud.pass(Millis::from_secs(5));
        seen.extend(chosen(&cloud));
        let key = spec(&format!("web{round}")).key;
        let operation = cloud.operation();
        cloud.must(Command::DeleteWorkload { operation, key });
        cloud.pass(Millis::from_secs(5));
    }
    assert_eq!(seen, [20_000, 20_001, 20_002, 20_003, 20_004, 20_000, 20_001]);
}

#[test]
fn a_port_that_a_workload_names_is_never_chosen_for_another() {
    let mut cloud = Cloud::of(1);
    let mut names = spec("names");
    names.ports = vec![PortSpec { name: "http".parse().unwrap(), number: Some(20_001) }];
    // Applied together: neither is placed yet when the other is.
    cloud.apply(serving("web", 2));
    cloud.apply(names);
    cloud.pass(Millis::from_secs(5));
    assert_eq!(chosen(&cloud), [20_000, 20_002]);
    assert!(cloud.state.instances().all(|i| i.node.is_some()));
}

#[test]
fn harvest_stays_where_its_eviction_would_free_no_port() {
    let mut cloud = Cloud::of(1);
    cloud.set(&[("port_first", 20_000), ("port_last", 20_000)]);
    let memory = cloud.state.node(NodeId::new(1)).unwrap().facts.capacity.memory;
    let mut web = serving("web", 2);
    web.resources.memory = Mebibytes::new(memory.get() / 4);
    cloud.apply(web);
    let mut harvest = spec("harvest");
    harvest.class = Class::Harvest;
    harvest.resources.memory = Mebibytes::new(memory.get() * 5 / 8);
    cloud.apply(harvest);
    // Neither fits beside the other two; the second web would lack a port even without harvest.
    cloud.pass(Millis::from_secs(60));
    let runs = |i: &&tengyun_engine::InstanceImage| i.node.is_some();
    let names = cloud.state.instances().filter(runs).map(|i| cloud.state.spec(i).key.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["web", "harvest"]);
}

#[test]
fn a_port_that_another_program_listens_on_is_replaced_and_avoided() {
    let mut cloud = Cloud::of(1);
    cloud.apply(serving("web", 1));
    cloud.settle();
    let revision = cloud.state.instance(InstanceId::new(1)).unwrap().revision;
    let mut status = healthy(InstanceId::new(1), cloud.now);
    status.phase = Phase::BackingOff;
    status.exit = Some(Exit::PortTaken(20_000));
    let node = NodeId::new(1);
    let generation = cloud.state.node(node).unwrap().generation;
    let instances = vec![status.clone()];
    cloud.must(Command::ObserveInstances { node, generation, instances, gone: Vec::new() });
    assert_eq!(chosen(&cloud), [20_001]);
    let instance = cloud.state.instance(InstanceId::new(1)).unwrap();
    assert_eq!(instance.revision, revision, "it is the same revision");
    assert!(cloud.state.node(node).unwrap().generation > generation, "its agent is told");
    // What is said of the port that it had before changes nothing more.
    status.incarnation = status.incarnation.next();
    let generation = cloud.state.node(node).unwrap().generation;
    let instances = vec![status];
    cloud.must(Command::ObserveInstances { node, generation, instances, gone: Vec::new() });
    assert_eq!(chosen(&cloud), [20_001]);
    cloud.set(&[("port_last", 20_002)]);
    cloud.apply(serving("other", 2));
    cloud.settle();
    assert_eq!(chosen(&cloud), [20_001, 20_002], "the one taken by a stranger is not chosen");
    // A reboot ends the stranger.
    let mut facts = crate::cloud::facts(1);
    facts.inventory.boot_id = tengyun_model::BootId::new(7);
    cloud.must(Command::RegisterNode(facts));
    cloud.settle();
    assert_eq!(chosen(&cloud), [20_001, 20_002, 20_000]);
}

#[test]
fn one_without_a_free_port_waits_and_explain_says_so() {
    let mut cloud = Cloud::of(1);
    cloud.set(&[("port_last", 20_001)]);
    cloud.apply(serving("web", 3));
    cloud.pass(Millis::from_secs(5));
    let waiting: Vec<_> = cloud.state.instances().filter(|i| i.node.is_none()).collect();
    assert_eq!(waiting.len(), 1);
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let id = waiting[0].status.instance;
    let explained = explain::explain(&cloud.state, &forecast, id, cloud.now).unwrap();
    assert_eq!(explained.nodes[0].refusal, Some(Refusal::NoPort { wanted: 1, left: 0 }));
    assert!(explained.remedy.to_string().contains("port_first"), "{}", explained.remedy);
    cloud.set(&[]);
    cloud.settle();
    assert_eq!(chosen(&cloud), [20_000, 20_001, 20_002]);
}

#[test]
fn a_workload_is_renewed_in_place_on_other_ports() {
    let mut cloud = Cloud::of(1);
    cloud.apply(serving("web", 2));
    cloud.pass(Millis::from_secs(10));
    let mut newer = serving("web", 2);
    newer.command.push("newer".to_owned());
    cloud.apply(newer);
    cloud.pass(Millis::from_secs(60));
    assert_eq!(chosen(&cloud).into_iter().collect::<BTreeSet<_>>(), [20_002, 20_003].into());
    assert!(cloud.state.instances().all(|i| i.revision.get() == 2));
}
