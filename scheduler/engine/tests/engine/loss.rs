//! Scenarios of silence: which nodes count as lost, and what becomes of what they ran. The names D1,
//! D2, D6 and D19 are those of the catalogue of disasters.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use std::collections::BTreeSet;

use tengyun_engine::explain::explain;
use tengyun_engine::liveness::{Condition, Mode, condition, standing};
use tengyun_engine::{Command, NodeWish, Outcome, Proof, Refusal, State, check, predict};
use tengyun_model::{Millis, NodeId, OnLost, Phase, PortSpec};

use crate::cloud::{self, Cloud, REPORT, facts, spec};
use crate::operate::wish;

/// Nodes with a restarting and a waiting workload on the first one; the scheduler has listened for
/// long.
fn watched(nodes: u32) -> Cloud {
    let mut cloud = Cloud::of(nodes);
    cloud.watches = true;
    cloud.set(&[("consolidate", 0)]);
    for (name, on_lost) in [("moves", OnLost::Restart), ("waits", OnLost::Wait)] {
        let mut app = spec(name);
        app.on_lost = on_lost;
        app.instances = 2;
        cloud.apply(app);
    }
    cloud.pass(Millis::from_secs(400));
    assert_eq!(cloud.layout()[&1], ["moves", "moves", "waits", "waits"]);
    cloud
}

fn cut(cloud: &mut Cloud, nodes: impl IntoIterator<Item = u32>) {
    for node in nodes {
        cloud.must(Command::DisconnectNode(NodeId::new(node)));
    }
}

fn heal(cloud: &mut Cloud, nodes: impl IntoIterator<Item = u32>) {
    for node in nodes {
        cloud.must(Command::ConnectNode(NodeId::new(node)));
    }
}

fn lost(cloud: &Cloud) -> usize {
    cloud.state.nodes().filter(|n| n.loss.is_some()).count()
}

fn is(cloud: &Cloud, node: u32) -> Condition {
    condition(&cloud.state, cloud.state.node(NodeId::new(node)).unwrap(), cloud.now)
}

fn acknowledge(cloud: &mut Cloud, nodes: impl IntoIterator<Item = u32>, proof: Proof) {
    let operation = cloud.operation();
    let nodes = nodes.into_iter().map(NodeId::new).collect();
    cloud.must(Command::AcknowledgeLoss { operation, nodes, proof });
}

#[test]
fn a_silent_node_is_suspect_then_lost_and_only_what_may_restarts_elsewhere() {
    let mut cloud = watched(4);
    cut(&mut cloud, [1]);
    cloud.pass(Millis::from_secs(5));
    assert_eq!(is(&cloud, 1), Condition::Away);
    cloud.pass(Millis::from_secs(25));
    assert_eq!((is(&cloud, 1), lost(&cloud)), (Condition::Suspect, 0));
    cloud.rounds = 2;
    cloud.pass(Millis::from_secs(35));
    assert_eq!(is(&cloud, 1), Condition::Lost);
    let layout = cloud.layout();
    assert_eq!(
        layout[&1],
        ["moves", "moves", "waits", "waits"],
        "what the lost node has is not forgotten"
    );
    assert_eq!(layout[&2], ["moves", "moves"], "and only what may runs elsewhere");
    let waits = cloud.state.instances().find(|i| cloud.state.spec(i).on_lost == OnLost::Wait);
    let waits = waits.unwrap().status.instance;
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let explained = explain(&cloud.state, &forecast, waits, cloud.now).unwrap();
    assert!(explained.summary.to_string().contains("which is lost"), "{}", explained.summary);
    assert!(
        explained.remedy.to_string().contains("acknowledge-loss n1 --dead"),
        "{}",
        explained.remedy
    );
}

