//! Power: nodes that draw the fewest watts a core come first where the policy prefers that, and only
//! there.

use tengyun_engine::Command;
use tengyun_model::{Millicores, Millis};

use crate::cloud::{Cloud, facts, spec};

/// Three nodes of a core; what each says that it draws, by the label.
fn nodes_that_draw(watts: [Option<&str>; 3]) -> Cloud {
    let mut cloud = Cloud::of(3);
    for (number, watts) in (1..).zip(watts) {
        let mut facts = facts(number);
        facts.labels.extend(watts.map(|watts| ("power-watts".to_owned(), watts.to_owned())));
        cloud.must(Command::RegisterNode(facts));
    }
    cloud
}

fn node_of_a_first_workload(watts: [Option<&str>; 3], prefers: u64) -> u32 {
    let mut cloud = nodes_that_draw(watts);
    cloud.set(&[("prefer_low_power", prefers)]);
    cloud.apply(spec("one"));
    cloud.pass(Millis::from_secs(10));
    *cloud.layout().keys().next().expect("it is placed")
}

#[test]
fn what_draws_least_is_used_first_where_the_policy_prefers_it() {
    let watts = [Some("117"), Some("135"), Some("90")];
    assert_eq!(node_of_a_first_workload(watts, 1), 3);
    assert_eq!(node_of_a_first_workload(watts, 0), 1, "the first of equals");
}

#[test]
fn a_node_that_does_not_say_or_says_nonsense_comes_last() {
    for nonsense in ["", "0", "-1", "90.5", "90 W", "99999999999999999999", "1000001"] {
        let watts = [Some(nonsense), None, Some("1000000")];
        assert_eq!(node_of_a_first_workload(watts, 1), 3, "{nonsense:?}");
    }
}

#[test]
fn the_nodes_that_draw_most_are_emptied_first() {
    let mut cloud = nodes_that_draw([Some("300"), Some("100"), Some("200")]);
    cloud.set(&[("consolidate", 0)]);
    // One on every node, the fewest instances on the one that draws least.
    for (name, node) in [("a", 1), ("b", 1), ("c", 2), ("d", 3), ("e", 3)] {
        let mut app = spec(name);
        app.constraints.labels.insert("node".to_owned(), format!("n{node}"));
        app.resources.cpu = Millicores::new(100);
        cloud.apply(app);
    }
    for name in ["a", "b", "c", "d", "e"] {
        cloud.uses.insert(name.to_owned(), 100);
    }
    cloud.pass(Millis::from_secs(60));
    assert_eq!(cloud.layout().len(), 3);
    for name in ["a", "b", "c", "d", "e"] {
        let mut app = spec(name);
        app.resources.cpu = Millicores::new(100);
        cloud.apply(app);
    }
    cloud.rounds = 3;
    cloud.set(&[("prefer_low_power", 1), ("history_min_seconds", 60)]);
    cloud.pass(Millis::from_secs(3600));
    assert_eq!(cloud.layout().keys().copied().collect::<Vec<_>>(), [2], "{:?}", cloud.layout());
}

#[test]
fn who_may_go_to_few_nodes_chooses_first() {
    let mut cloud = Cloud::of(2);
    // Both fit on the first node alone; the one tied to it is smaller and came later.
    let mut free = spec("free");
    free.resources.cpu = Millicores::new(700);
    cloud.apply(free);
    let mut tied = spec("tied");
    tied.resources.cpu = Millicores::new(600);
    tied.constraints.labels.insert("node".to_owned(), "n1".to_owned());
    cloud.apply(tied);
    cloud.pass(Millis::from_secs(10));
    assert_eq!(cloud.layout()[&1], ["tied"]);
    assert_eq!(cloud.layout()[&2], ["free"]);
}
