//! The versions of the policy: what was set is kept, bounded, and can be returned to exactly.

use std::collections::BTreeMap;

use tengyun_engine::{Command, Outcome, Refusal, State};

use crate::cloud::Cloud;

fn set(cloud: &mut Cloud, label: &str, knobs: &[(&str, u64)]) -> Outcome {
    let values = knobs.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
    let operation = cloud.operation();
    cloud.try_to(Command::SetPolicy { operation, values, label: label.to_owned() })
}

#[test]
fn every_version_is_kept_with_what_it_set_and_where_it_is_from() {
    let mut cloud = Cloud::of(1);
    set(&mut cloud, "energy", &[("band_ceiling", 1000), ("consolidate", 1)]);
    set(&mut cloud, "", &[]);
    let kept: Vec<_> = cloud.state.policies().cloned().collect();
    assert_eq!(kept.len(), 2);
    assert_eq!((kept[0].version, kept[0].label.as_str()), (1, "energy"));
    // What was chosen as it is by default is not kept: a new default shall reach it.
    assert_eq!(kept[0].values, BTreeMap::from([("band_ceiling".to_owned(), 1000)]));
    assert_eq!((kept[1].version, kept[1].values.len()), (2, 0));
    assert_eq!(cloud.state.policy_of(1).unwrap(), &kept[0]);
    assert_eq!(cloud.state.policy_of(3), Err(Refusal::NoPolicyVersion(3)));
    assert!(cloud.told("policy-changed")[0].contains("version 1 (energy): band_ceiling=1000"));
}

#[test]
fn a_refused_policy_makes_no_version() {
    let mut cloud = Cloud::of(1);
    set(&mut cloud, "good", &[("band_floor", 500)]);
    for (label, knobs) in [
        ("bad", [("band_floor", 1001)]),
        ("bad", [("nope", 1)]),
        ("new\nline", [("band_floor", 1)]),
        (&*"x".repeat(65), [("band_floor", 1)]),
    ] {
        let outcome = set(&mut cloud, label, &knobs);
        assert!(matches!(outcome, Outcome::Refused(_)), "{label:?} {knobs:?}");
    }
    assert_eq!(cloud.state.policy_version(), 1);
    assert_eq!(cloud.state.policies().count(), 1);
    assert_eq!(cloud.state.policy().value("band_floor"), Some(500));
}

#[test]
fn versions_are_bounded_and_stay_through_an_image() {
    let mut cloud = Cloud::of(1);
    for value in 1..=150 {
        set(&mut cloud, &format!("try {value}"), &[("moves_per_pass", value + 10)]);
    }
    let kept: Vec<u64> = cloud.state.policies().map(|p| p.version).collect();
    assert_eq!(kept, (51..=150).collect::<Vec<u64>>());
    let again = State::from_image(cloud.state.image()).unwrap();
    assert_eq!(again.image(), cloud.state.image());
    let mut image = cloud.state.image();
    image.policies.reverse();
    assert_eq!(State::from_image(image).unwrap_err(), Refusal::Stale("the versions of the policy"));
    // A snapshot of before versions were kept has none, and goes on.
    let mut image = cloud.state.image();
    image.policies.clear();
    assert_eq!(State::from_image(image).unwrap().policies().count(), 0);
}
