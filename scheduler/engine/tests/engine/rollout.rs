//! Scenarios of rollouts: good revisions take over without a gap, bad ones return by themselves.

use tengyun_engine::explain::{explain, no_room};
use tengyun_engine::image::InstanceWish;
use tengyun_engine::rollout::{self, Fate, Stage, Steer};
use tengyun_engine::{Command, Effect, NodeWish, Outcome, Refusal, State, predict};
use tengyun_model::{Kind, Millis, MovePolicy, NodeId, Phase, PortSpec, Revision, WorkloadSpec};

use crate::cloud::{self, Cloud, spec};
use crate::operate::wish;

/// A service of some copies whose first revision proved good.
fn good(copies: u32, change: impl FnOnce(&mut WorkloadSpec)) -> (Cloud, WorkloadSpec) {
    let mut cloud = Cloud::of(3);
    cloud.set(&[("consolidate", 0)]);
    let mut app = spec("app");
    app.instances = copies;
    app.resources.cpu = tengyun_model::Millicores::new(20);
    change(&mut app);
    cloud.apply(app.clone());
    cloud.pass(Millis::from_secs(120));
    assert_eq!(cloud.told("rollout-complete"), ["revision 1"]);
    (cloud, app)
}

fn revised(spec: &WorkloadSpec, word: &str) -> WorkloadSpec {
    let mut next = spec.clone();
    next.command.push(word.to_owned());
    next
}

fn steer(cloud: &mut Cloud, steer: Steer) -> Outcome {
    let operation = cloud.operation();
    cloud.try_to(Command::SteerRollout { operation, key: spec("app").key, steer })
}

/// Lets time pass and says how many copies were healthy at the least.
fn pass(cloud: &mut Cloud, secs: u64) -> usize {
    let steps = secs / 5;
    let each = (0..steps).map(|_| {
        cloud.pass(cloud::REPORT);
        cloud.healthy("app")
    });
    each.min().expect("some time passes")
}

#[test]
fn a_bad_revision_returns_by_itself_and_no_healthy_copy_is_lost() {
    for word in ["crash", "hang"] {
        let (mut cloud, app) = good(3, |_| {});
        cloud.apply(revised(&app, word));
        assert_eq!(pass(&mut cloud, 600), 3, "{word}: a healthy copy was lost");
        assert_eq!(cloud.revisions("app"), [1, 1, 1], "{word}");
        let told = cloud.told("rollout-returned");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("from revision 2 to 1: instance "), "{told:?}");
        let workload = cloud.state.workload_keyed(&app.key).unwrap();
        assert_eq!(workload.notes[&Revision::new(2)].fate, Fate::Failed);
        assert_eq!(workload.rollout, None, "it came to rest");
        // The very same is tried again only when it is wished again.
        assert!(matches!(cloud.apply(revised(&app, word)), Effect::Updated(_, r) if r.get() == 3));
    }
}

#[test]
fn a_spread_copy_is_renewed_beside_one_that_the_same_plan_moves() {
    let mut cloud = Cloud::of(4);
    cloud.set(&[("consolidate", 0)]);
    for node in [2, 4] {
        wish(&mut cloud, node, NodeWish::Cordon);
    }
    let mut app = spec("app");
    (app.instances, app.rollout.batch) = (2, 2);
    app.constraints.spread = Some("rack".to_owned());
    app.ports = vec![PortSpec { name: "http".parse().unwrap(), number: Some(80) }];
    cloud.apply(app.clone());
    cloud.pass(Millis::from_secs(120));
    assert_eq!(cloud.layout().keys().copied().collect::<Vec<_>>(), [1, 3], "one rack");
    for node in [2, 4] {
        wish(&mut cloud, node, NodeWish::Serve);
    }
    app.ports.clear();
    cloud.apply(revised(&app, "next"));
    cloud.pass(Millis::from_secs(120));
    assert_eq!(cloud.revisions("app"), [2, 2]);
}

