//! Scenarios of copies that fail for good though they are to run.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends its test")]

use tengyun_engine::explain::explain;
use tengyun_engine::{Command, predict};
use tengyun_model::{
    Exit, Generation, InstanceId, InstanceStatus, Millis, NodeId, NodeUsage, Phase, RestartMode,
    WorkloadSpec,
};

use crate::cloud::{Cloud, REPORT, healthy, spec};

const NODE: NodeId = NodeId::new(1);

/// The one instance.
fn only(cloud: &Cloud) -> InstanceId {
    let mut all = cloud.state.instances();
    let one = all.next().unwrap().status.instance;
    assert!(all.next().is_none(), "one copy is there");
    one
}

fn say(cloud: &mut Cloud, phase: Phase, incarnation: u32) {
    let incarnation = tengyun_model::Incarnation::new(incarnation);
    let exit = (phase == Phase::Failed).then_some(Exit::Code(3));
    let id = only(cloud);
    let status = InstanceStatus { phase, incarnation, exit, ..healthy(id, cloud.now) };
    let (node, generation) = (NODE, Generation::new(9));
    let instances = vec![status];
    cloud.must(Command::ObserveInstances { node, generation, instances, gone: Vec::new() });
}

/// The node says that it is there.
fn beat(cloud: &mut Cloud) {
    let usage = NodeUsage { at: cloud.now, interval: REPORT, ..NodeUsage::default() };
    cloud.must(Command::ReportUsage { node: NODE, usage });
}

/// Lets time pass until a new instance takes the place of the failed one, and says how long it took.
fn rest(cloud: &mut Cloud) -> u64 {
    let (before, began) = (only(cloud), cloud.now);
    for _ in 0..2000 {
        cloud.now = cloud.now.after(Millis::from_secs(1));
        beat(cloud);
        let plan = cloud.plan();
        if !plan.moves.is_empty() {
            cloud.must(Command::CommitPlan(plan));
            let plan = cloud.plan();
            cloud.must(Command::CommitPlan(plan));
            assert_ne!(only(cloud), before);
            return cloud.now.since(began).get() / 1000;
        }
    }
    panic!("nothing took its place");
}

fn broken(change: impl FnOnce(&mut WorkloadSpec)) -> Cloud {
    let mut cloud = Cloud::of(1);
    let mut web = spec("web");
    change(&mut web);
    cloud.apply(web);
    cloud.pass(Millis::from_secs(5));
    cloud
}

#[test]
fn a_copy_that_fails_again_and_again_is_placed_anew_ever_more_rarely() {
    let mut cloud = broken(|_| {});
    let mut pauses = Vec::new();
    for _ in 0..9 {
        // However often it is said, it failed once.
        for incarnation in 2..5 {
            say(&mut cloud, Phase::Failed, incarnation);
        }
        pauses.push(rest(&mut cloud));
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    say(&mut cloud, Phase::Failed, 2);
    let (id, forecast) = (only(&cloud), predict::forecast(&cloud.state, cloud.now));
    let explained = explain(&cloud.state, &forecast, id, cloud.now).unwrap();
    let summary = explained.summary.to_string();
    assert!(summary.contains("failed 10 times in a row and rests for another 600 s"), "{summary}");
    assert!(explained.remedy.to_string().contains("tengyun logs"), "{}", explained.remedy);
    rest(&mut cloud);
    // Healthy for a moment is not recovered; healthy for long is.
    say(&mut cloud, Phase::Healthy, 1);
    cloud.now = cloud.now.after(Millis::from_secs(599));
    say(&mut cloud, Phase::Failed, 1);
    assert_eq!(rest(&mut cloud), 600);
    say(&mut cloud, Phase::Healthy, 1);
    cloud.now = cloud.now.after(Millis::from_secs(600));
    say(&mut cloud, Phase::Failed, 1);
    assert_eq!(rest(&mut cloud), 10);
    assert_eq!(cloud.told("retried").len(), 12);
}

#[test]
fn what_is_not_to_run_again_stays_as_it_ended() {
    let mut cloud = broken(|web| web.restart.mode = RestartMode::Never);
    say(&mut cloud, Phase::Failed, 2);
    cloud.now = cloud.now.after(Millis::from_secs(10_000));
    assert_eq!(cloud.plan().moves, []);
}

#[test]
fn a_copy_that_runs_after_all_is_not_given_up() {
    let mut cloud = broken(|_| {});
    say(&mut cloud, Phase::Failed, 1);
    say(&mut cloud, Phase::Running, 2);
    cloud.now = cloud.now.after(Millis::from_secs(1000));
    beat(&mut cloud);
    assert_eq!(cloud.plan().moves, []);
    say(&mut cloud, Phase::Failed, 2);
    assert_eq!(rest(&mut cloud), 20, "it failed twice in a row");
}