#[test]
fn a_returned_node_stops_the_copy_that_was_started_elsewhere_and_keeps_the_rest() {
    let mut cloud = watched(4);
    cut(&mut cloud, [1]);
    cloud.rounds = 2;
    cloud.pass(Millis::from_secs(90));
    let assigned = |cloud: &Cloud| {
        let assignment = cloud.state.assignment(NodeId::new(1)).unwrap();
        assignment.instances.iter().map(|i| i.spec.key.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(assigned(&cloud), ["waits", "waits"], "never two copies are wanted at once");
    heal(&mut cloud, [1]);
    cloud.look();
    assert_eq!(is(&cloud, 1), Condition::Returned);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(is(&cloud, 1), Condition::Connected);
    let layout = cloud.layout();
    assert_eq!((&layout[&1], &layout[&2]), (&vec!["waits".into(); 2], &vec!["moves".into(); 2]));
}

#[test]
fn a_waiting_copy_is_spread_by_what_is_left_after_a_loss() {
    let mut cloud = Cloud::of(4);
    for node in [3, 4] {
        wish(&mut cloud, node, NodeWish::Cordon);
    }
    let mut app = spec("app");
    app.instances = 3;
    app.ports = vec![PortSpec { name: "http".parse().unwrap(), number: Some(80) }];
    app.constraints.spread = Some("rack".to_owned());
    cloud.apply(app);
    cloud.pass(REPORT);
    assert_eq!(cloud.layout().keys().copied().collect::<Vec<_>>(), [1, 2], "the third waits");
    // Both in one pass: a copy is given up, and there is room again in either rack.
    acknowledge(&mut cloud, [2], Proof::Death);
    for node in [3, 4] {
        wish(&mut cloud, node, NodeWish::Serve);
    }
    cloud.rounds = 2;
    cloud.settle();
    let layout = cloud.layout();
    assert!(layout.contains_key(&3) && layout.contains_key(&4), "two racks: {layout:?}");
}

#[test]
fn d1_a_cut_of_thirty_percent_evicts_nothing_and_heals() {
    let mut cloud = watched(60);
    let before = cloud.layout();
    cut(&mut cloud, 1..=18);
    cloud.pass(Millis::from_secs(25 * 60));
    assert_eq!(lost(&cloud), 0);
    assert_eq!(cloud.layout(), before);
    let standing = standing(&cloud.state, cloud.now);
    assert_eq!((standing.mode, standing.silent, standing.fleet), (Mode::Held, 18, 60));
    heal(&mut cloud, 1..=18);
    cloud.pass(Millis::from_secs(60));
    assert_eq!(cloud.layout(), before, "0 instances stopped, 0 started twice");
    assert!((1..=18).all(|node| is(&cloud, node) == Condition::Connected));
}

#[test]
fn the_last_ones_to_return_from_a_cut_are_not_lost_meanwhile() {
    let mut cloud = watched(60);
    let before = cloud.layout();
    cut(&mut cloud, 1..=18);
    cloud.pass(Millis::from_secs(180));
    // Agents try again in their own time; now so few are silent that each could be broken.
    heal(&mut cloud, 2..=18);
    cloud.pass(Millis::from_secs(100));
    assert_eq!((lost(&cloud), standing(&cloud.state, cloud.now).mode), (0, Mode::Usual));
    assert_eq!(cloud.layout(), before, "0 instances stopped, 0 started twice");
    // One that does not come back is lost all the same.
    cloud.rounds = 2;
    cloud.pass(Millis::from_secs(40));
    assert_eq!((lost(&cloud), is(&cloud, 1)), (1, Condition::Lost));
}

#[test]
fn all_nodes_cut_off_evict_nothing() {
    let mut cloud = watched(3);
    cut(&mut cloud, 1..=3);
    cloud.pass(Millis::from_secs(3600));
    assert_eq!(lost(&cloud), 0);
}

#[test]
fn d2_a_scheduler_that_was_paused_declares_nothing_lost() {
    let mut cloud = watched(10);
    // Nothing was heard and nothing was looked at for an hour.
    cloud.now = cloud.now.after(Millis::from_secs(3600));
    cloud.look();
    assert_eq!(lost(&cloud), 0);
    assert!((1..=10).all(|node| is(&cloud, node) == Condition::Connected));
    // One of them does not come back: it counts as lost after the grace only.
    cut(&mut cloud, [2]);
    cloud.pass(Millis::from_secs(115));
    assert_eq!(lost(&cloud), 0);
    cloud.pass(Millis::from_secs(15));
    assert_eq!(lost(&cloud), 1);
}

#[test]
fn after_a_start_nothing_is_lost_until_agents_had_time_to_return() {
    let mut cloud = watched(5);
    let mut restarted = State::from_image(cloud.state.image()).unwrap();
    std::mem::swap(&mut cloud.state, &mut restarted);
    cloud.now = cloud.now.after(Millis::from_secs(7200));
    cloud.must(Command::BeginEpoch);
    heal(&mut cloud, 2..=5);
    cloud.pass(Millis::from_secs(100));
    assert_eq!((is(&cloud, 1), lost(&cloud)), (Condition::Suspect, 0));
    cloud.rounds = 2;
    cloud.pass(Millis::from_secs(30));
    assert_eq!(is(&cloud, 1), Condition::Lost);
}

/// When nodes were declared lost within so many reports.
fn losses(cloud: &mut Cloud, reports: usize) -> Vec<tengyun_model::At> {
    let mut before = lost(cloud);
    let mut when = Vec::new();
    for _ in 0..reports {
        cloud.pass(REPORT);
        let now = lost(cloud);
        assert!(now - before <= 1);
        if now > before {
            when.push(cloud.now);
        }
        before = now;
    }
    when
}

#[test]
fn d1_a_cut_of_one_percent_loses_at_most_one_node_in_ten_seconds() {
    let mut cloud = watched(200);
    cut(&mut cloud, [10, 21, 32, 43]);
    let when = losses(&mut cloud, 60);
    assert_eq!(when.len(), 4);
    assert!(when.windows(2).all(|w| w[1].since(w[0]) >= Millis::from_secs(10)), "{when:?}");
}

#[test]
fn d1_a_cut_of_five_percent_loses_at_most_one_node_in_a_hundred_seconds() {
    let mut cloud = watched(200);
    cut(&mut cloud, (10..=100).step_by(10));
    let when = losses(&mut cloud, 120);
    assert_eq!(standing(&cloud.state, cloud.now).mode, Mode::Slow);
    assert!(when.len() >= 5, "{when:?}");
    assert!(when.windows(2).all(|w| w[1].since(w[0]) >= Millis::from_secs(100)), "{when:?}");
}

#[test]
fn four_silent_nodes_of_one_large_rack_are_lost_slowly_though_the_fleet_is_well() {
    let mut cloud = watched(200);
    for number in 201..=212 {
        let mut facts = facts(number);
        facts.labels.insert("rack".to_owned(), "large".to_owned());
        cloud.must(Command::RegisterNode(facts));
        heal(&mut cloud, [number]);
    }
    cloud.pass(Millis::from_secs(10));
    cut(&mut cloud, 201..=203);
    cloud.pass(Millis::from_secs(40));
    assert_eq!(standing(&cloud.state, cloud.now).mode, Mode::Usual);
    cut(&mut cloud, [204]);
    cloud.pass(Millis::from_secs(40));
    assert_eq!(standing(&cloud.state, cloud.now).mode, Mode::Slow);
    let when = losses(&mut cloud, 60);
    assert!(when.len() >= 2, "{when:?}");
    assert!(when.windows(2).all(|w| w[1].since(w[0]) >= Millis::from_secs(100)), "{when:?}");
}

#[test]
fn the_only_copy_starts_elsewhere_with_proof_alone() {
    let mut cloud = Cloud::of(4);
    cloud.watches = true;
    let mut app = spec("only");
    app.on_lost = OnLost::Restart;
    cloud.apply(app);
    cloud.pass(Millis::from_secs(400));
    cut(&mut cloud, [1]);
    cloud.rounds = 2;
    cloud.pass(Millis::from_secs(120));
    assert_eq!(is(&cloud, 1), Condition::Lost);
    assert_eq!(cloud.layout().keys().copied().collect::<Vec<_>>(), [1]);
    let only = cloud.state.instances().next().unwrap().status.instance;
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let explained = explain(&cloud.state, &forecast, only, cloud.now).unwrap();
    assert!(explained.summary.to_string().contains("the only copy"), "{}", explained.summary);
    acknowledge(&mut cloud, [1], Proof::Death);
    cloud.settle();
    assert!(cloud.layout().contains_key(&2), "{:?}", cloud.layout());
}

#[test]
fn a_rack_of_which_half_is_silent_is_held_though_the_fleet_is_well() {
    let mut cloud = watched(100);
    for number in 101..=104 {
        let mut facts = facts(number);
        facts.labels.insert("rack".to_owned(), "small".to_owned());
        cloud.must(Command::RegisterNode(facts));
        heal(&mut cloud, [number]);
    }
    cloud.pass(Millis::from_secs(10));
    cut(&mut cloud, [101, 102]);
    cloud.pass(Millis::from_secs(600));
    assert_eq!(lost(&cloud), 0);
    assert_eq!(standing(&cloud.state, cloud.now).held.len(), 2);
    // When the rack comes back, its last node has time to return.
    heal(&mut cloud, [101]);
    cloud.pass(Millis::from_secs(100));
    assert_eq!((lost(&cloud), standing(&cloud.state, cloud.now).held.len()), (0, 0));
    cloud.pass(Millis::from_secs(40));
    assert_eq!(lost(&cloud), 1);
}

#[test]
fn an_operators_word_ends_the_waiting_and_proof_of_death_restarts_everything() {
    let mut cloud = watched(3);
    cut(&mut cloud, 1..=2);
    cloud.pass(Millis::from_secs(300));
    assert_eq!(lost(&cloud), 0, "two of three are too many");
    cloud.rounds = 2;
    acknowledge(&mut cloud, [1, 2], Proof::Silence);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout()[&3], ["moves", "moves"]);
    acknowledge(&mut cloud, [1], Proof::Death);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout()[&3], ["moves", "moves", "waits", "waits"]);
    let operation = cloud.operation();
    let nobody = Command::AcknowledgeLoss { operation, nodes: vec![], proof: Proof::Death };
    assert_eq!(cloud.try_to(nobody), Outcome::Refused(Refusal::NobodySilent));
}

