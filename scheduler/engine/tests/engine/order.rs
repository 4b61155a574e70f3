//! The order of input: nodes that join and workloads that are applied in another order get the same plan.
//!
//! What holds, and is tested here: nodes may be numbered in any way and workloads submitted in any order;
//! the same number of nodes is used, and every copy comes to a node of the same size, for fleets of mixed
//! sizes in which no two workloads ask for the same amounts. Choices between nodes that are alike fall by
//! their numbers, so which of those it is may differ; of two workloads that ask for the very same either
//! may have the better place.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tengyun_engine::Command;
use tengyun_model::{Class, Mebibytes, Millicores, Millis, NodeFacts, WorkloadKey, WorkloadSpec};

use crate::cloud::{Cloud, facts, spec};

/// Cores and GiB of a node: no two sizes have the same shape.
const SIZES: [(u64, u64); 4] = [(8, 24), (16, 80), (32, 112), (64, 320)];
const NODES: usize = 10;
const WORKLOADS: usize = 14;
/// Plans that may follow each other at one moment, as in the properties of any history.
const ROUNDS: u32 = 6;

fn a_node(number: usize, size: usize) -> NodeFacts {
    let mut facts = facts(u32::try_from(number).unwrap());
    let (cores, memory) = SIZES[size];
    facts.capacity.cpu = Millicores::new(cores * 1000);
    facts.capacity.memory = Mebibytes::new(memory * 1024);
    facts.capacity.disk = Mebibytes::new(1 << 20);
    facts.labels.insert("size".to_owned(), size.to_string());
    facts
}

fn some_nodes() -> impl Strategy<Value = Vec<NodeFacts>> {
    prop::collection::vec(0..SIZES.len(), NODES).prop_map(|sizes| {
        sizes.into_iter().enumerate().map(|(at, size)| a_node(at + 1, size)).collect()
    })
}

/// Workloads whose amounts are all different, by their number.
fn some_workloads() -> impl Strategy<Value = Vec<WorkloadSpec>> {
    let one = (0..3_u8, 1..24_u64, 1..24_u64, 1..4_u32, 0..6_u8);
    prop::collection::vec(one, WORKLOADS).prop_map(|all| {
        let make = |(at, (class, cpu, memory, copies, tie)): (usize, (u8, u64, u64, u32, u8))| {
            let own = u64::try_from(at).unwrap();
            let mut spec = spec(&format!("w{at}"));
            spec.class = [Class::Critical, Class::Standard, Class::Standard][usize::from(class)];
            spec.resources.cpu = Millicores::new(cpu * 500 + own * 7);
            spec.resources.memory = Mebibytes::new(memory * 700 + own * 13);
            spec.instances = copies;
            if usize::from(tie) < SIZES.len() {
                spec.constraints.labels.insert("size".to_owned(), tie.to_string());
            }
            if tie == 5 {
                spec.constraints.anti_affinity = vec![spec.key.clone()];
            }
            spec
        };
        all.into_iter().enumerate().map(make).collect()
    })
}

fn cloud(nodes: &[NodeFacts], workloads: &[WorkloadSpec]) -> Cloud {
    let mut cloud = Cloud::of(0);
    cloud.rounds = ROUNDS;
    for facts in nodes {
        let tengyun_engine::Effect::Node(id) = cloud.must(Command::RegisterNode(facts.clone()))
        else {
            panic!("a node that registers has an id");
        };
        cloud.must(Command::ConnectNode(id));
    }
    for spec in workloads {
        cloud.apply(spec.clone());
    }
    cloud
}

/// The nodes in use, and how many copies of each workload are on nodes of each size; none is `None`.
fn seen(cloud: &Cloud) -> (usize, BTreeMap<(WorkloadKey, Option<u64>), usize>) {
    let mut copies = BTreeMap::new();
    for instance in cloud.state.instances() {
        let node = instance.node.and_then(|node| cloud.state.node(node));
        let size = node.map(|node| node.facts.capacity.cpu.get());
        *copies.entry((cloud.state.spec(instance).key.clone(), size)).or_insert(0) += 1;
    }
    (cloud.layout().len(), copies)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_of_nodes_and_workloads_is_irrelevant_to_what_a_plan_costs(
        (nodes, other_nodes) in some_nodes().prop_flat_map(|n| (Just(n.clone()), Just(n).prop_shuffle())),
        (workloads, other_workloads) in
            some_workloads().prop_flat_map(|w| (Just(w.clone()), Just(w).prop_shuffle())),
    ) {
        let mut one = cloud(&nodes, &workloads);
        let mut other = cloud(&other_nodes, &other_workloads);
        one.settle();
        other.settle();
        prop_assert_eq!(seen(&one), seen(&other));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// `Cloud::pass` settles after every report and asserts that planning again moves nothing.
    #[test]
    fn planning_again_moves_nothing_in_fleets_of_mixed_sizes_either(
        nodes in some_nodes(),
        workloads in some_workloads(),
        shares in prop::collection::vec(5..95_u64, WORKLOADS),
    ) {
        let mut cloud = cloud(&nodes, &workloads);
        cloud.set(&[("history_min_seconds", 600), ("consolidate_interval_seconds", 60)]);
        for (spec, share) in workloads.iter().zip(shares) {
            let used = spec.resources.cpu.get() * share / 100;
            cloud.uses.insert(spec.key.name.to_string(), used);
        }
        cloud.pass_in_steps(Millis::from_secs(60), 90);
        prop_assert!(cloud.state.moves_total() < 1000);
    }
}
