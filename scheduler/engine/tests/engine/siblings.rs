//! Copies that were not measured yet: what their siblings use is what they are placed by.

use tengyun_engine::predict::InstanceForecast;
use tengyun_engine::{Command, predict};
use tengyun_model::{InstanceId, Millicores, Millis};

use crate::cloud::{Cloud, REPORT, spec};

/// Lets so many copies that ask for 800 millicores and use 100 run for a while, and adds one.
fn grown(copies: u32, ran: Millis) -> (Cloud, InstanceForecast, InstanceId) {
    let mut cloud = Cloud::of(6);
    let mut web = spec("web");
    web.instances = copies;
    web.resources.cpu = Millicores::new(800);
    cloud.uses.insert("web".to_owned(), 100);
    cloud.apply(web.clone());
    let begun = cloud.now;
    while cloud.now.since(begun) < ran {
        cloud.pass(REPORT);
    }
    web.instances = copies + 1;
    cloud.apply(web);
    let new = cloud.state.instances().find(|i| i.node.is_none()).expect("one more waits");
    let id = new.status.instance;
    let expected = predict::forecast(&cloud.state, cloud.now).instance(id);
    (cloud, expected, id)
}

const LONG: Millis = Millis::from_secs(2 * 3600);

#[test]
fn a_new_copy_is_expected_to_use_what_its_siblings_use() {
    let (mut cloud, expected, id) = grown(3, LONG);
    assert_eq!(expected.mean, Millicores::new(100));
    assert!(
        expected.deviation > Millicores::ZERO && expected.peak < Millicores::new(400),
        "{expected:?}"
    );
    assert!(!expected.measured, "it was not measured itself, so it is not moved by this");
    let used = |cloud: &Cloud| {
        cloud.state.nodes().filter(|n| cloud.state.on_node(n.id).count() > 0).count()
    };
    let before = used(&cloud);
    cloud.pass(REPORT);
    assert!(cloud.state.instance(id).is_some_and(|i| i.node.is_some()));
    assert_eq!(used(&cloud), before, "it found room beside what it is like");
}

#[test]
fn one_sibling_or_young_ones_say_nothing() {
    for (copies, ran) in [(1, LONG), (3, Millis::from_secs(1800))] {
        let (_, expected, _) = grown(copies, ran);
        assert_eq!(expected.mean, Millicores::new(800), "{copies} copies for {ran:?}");
    }
}

#[test]
fn copies_of_another_revision_and_those_not_heard_lately_are_no_siblings() {
    let (mut cloud, _, id) = grown(3, LONG);
    let late = cloud.now.after(Millis::from_secs(600));
    let expected = predict::forecast(&cloud.state, late).instance(id);
    assert_eq!(expected.mean, Millicores::new(800), "nothing was heard for ten minutes");
    let mut other = spec("web");
    other.instances = 4;
    other.resources.cpu = Millicores::new(700);
    let operation = cloud.operation();
    cloud.must(Command::ApplyWorkload { operation, spec: Box::new(other) });
    let waiting = cloud.state.instances().find(|i| i.node.is_none()).expect("it still waits");
    let expected = predict::forecast(&cloud.state, cloud.now).instance(waiting.status.instance);
    assert_eq!(expected.mean, Millicores::new(700), "the others are of the revision before");
}
