//! Random fleets of servers of many sizes under constant use: they settle, and nothing goes to and fro.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tengyun_engine::{Command, Move};
use tengyun_model::{Mebibytes, Millicores, Millis, NodeId, WorkloadId};

use crate::cloud::{Cloud, facts, spec};

/// How often is looked, and reported: a few times a window.
const STEP: Millis = Millis::from_secs(60);
/// How long is watched: nearly as long as a move has to pay. Margins narrow all the while, because nothing
/// is wrong, so a node may be emptied late.
const WATCHED: Millis = Millis::from_secs(20 * 3600);
/// One workload: copies, CPU asked and used of each in millicores, memory in mebibytes.
type Load = (u32, u64, u64, u64);

fn a_load() -> impl Strategy<Value = Load> {
    (1..4_u32, 50..900_u64, 0..100_u64, 16..700_u64)
        .prop_map(|(copies, asked, share, memory)| (copies, asked, asked * share / 100, memory))
}

/// Servers of so many cores each.
fn fleet(cores: &[u64]) -> Cloud {
    let mut cloud = Cloud::of(0);
    for (number, cores) in (1..).zip(cores) {
        let mut facts = facts(number);
        facts.capacity.cpu = Millicores::new(cores * 1000);
        facts.capacity.memory = Mebibytes::new(cores * 4096);
        cloud.must(Command::RegisterNode(facts));
        cloud.must(Command::ConnectNode(NodeId::new(number)));
    }
    cloud
}

/// A cloud of such servers with these workloads, at constant use from the beginning.
fn cloud(cores: &[u64], loads: &[Load]) -> Cloud {
    let mut cloud = fleet(cores);
    cloud.rounds = 8;
    for (number, (copies, asked, used, memory)) in loads.iter().enumerate() {
        let name = format!("w{number}");
        let mut spec = spec(&name);
        spec.instances = *copies;
        spec.resources.cpu = Millicores::new(*asked);
        spec.resources.memory = Mebibytes::new(*memory);
        cloud.uses.insert(name, *used);
        cloud.apply(spec);
    }
    cloud
}

/// Where each copy was, one place after the other.
type Ways = BTreeMap<(WorkloadId, u32), Vec<NodeId>>;

/// Watches where copies are. One that waited and starts is a use that was not there before: what moves to
/// make it fit is not to and fro, so all is noted anew from then on.
fn watch(cloud: &mut Cloud, time: Millis) -> Ways {
    let (mut ways, begun) = (Ways::new(), cloud.now);
    while cloud.now.since(begun) < time {
        let seen = cloud.entries.len();
        cloud.pass_in_steps(STEP, 1);
        let plans = cloud.entries[seen..].iter().filter_map(|entry| match &entry.command {
            Command::CommitPlan(plan) => Some(plan.moves.as_slice()),
            _ => None,
        });
        if plans.flatten().any(|step| matches!(step, Move::Start { .. })) {
            ways.clear();
        }
        note(cloud, &mut ways);
    }
    ways
}

/// Notes where the newest instance of each copy is.
fn note(cloud: &Cloud, ways: &mut Ways) {
    let mut newest = BTreeMap::new();
    for instance in cloud.state.instances() {
        if let Some(node) = instance.node {
            newest.insert((instance.workload, instance.ordinal), node);
        }
    }
    for (copy, node) in newest {
        let way = ways.entry(copy).or_default();
        if way.last() != Some(&node) {
            way.push(node);
        }
    }
}

/// How often a copy came to a node that it had been on.
fn returns(way: &[NodeId]) -> usize {
    let seen: BTreeSet<_> = way.iter().collect();
    way.len() - seen.len()
}

/// Three copies are too large for the line of a server of one core, and two of them for that of one of two:
/// whoever was relieved of one handed it to the next.
#[test]
fn what_is_too_large_for_every_node_is_not_handed_round() {
    let mut cloud = cloud(&[1, 1, 1, 2], &[(3, 829, 770, 451), (1, 80, 25, 24)]);
    let ways = watch(&mut cloud, Millis::from_secs(4 * 3600));
    let moves: usize = ways.values().map(|way| way.len() - 1).sum();
    assert!(moves <= 4, "{ways:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn constant_use_settles_and_no_copy_goes_back_more_than_once(
        cores in prop::collection::vec(prop_oneof![Just(1_u64), Just(2), Just(4), Just(8)], 2..9),
        loads in prop::collection::vec(a_load(), 1..14),
    ) {
        let mut cloud = cloud(&cores, &loads);
        for (copy, way) in watch(&mut cloud, WATCHED) {
            prop_assert!(returns(&way) <= 1, "{copy:?} does not settle: {way:?}");
        }
    }
}
