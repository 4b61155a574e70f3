//! Overload that no move relieves: the planner gives up, and says so with the reason.

use tengyun_engine::explain::outlook;
use tengyun_engine::place::stuck::Stuck;
use tengyun_engine::predict;
use tengyun_model::{Millicores, Millis, MovePolicy};

use crate::cloud::{Cloud, REPORT, spec};

/// Lets three copies that used little use more than their node has, for half an hour.
fn overloaded(nodes: u32, moves: MovePolicy) -> (Cloud, Vec<Stuck>) {
    let mut cloud = Cloud::of(nodes);
    cloud.rounds = 8;
    let mut web = spec("web");
    web.instances = 3;
    web.move_policy = moves;
    web.resources.cpu = Millicores::new(200);
    for used in [150, 400] {
        cloud.uses.insert("web".to_owned(), used);
        if used == 150 {
            cloud.apply(web.clone());
        }
        let begun = cloud.now;
        while cloud.now.since(begun) < Millis::from_secs(1800) {
            cloud.pass(REPORT);
        }
    }
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let found = outlook(&cloud.state, &forecast, cloud.now).stuck;
    (cloud, found)
}

#[test]
fn what_must_not_move_is_given_up_and_said_to_be_stuck() {
    let (cloud, found) = overloaded(3, MovePolicy::Never);
    let [one] = found.as_slice() else { panic!("one node is stuck: {found:?}") };
    assert_eq!((one.instances, one.stay), (3, 3));
    assert!(cloud.plan().moves.is_empty(), "nothing is tried in vain");
}

#[test]
fn what_has_nowhere_to_go_is_said_to_be_stuck() {
    let (_, found) = overloaded(1, MovePolicy::Any);
    let [one] = found.as_slice() else { panic!("one node is stuck: {found:?}") };
    assert_eq!((one.instances, one.stay), (3, 0));
}

#[test]
fn what_a_move_relieves_is_not_stuck() {
    let (cloud, found) = overloaded(3, MovePolicy::Any);
    assert_eq!(found, []);
    assert!(cloud.state.moves_total() > 0, "it was relieved");
}