#[test]
fn a_revision_that_fails_after_some_copies_comes_back_from_all_of_them() {
    let (mut cloud, app) = good(4, |_| {});
    cloud.apply(revised(&app, "later"));
    while cloud.revisions("app").iter().filter(|r| **r == 2).count() < 3 {
        assert!(pass(&mut cloud, 5) >= 4, "a healthy copy was lost");
    }
    // A copy that took the place of an old one crashes.
    let of = |i: &&tengyun_engine::InstanceImage| i.revision.get() == 2 && i.replaces.is_none();
    let instance = cloud.state.instances().find(of).unwrap();
    let (node, mut status) = (instance.node.unwrap(), instance.status.clone());
    status.phase = Phase::BackingOff;
    let generation = cloud.state.node(node).unwrap().generation;
    let instances = vec![status];
    cloud.must(Command::ObserveInstances { node, generation, instances, gone: vec![] });
    assert!(pass(&mut cloud, 300) >= 3);
    assert_eq!(cloud.revisions("app"), [1, 1, 1, 1]);
    assert_eq!(cloud.told("rollout-returned").len(), 1);
}

#[test]
fn a_new_copy_whose_checks_fail_later_brings_the_good_revision_back() {
    let (mut cloud, app) = good(3, |_| {});
    cloud.apply(revised(&app, "later"));
    while !cloud.revisions("app").contains(&2) || cloud.healthy("app") < 4 {
        pass(&mut cloud, 5);
    }
    let instance = cloud.state.instances().find(|i| i.revision.get() == 2).unwrap();
    let (node, mut status) = (instance.node.unwrap(), instance.status.clone());
    status.phase = Phase::Unhealthy;
    status.message = "503 of /healthy".to_owned();
    let generation = cloud.state.node(node).unwrap().generation;
    let instances = vec![status];
    cloud.must(Command::ObserveInstances { node, generation, instances, gone: vec![] });
    assert!(pass(&mut cloud, 120) >= 3, "a healthy copy was lost");
    assert_eq!(cloud.revisions("app"), [1, 1, 1]);
    let told = cloud.told("rollout-returned");
    assert!(told[0].ends_with("is not any more: 503 of /healthy"), "{told:?}");
}

#[test]
fn a_good_revision_takes_over_in_batches_and_never_below_the_copies_asked() {
    let (mut cloud, app) = good(6, |app| app.rollout.batch = 2);
    cloud.apply(revised(&app, "good"));
    for _ in 0..60 {
        assert!(pass(&mut cloud, 5) >= 6, "a healthy copy was lost");
        let moving = cloud.state.instances().filter(|i| i.replaces.is_some()).count();
        assert!(moving <= 2, "{moving} are more than the batch");
    }
    assert_eq!(cloud.revisions("app"), [2; 6]);
    assert_eq!(cloud.told("rollout-complete"), ["revision 1", "revision 2"]);
}

#[test]
fn a_new_copy_stays_healthy_for_a_while_before_its_old_one_stops() {
    let (mut cloud, app) = good(1, |app| app.rollout.healthy = Millis::from_secs(60));
    cloud.apply(revised(&app, "good"));
    cloud.settle();
    pass(&mut cloud, 55);
    assert_eq!(cloud.healthy("app"), 2, "the old copy stopped too early");
    pass(&mut cloud, 20);
    assert_eq!(cloud.revisions("app"), [2]);
}

#[test]
fn what_must_not_move_is_renewed_in_place_and_comes_back_in_place() {
    let (mut cloud, app) = good(1, |app| app.move_policy = MovePolicy::Never);
    let node = cloud.state.instances().next().unwrap().node;
    for (word, revision) in [("good", 2), ("crash", 2), ("hang", 2)] {
        cloud.apply(revised(&app, word));
        cloud.settle();
        let old = cloud.state.instances().find(|i| i.node.is_some()).unwrap();
        assert!(matches!(old.wish, InstanceWish::Stop(_)), "{word}: the old one stops first");
        for _ in 0..80 {
            pass(&mut cloud, 5);
            let places: Vec<_> = cloud.state.instances().filter_map(|i| i.node).collect();
            assert!(places.len() <= 1, "{word}: two copies at once");
            assert!(places.iter().all(|place| Some(*place) == node), "{word}: it moved");
        }
        assert_eq!(cloud.revisions("app"), [revision], "{word}");
        assert_eq!(cloud.healthy("app"), 1, "{word}");
    }
    assert_eq!(cloud.told("rollout-returned").len(), 2);
}

