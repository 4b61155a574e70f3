//! The reserve: nodes are emptied only while the loss of the largest node or rack could be borne.

use crate::cloud::{Cloud, facts, spec};
use tengyun_engine::Command;
use tengyun_engine::explain::outlook;
use tengyun_engine::place::reserve::Standing;
use tengyun_engine::policy::Reserve;
use tengyun_engine::predict;
use tengyun_model::{Class, Mebibytes, Millicores, Millis, NodeId};

/// What its workloads ask for, and use, of CPU and how many instances each has.
struct App {
    node: u32,
    instances: u32,
    cpu: u64,
}

/// Puts applications on the nodes that they name, and then lets them go anywhere.
fn settle(cloud: &mut Cloud, apps: &[App]) {
    let wanted = |app: &App| {
        let mut wanted = spec(&format!("app{}", app.node));
        wanted.resources.cpu = Millicores::new(app.cpu);
        wanted.instances = app.instances;
        wanted
    };
    for app in apps {
        let mut tied = wanted(app);
        tied.constraints.labels.insert("node".to_owned(), format!("n{}", app.node));
        cloud.uses.insert(format!("app{}", app.node), app.cpu);
        cloud.apply(tied);
    }
    cloud.pass(Millis::from_secs(30));
    assert_eq!(cloud.layout().len(), apps.len());
    for app in apps {
        cloud.apply(wanted(app));
    }
    cloud.pass(Millis::from_secs(3600));
}

/// Makes a node four times as large as the others.
fn be_large(cloud: &mut Cloud, number: u32) {
    let mut large = facts(number);
    large.capacity.cpu = Millicores::new(4000);
    large.capacity.memory = Mebibytes::new(16_384);
    cloud.must(Command::RegisterNode(large));
    cloud.must(Command::ConnectNode(NodeId::new(number)));
}

fn standing(cloud: &Cloud) -> Option<Standing> {
    let forecast = predict::forecast(&cloud.state, cloud.now);
    outlook(&cloud.state, &forecast, cloud.now).reserve
}

/// A large node with a lot on it and two small ones with little each.
fn with_a_large_node(reserve: u64, idle: bool) -> Cloud {
    let mut cloud = Cloud::of(3);
    cloud.set(&[("reserve", reserve)]);
    be_large(&mut cloud, 1);
    if idle {
        be_large(&mut cloud, 4);
    }
    let app = |node, cpu| App { node, instances: 1, cpu };
    settle(&mut cloud, &[app(1, 2000), app(2, 300), app(3, 300)]);
    cloud
}

#[test]
fn a_fleet_that_would_be_emptied_is_not_while_its_largest_node_could_not_be_lost() {
    let without = with_a_large_node(0, false);
    assert_eq!((without.layout().len(), standing(&without)), (1, None));
    let with = with_a_large_node(1, false);
    assert_eq!(with.layout().len(), 3, "{:?}", with.layout());
    let against = Reserve::Node;
    assert_eq!(standing(&with), Some(Standing { against, held: false, needed: 4, there: 3 }));
}

#[test]
fn an_idle_node_that_is_on_is_room() {
    let cloud = with_a_large_node(1, true);
    assert_eq!(cloud.layout().len(), 1, "{:?}", cloud.layout());
    // The large one in use, and the idle one that everything would go to.
    let against = Reserve::Node;
    assert_eq!(standing(&cloud), Some(Standing { against, held: true, needed: 2, there: 4 }));
}

/// Two racks of two nodes, with two instances on each.
fn with_racks(reserve: u64, cpu: u64) -> Cloud {
    let mut cloud = Cloud::of(4);
    cloud.set(&[("reserve", reserve)]);
    let apps: Vec<App> = (1..=4).map(|node| App { node, instances: 2, cpu }).collect();
    settle(&mut cloud, &apps);
    cloud
}

#[test]
fn a_rack_whose_loss_could_not_be_borne_keeps_nodes_in_use() {
    // Three nodes are enough for two cores, and for the loss of a node; two nodes are not.
    assert_eq!(with_racks(0, 250).layout().len(), 3);
    assert_eq!(with_racks(1, 250).layout().len(), 3);
    let racks = with_racks(2, 250);
    assert_eq!(racks.layout().len(), 4, "{:?}", racks.layout());
    let against = Reserve::Rack;
    assert_eq!(standing(&racks), Some(Standing { against, held: false, needed: 5, there: 4 }));
}

#[test]
fn a_reserve_that_is_there_keeps_no_node_in_use() {
    let cloud = with_racks(2, 60);
    assert_eq!(cloud.layout().len(), 1, "{:?}", cloud.layout());
    let standing = standing(&cloud).expect("it is asked for");
    assert!(standing.held && standing.needed <= 3 && standing.there == 4, "{standing:?}");
}

#[test]
fn memory_counts_and_harvest_gives_way() {
    let mut cloud = Cloud::of(3);
    cloud.set(&[("reserve", 1), ("consolidate", 0)]);
    let mut app = spec("app");
    (app.instances, app.resources.memory) = (2, Mebibytes::new(3000));
    cloud.apply(app.clone());
    cloud.pass(Millis::from_secs(30));
    let mut harvest = spec("harvest");
    harvest.class = Class::Harvest;
    harvest.resources.memory = Mebibytes::new(900);
    harvest.instances = 2;
    cloud.apply(harvest);
    cloud.pass(Millis::from_secs(30));
    let held = Some(Standing { against: Reserve::Node, held: true, needed: 3, there: 3 });
    assert_eq!(standing(&cloud), held);
    app.instances = 3;
    cloud.apply(app);
    cloud.pass(Millis::from_secs(30));
    let missing = Some(Standing { against: Reserve::Node, held: false, needed: 4, there: 3 });
    assert_eq!(standing(&cloud), missing);
}

#[test]
fn nodes_that_are_closed_or_away_are_no_room() {
    let mut cloud = with_racks(1, 60);
    assert_eq!(standing(&cloud).map(|standing| standing.there), Some(4));
    let operation = cloud.operation();
    let wish = tengyun_engine::NodeWish::Cordon;
    cloud.must(Command::SetNodeWish { operation, node: NodeId::new(2), wish });
    cloud.must(Command::DisconnectNode(NodeId::new(3)));
    assert_eq!(standing(&cloud).map(|standing| standing.there), Some(2));
}