/// D6: at no moment are two copies of one wanted, whatever is cut off and healed in whatever order.
#[test]
fn d6_cuts_and_healings_never_want_a_copy_twice() {
    let mut cloud = watched(6);
    cloud.rounds = 4;
    let mut seed = 7_u32;
    let mut away = BTreeSet::new();
    for _ in 0..400 {
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let node = seed / 65_536 % 6 + 1;
        if away.insert(node) {
            cut(&mut cloud, [node]);
        } else {
            away.remove(&node);
            heal(&mut cloud, [node]);
        }
        cloud.pass(Millis::from_secs(u64::from(seed / 7 % 90)));
        assert_eq!(check::check_state(&cloud.state), []);
    }
    heal(&mut cloud, 1..=6);
    cloud.pass(Millis::from_secs(60));
    assert_eq!(cloud.state.instances().count(), 4, "consistent again");
    assert!(cloud.state.instances().all(|i| i.status.phase == Phase::Healthy));
    let mut replayed = State::new();
    for entry in cloud.entries.iter().filter(|e| e.command.is_durable()) {
        replayed.apply(entry);
    }
    assert_eq!(replayed.image(), cloud.state.image());
}

#[test]
fn d19_a_workload_under_which_three_nodes_were_lost_is_held_until_it_is_released() {
    let mut cloud = Cloud::of(40);
    cloud.watches = true;
    cloud.rounds = 3;
    cloud.set(&[("consolidate", 0)]);
    cloud.pass(Millis::from_secs(130));
    let mut poison = spec("poison");
    poison.on_lost = OnLost::Restart;
    poison.instances = 2;
    let key = poison.key.clone();
    cloud.apply(poison);
    let mut harmed = BTreeSet::new();
    for _ in 0..400 {
        cloud.pass(REPORT);
        let here = cloud.state.instances().filter(|i| i.node.is_some());
        let on: Vec<u32> = here.filter_map(|i| i.node).map(NodeId::get).collect();
        for node in on.into_iter().filter(|n| !harmed.contains(n)).collect::<Vec<_>>() {
            harmed.insert(node);
            cut(&mut cloud, [node]);
        }
        // Whoever was harmed longer ago is repaired, so that the network is never to blame.
        let repaired: Vec<u32> =
            harmed.iter().copied().filter(|n| is(&cloud, *n) == Condition::Lost).collect();
        let more = repaired.len() > 1;
        heal(&mut cloud, repaired.into_iter().filter(|_| more).take(1));
    }
    assert_eq!(harmed.len(), 3, "{harmed:?}");
    assert!(cloud.state.workload_keyed(&key).unwrap().is_held());
    assert!(cloud.events.iter().any(|e| e.kind == "workload-held"));
    let id = cloud.state.instances().last().unwrap().status.instance;
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let explained = explain(&cloud.state, &forecast, id, cloud.now).unwrap();
    assert!(explained.remedy.to_string().contains("tengyun release"), "{explained:?}");
    let operation = cloud.operation();
    cloud.must(Command::ReleaseWorkload { operation, key: key.clone() });
    assert!(!cloud.state.workload_keyed(&key).unwrap().is_held());
    cloud.pass(Millis::from_secs(60));
    let nodes = cloud.state.nodes().filter(|n| cloud.state.connected(n.id));
    let runs = nodes.map(|n| cloud.state.assignment(n.id).unwrap().instances.len());
    assert_eq!(runs.sum::<usize>(), 2, "released, it runs again");
}

#[test]
fn a_crash_loop_is_told_and_explained() {
    let mut cloud = Cloud::of(1);
    cloud.apply(spec("app"));
    cloud.pass(Millis::from_secs(10));
    let id = cloud.state.instances().next().unwrap().status.instance;
    let mut status = cloud::healthy(id, cloud.now);
    status.phase = Phase::BackingOff;
    status.exit = Some(tengyun_model::Exit::Code(3));
    let node = NodeId::new(1);
    let generation = cloud.state.node(node).unwrap().generation;
    let instances = vec![status];
    cloud.must(Command::ObserveInstances { node, generation, instances, gone: vec![] });
    let event = cloud.events.last().unwrap();
    assert_eq!(
        (event.kind.as_str(), event.message.to_string().as_str()),
        ("restarting", "exit code 3")
    );
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let explained = explain(&cloud.state, &forecast, id, cloud.now).unwrap();
    assert!(
        explained.summary.to_string().starts_with("crashes on n1: exit code 3"),
        "{}",
        explained.summary
    );
}
