//! Random fleets of servers of many sizes under constant use: they settle, and nothing goes to and fro.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tengyun_engine::Command;
use tengyun_model::{Mebibytes, Millicores, Millis, NodeId, WorkloadId};

use crate::cloud::{Cloud, facts, spec};

/// How often is looked, and reported: a few times a window.
const STEP: Millis = Millis::from_secs(60);
/// How long is watched: nearly as long as a move has to pay. Margins narrow all the while, because nothing
/// is wrong, so a node may be emptied late.
const WATCHED: Millis = Millis::from_secs(20 * 3600);
/// So often a copy moves at most.
const MOVES_MAX: usize = 8;

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

/// Where each copy was, one place after the other.
type Ways = BTreeMap<(WorkloadId, u32), Vec<NodeId>>;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn constant_use_settles_and_hardly_a_copy_goes_back_more_than_once(
        cores in prop::collection::vec(prop_oneof![Just(1_u64), Just(2), Just(4), Just(8)], 2..9),
        loads in prop::collection::vec(a_load(), 1..14),
    ) {
        let mut cloud = fleet(&cores);
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
        let (mut ways, begun) = (Ways::new(), cloud.now);
        while cloud.now.since(begun) < WATCHED {
            cloud.pass_in_steps(STEP, 1);
            note(&cloud, &mut ways);
        }
        let mut again = 0;
        for (copy, way) in &ways {
            let back = way.windows(3).filter(|places| places[0] == places[2]).count();
            again += usize::from(back > 1);
            prop_assert!(back <= 2, "{copy:?} went to and fro: {way:?}");
            prop_assert!(way.len() <= MOVES_MAX + 1, "{copy:?} does not settle: {way:?}");
        }
        // A node that is emptied as margins narrow, and wanted again by a hair, may take one back twice.
        prop_assert!(again <= 1 + ways.len() / 10, "{again} copies went to and fro: {ways:?}");
    }
}