#[test]
fn a_rollout_that_must_not_return_halts_and_goes_on_when_it_is_resumed() {
    let (mut cloud, app) = good(2, |app| app.rollout.auto_return = false);
    cloud.apply(revised(&app, "crash"));
    assert_eq!(pass(&mut cloud, 300), 2);
    let workload = cloud.state.workload_keyed(&app.key).unwrap();
    assert_eq!(workload.rollout.as_ref().map(|r| r.stage), Some(Stage::Halted));
    let summary = rollout::summary(&cloud.state, workload, cloud.now).to_string();
    assert!(summary.contains("has failed and waits"), "{summary}");
    let id = cloud.state.instances().next().unwrap().status.instance;
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let explained = explain(&cloud.state, &forecast, id, cloud.now).unwrap();
    assert!(
        explained.summary.to_string().contains("has failed and waits"),
        "{}",
        explained.summary
    );
    assert_eq!(cloud.told("rollout-halted").len(), 1);
    assert!(matches!(steer(&mut cloud, Steer::Resume), Outcome::Applied(_)));
    pass(&mut cloud, 120);
    assert_eq!(cloud.told("rollout-halted").len(), 2, "it failed again");
    assert!(matches!(steer(&mut cloud, Steer::Undo(None)), Outcome::Applied(_)));
    assert_eq!(pass(&mut cloud, 60), 2);
    assert_eq!(cloud.revisions("app"), [1, 1]);
}

#[test]
fn some_failures_are_allowed_where_a_department_says_so() {
    let (mut cloud, app) = good(2, |app| app.rollout.failure_limit = 3);
    cloud.apply(revised(&app, "crash"));
    pass(&mut cloud, 20);
    assert_eq!(cloud.told("rollout-returned").len(), 0, "one failure is allowed");
    pass(&mut cloud, 200);
    assert_eq!(cloud.told("rollout-returned").len(), 1);
}

#[test]
fn a_paused_rollout_replaces_nothing_until_it_is_resumed() {
    let (mut cloud, app) = good(3, |_| {});
    assert!(matches!(steer(&mut cloud, Steer::Pause), Outcome::Refused(Refusal::NoRollout(_))));
    cloud.apply(revised(&app, "good"));
    assert!(matches!(steer(&mut cloud, Steer::Pause), Outcome::Applied(_)));
    pass(&mut cloud, 300);
    assert_eq!(cloud.revisions("app"), [1, 1, 1]);
    assert!(matches!(steer(&mut cloud, Steer::Resume), Outcome::Applied(_)));
    assert!(pass(&mut cloud, 300) >= 3);
    assert_eq!(cloud.revisions("app"), [2, 2, 2]);
}

#[test]
fn revisions_are_kept_and_an_undo_goes_back_to_a_good_one() {
    let (mut cloud, app) = good(1, |_| {});
    for number in 2..=13 {
        cloud.apply(revised(&app, &format!("good{number}")));
        pass(&mut cloud, 60);
    }
    let workload = cloud.state.workload_keyed(&app.key).unwrap();
    assert_eq!(workload.notes.len(), rollout::REVISIONS_KEPT);
    assert_eq!(workload.revisions.len(), rollout::REVISIONS_KEPT);
    let undo = |to| Steer::Undo(Some(Revision::new(to)));
    assert!(matches!(steer(&mut cloud, undo(1)), Outcome::Refused(Refusal::NoRevision(_))));
    assert!(matches!(steer(&mut cloud, Steer::Undo(None)), Outcome::Applied(_)));
    pass(&mut cloud, 60);
    assert_eq!(cloud.revisions("app"), [12]);
    assert!(matches!(steer(&mut cloud, undo(5)), Outcome::Applied(_)));
    pass(&mut cloud, 60);
    assert_eq!(cloud.revisions("app"), [5]);
    let next = cloud.apply(revised(&app, "next"));
    assert!(matches!(next, Effect::Updated(_, r) if r.get() == 14), "{next:?}");
    pass(&mut cloud, 60);
    let image = cloud.state.image();
    assert_eq!(State::from_image(image.clone()).unwrap().image(), image);
}

