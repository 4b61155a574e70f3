//! Scenarios of runs that are due and of windows that are open. When that is, is told from outside.

use std::collections::BTreeMap;

use tengyun_engine::image::WorkloadImage;
use tengyun_engine::{Command, NodeWish, Outcome, Past, Refusal, RunOutcome};
use tengyun_model::{
    At, Concurrency, Days, Kind, Millis, MovePolicy, NodeId, Schedule, Window, WorkloadSpec,
};

use crate::cloud::{self, Cloud, spec};
use crate::operate::wish;

fn cron(concurrency: Concurrency, word: &str) -> WorkloadSpec {
    let mut cron = spec("cron");
    cron.kind = Kind::Cron;
    cron.move_policy = MovePolicy::Never;
    cron.command.push(word.to_owned());
    cron.schedule = Some(Schedule {
        cron: "0 2 * * *".to_owned(),
        time_zone: None,
        concurrency,
        starting_deadline: Millis::from_secs(60),
        runs_kept: 3,
    });
    cron
}

fn workload(cloud: &Cloud) -> &WorkloadImage {
    cloud.state.workload_keyed(&spec("cron").key).expect("it was applied")
}

fn fire(cloud: &mut Cloud, missed: bool) -> Outcome {
    let (workload, scheduled) = (workload(cloud).id, cloud.now);
    cloud.try_to(Command::FireRun { workload, scheduled, missed })
}

fn outcomes(cloud: &Cloud) -> Vec<(u32, RunOutcome)> {
    workload(cloud).cron.runs.iter().map(|run| (run.number, run.outcome)).collect()
}

#[test]
fn a_run_that_is_due_runs_once_and_its_end_is_kept() {
    let mut cloud = Cloud::of(1);
    cloud.apply(cron(Concurrency::Forbid, "end"));
    cloud.pass(Millis::from_secs(60));
    assert_eq!(cloud.state.instances().count(), 0, "nothing runs before it is due");
    for _ in 0..5 {
        assert!(matches!(fire(&mut cloud, false), Outcome::Applied(_)));
        let again = Refusal::Stale(Past::Scheduled);
        assert_eq!(fire(&mut cloud, false), Outcome::Refused(again), "it fired twice");
        cloud.pass(Millis::from_secs(60));
    }
    let kept = [3, 4, 5].map(|number| (number, RunOutcome::Succeeded));
    assert_eq!(outcomes(&cloud), kept);
    let instances: Vec<u32> = cloud.state.instances().map(|i| i.ordinal).collect();
    assert_eq!(instances, [3, 4, 5], "instances are kept as long as their runs");
    let image = cloud.state.image();
    assert_eq!(tengyun_engine::State::from_image(image.clone()).unwrap().image(), image);
}

#[test]
fn a_run_is_skipped_replaces_or_runs_beside_as_its_department_says() {
    use RunOutcome::{Skipped, Stopped, UnderWay};
    for (concurrency, expected, living) in [
        (Concurrency::Forbid, [(1, UnderWay), (2, Skipped)], 1),
        (Concurrency::Replace, [(1, Stopped), (2, UnderWay)], 1),
        (Concurrency::Allow, [(1, UnderWay), (2, UnderWay)], 2),
    ] {
        let mut cloud = Cloud::of(1);
        cloud.apply(cron(concurrency, "on"));
        fire(&mut cloud, false);
        cloud.pass(Millis::from_secs(30));
        assert_eq!(cloud.state.on_node(NodeId::new(1)).count(), 1);
        fire(&mut cloud, false);
        cloud.settle();
        if concurrency == Concurrency::Replace {
            let placed = cloud.state.instances().filter(|i| i.node.is_some()).count();
            assert_eq!(placed, 1, "the next starts when the one before is gone");
        }
        cloud.pass(Millis::from_secs(30));
        assert_eq!(outcomes(&cloud), expected, "{concurrency:?}");
        assert_eq!(cloud.healthy("cron"), living, "{concurrency:?}");
    }
}

#[test]
fn a_missed_run_is_kept_and_a_stopped_workload_fires_nothing() {
    let mut cloud = Cloud::of(1);
    cloud.apply(cron(Concurrency::Forbid, "on"));
    fire(&mut cloud, true);
    assert_eq!(outcomes(&cloud), [(1, RunOutcome::Missed)]);
    cloud.pass(cloud::REPORT);
    fire(&mut cloud, false);
    cloud.pass(cloud::REPORT);
    let operation = cloud.operation();
    cloud.must(Command::StopWorkload { operation, key: spec("cron").key });
    cloud.pass(cloud::REPORT);
    assert!(matches!(fire(&mut cloud, false), Outcome::Refused(_)));
    assert_eq!(outcomes(&cloud)[1], (2, RunOutcome::Stopped));
    assert_eq!(cloud.state.instances().count(), 0);
    cloud.apply(cron(Concurrency::Forbid, "on"));
    cloud.pass(cloud::REPORT);
    assert_eq!(cloud.state.instances().count(), 0, "a stopped run does not begin again");
}

