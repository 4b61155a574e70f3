//! Random fleets of servers of many sizes under constant use: they settle, and stay as they are.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tengyun_engine::Command;
use tengyun_model::{Mebibytes, Millicores, Millis, NodeId, WorkloadId};

use crate::cloud::{Cloud, REPORT, facts, spec};

/// How long is watched: long enough for history to begin, for all emptying and for all margins.
const WATCHED: Millis = Millis::from_secs(4 * 3600);
/// What of that at the end must be quiet.
const QUIET: Millis = Millis::from_secs(3600);

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

/// Notes where the newest instance of each copy is; says whether one is elsewhere than before.
fn note(cloud: &Cloud, ways: &mut Ways) -> bool {
    let mut newest = BTreeMap::new();
    for instance in cloud.state.instances() {
        if let Some(node) = instance.node {
            newest.insert((instance.workload, instance.ordinal), node);
        }
    }
    let mut moved = false;
    for (copy, node) in newest {
        let way = ways.entry(copy).or_default();
        if way.last() != Some(&node) {
            moved |= !way.is_empty();
            way.push(node);
        }
    }
    moved
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn constant_use_settles_and_no_copy_goes_back_more_than_once(
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
        let (mut ways, mut last) = (Ways::new(), cloud.now);
        let begun = cloud.now;
        while cloud.now.since(begun) < WATCHED {
            cloud.pass(REPORT);
            if note(&cloud, &mut ways) {
                last = cloud.now;
            }
        }
        prop_assert!(cloud.now.since(last) >= QUIET, "something moved {last:?}: {ways:?}");
        for (copy, way) in &ways {
            let back = way.windows(3).filter(|places| places[0] == places[2]).count();
            prop_assert!(back <= 1, "{copy:?} went to and fro: {way:?}");
        }
    }
}