#[test]
fn what_is_not_noticed_by_copies_makes_no_revision() {
    let (mut cloud, mut app) = good(2, |_| {});
    app.rollout.batch = 2;
    app.depends_on = vec!["city/test/app/other".parse().unwrap()];
    assert!(matches!(cloud.apply(app.clone()), Effect::Updated(_, r) if r.get() == 1));
    app.instances = 3;
    assert!(matches!(cloud.apply(app), Effect::Updated(_, r) if r.get() == 1));
}

#[test]
fn a_drain_during_a_bad_rollout_loses_no_healthy_copy() {
    let (mut cloud, app) = good(3, |_| {});
    cloud.apply(revised(&app, "hang"));
    pass(&mut cloud, 10);
    wish(&mut cloud, 1, NodeWish::Drain);
    assert!(pass(&mut cloud, 900) >= 3, "a healthy copy was lost");
    assert_eq!(cloud.revisions("app"), [1, 1, 1]);
    assert_eq!(cloud.state.on_node(NodeId::new(1)).count(), 0);
}

#[test]
fn the_first_revision_has_nothing_to_return_to_and_goes_on() {
    let mut cloud = Cloud::of(1);
    cloud.apply(revised(&spec("app"), "crash"));
    cloud.pass(Millis::from_secs(600));
    assert_eq!(cloud.told("rollout-returned"), Vec::<String>::new());
    assert_eq!(cloud.revisions("app"), [1]);
    cloud.apply(spec("app"));
    cloud.pass(Millis::from_secs(120));
    assert_eq!((cloud.revisions("app"), cloud.healthy("app")), (vec![2], 1));
}

#[test]
fn a_running_job_is_begun_again_in_its_place() {
    let mut cloud = Cloud::of(2);
    let mut job = spec("job");
    job.kind = Kind::Job;
    job.move_policy = MovePolicy::Never;
    cloud.apply(job.clone());
    cloud.pass(Millis::from_secs(30));
    let before = cloud.state.instances().next().unwrap().node;
    cloud.apply(revised(&job, "again"));
    cloud.pass(Millis::from_secs(60));
    assert_eq!(cloud.revisions("job"), [2]);
    assert_eq!(cloud.state.instances().next().unwrap().node, before);
}

#[test]
fn a_rollout_without_room_says_so_and_what_would_help() {
    let mut cloud = Cloud::of(1);
    let mut web = spec("web");
    web.resources.cpu = tengyun_model::Millicores::new(300);
    web.class = tengyun_model::Class::Critical;
    cloud.set(&[("consolidate", 0)]);
    cloud.apply(web.clone());
    cloud.pass(Millis::from_secs(60));
    let mut larger = revised(&web, "more");
    larger.resources.cpu = tengyun_model::Millicores::new(750);
    cloud.apply(larger);
    cloud.pass(Millis::from_secs(600));
    assert_eq!(cloud.revisions("web"), [1], "there is no room for both");
    let workload = cloud.state.workloads().next().unwrap();
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let stuck = no_room(&cloud.state, &forecast, workload.id, cloud.now).unwrap();
    let remedy = stuck.remedy.to_string();
    assert_eq!(stuck.copies, 1);
    assert!(remedy.contains("or add a node"), "{remedy}");
    let id = cloud.state.instances().next().unwrap().status.instance;
    let explained = explain(&cloud.state, &forecast, id, cloud.now).unwrap();
    let summary = explained.summary.to_string();
    assert!(summary.contains(&format!("no room for 1 of them: {remedy}")), "{summary}");
    assert_eq!(explained.remedy.to_string(), remedy);
    let second = cloud.must(Command::RegisterNode(cloud::facts(2)));
    let Effect::Node(second) = second else { panic!("{second:?}") };
    cloud.must(Command::ConnectNode(second));
    cloud.pass(Millis::from_secs(60));
    assert_eq!(cloud.revisions("web"), [2]);
    let forecast = predict::forecast(&cloud.state, cloud.now);
    let workload = cloud.state.workloads().next().unwrap().id;
    assert_eq!(no_room(&cloud.state, &forecast, workload, cloud.now), None);
}