#[test]
fn a_new_revision_is_for_the_next_run() {
    let mut cloud = Cloud::of(1);
    cloud.apply(cron(Concurrency::Forbid, "on"));
    fire(&mut cloud, false);
    cloud.pass(Millis::from_secs(30));
    cloud.apply(cron(Concurrency::Forbid, "end"));
    cloud.pass(Millis::from_secs(120));
    assert_eq!(cloud.revisions("cron"), [1], "the run under way goes on");
    cloud.apply(cron(Concurrency::Replace, "end"));
    fire(&mut cloud, false);
    cloud.pass(Millis::from_secs(30));
    assert_eq!(cloud.revisions("cron"), [2]);
}

#[test]
fn a_run_whose_instance_is_gone_is_begun_again() {
    let mut cloud = Cloud::of(1);
    cloud.apply(cron(Concurrency::Forbid, "on"));
    fire(&mut cloud, false);
    cloud.pass(Millis::from_secs(30));
    let gone: Vec<_> = cloud.state.on_node(NodeId::new(1)).collect();
    let (node, generation) = (NodeId::new(1), cloud.state.nodes().next().unwrap().generation);
    cloud.must(Command::ObserveInstances {
        node,
        generation,
        instances: vec![],
        gone: gone.clone(),
    });
    cloud.pass(Millis::from_secs(30));
    let now: Vec<_> = cloud.state.on_node(node).collect();
    assert_eq!(now.len(), 1);
    assert_ne!(now, gone);
    assert_eq!(workload(&cloud).cron.runs[0].instance, now.first().copied());
}

#[test]
fn schedules_and_windows_that_make_no_sense_are_refused() {
    let mut cloud = Cloud::of(1);
    let mut never = cron(Concurrency::Forbid, "on");
    never.schedule.as_mut().unwrap().cron = "0 0 30 feb *".to_owned();
    let mut none = cron(Concurrency::Forbid, "on");
    none.schedule = None;
    let mut service = spec("service");
    service.schedule = cron(Concurrency::Forbid, "on").schedule;
    let mut windowless = spec("windowless");
    windowless.move_policy = MovePolicy::Window;
    let mut needless = spec("needless");
    needless.window = Some(window());
    for wrong in [never, none, service, windowless, needless] {
        assert!(matches!(cloud.refused(wrong), Refusal::BadField { .. }));
    }
}

fn window() -> Window {
    Window { days: Days::ALL, from: 60, to: 120, time_zone: None }
}

fn open(cloud: &mut Cloud, name: &str, from: At, until: At) {
    let id = cloud.state.workload_keyed(&spec(name).key).expect("it was applied").id;
    cloud.must(Command::NoteWindows(BTreeMap::from([(id, (from, until))])));
}

/// A service on one of two nodes that may be moved in its window only.
fn windowed() -> (Cloud, u32) {
    let mut cloud = Cloud::of(2);
    let mut app = spec("app");
    app.move_policy = MovePolicy::Window;
    app.window = Some(window());
    cloud.apply(app);
    cloud.pass(Millis::from_secs(60));
    let at = *cloud.layout().keys().next().expect("it runs");
    (cloud, at)
}

#[test]
fn a_drain_waits_for_the_window_and_force_does_not() {
    for force in [false, true] {
        let (mut cloud, at) = windowed();
        let how = if force { NodeWish::DrainByForce } else { NodeWish::Drain };
        wish(&mut cloud, at, how);
        cloud.pass(Millis::from_secs(120));
        let moved = !cloud.layout().contains_key(&at);
        assert_eq!(moved, force, "a window that nobody knows of is closed");
        if force {
            continue;
        }
        let (from, until) =
            (cloud.now.after(Millis::from_secs(60)), cloud.now.after(Millis::from_secs(300)));
        open(&mut cloud, "app", from, until);
        cloud.pass(Millis::from_secs(55));
        assert!(cloud.layout().contains_key(&at), "it left before its window");
        cloud.pass(Millis::from_secs(60));
        assert!(!cloud.layout().contains_key(&at), "it did not leave in its window");
        assert_eq!(cloud.healthy("app"), 1);
    }
}

#[test]
fn the_optimiser_and_rollouts_keep_to_the_window() {
    let mut cloud = Cloud::of(2);
    for number in 1..=2 {
        let mut app = spec(&format!("app{number}"));
        app.move_policy = MovePolicy::Window;
        app.window = Some(window());
        app.constraints.labels.insert("node".to_owned(), format!("n{number}"));
        // The lighter node is emptied.
        cloud.uses.insert(format!("app{number}"), 90 / number);
        cloud.apply(app.clone());
    }
    cloud.pass(Millis::from_secs(60));
    let mut free = spec("app2");
    free.move_policy = MovePolicy::Window;
    free.window = Some(window());
    cloud.apply(free.clone());
    cloud.pass(Millis::from_secs(3600));
    assert_eq!(cloud.revisions("app2"), [1], "it was renewed outside its window");
    assert_eq!(cloud.layout().len(), 2);
    let until = cloud.now.after(Millis::from_secs(7200));
    let from = cloud.now;
    open(&mut cloud, "app2", from, until);
    cloud.pass(Millis::from_secs(60));
    assert_eq!(cloud.revisions("app2"), [2]);
    cloud.pass(Millis::from_secs(7000));
    assert_eq!(cloud.layout().len(), 1, "it was gathered in its window");
}
